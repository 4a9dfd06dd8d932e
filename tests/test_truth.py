"""Every reporting row of the real sample site equals what Moodle itself answered there."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.moodle_tables import moodle_tables

from .conftest import Backend
from .harness import Harness
from .oracle import Key, Row
from .truth import live_truth, row_of

SUFFIX = {"mariadb": "", "postgres": ".postgresql", "sqlite": ""}


def compare(harness: Harness, truth_file: Path) -> int:
    """Assert that the table says what Moodle said; return the number of rows compared."""
    with harness.source.connect() as connection:
        truth = live_truth(truth_file, connection)
    live = harness.live()
    assert live.keys() == truth.keys()
    for key, line in truth.items():
        expected, row = row_of(line), dict(live[key])
        if line["ue_rows"] != line["ue_active_rows"]:
            # The file's earliest start counts ended enrolments too.
            del expected["timestarted"], row["timestarted"]
        assert row == expected, key
    return len(live)


def copy_site(source: sa.Engine, target: sa.Engine) -> None:
    """Copy the tables that are read from one database into another of any kind."""
    tables = moodle_tables("mdl_")
    tables.metadata.drop_all(target)
    tables.metadata.create_all(target)
    with source.connect() as reader, target.begin() as writer:
        for table in tables.metadata.sorted_tables:
            rows = [dict(row) for row in reader.execute(sa.select(table)).mappings()]
            if rows:
                writer.execute(sa.insert(table), rows)


@pytest.fixture
def loader(
    make_backend: Callable[[str], Backend], shared_data: Path
) -> Callable[[str], tuple[str, Callable[[str], None]]]:
    """Return a function from a backend's name to a database and what loads T0 or T1 into it."""

    def load(name: str) -> tuple[str, Callable[[str], None]]:
        url = make_backend(name).new_url()
        backend = make_backend("mariadb" if name == "sqlite" else name)
        dumped = backend.new_url() if name == "sqlite" else url

        def play(moment: str) -> None:
            assert backend.server
            dump = shared_data / f"iomad-{moment}{SUFFIX[name]}.sql.gz"
            backend.server.load_dump(sa.make_url(dumped).database or "", dump)
            if name == "sqlite":
                ends = sa.create_engine(dumped), sa.create_engine(url)
                copy_site(*ends)
                for engine in ends:
                    engine.dispose()

        return url, play

    return load


def test_rows_equal_moodles_own_answers(
    backend: Backend, loader: Callable[[str], Any], shared_data: Path
) -> None:
    """By a full run at each moment, and by an incremental run over the hour of changes."""
    url, play = loader(backend.name)
    suffix = SUFFIX[backend.name]
    harness = Harness(url, backend.new_url())
    harness.now = int(time.time())
    play("T0")
    assert harness.sync().mode == "full"
    assert compare(harness, shared_data / f"truth-T0{suffix}.csv") == 624
    play("T1")
    report = harness.sync()
    assert (report.mode, report.status) == ("incremental", "success")
    assert (report.created, report.updated, report.deleted) == (74, 270, 224)
    assert compare(harness, shared_data / f"truth-T1{suffix}.csv") == 474
    incremental = harness.live()
    assert harness.verify().wrong == 0
    harness.empty_store()
    assert harness.sync().mode == "full"
    assert compare(harness, shared_data / f"truth-T1{suffix}.csv") == 474
    assert harness.live() == incremental
    harness.close()


def test_percentages_are_not_all_the_same(backend: Backend, loader: Callable[[str], Any]) -> None:
    """The sample would prove little if it held only 0 and 100."""
    url, play = loader(backend.name)
    play("T0")
    harness = Harness(url, backend.new_url())
    harness.now = int(time.time())
    harness.sync()
    found: dict[Key, Row] = harness.live()
    between = {row["percentage"] for row in found.values()} - {Decimal(0), Decimal(100)}
    assert len(between) > 5
    harness.close()
