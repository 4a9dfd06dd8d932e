"""Any sequence of Moodle edits, then incremental syncs, equals one full rebuild."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import fingerprints, survey

from .conftest import Backend
from .harness import Harness
from .moodle_edits import EDITS, NothingThere, random_edit

# Server databases are slower by a factor of ten; the kinds of edits are the same everywhere.
# More of everything, for a night: ALXREPORT_DEPTH=20.
DEPTH = int(os.environ.get("ALXREPORT_DEPTH", "1"))
EXAMPLES = {"sqlite": 4 * DEPTH, "mariadb": 2 * DEPTH, "postgres": 2 * DEPTH}
HOURS = (0, 1, 60, 3600, 3600, 86_400, 90 * 86_400, -1, -3600, -40 * 86_400)


@pytest.fixture(params=["pick learners", "pick companies", "pick neighbours"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small sites always take one way through the sync; make them take the others too."""
    if request.param == "pick learners":
        monkeypatch.setattr(fingerprints, "BUCKET_BITS", 0)
    if request.param == "pick companies":
        monkeypatch.setattr(survey, "PICKED_LEAST", 0)
    return request.param


@pytest.fixture
def harness(backend: Backend, make_harness: Callable[[str], Harness]) -> Harness:
    return make_harness(backend.name)


def rows_by_content(harness: Harness) -> dict[Any, Any]:
    """Return each row's content apart from what only tells when it changed."""
    book = ("id", "last_updated", "created_at", "updated_at", "revision")
    return {
        key: {name: value for name, value in row.items() if name not in book}
        for key, row in harness.stored().items()
    }


def check_bookkeeping(before: Any, after: Any, contents: Any, harness: Harness) -> None:
    """Assert that exactly the rows whose content changed carry a new revision and time."""
    now_contents = rows_by_content(harness)
    for key, row in after.items():
        was = before.get(key)
        changed = was is None or contents[key] != now_contents[key]
        if changed:
            assert row["last_updated"] == harness.now
            assert was is None or row["revision"] > was["revision"]
            assert was is None or row["created_at"] == was["created_at"]
        else:
            assert row == was


def run_history(harness: Harness, seed: int, steps: int, untracked: bool) -> None:
    rng = random.Random(seed)
    harness.site.reset().sample(seed)
    harness.empty_store()
    harness.now = harness.site.now
    if untracked:
        harness.include_untracked()
    harness.sync_whatever()
    harness.check()
    for _step in range(steps):
        for _edit in range(rng.choice((1, 1, 2, 5, 15))):
            random_edit(harness.site, rng.choice, harness.now)
        harness.now += rng.choice(HOURS)
        before, contents = harness.stored(), rows_by_content(harness)
        report = harness.sync_whatever()
        harness.check()
        after = harness.stored()
        check_bookkeeping(before, after, contents, harness)
        moved = sum(
            key not in before or row["revision"] != before[key]["revision"]
            for key, row in after.items()
        )
        assert moved == report.created + report.updated + report.deleted
    again = harness.sync()
    assert (again.created, again.updated, again.deleted) == (0, 0, 0)
    assert harness.stored() == after
    full = harness.sync_whatever(full=True)
    assert (full.created, full.updated, full.deleted) == (0, 0, 0)
    assert harness.stored() == after
    verified = harness.verify()
    assert (verified.wrong, verified.pending) == (0, 0)
    harness.empty_store()
    harness.sync_whatever()
    rebuilt = rows_by_content(harness)
    assert rebuilt == {key: row for key, row in _contents(after).items() if not row["is_deleted"]}


def _contents(rows: Any) -> Any:
    book = ("id", "last_updated", "created_at", "updated_at", "revision")
    return {k: {n: v for n, v in row.items() if n not in book} for k, row in rows.items()}


def test_any_history_equals_a_full_rebuild(backend: Backend, harness: Harness, way: str) -> None:
    @settings(
        max_examples=EXAMPLES[backend.name],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 2**32), steps=st.integers(1, 6), untracked=st.booleans())
    def history(seed: int, steps: int, untracked: bool) -> None:
        run_history(harness, seed, steps, untracked)

    history()


@pytest.mark.parametrize("kind", EDITS, ids=lambda kind: kind[0])
def test_each_kind_of_edit_alone(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit among many may be found by what the others moved; here it is on its own."""
    monkeypatch.setattr(fingerprints, "BUCKET_BITS", 0)
    _name, _weight, edit = kind
    harness = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    harness.site.create()
    for seed in range(DEPTH):
        rng = random.Random(seed)
        harness.site.reset().sample(seed)
        harness.empty_store()
        harness.now = harness.site.now
        harness.sync_whatever()
        for _step in range(3):
            harness.site.now = harness.now
            with suppress(NothingThere), harness.site.transaction():
                edit(harness.site, rng.choice, harness.now)
            harness.now += 1
            harness.sync_whatever()
            harness.check()
    harness.close()
