"""The made-up site is what it promises, the same every time, and an hour really changes it."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from sqlalchemy import create_engine, select

from alxreport.demo_site import build_demo_site, play_an_hour
from alxreport.moodle_tables import moodle_tables

NOW = 1_795_000_000
HOUR = 3600
TABLES = moodle_tables("mdl_")
# table, column -> the table whose id it is
REFERENCES = [
    ("course", "category", "course_categories"),
    ("course_modules", "course", "course"),
    ("course_modules", "module", "modules"),
    ("course_modules_completion", "coursemoduleid", "course_modules"),
    ("course_modules_completion", "userid", "user"),
    ("course_completions", "userid", "user"),
    ("course_completions", "course", "course"),
    ("enrol", "courseid", "course"),
    ("user_enrolments", "enrolid", "enrol"),
    ("user_enrolments", "userid", "user"),
    ("role_assignments", "contextid", "context"),
    ("role_assignments", "userid", "user"),
    ("role_capabilities", "contextid", "context"),
    ("company_users", "companyid", "company"),
    ("company_users", "userid", "user"),
    ("company_course", "companyid", "company"),
    ("company_course", "courseid", "course"),
    ("iomad_courses", "courseid", "course"),
    ("company_shared_courses", "companyid", "company"),
    ("company_shared_courses", "courseid", "course"),
]


def read(engine):
    """Return every table as a list of dictionaries."""
    with engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(select(t).order_by(t.c.id)).mappings()]
            for name, t in TABLES.all().items()
        }


def by_id(rows):
    return {row["id"]: row for row in rows}


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'moodle.db'}")
    build_demo_site(engine, NOW)
    yield engine
    engine.dispose()


@pytest.fixture
def site(engine):
    return read(engine)


def assert_sound(site):
    for table, column, target in REFERENCES:
        ids = {row["id"] for row in site[target]} | ({0} if column == "category" else set())
        assert {row[column] for row in site[table]} <= ids, (table, column)
    for column in ("username", "email"):
        values = [row[column].lower() for row in site["user"]]
        assert len(set(values)) == len(values)
    for row in site["user"]:
        assert re.fullmatch(r"[a-z0-9.]+", row["username"])
        assert re.fullmatch(r"[a-z0-9.]+@[a-z]+\.example", row["email"])


@pytest.mark.parametrize("seed", [7, 1, 2026])
def test_is_sound_and_the_same_every_time(tmp_path, seed):
    sites, stories = [], []
    for name in ("a", "b"):
        engine = create_engine(f"sqlite:///{tmp_path / name}.db")
        build_demo_site(engine, NOW, seed=seed)
        first = read(engine)
        assert_sound(first)
        stories.append([play_an_hour(engine, NOW + n * HOUR, seed=seed) for n in range(1, 7)])
        sites.append((first, read(engine)))
        assert_sound(sites[-1][1])
        engine.dispose()
    assert sites[0] == sites[1]
    assert stories[0] == stories[1]


def test_the_cast(site):
    company = {row["shortname"]: row for row in site["company"]}
    assert [row["suspended"] for row in company.values()] == [0, 0, 0, 1]
    members = Counter(r["companyid"] for r in site["company_users"] if not r["managertype"])
    assert members[company["northwind"]["id"]] > 50 > 10 > members[company["kestrel"]["id"]]
    users = {row["userid"] for row in site["company_users"] if not row["managertype"]}
    assert len(users) == 120
    companies = {(row["userid"], row["companyid"]) for row in site["company_users"]}
    assert len(site["company_users"]) == len(companies) + 1  # one learner in two departments
    assert len(companies) == len(users) + 4 + 1  # managers, one learner in two companies
    names = "".join(row["firstname"] + row["lastname"] for row in site["user"])
    for script in ("[áéñüłø]", "[一-鿿]", "[؀-ۿ]", "[א-ת]"):
        assert re.search(script, names)


def test_courses(site):
    assert [row["id"] for row in site["course"] if row["category"] == 0] == [1]
    assert [row["shortname"] for row in site["course"] if not row["visible"]] == ["LEAD"]
    activities = Counter(row["course"] for row in site["course_modules"])
    assert all(3 <= count <= 9 for count in activities.values())
    tracked = {row["course"] for row in site["course_modules"] if row["completion"]}
    untracked = [r["shortname"] for r in site["course"][1:] if r["id"] not in tracked]
    assert untracked == ["HELLO"]
    assert sorted(row["shared"] for row in site["iomad_courses"])[-2:] == [1, 2]
    paths = {row["instanceid"]: row["path"] for row in site["context"] if row["contextlevel"] == 50}
    assert set(paths) == {row["id"] for row in site["course"]}
    numbers = {row["id"]: row["path"] for row in site["context"]}
    for number, path in numbers.items():
        assert path.endswith(f"/{number}")
        above = path.rpartition("/")[0]
        assert above in {"", *numbers.values()}


def test_progress_is_uneven(site):
    states = Counter(row["completionstate"] for row in site["course_modules_completion"])
    assert all(states[state] > 5 for state in (0, 1, 2, 3))
    completed = [row for row in site["course_completions"] if row["timecompleted"]]
    started = [row for row in site["course_completions"] if row["timestarted"]]
    assert 50 < len(completed) < len(started) < len(site["course_completions"])
    enrolled = {row["userid"] for row in site["user_enrolments"]}
    assert len(enrolled - {row["userid"] for row in started}) > 10


def test_enrolments(site):
    rows, enrol = site["user_enrolments"], by_id(site["enrol"])
    courses = Counter((row["userid"], enrol[row["enrolid"]]["courseid"]) for row in rows)
    assert max(courses.values()) == 2
    assert any(row["status"] for row in rows)
    assert any(enrol[row["enrolid"]]["status"] for row in rows)
    assert any(0 < row["timeend"] < NOW for row in rows)
    assert any(NOW < row["timeend"] < NOW + HOUR for row in rows)
    assert any(NOW < row["timestart"] < NOW + HOUR for row in rows)
    assert any(row["timestart"] > NOW + HOUR for row in rows)
    imported = [row for row in rows if row["timecreated"] - row["timestart"] > 300 * 86_400]
    assert len(imported) == 3
    managers = {row["userid"] for row in site["company_users"] if row["managertype"]}
    roles = {row["roleid"] for row in site["role_assignments"] if row["userid"] in managers}
    assert roles == {12}
    others = {row["roleid"] for row in site["role_assignments"] if row["userid"] not in managers}
    assert others == {5}


def test_nothing_happened_in_the_future(site):
    for row in site["course_modules_completion"]:
        assert row["timemodified"] <= NOW
    for row in site["course_completions"]:
        assert (row["timecompleted"] or 0) <= NOW
    assert all(row["timemodified"] <= NOW for row in site["user_enrolments"])


def said(changes, pattern):
    """Return the groups of the one sentence that matches."""
    matches = [m for m in (re.fullmatch(pattern, c.what) for c in changes) if m]
    assert len(matches) == 1, pattern
    return matches[0].groups()


def test_an_hour_does_what_it_says(engine, site):
    changes = play_an_hour(engine, NOW + HOUR)
    after = read(engine)
    assert 15 <= len(changes) <= 25
    before_users, users = by_id(site["user"]), by_id(after["user"])
    # In the database's order of ids, so that a sentence's name finds its person.
    ids = {f"{u['firstname']} {u['lastname']}": i for i, u in before_users.items()}
    companies = {row["name"]: row["id"] for row in site["company"]}
    courses = {row["fullname"]: row["id"] for row in site["course"]}
    methods = {row["id"]: row["courseid"] for row in site["enrol"]}

    who, course = said(changes, r"(.+) finished ((?!an activity).+)")
    record = next(
        row
        for row in after["course_completions"]
        if (row["userid"], row["course"]) == (ids[who], courses[course])
    )
    assert NOW < record["timecompleted"] <= NOW + HOUR

    who, course = said(changes, r"(.+) was given the certificate of (.+), back-dated by 20 days")
    record = next(
        row
        for row in after["course_completions"]
        if (row["userid"], row["course"]) == (ids[who], courses[course])
    )
    assert record["timecompleted"] == NOW + HOUR - 20 * 86_400

    who, _ = said(changes, r"(.+) unticked an activity of (.+)")
    old, new = by_id(site["course_modules_completion"]), by_id(after["course_modules_completion"])
    undone = [n for n in old if old[n]["completionstate"] and not new[n]["completionstate"]]
    assert [new[n]["userid"] for n in undone] == [ids[who]]
    done = sum(c.what.count(" finished an activity of ") for c in changes)
    assert done >= 4
    assert len(new) - len(old) > 0

    who, name = said(changes, r"(.+) is now called (.+)")
    assert users[ids[who]]["lastname"] == name
    assert users[ids[who]]["timemodified"] > NOW

    who, _ = said(changes, r"(.+) was suspended by (.+), no timestamp moved")
    assert users[ids[who]] == before_users[ids[who]] | {"suspended": 1}

    who, firm = said(changes, r"(.+) left (.+)")
    pairs = {(row["userid"], row["companyid"]) for row in after["company_users"]}
    assert (ids[who], companies[firm]) not in pairs

    who, firm, _ = said(changes, r"(.+) joined (.+) and was enrolled in (.+)")
    (newcomer,) = users.keys() - before_users.keys()
    assert f"{users[newcomer]['firstname']} {users[newcomer]['lastname']}" == who
    assert (newcomer, companies[firm]) in pairs

    who, course = said(changes, r"(.+)'s enrolments in (.+) were hard-deleted, no timestamp moved")
    left = {(row["userid"], methods[row["enrolid"]]) for row in after["user_enrolments"]}
    gone = {(r["userid"], methods[r["enrolid"]]) for r in site["user_enrolments"]} - left
    assert gone == {(ids[who], courses[course])}

    who, course = said(changes, r"(.+)'s enrolment in (.+) was given an end, which has passed")
    ends = {
        row["timeend"]
        for row in after["user_enrolments"]
        if (row["userid"], methods[row["enrolid"]]) == (ids[who], courses[course])
    }
    assert ends == {NOW + HOUR - 60}
    said(changes, r"An enrolment of (.+) began by the clock, no row changed")
    said(changes, r"An enrolment of (.+) ended by the clock, no row changed")

    firm, course = said(changes, r"(.+) was given the course (.+) and enrolled learners in it")
    given = after["company_course"][-1]
    assert (given["companyid"], given["courseid"]) == (companies[firm], courses[course])

    (course,) = said(changes, r"(.+) got one more activity, so percentages fall")
    added = after["course_modules"][len(site["course_modules"]) :]
    assert [(row["course"], row["completion"]) for row in added] == [(courses[course], 1)]

    course, title = said(changes, r"(.+) was renamed (.+)")
    assert by_id(after["course"])[courses[course]]["fullname"] == title != course


def test_another_prefix(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'moodle.db'}")
    build_demo_site(engine, NOW, prefix="m2_")
    assert play_an_hour(engine, NOW + HOUR, prefix="m2_")
    engine.dispose()
