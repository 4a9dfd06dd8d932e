"""The oracle against Moodle's own answers, and on random sites alike on every backend."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from .conftest import Backend
from .moodle_edits import random_edit
from .moodle_site import (
    ALLOW,
    CATEGORY,
    CHAT,
    COURSE,
    MODULE,
    NOW,
    PREVENT,
    PROHIBIT,
    STUDENT,
    SYSTEM,
    TEACHER,
    USER,
    Site,
)
from .oracle import Key, Row, expected_rows
from .servers import BACKENDS
from .truth import live_truth, row_of

COUNTS = {
    "T0": {"completed": 233, "in_progress": 310, "not_started": 81},
    "T1": {"completed": 75, "in_progress": 271, "not_started": 128},
}
EDITS = 150
STEP_SECONDS = 1800


@pytest.mark.parametrize("moment", ["T0", "T1"])
@pytest.mark.parametrize(("server_name", "suffix"), [("mariadb", ""), ("postgres", ".postgresql")])
def test_oracle_agrees_with_moodles_own_answers(
    request: pytest.FixtureRequest,
    make_backend: Callable[[str], Backend],
    shared_data: Path,
    server_name: str,
    suffix: str,
    moment: str,
) -> None:
    backend = make_backend(server_name)
    url = backend.new_url()
    assert backend.server
    dump = shared_data / f"iomad-{moment}{suffix}.sql.gz"
    backend.server.load_dump(sa.make_url(url).database or "", dump)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        truth = live_truth(shared_data / f"truth-{moment}{suffix}.csv", connection)
        rows = expected_rows(connection, "mdl_", int(time.time()))
    engine.dispose()

    counts = Counter(row["status"] for row in rows.values())
    assert rows.keys() == truth.keys()
    for key, line in truth.items():
        expected, row = row_of(line), dict(rows[key])
        if line["ue_rows"] != line["ue_active_rows"]:
            # The file's earliest start counts ended enrolments too.
            expected.pop("timestarted"), row.pop("timestarted")
        assert row == expected, key
    assert counts == COUNTS[moment]


def _outline(rows: dict[Key, Row]) -> list[tuple[Key, Row]]:
    return sorted(rows.items(), key=lambda item: item[0])


def test_random_edits_mean_the_same_on_every_backend(
    make_backend: Callable[[str], Backend],
) -> None:
    histories = []
    for name in BACKENDS:
        engine = sa.create_engine(make_backend(name).new_url())
        site = Site(engine).create().sample(seed=7)
        rng, now, history = random.Random(7), NOW, []
        for number in range(EDITS):
            now += STEP_SECONDS
            edit = random_edit(site, rng.choice, now)
            if number % 10 == 0:
                with engine.connect() as connection:
                    everyone = expected_rows(connection, "mdl_", now, include_untracked=True)
                    rows = expected_rows(connection, "mdl_", now)
                assert rows.items() <= everyone.items()
                history.append((edit, _outline(rows), _outline(everyone)))
        engine.dispose()
        histories.append(history)

    assert histories[0] == histories[1] == histories[2]
    assert any(rows for _, rows, _ in histories[0])


class Class:
    """One student in one course of one company, and the knobs of the rules about him."""

    def __init__(self) -> None:
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        self.site = Site(engine).create()
        self.company = self.site.add_company("Acme", "acme")
        self.category = self.site.add_category("Inner", parent=2)
        self.course = self.site.add_course(self.category, "Safety")
        self.user = self.site.add_user("Ana", "Ruiz")
        self.site.assign_user(self.company, self.user)
        self.site.give_course(self.company, self.course)
        self.method = self.site.ids("enrol", courseid=self.course)[0]
        self.enrolment = self.site.enrol(self.method, self.user, timecreated=NOW)
        self.activities = [self.site.add_activity(self.course) for _ in range(3)]

    def context(self, level: int) -> int:
        numbers = {SYSTEM: 0, CATEGORY: self.category, COURSE: self.course}
        return self.site.context(level, numbers[level])

    def allow(self, role: int, level: int, permission: int) -> None:
        self.site.set_capability(role, self.context(level), permission)

    def give_role(self, role: int, level: int) -> None:
        self.site.assign_role(role, self.context(level), self.user)

    def leave_role(self) -> None:
        self.site.delete("role_assignments", userid=self.user)

    def rows(self, now: int = NOW, **settings: Any) -> list[Row]:
        with self.site.engine.connect() as connection:
            return list(expected_rows(connection, "mdl_", now, **settings).values())


Step = Callable[[Class], object]


@pytest.fixture
def one() -> Iterator[Class]:
    made = Class()
    yield made
    made.site.engine.dispose()


TRACKED: dict[str, tuple[bool, list[Step]]] = {
    "student in the course": (True, []),
    "no role": (False, [Class.leave_role]),
    "role in the system": (True, [Class.leave_role, lambda o: o.give_role(STUDENT, SYSTEM)]),
    "role in the category": (True, [Class.leave_role, lambda o: o.give_role(STUDENT, CATEGORY)]),
    "role in another category": (
        False,
        [Class.leave_role, lambda o: o.site.assign_role(STUDENT, o.site.contexts[40, 1], o.user)],
    ),
    "role in an activity": (
        False,
        [
            Class.leave_role,
            lambda o: o.site.assign_role(STUDENT, o.site.contexts[MODULE, o.activities[0]], o.user),
        ],
    ),
    "prevent below the allow": (False, [lambda o: o.allow(STUDENT, COURSE, PREVENT)]),
    "allow below the prevent": (
        True,
        [
            lambda o: o.allow(STUDENT, CATEGORY, PREVENT),
            lambda o: o.allow(STUDENT, COURSE, ALLOW),
        ],
    ),
    "role assigned above its override": (
        False,
        [
            Class.leave_role,
            lambda o: o.give_role(STUDENT, SYSTEM),
            lambda o: o.allow(STUDENT, COURSE, PREVENT),
        ],
    ),
    "prevent silences only its role": (
        True,
        [lambda o: o.give_role(TEACHER, COURSE), lambda o: o.allow(TEACHER, COURSE, PREVENT)],
    ),
    "allow below a prohibit": (
        False,
        [
            lambda o: o.allow(STUDENT, CATEGORY, PROHIBIT),
            lambda o: o.allow(STUDENT, COURSE, ALLOW),
        ],
    ),
    "prohibit of another role": (
        False,
        [lambda o: o.give_role(TEACHER, SYSTEM), lambda o: o.allow(TEACHER, CATEGORY, PROHIBIT)],
    ),
    "prohibit of a role he has not": (True, [lambda o: o.allow(TEACHER, SYSTEM, PROHIBIT)]),
    "default role": (
        True,
        [Class.leave_role, lambda o: o.site.set_config("defaultuserroleid", str(STUDENT))],
    ),
    "prohibit of the default role": (False, [lambda o: o.allow(USER, SYSTEM, PROHIBIT)]),
    "administrator": (
        True,
        [
            lambda o: o.allow(STUDENT, COURSE, PROHIBIT),
            lambda o: o.site.set_config("siteadmins", f"2,{o.user}"),
        ],
    ),
    "guest": (False, [lambda o: o.site.set_config("siteguest", str(o.user))]),
    "other capability": (
        True,
        [lambda o: o.site.set_capability(STUDENT, 1, PROHIBIT, "moodle/course:view")],
    ),
    "no course context, role lost with it": (
        False,
        [lambda o: o.site.drop_context(COURSE, o.course)],
    ),
    "no course context, role in the category": (
        True,
        [
            lambda o: o.give_role(STUDENT, CATEGORY),
            lambda o: o.site.drop_context(COURSE, o.course),
        ],
    ),
    "no path, prohibit in the category": (
        False,
        [
            lambda o: o.give_role(STUDENT, SYSTEM),
            lambda o: o.allow(STUDENT, CATEGORY, PROHIBIT),
            lambda o: o.site.clear_path(COURSE, o.course),
        ],
    ),
    "category moved out of a prohibit": (
        True,
        [
            lambda o: o.site.set_capability(STUDENT, o.site.contexts[40, 2], PROHIBIT),
            lambda o: o.site.move_category(o.category, 1),
        ],
    ),
    "category moved under a prohibit": (
        False,
        [
            lambda o: o.site.set_capability(STUDENT, o.site.contexts[40, 1], PROHIBIT),
            lambda o: o.site.move_category(2, 1),
        ],
    ),
}


@pytest.mark.parametrize("case", TRACKED)
def test_who_is_tracked(one: Class, case: str) -> None:
    tracked, steps = TRACKED[case]
    for step in steps:
        step(one)

    assert bool(one.rows()) is tracked
    assert one.rows(include_untracked=True)


LIVE: dict[str, tuple[bool, list[Step]]] = {
    "suspended company": (False, [lambda o: o.site.suspend_company(o.company)]),
    "suspended and back": (
        True,
        [
            lambda o: o.site.suspend_company(o.company),
            lambda o: o.site.suspend_company(o.company, 0),
        ],
    ),
    "second department, first suspended": (
        True,
        [
            lambda o: o.site.assign_user(o.company, o.user, 9),
            lambda o: o.site.suspend_membership(1, user_too=False),
        ],
    ),
    "only membership suspended": (
        False,
        [lambda o: o.site.suspend_membership(1, user_too=False)],
    ),
    "deleted": (False, [lambda o: o.site.delete_user(o.user, NOW)]),
    "row gone": (False, [lambda o: o.site.hard_delete_user(o.user)]),
    "hidden course": (False, [lambda o: o.site.change_course(o.course, NOW, visible=0)]),
    "taken course": (False, [lambda o: o.site.take_course(o.company, o.course)]),
    "shared with all": (
        True,
        [
            lambda o: o.site.take_course(o.company, o.course),
            lambda o: o.site.share_course(o.course, 1),
        ],
    ),
    "shared, not listed": (
        False,
        [
            lambda o: o.site.take_course(o.company, o.course),
            lambda o: o.site.share_course(o.course, 2),
        ],
    ),
    "shared and listed": (
        True,
        [
            lambda o: o.site.take_course(o.company, o.course),
            lambda o: o.site.share_course(o.course, 2),
            lambda o: o.site.list_share(o.company, o.course),
        ],
    ),
    "listed, share unknown": (
        False,
        [
            lambda o: o.site.take_course(o.company, o.course),
            lambda o: o.site.share_course(o.course, None),
            lambda o: o.site.list_share(o.company, o.course),
        ],
    ),
    "begins now": (True, [lambda o: o.site.change_enrolment(o.enrolment, NOW, timestart=NOW)]),
    "begins next": (
        False,
        [lambda o: o.site.change_enrolment(o.enrolment, NOW, timestart=NOW + 1)],
    ),
    "ends now": (False, [lambda o: o.site.change_enrolment(o.enrolment, NOW, timeend=NOW)]),
    "ends next": (True, [lambda o: o.site.change_enrolment(o.enrolment, NOW, timeend=NOW + 1)]),
    "method off": (False, [lambda o: o.site.set_method(o.method, 1)]),
    "unenrolled": (False, [lambda o: o.site.unenrol(o.enrolment)]),
}


@pytest.mark.parametrize("case", LIVE)
def test_which_rows_are_live(one: Class, case: str) -> None:
    live, steps = LIVE[case]
    for step in steps:
        step(one)

    assert bool(one.rows()) is live


def test_settings_switch_rows_on_and_off(one: Class) -> None:
    one.leave_role()

    assert not one.rows(include_untracked={one.company + 1})
    assert one.rows(include_untracked={one.company})
    off = {(one.company, one.course)}
    assert not one.rows(include_untracked=True, disabled_courses=off)


def _figures(one: Class) -> tuple[str, str, int, int]:
    (row,) = one.rows()
    return str(row["percentage"]), row["status"], row["timestarted"], row["timecompleted"]


def test_figures_follow_the_contract(one: Class) -> None:
    site, user, course = one.site, one.user, one.course
    first, second, third = one.activities
    assert _figures(one) == ("0.00", "not_started", NOW, 0)
    site.set_state(first, user, 3, NOW)
    assert _figures(one) == ("0.00", "in_progress", NOW, 0)
    site.set_state(second, user, 4, NOW)
    assert _figures(one) == ("33.33", "in_progress", NOW, 0)
    site.set_state(first, user, 2, NOW)
    site.change_enrolment(one.enrolment, NOW, timestart=NOW - 5)
    assert _figures(one) == ("66.67", "in_progress", NOW - 5, 0)
    site.begin_deletion(third)
    site.add_activity(course, module=CHAT)
    site.show_activity(first, 0)
    assert _figures(one) == ("100.00", "in_progress", NOW - 5, 0)
    site.set_config("enablecompletion", "0")
    assert _figures(one) == ("0.00", "in_progress", NOW - 5, 0)
    site.set_course_completion(user, course, timecompleted=NOW - 1, timestarted=NOW - 9)
    assert _figures(one) == ("100.00", "completed", NOW - 9, NOW - 1)
    site.set_config("enablecompletion", "1")
    site.reset_course(course)
    site.set_course_completion(user, course, timecompleted=0)
    assert _figures(one) == ("0.00", "not_started", NOW - 5, 0)


def test_older_sites_lack_a_table_and_a_column(one: Class) -> None:
    with one.site.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE mdl_company_shared_courses"))
        connection.execute(sa.text("ALTER TABLE mdl_course_modules DROP COLUMN deletioninprogress"))

    assert _figures(one)[0] == "0.00"
