"""A source that lost a table, or what was in it, is refused and changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.errors import SourceError

from .crowd import add_crowd
from .harness import Harness
from .runs import Program, execute, rows_of

COMPANIES = 60
TABLES = (
    "user", "course", "company", "company_users", "enrol", "user_enrolments",
    "course_completions", "course_modules_completion", "role_assignments", "course_modules",
    # No figure is right without these either, and guards by company do not see them all.
    "config", "modules", "context", "role_capabilities", "company_course", "iomad_courses",
    "company_shared_courses",
)  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: Any) -> Path:
    """Make a synced site of 60 companies, each with one learner: no guard by company trips."""
    folder: Path = tmp_path_factory.mktemp("emptied")
    harness = Harness(f"sqlite:///{folder}/moodle.db", f"sqlite:///{folder}/store.db")
    with harness.site.create().transaction():
        crowds = [add_crowd(harness.site, f"c{number}", 1) for number in range(COMPANIES)]
    # Each reaches the course of the next one: by the list of shares, or because it is for all.
    with harness.site.transaction():
        for number, crowd in enumerate(crowds):
            course = crowds[number - 1].courses[0]
            harness.site.share_course(course, 1 + number % 2)
            harness.site.list_share(crowd.company, course)
            harness.site.enrol(crowds[number - 1].methods[0], crowd.users[0])
        for number in range(30):  # a real site has about two thousand
            harness.site.set_capability(3, 1, 1, f"mod/forum:do{number}")
    assert harness.sync().created == 2 * COMPANIES
    harness.check()
    harness.close()
    return folder


@pytest.fixture
def harness(kept: Path, tmp_path: Path) -> Iterator[Harness]:
    for name in ("moodle.db", "store.db"):
        shutil.copy(kept / name, tmp_path / name)
    made = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    yield made
    made.close()


def everything(harness: Harness) -> Any:
    """Return the store's rows and what it knows of each company."""
    with harness.engine.connect() as connection:
        states = connection.execute(sa.select(harness.tables.sync_status)).all()
    return harness.stored(), states


@pytest.mark.parametrize("name", TABLES)
def test_emptied(harness: Harness, name: str) -> None:
    before = everything(harness)
    url, table = harness.settings.moodle.url, f"mdl_{name}"
    execute(url, f"CREATE TABLE kept AS SELECT * FROM {table}", f"DELETE FROM {table}")
    for full in (False, True):
        with pytest.raises(SourceError, match=rf"{table} is empty.* Nothing was changed"):
            harness.sync(full=full)
        assert everything(harness) == before
    with pytest.raises(SourceError, match=f"{table} is empty"):
        harness.sync(dry_run=True)
    execute(url, f"INSERT INTO {table} SELECT * FROM kept", "DROP TABLE kept")
    report = harness.sync()
    assert (report.status, report.created, report.updated, report.deleted) == ("success", 0, 0, 0)
    assert harness.stored() == before[0]


@pytest.mark.parametrize("name", TABLES)
def test_dropped(harness: Harness, name: str) -> None:
    before = everything(harness)
    url, table = harness.settings.moodle.url, f"mdl_{name}"
    execute(url, f"ALTER TABLE {table} RENAME TO away")
    with pytest.raises(SourceError, match=rf"{table}\b"):
        harness.sync()
    assert everything(harness) == before
    execute(url, f"ALTER TABLE away RENAME TO {table}")
    assert harness.sync().updated == 0
    assert harness.stored() == before[0]


def test_everything_emptied_at_once(harness: Harness) -> None:
    before = everything(harness)
    execute(harness.settings.moodle.url, *(f"DELETE FROM mdl_{name}" for name in TABLES))
    for options in ({}, {"allow_mass_delete": True}):
        with pytest.raises(SourceError, match="is empty"):
            harness.sync(**options)
    assert everything(harness) == before


def test_a_table_that_is_meant_to_be_empty_goes_through_when_allowed(harness: Harness) -> None:
    execute(harness.settings.moodle.url, "DELETE FROM mdl_course_modules_completion")
    with pytest.raises(SourceError, match="is empty") as caught:
        harness.sync()
    assert "--allow-mass-delete" in caught.value.hint
    assert harness.sync(allow_mass_delete=True).status == "success"
    harness.check()
    assert harness.sync().status == "success"


def test_a_site_that_never_had_anything_is_no_error(tmp_path: Path) -> None:
    made = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    made.site.create()
    for _run in range(2):
        assert made.sync().status == "success"
    add_crowd(made.site, "first", 2)
    assert made.sync().created == 2
    made.close()


def test_on_the_command_line(harness: Harness, tmp_path: Path) -> None:
    source, store = harness.settings.moodle.url, harness.settings.store.url
    program = Program(source, store, tmp_path / "home")
    before = everything(harness)
    execute(source, "ALTER TABLE mdl_enrol RENAME TO away")
    assert "mdl_enrol" in program.run("sync").in_one_line(3)
    execute(source, "ALTER TABLE away RENAME TO mdl_enrol")
    execute(source, "DELETE FROM mdl_user_enrolments")
    line = program.run("sync", "--quiet").in_one_line(3)
    assert "mdl_user_enrolments is empty" in line
    assert "--allow-mass-delete" in line
    assert everything(harness) == before
    runs = "SELECT status FROM local_alx_api_sync_runs ORDER BY id"
    assert [row[0] for row in rows_of(store, runs)] == ["success", "failed", "failed"]
