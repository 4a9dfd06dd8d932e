"""The guard against mass deletion: rows that go because Moodle's rows are missing, and others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport import guard
from alxreport.catalogue import build_catalogue
from alxreport.database import writing
from alxreport.guard import Before, Presence, rows_missing
from alxreport.records import CompanyResult, RunReport, SiteData

from .crowd import Crowd, add_crowd
from .harness import Harness
from .moodle_site import COURSE, DAY, MANAGER, PROHIBIT, STUDENT
from .runs import Ended, Program

LEARNERS = 100


@dataclass
class Two:
    """A company of 100 learners in one course, and one of three learners beside it."""

    harness: Harness
    big: Crowd
    small: Crowd

    @property
    def site(self) -> Any:
        return self.harness.site

    def change_beside(self) -> None:
        """Change the other company, so that it has something to do."""
        self.site.change_user(self.small.users[0], self.harness.now, lastname="Changed")

    def of_big(self, report: RunReport) -> CompanyResult:
        return next(c for c in report.companies if c.id == self.big.company)

    def rows(self, company: int) -> dict[Any, Any]:
        return {key: row for key, row in self.harness.stored().items() if key[0] == company}

    def live_rows(self) -> int:
        return sum(not row["is_deleted"] for row in self.rows(self.big.company).values())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: Any) -> tuple[Path, Crowd, Crowd]:
    """Make the two companies and sync them, once for all tests."""
    folder: Path = tmp_path_factory.mktemp("guard")
    harness = Harness(f"sqlite:///{folder}/moodle.db", f"sqlite:///{folder}/store.db")
    harness.site.create()
    big = add_crowd(harness.site, "big", LEARNERS)
    small = add_crowd(harness.site, "small", 3)
    assert harness.sync().created == LEARNERS + 3
    harness.close()
    return folder, big, small


@pytest.fixture
def two(kept: tuple[Path, Crowd, Crowd], tmp_path: Path) -> Iterator[Two]:
    folder, big, small = kept
    for name in ("moodle.db", "store.db"):
        shutil.copy(folder / name, tmp_path / name)
    harness = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    yield Two(harness, big, small)
    harness.close()


def assert_refused(two: Two, going: int, live: int = LEARNERS) -> None:
    """Assert that a run fails the big company alone, again and again, until it is allowed."""
    harness = two.harness
    two.change_beside()
    harness.now += 60
    before = two.rows(two.big.company)
    dry = harness.sync(dry_run=True)
    assert (dry.status, two.of_big(dry).status) == ("partial", "failed")
    assert "--allow-mass-delete" in (two.of_big(dry).error or "")
    first, second = harness.sync(), harness.sync()
    assert (first.status, first.updated, first.deleted) == ("partial", 1, 0)
    for report in (first, second):
        assert two.of_big(report).status == "failed"
        assert two.of_big(report).rows == live
        error = two.of_big(report).error or ""
        assert error.startswith(f"{going} of its {live} rows would go")
        assert "--allow-mass-delete" in error
        assert all(c.status == "success" for c in report.companies if c.id != two.big.company)
    full = harness.sync(full=True)
    assert (full.status, full.deleted) == ("partial", 0)
    assert two.rows(two.big.company) == before
    let = harness.sync(allow_mass_delete=True)
    assert let.status == "success"
    assert let.deleted >= going
    harness.check()
    assert harness.sync().status == "success"


def assert_passes(two: Two, going: int) -> None:
    two.harness.now += 60
    report = two.harness.sync()
    assert (report.status, report.deleted) == ("success", going), report
    two.harness.check()


Harm = Callable[[Two, list[int]], None]


def delete_of(table: str) -> Harm:
    return lambda two, users: two.site.delete(table, userid=users)


MISSING: dict[str, Harm] = {
    "user": lambda two, users: two.site.delete("user", id=users),
    "company_users": delete_of("company_users"),
    "user_enrolments": delete_of("user_enrolments"),
    "role_assignments": delete_of("role_assignments"),
    "both": lambda two, users: (
        delete_of("role_assignments")(two, users[::2]),
        delete_of("user_enrolments")(two, users[1::2]),
    ),
}


@pytest.mark.parametrize("kind", MISSING)
def test_most_rows_of_a_company_missing(two: Two, kind: str) -> None:
    MISSING[kind](two, two.big.users[:51])
    assert_refused(two, 51)


@pytest.mark.parametrize("kind", MISSING)
def test_exactly_half_goes_through(two: Two, kind: str) -> None:
    MISSING[kind](two, two.big.users[:50])
    assert_passes(two, 50)


@pytest.mark.parametrize(("learners", "going", "refused"), [(49, 49, 0), (50, 50, 1), (98, 49, 0)])
def test_fewer_than_fifty_go_through(
    tmp_path: Path, learners: int, going: int, refused: int
) -> None:
    harness = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    harness.site.create()
    crowd = add_crowd(harness.site, "crowd", learners)
    add_crowd(harness.site, "beside", 3)
    harness.sync()
    harness.site.delete("user_enrolments", userid=crowd.users[:going])
    report = harness.sync()
    assert (report.errors, report.deleted) == (refused, 0 if refused else going)
    harness.close()


def drop_company_row(two: Two) -> None:
    two.site.delete_company(two.big.company, raw=True)


def drop_company(two: Two) -> None:
    two.site.delete_company(two.big.company)


def drop_course(two: Two) -> None:
    two.site.delete_course(two.big.courses[0])


def drop_course_row(two: Two) -> None:
    two.site.delete("course", id=two.big.courses[0])


def drop_method(two: Two) -> None:
    two.site.delete("enrol", id=two.big.methods[0])


def take_course(two: Two) -> None:
    two.site.take_course(two.big.company, two.big.courses[0])


def take_course_keep_settings(two: Two) -> None:
    two.site.delete("company_course", companyid=two.big.company)


@pytest.mark.parametrize(
    "drop",
    [drop_company_row, drop_company, drop_course, drop_course_row, drop_method, take_course,
     take_course_keep_settings],
)  # fmt: skip
def test_one_missing_row_that_takes_all_rows(two: Two, drop: Callable[[Two], None]) -> None:
    drop(two)
    assert_refused(two, LEARNERS)


def switch_course_off(two: Two) -> None:
    with writing(two.harness.engine) as connection:
        values = {"name": f"course_{two.big.courses[0]}", "value": "0"}
        table = two.harness.tables.settings
        connection.execute(sa.insert(table).values(companyid=two.big.company, **values))


def suspend_memberships(two: Two) -> None:
    two.site.update("company_users", {"companyid": two.big.company}, suspended=1)


FLAGS: dict[str, Callable[[Two], Any]] = {
    "company suspended": lambda two: two.site.suspend_company(two.big.company),
    "company alone suspended": lambda two: two.site.update(
        "company", {"id": two.big.company}, suspended=1
    ),
    "users suspended": lambda two: two.site.update("user", {"id": two.big.users}, suspended=1),
    "users deleted": lambda two: [
        two.site.delete_user(user, two.harness.now) for user in two.big.users
    ],
    "course hidden": lambda two: two.site.change_course(two.big.courses[0], 1, visible=0),
    "memberships suspended": suspend_memberships,
    "enrolments ended": lambda two: two.site.update(
        "user_enrolments", {"userid": two.big.users}, timeend=two.harness.now - 1
    ),
    "enrolments begin later": lambda two: two.site.update(
        "user_enrolments", {"userid": two.big.users}, timestart=two.harness.now + DAY
    ),
    "enrolments suspended": lambda two: two.site.update(
        "user_enrolments", {"userid": two.big.users}, status=1
    ),
    "method disabled": lambda two: two.site.set_method(two.big.methods[0], 1),
    "another role": lambda two: two.site.update(
        "role_assignments", {"userid": two.big.users}, roleid=MANAGER
    ),
    "role prohibited": lambda two: two.site.set_capability(
        STUDENT, two.site.context(COURSE, two.big.courses[0]), PROHIBIT
    ),
    "course switched off": switch_course_off,
}


@pytest.mark.parametrize("kind", FLAGS)
def test_flags_dates_and_settings_never_count(two: Two, kind: str) -> None:
    FLAGS[kind](two)
    two.harness.now += 60
    report = two.harness.sync()
    assert (report.status, report.deleted) == ("success", LEARNERS), report
    assert two.live_rows() == 0
    assert two.harness.sync(full=True).deleted == 0


def test_the_clock_alone_never_counts(two: Two) -> None:
    end = two.harness.now + DAY
    two.site.update("user_enrolments", {"userid": two.big.users}, timeend=end)
    assert two.harness.sync().deleted == 0
    two.harness.now = end
    assert_passes(two, LEARNERS)


@pytest.mark.parametrize("shared", [1, 2])
def test_unsharing_never_counts(two: Two, shared: int) -> None:
    course = two.big.courses[0]
    two.site.delete("company_course", courseid=course)
    two.site.share_course(course, shared)
    two.site.list_share(two.big.company, course)
    assert two.harness.sync().deleted == 0
    two.site.share_course(course, 0)
    assert_passes(two, LEARNERS)


def test_a_lost_list_of_shares_counts(two: Two) -> None:
    """``shared`` still says 2; the rows that say with whom are gone."""
    course = two.big.courses[0]
    two.site.share_course(course, 2)
    two.site.list_share(two.big.company, course)
    two.site.list_share(two.small.company, course)
    two.site.delete("company_course", courseid=course)
    assert two.harness.sync().deleted == 0
    two.site.unlist_share(two.big.company, course)
    assert_refused(two, LEARNERS)


def test_no_longer_including_untracked_never_counts(two: Two) -> None:
    settings = two.harness.settings
    two.site.delete("role_assignments", userid=two.big.users[:60])
    two.harness.include_untracked()
    assert two.harness.sync().deleted == 0
    two.harness.settings = settings
    report = two.harness.sync()
    assert (report.status, report.deleted) == ("success", 60), report


def test_flags_and_missing_rows_together(two: Two) -> None:
    """60 learners suspended and 40 enrolments missing: of 100 rows, 40 count."""
    two.site.update("user", {"id": two.big.users[:60]}, suspended=1)
    two.site.delete("user_enrolments", userid=two.big.users[60:])
    assert_passes(two, LEARNERS)


def test_a_flag_on_top_of_a_missing_row_keeps_it_out(two: Two) -> None:
    two.site.delete("user_enrolments", userid=two.big.users)
    two.site.update("user", {"id": two.big.users[:50]}, suspended=1)
    assert_passes(two, LEARNERS)


def test_flags_do_not_hide_missing_rows(two: Two) -> None:
    two.site.update("user", {"id": two.big.users[:40]}, suspended=1)
    two.site.delete("user_enrolments", userid=two.big.users[40:])
    assert_refused(two, 60)


def test_new_rows_do_not_weigh_against_those_that_go(two: Two) -> None:
    """51 of 100 go, and 60 others come: measured by what was live before."""
    two.site.delete("user_enrolments", userid=two.big.users[:51])
    for _number in range(60):
        user = two.site.add_user("New", "Learner")
        two.site.assign_user(two.big.company, user)
        two.site.enrol(two.big.methods[0], user)
    assert_refused(two, 51)


def test_rows_restored_in_time_are_as_before(two: Two) -> None:
    lost = two.site.select("user_enrolments", userid=two.big.users)
    before = two.rows(two.big.company)
    two.site.delete("user_enrolments", userid=two.big.users)
    assert two.harness.sync().errors == 1
    for row in lost:
        two.site.insert("user_enrolments", **row._mapping)
    report = two.harness.sync()
    assert (report.status, report.updated, report.deleted) == ("success", 0, 0)
    assert two.rows(two.big.company) == before


def test_exit_codes_and_the_hint_on_the_command_line(two: Two, tmp_path: Path) -> None:
    program = Program(
        two.harness.settings.moodle.url, two.harness.settings.store.url, tmp_path / "home"
    )
    two.site.delete("user_enrolments", userid=two.big.users)
    dry, real = program.run("sync", "--dry-run"), program.run("sync", "--quiet")
    assert (dry.code, real.code) == (7, 7)
    assert "--allow-mass-delete" in " ".join(dry.err.split())
    assert "--allow-mass-delete" in " ".join(real.err.split())
    assert real.out == ""
    assert two.live_rows() == LEARNERS
    assert program.run("sync", "--allow-mass-delete", "--quiet") == Ended(0, "", "")
    assert two.live_rows() == 0


def test_the_threshold_in_itself() -> None:
    assert not guard.is_suspicious(49, 49)
    assert guard.is_suspicious(50, 99)
    assert not guard.is_suspicious(50, 100)
    assert not guard.is_suspicious(0, 0)


def counted(presence: Presence, company: int = 7, **site: Any) -> int:
    """Count one key, (user 3, course 9), of a site in which everything is there."""
    data: dict[str, Any] = {
        "config": {"enablecompletion": "1"}, "companies": [(7, "c", "C", 0)],
        "company_courses": [(7, 9)], "sharing": [], "shared_with": [],
        "courses": [(1, 0, "site", 1, 0), (9, 2, "course", 1, 1)], "activities": [],
        "methods": [(9, 5, 0)],
        "contexts": [(1, 10, 0, "/1"), (2, 40, 2, "/1/2"), (3, 50, 9, "/1/2/3")],
        "categories": [(2, 0)], "capabilities": [(1, 5, 1)],
    }  # fmt: skip
    catalogue = build_catalogue(SiteData(**data | site))
    keys = [(3, 9)]
    return rows_missing(
        keys, company=company, catalogue=catalogue, presence=presence, before=Before({}, False)
    )


THERE = Presence({3: False}, {3: False}, {(3, 9): True}, {3: [(3, 5)]}, frozenset({9}))


@pytest.mark.parametrize(
    ("lost", "missing"),
    [
        ({"users": {}}, 1), ({"members": {}}, 1), ({"enrolled": {}}, 1), ({"assigned": {}}, 1),
        ({"users": {3: True}}, 0), ({"members": {3: True}}, 0), ({"enrolled": {(3, 9): False}}, 0),
        ({"users": {3: True}, "enrolled": {}}, 0), ({"assigned": {3: [(4, 5)]}}, 1),
        ({"assigned": {3: [(1, 6)]}}, 0),
    ],
)  # fmt: skip
def test_reasons_of_one_learner(lost: dict[str, Any], missing: int) -> None:
    assert counted(Presence(**vars(THERE) | lost)) == missing


@pytest.mark.parametrize(
    ("site", "missing"),
    [
        ({"companies": []}, 1), ({"companies": [(7, "c", "C", 1)]}, 0),
        ({"courses": [(1, 0, "site", 1, 0)]}, 1), ({"company_courses": []}, 1),
        ({"courses": [(1, 0, "site", 1, 0), (9, 2, "course", 0, 1)]}, 0),
    ],
)  # fmt: skip
def test_reasons_of_the_site(site: dict[str, Any], missing: int) -> None:
    assert counted(THERE, **site) == missing
