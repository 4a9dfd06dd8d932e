"""What explain says of one learner in one course: each condition, the names, and the oracle."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.database import writing
from alxreport.errors import NotFoundError, SourceError, UsageError
from alxreport.explain import Explanation, explain
from alxreport.settings import Settings, SyncSettings
from alxreport.sync import run_sync

from .conftest import Backend
from .harness import Harness
from .moodle_edits import random_edit
from .moodle_site import (
    ALLOW,
    CATEGORY,
    CHAT,
    COURSE,
    DAY,
    NOW,
    PREVENT,
    PROHIBIT,
    STUDENT,
    SYSTEM,
    TEACHER,
    USER,
)
from .oracle import expected_rows

STEP_SECONDS = 3600
EDITS = 36
SEEDS = range(1)
TODAY = "2026-11-23T"  # of NOW


class Place:
    """A site with one student in one course of one company, and a store beside it."""

    def __init__(self, harness: Harness) -> None:
        self.source, self.store, self.tables = harness.source, harness.engine, harness.tables
        self.settings, self.site = harness.settings, harness.site
        self.company = self.site.add_company("Acme Ltd", "acme")
        self.category = self.site.add_category("Inner", parent=2)
        self.course = self.site.add_course(self.category, "Safety")
        self.user = self.site.add_user("Ana", "Ruiz", "ana", "Ana@acme.example")
        self.membership = self.site.assign_user(self.company, self.user, 4)
        self.site.give_course(self.company, self.course)
        self.method = self.site.ids("enrol", courseid=self.course)[0]
        self.enrolment = self.site.enrol(self.method, self.user, timecreated=NOW - DAY)
        self.activities = [self.site.add_activity(self.course) for _ in range(3)]

    def check(self) -> None:
        """Assert that no connection to the store was left open."""
        assert self.store.pool.checkedout() == 0  # type: ignore[attr-defined]

    def explain(
        self, company: str = "acme", user: str = "ana", course: str = "Safety", now: int = NOW
    ) -> Explanation:
        return explain(
            self.settings,
            self.store,
            self.tables,
            company=company,
            user=user,
            course=course,
            now=now,
        )

    def of_ids(self, now: int = NOW) -> Explanation:
        """Explain by id, whatever became of the names."""
        key = (self.company, self.user, self.course)
        return self.explain(*(f"id:{number}" for number in key), now=now)

    def sync(self, now: int = NOW) -> None:
        run_sync(self.settings, self.store, self.tables, now=now, allow_mass_delete=True)

    def set(self, name: str, value: str) -> None:
        values = {"companyid": self.company, "name": name, "value": value}
        with writing(self.store) as connection:
            connection.execute(self.tables.settings.insert().values(values))

    def context(self, level: int) -> int:
        numbers = {SYSTEM: 0, CATEGORY: self.category, COURSE: self.course}
        return self.site.context(level, numbers[level])

    def permit(self, role: int, level: int, permission: int) -> None:
        self.site.set_capability(role, self.context(level), permission)

    def leave_role(self) -> None:
        self.site.delete("role_assignments", userid=self.user)

    def enrolment_is(self, **values: int) -> None:
        self.site.change_enrolment(self.enrolment, NOW, **values)

    def take_course(self) -> None:
        self.site.take_course(self.company, self.course)


@pytest.fixture
def place(backend: Backend, make_harness: Callable[[str], Harness]) -> Iterator[Place]:
    made = Place(make_harness(backend.name))
    yield made
    made.check()


@pytest.fixture
def local(make_harness: Callable[[str], Harness]) -> Iterator[Place]:
    """Return a place on SQLite, for what is no matter of the database."""
    made = Place(make_harness("sqlite"))
    yield made
    made.check()


Step = Callable[[Place], object]


def condition(found: Explanation, name: str) -> tuple[bool, str]:
    (only,) = [c for c in found.conditions if c.name == name]
    return only.holds, only.detail


def test_a_live_row(place: Place) -> None:
    site, (first, second, third) = place.site, place.activities
    site.set_state(first, place.user, 2, NOW - 50)
    site.set_state(second, place.user, 3, NOW - 40)
    site.show_activity(third, 0)
    site.set_course_completion(place.user, place.course, timestarted=NOW - 60, timeenrolled=5)
    place.sync()

    found = place.explain()

    assert found.live
    assert found.reasons == ()
    assert [c.name for c in found.conditions] == [
        "company", "membership", "user_not_deleted", "user_not_suspended", "course_assigned",
        "course_visible", "not_site_course", "not_switched_off", "enrolment", "tracked",
    ]  # fmt: skip
    assert [c.detail for c in found.conditions] == [
        "The company exists and is not suspended.",
        "The user is a member of the company: department 4.",
        "The user is not deleted.",
        "The user is not suspended on the whole site.",
        "The course is assigned to the company.",
        "The course is visible.",
        "The course is not the site's front page.",
        "The course is not switched off for the company.",
        "The user is actively enrolled by: manual.",
        "Moodle tracks the user in the course: role 5 (assigned in the course) is in completion"
        " reports by its permission in the system.",
    ]
    assert (found.done, found.tracked, found.percentage) == (1, 3, 33.33)
    assert found.percentage_reason == "1 of 3 tracked activities done: 33.33."
    assert [(a.id, a.type, a.hidden, a.state, a.word, a.done) for a in found.activities] == [
        (first, "assign", False, 2, "passed", True),
        (second, "assign", False, 3, "failed", False),
        (third, "assign", True, 0, "incomplete", False),
    ]
    assert found.completion is not None
    assert found.completion.timestarted == NOW - 60
    assert found.completion.timecompleted == 0
    assert found.expected is not None
    assert found.stored is not None
    assert found.expected.items() <= found.stored.items()
    assert (found.stored["is_deleted"], found.stored["revision"]) == (0, 1)
    assert found.stored["last_updated"] == NOW
    assert found.in_step
    assert found.last_change == NOW - 40


def test_as_plain_values(local: Place) -> None:
    local.sync()
    found = local.explain().as_dict()

    assert json.loads(json.dumps(found)) == found
    assert found["company"] == {
        "id": 1, "shortname": "acme", "name": "Acme Ltd", "suspended": False, "gone": False,
    }  # fmt: skip
    assert found["user"]["username"] == "ana"
    assert found["course"]["completion_enabled"] is True
    assert found["memberships"] == [{"department": 4, "suspended": False}]
    (enrolment,) = found["enrolments"]
    assert enrolment["method"] == "manual"
    assert enrolment["active"] is True
    assert enrolment["timecreated"] == NOW - DAY


# The one condition that fails, with its sentence.
NOT_LIVE: dict[str, tuple[Step, str, str]] = {
    "suspended company": (
        lambda p: p.site.update("company", {"id": p.company}, suspended=1),
        "company",
        "The company is suspended.",
    ),
    "no member": (
        lambda p: p.site.delete("company_users", userid=p.user),
        "membership",
        "The user is not a member of the company.",
    ),
    "member of another company": (
        lambda p: p.site.update("company_users", {"userid": p.user}, companyid=77),
        "membership",
        "The user is not a member of the company.",
    ),
    "membership suspended": (
        lambda p: p.site.suspend_membership(p.membership, user_too=False),
        "membership",
        "The user's membership of the company is suspended: department 4 (suspended).",
    ),
    "deleted": (
        lambda p: p.site.change_user(p.user, NOW, deleted=1),
        "user_not_deleted",
        "The user is deleted.",
    ),
    "suspended": (
        lambda p: p.site.change_user(p.user, NOW, suspended=1),
        "user_not_suspended",
        "The user is suspended on the whole site.",
    ),
    "taken": (
        Place.take_course,
        "course_assigned",
        "The course is neither assigned to the company nor shared with it.",
    ),
    "shared with others": (
        lambda p: (p.take_course(), p.site.share_course(p.course, 2)),
        "course_assigned",
        "The course is neither assigned to the company nor shared with it:"
        " it is shared with listed companies, and this one is not listed.",
    ),
    "listed, not shared": (
        lambda p: (
            p.take_course(),
            p.site.share_course(p.course, None),
            p.site.list_share(p.company, p.course),
        ),
        "course_assigned",
        "The course is neither assigned to the company nor shared with it:"
        " the company is listed for it, but the course is not shared.",
    ),
    "hidden": (
        lambda p: p.site.change_course(p.course, NOW, visible=0),
        "course_visible",
        "The course is hidden.",
    ),
    "switched off": (
        lambda p: p.set(f"course_{p.course}", "0"),
        "not_switched_off",
        "The course is switched off for the company.",
    ),
    "not enrolled": (
        lambda p: p.site.delete("user_enrolments", id=p.enrolment),
        "enrolment",
        "The user has no enrolment in the course.",
    ),
    "enrolment suspended": (
        lambda p: p.enrolment_is(status=1),
        "enrolment",
        "No enrolment in the course is active: manual: it is suspended.",
    ),
    "method off": (
        lambda p: p.site.set_method(p.method, 1),
        "enrolment",
        "No enrolment in the course is active: manual: its method is switched off.",
    ),
    "begins next": (
        lambda p: p.enrolment_is(timestart=NOW + 1),
        "enrolment",
        f"No enrolment in the course is active: manual: it begins at {TODAY}02:13:21Z.",
    ),
    "ends now": (
        lambda p: p.enrolment_is(timeend=NOW),
        "enrolment",
        f"No enrolment in the course is active: manual: it ended at {TODAY}02:13:20Z.",
    ),
    "two enrolments": (
        lambda p: (
            p.enrolment_is(status=1, timeend=NOW),
            p.site.enrol(p.site.add_method(p.course, "self", 1), p.user),
        ),
        "enrolment",
        "No enrolment in the course is active: manual: it is suspended and it ended at"
        f" {TODAY}02:13:20Z; self: its method is switched off.",
    ),
    "no role": (
        Place.leave_role,
        "tracked",
        "Moodle does not track the user in the course:"
        " role 7 (the default role of all users) is in no completion reports.",
    ),
    "no role at all": (
        lambda p: (p.leave_role(), p.site.set_config("defaultuserroleid", None)),
        "tracked",
        "Moodle does not track the user in the course:"
        " the user has no role along the course's context path.",
    ),
    "role prevented": (
        lambda p: p.permit(STUDENT, COURSE, PREVENT),
        "tracked",
        "Moodle does not track the user in the course: role 5 (assigned in the course) is kept out"
        " of completion reports in the course; role 7 (the default role of all users) is in no"
        " completion reports.",
    ),
    "role prohibited above": (
        lambda p: (p.permit(STUDENT, CATEGORY, PROHIBIT), p.permit(STUDENT, COURSE, ALLOW)),
        "tracked",
        "Moodle does not track the user in the course: role 5 (assigned in the course) is"
        " prohibited from completion reports in category 5.",
    ),
    "other role prohibited": (
        lambda p: (
            p.site.assign_role(TEACHER, p.context(SYSTEM), p.user),
            p.permit(TEACHER, SYSTEM, PROHIBIT),
        ),
        "tracked",
        "Moodle does not track the user in the course: role 4 (assigned in the system) is"
        " prohibited from completion reports in the system.",
    ),
    "guest": (
        lambda p: p.site.set_config("siteguest", str(p.user)),
        "tracked",
        "Moodle never tracks the guest account.",
    ),
}


@pytest.mark.parametrize("case", NOT_LIVE)
def test_each_condition_alone_fails(local: Place, case: str) -> None:
    step, name, sentence = NOT_LIVE[case]
    local.sync()
    step(local)

    found = local.of_ids()

    assert not found.live
    assert found.reasons == (sentence,)
    assert [c.name for c in found.conditions if not c.holds] == [name]
    assert found.expected is None
    assert found.stored is not None
    assert not found.in_step
    local.sync()
    found = local.of_ids()
    assert found.stored is not None
    assert found.stored["is_deleted"] == 1
    assert found.in_step


STILL_LIVE: dict[str, tuple[Step, str, str]] = {
    "two departments": (
        lambda p: (
            p.site.assign_user(p.company, p.user, 9),
            p.site.suspend_membership(p.membership, user_too=False),
        ),
        "membership",
        "The user is a member of the company: department 4 (suspended), department 9.",
    ),
    "shared with all": (
        lambda p: (p.take_course(), p.site.share_course(p.course, 1)),
        "course_assigned",
        "The course is shared with all companies.",
    ),
    "own and listed": (
        lambda p: (
            p.site.share_course(p.course, 2),
            p.site.list_share(p.company, p.course),
        ),
        "course_assigned",
        "The course is assigned to the company and shared with listed companies,"
        " this one among them.",
    ),
    "administrator": (
        lambda p: (p.leave_role(), p.site.set_config("siteadmins", f"2,{p.user}")),
        "tracked",
        "Moodle always tracks a site administrator.",
    ),
    "default role": (
        lambda p: (p.leave_role(), p.permit(USER, CATEGORY, ALLOW)),
        "tracked",
        "Moodle tracks the user in the course: role 7 (the default role of all users) is in"
        " completion reports by its permission in category 5.",
    ),
    "untracked too": (
        lambda p: (p.leave_role(), p.set("include_untracked", "1")),
        "tracked",
        "Moodle does not track the user in the course: role 7 (the default role of all users) is"
        " in no completion reports. People whom Moodle does not track are reported too"
        " (include_untracked).",
    ),
    "a second method": (
        lambda p: (
            p.enrolment_is(status=1),
            p.site.enrol(p.site.add_method(p.course, "self"), p.user),
        ),
        "enrolment",
        "The user is actively enrolled by: self.",
    ),
}


@pytest.mark.parametrize("case", STILL_LIVE)
def test_what_keeps_a_row_live(local: Place, case: str) -> None:
    step, name, sentence = STILL_LIVE[case]
    step(local)

    found = local.explain()

    assert found.live
    assert condition(found, name) == (True, sentence)
    assert not found.in_step


def test_every_failing_condition_is_told(place: Place) -> None:
    place.sync()
    place.site.suspend_company(place.company)
    place.site.change_course(place.course, NOW, visible=0)
    place.site.set_method(place.method, 1)
    place.leave_role()

    found = place.explain()

    failed = [c.name for c in found.conditions if not c.holds]
    assert failed == ["company", "user_not_suspended", "course_visible", "enrolment", "tracked"]
    assert len(found.reasons) == 5


def test_the_site_course(local: Place) -> None:
    local.site.give_course(local.company, 1)
    local.site.enrol(local.site.add_method(1), local.user)

    assert local.explain(course="site").reasons == ("The course is the site's front page.",)


def test_the_global_setting_includes_the_untracked(local: Place) -> None:
    local.leave_role()
    local.settings = Settings(moodle=local.settings.moodle, sync=SyncSettings(True))
    assert local.explain().live

    local.set("include_untracked", "0")

    assert condition(local.explain(), "tracked")[0] is False


def test_how_the_percentage_arises(local: Place) -> None:
    site, (first, second, third) = local.site, local.activities

    def says() -> tuple[float, str]:
        found = local.explain()
        assert found.expected is not None
        assert found.expected["percentage"] == found.percentage
        return found.percentage, found.percentage_reason

    site.set_state(first, local.user, 1, NOW)
    site.set_state(second, local.user, 4, NOW)
    assert says() == (66.67, "2 of 3 tracked activities done: 66.67.")
    assert [a.word for a in local.explain().activities] == ["complete", "other", "incomplete"]
    site.begin_deletion(second)
    site.update("course_modules", {"id": third}, module=CHAT)
    assert says() == (100.0, "1 of 1 tracked activity done: 100.00.")
    site.set_tracking(first, 0)
    assert says() == (0.0, "0 because the course has no tracked activity.")
    site.set_config("enablecompletion", "0")
    assert says() == (0.0, "0 because completion is switched off for the site.")
    site.change_course(local.course, NOW, enablecompletion=0)
    assert says() == (0.0, "0 because completion is switched off for the course.")
    site.set_course_completion(local.user, local.course, timecompleted=NOW)
    assert says() == (100.0, f"100 because the course is complete since {TODAY}02:13:20Z.")


def test_last_change(local: Place) -> None:
    site = local.site
    assert local.explain().last_change == NOW - DAY
    site.set_course_completion(local.user, local.course, timecompleted=NOW - 9)
    assert local.explain().last_change == NOW - 9
    site.set_state(local.activities[0], local.user, 0, NOW - 3)
    assert local.explain().last_change == NOW - 3
    site.change_enrolment(local.enrolment, NOW)
    assert local.explain().last_change == NOW
    site.delete("user_enrolments")
    site.delete("course_completions")
    site.delete("course_modules_completion")
    assert local.explain().last_change is None


def test_a_row_that_moodle_left_behind(local: Place) -> None:
    local.sync()
    local.site.set_state(local.activities[0], local.user, 1, NOW)

    found = local.explain()

    assert found.live
    assert not found.in_step
    assert found.stored is not None
    assert found.expected is not None
    assert (found.stored["percentage"], found.expected["percentage"]) == (0.0, 33.33)


# Names


def test_names(place: Place) -> None:
    ids = place.company, place.user, place.course
    companies = ("acme", "ACME", "id:1", "1")
    users = ("ana", "ANA", "ana@acme.example", "Ana@acme.example", f"id:{place.user}")
    courses = ("Safety", "safety", f" {place.course} ")
    # Each is looked up on its own: on a server it is enough that every form is there.
    local = place.store.dialect.name == "sqlite"
    forms = (
        product(companies, users, courses)
        if local
        else zip(cycle(companies), users, cycle(courses))
    )
    for company, user, course in forms:
        found = place.explain(company, user, course)
        assert (found.company.id, found.user.id, found.course.id) == ids


def test_names_beyond_ascii(place: Place) -> None:
    user = place.site.add_user("Ü", "N", "ünal", "ü@x.example")
    place.site.add_user("U", "N", "unal", "u@x.example")
    course = place.site.add_course(place.category, "Sécurité")

    found = place.explain(user="ÜNAL", course="SÉCURITÉ")

    assert (found.user.id, found.course.id) == (user, course)
    with pytest.raises(NotFoundError):
        place.explain(user="únal")


def test_as_written_goes_before_another_case(place: Place) -> None:
    upper = place.site.add_user("Other", "Ana", "ANA", "other@acme.example")
    assert place.explain(user="ana").user.id == place.user
    assert place.explain(user="ANA").user.id == upper
    with pytest.raises(UsageError, match=rf"'ana' \(id:{place.user}\) and 'ANA' \(id:{upper}\)"):
        place.explain(user="Ana")


def test_a_value_that_fits_two(place: Place) -> None:
    site = place.site
    number = site.add_user("B", "B", str(place.user), "b@acme.example")
    with pytest.raises(UsageError, match=f"'ana' .id:{place.user}") as told:
        place.explain(user=str(place.user))
    assert told.value.hint == "Name it as id:NUMBER."
    assert place.explain(user=f"id:{place.user}").user.id == place.user
    assert place.explain(user=f"id:{number}").user.id == number
    site.add_user("C", "C", "c", "b@acme.example")
    with pytest.raises(UsageError, match="fits two users"):
        place.explain(user="b@acme.example")
    twin = site.add_course(place.category, "Safety")
    with pytest.raises(UsageError, match=rf"'Safety' \(id:{place.course}\) and .*\(id:{twin}\)"):
        place.explain(course="Safety")
    site.add_company("Twin", "acme")
    with pytest.raises(UsageError, match="fits two companies"):
        place.explain()


NOT_FOUND: tuple[tuple[dict[str, str], str], ...] = (
    ({"company": "nobody"}, "company"),
    ({"user": "nobody"}, "user"),
    ({"user": "id:ana"}, "user"),
    ({"user": "id:999"}, "user"),
    ({"user": "999"}, "user"),
    ({"user": "9" * 40}, "user"),
    ({"user": str(2**63)}, "user"),
    ({"user": ""}, "user"),
    ({"course": "nothing"}, "course"),
    ({"course": "id:999"}, "course"),
    ({"course": "%"}, "course"),
)


def test_not_found(place: Place) -> None:
    for names, what in NOT_FOUND:
        with pytest.raises(NotFoundError, match=f"There is no {what} ") as told:
            place.explain(**names)
        assert told.value.exit_code == 6, names


def test_nobody_is_found_by_an_empty_name(local: Place) -> None:
    local.site.update("user", {"id": local.user}, email="")
    with pytest.raises(NotFoundError):
        local.explain(user=" ")


# What is gone


def test_a_company_that_is_gone(place: Place) -> None:
    place.sync()
    place.site.delete_company(place.company, raw=True)

    found = place.explain()

    assert found.company.gone
    assert (found.company.shortname, found.company.name) == ("acme", "Acme Ltd")
    assert found.reasons == ("The company no longer exists in Moodle.",)
    assert not found.in_step
    place.sync()
    found = place.explain("id:1")
    assert found.in_step
    assert found.stored is not None
    assert found.stored["username"] == ""


def test_a_deleted_user(local: Place) -> None:
    local.sync()
    local.site.delete_user(local.user, NOW)

    found = local.explain(user=f"id:{local.user}")

    assert found.user.deleted
    assert found.reasons[:2] == (
        "The user is not a member of the company.",
        "The user is deleted.",
    )


def test_a_user_or_course_whose_row_is_gone_is_found_while_the_store_has_the_row(
    local: Place,
) -> None:
    local.sync()
    local.site.hard_delete_user(local.user)

    found = local.of_ids()

    assert found.user.gone
    assert found.reasons == ("The user no longer exists in Moodle.",)
    local.site.delete_course(local.course)
    found = local.of_ids()
    assert found.course.gone
    assert "The course no longer exists in Moodle." in found.reasons
    assert found.percentage_reason == "0 because the course no longer exists in Moodle."
    with pytest.raises(NotFoundError):
        local.explain(user=f"id:{local.user}", course="1")


# One company's and one learner's data only


def test_nothing_of_another_company_or_learner(place: Place) -> None:
    site = place.site
    secret = site.add_company("Rival Ltd", "rival")
    site.assign_user(secret, place.user, 4711)
    site.give_course(secret, place.course)
    other = site.add_user("Secret", "Person", "secret", "secret@rival.example")
    site.assign_user(secret, other, 4712)
    site.enrol(place.method, other, timecreated=1234567)
    site.set_state(place.activities[0], other, 3, 7654321)
    site.set_course_completion(other, place.course, timecompleted=1357911)
    place.sync()

    text = json.dumps(place.explain().as_dict())

    for word in ("ival", "ecret", "4711", "4712", "1234567", "7654321", "1357911"):
        assert word not in text
    assert place.explain("rival").memberships[0].department == 4711


def test_an_error_of_the_source_is_told_as_such(local: Place) -> None:
    with local.source.begin() as connection:
        connection.execute(sa.text("DROP TABLE mdl_company_users"))
    with pytest.raises(SourceError):
        local.explain()


def test_older_sites_lack_a_table_and_a_column(local: Place) -> None:
    with local.source.begin() as connection:
        connection.execute(sa.text("DROP TABLE mdl_company_shared_courses"))
        connection.execute(sa.text("ALTER TABLE mdl_course_modules DROP COLUMN deletioninprogress"))

    assert local.explain().live


@pytest.mark.parametrize("seed", SEEDS)
def test_agrees_with_the_oracle_after_random_edits(local: Place, seed: int) -> None:
    place = local
    site = place.site.sample(seed=seed, companies=2, users=4, courses=3)
    rng, now, lives = random.Random(seed), NOW, 0
    off = {(2, 3)}
    with writing(place.store) as connection:
        values = [{"companyid": c, "name": f"course_{x}", "value": "0"} for c, x in off]
        connection.execute(place.tables.settings.insert(), values)
        with_all = {"companyid": 3, "name": "include_untracked", "value": "1"}
        connection.execute(place.tables.settings.insert().values(with_all))
    history = []
    for number in range(1, EDITS + 1):
        now += STEP_SECONDS
        history.append(random_edit(site, rng.choice, now))
        if number % 16 == 0:
            place.sync(now)
        if number % 18 == 0:
            lives += assert_agrees(place, now, off, history)
    assert lives


def assert_agrees(place: Place, now: int, off: set[tuple[int, int]], history: list[str]) -> int:
    site = place.site
    with place.source.connect() as connection:
        rows: dict[Any, dict[str, Any]] = expected_rows(
            connection, "mdl_", now, include_untracked={3}, disabled_courses=off
        )
    lives = 0
    for company in site.ids("company"):
        for user in site.ids("user"):
            for course in site.ids("course"):
                found = place.explain(f"id:{company}", f"id:{user}", f"id:{course}", now)
                row = rows.get((company, user, course))
                where = (company, user, course, history)
                assert found.live is (row is not None), where
                assert found.live is not bool(found.reasons), where
                if row is not None:
                    lives += 1
                    assert found.expected is not None
                    said = {name: found.expected[name] for name in row}
                    assert said | {"percentage": 0} == row | {"percentage": 0}, where
                    assert round(found.percentage * 100) == int(row["percentage"] * 100), where
                assert found.live or found.expected is None
    return lives
