"""The hash of a bucket of learners changes exactly when one of its rows does, on every server."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport import evidence, moodle
from alxreport.dialects import SqliteSetHash
from alxreport.fingerprints import Position, decode, encode, movement

from .moodle_site import DAY, NAMES, NOW, STUDENT, TEACHER, Site
from .servers import BACKENDS, Server

BITS = 3
SIZE = 2**BITS
PAIRS = 1_000
Hashes = dict[str, dict[int, str]]


@pytest.fixture(scope="module", params=BACKENDS)
def kept_site(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Site]:
    """Make a site once for all tests: a server takes a second to make its tables."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('source')}/moodle.db")

        @sa.event.listens_for(engine, "connect")
        def register(connection: Any, _record: Any) -> None:
            connection.create_aggregate("alx_set_hash", -1, SqliteSetHash)

        yield Site(engine).create()
        engine.dispose()
        return
    server: Server = request.getfixturevalue(f"{request.param}_server")
    server.create_database("test_fingerprints")
    engine = sa.create_engine(server.url("test_fingerprints"))
    yield Site(engine).create()
    engine.dispose()
    server.drop_database("test_fingerprints")


@pytest.fixture
def site(kept_site: Site) -> Site:
    return kept_site.reset()


def hashes(site: Site, now: int = NOW) -> Hashes:
    with site.engine.connect() as connection:
        source = moodle.inspect(connection, site.prefix)
        return evidence.fingerprints(connection, source, now, BITS)


def moved(before: Hashes, after: Hashes) -> dict[str, set[int]]:
    """Return, by table, the buckets whose hash differs."""
    return {
        name: found
        for name in before
        if (found := {bucket for bucket, _ in before[name].items() ^ after[name].items()})
    }


def insert(site: Site, name: str, rows: list[dict[str, Any]]) -> None:
    with site.transaction(), site.bulk():
        for row in rows:
            site.insert(name, **row)


def write_states(site: Site, done: dict[int, set[int]], activities: dict[int, list[int]]) -> None:
    """Replace all states: for each user, each of his activities done or not."""
    site.delete("course_modules_completion")
    rows = [
        {"coursemoduleid": cm, "userid": user, "completionstate": int(cm in done[user]),
         "timemodified": 0}
        for user, modules in activities.items()
        for cm in modules
    ]  # fmt: skip
    insert(site, "course_modules_completion", rows)


def test_swapped_pairs(site: Site) -> None:
    """One activity done and another not, then the reverse: a sum or xor of parts stays the same."""
    rng = random.Random(1)
    activities = {
        (number + 1) * SIZE: rng.sample(range(1, rng.choice((9, 1000, 10**9))), 2)
        for number in range(PAIRS)
    }
    write_states(site, {user: {pair[0]} for user, pair in activities.items()}, activities)
    before = hashes(site)
    write_states(site, {user: {pair[1]} for user, pair in activities.items()}, activities)
    assert len(moved(before, hashes(site))["course_modules_completion"]) == PAIRS
    write_states(site, {user: {pair[0]} for user, pair in activities.items()}, activities)
    assert moved(before, hashes(site)) == {}


def test_pairs_swapped_between_neighbours(site: Site) -> None:
    """Two learners of one bucket change places in one activity."""
    rng = random.Random(2)
    firsts = [(number + 1) * SIZE for number in range(PAIRS)]
    pairs = {first: rng.sample(range(first, first + SIZE), 2) for first in firsts}
    modules = {first: rng.randrange(1, 10**6) for first in firsts}
    activities = {user: [modules[first]] for first in firsts for user in pairs[first]}

    def write(place: int) -> None:
        done: dict[int, set[int]] = {user: set() for user in activities}
        for first in firsts:
            done[pairs[first][place]] = {modules[first]}
        write_states(site, done, activities)

    write(0)
    before = hashes(site)
    write(1)
    assert len(moved(before, hashes(site))["course_modules_completion"]) == PAIRS


def test_sets_that_cancel_out_under_weaker_hashes(site: Site) -> None:
    """Same size, same sum or same exclusive or: {1, 5, 6} and {2, 3, 7}, and all such triples."""
    triples = list(itertools.combinations(range(1, 10), 3))
    alike = [
        (a, b)
        for a, b in itertools.combinations(triples, 2)
        if sum(a) == sum(b) or a[0] ^ a[1] ^ a[2] == b[0] ^ b[1] ^ b[2]
    ]
    assert ((1, 5, 6), (2, 3, 7)) in alike
    chosen = dict(enumerate([*random.Random(3).sample(alike, 150), ((1, 5, 6), (2, 3, 7))], 1))
    activities = {number * SIZE: list(range(1, 10)) for number in chosen}
    write_states(site, {n * SIZE: set(pair[0]) for n, pair in chosen.items()}, activities)
    before = hashes(site)
    write_states(site, {n * SIZE: set(pair[1]) for n, pair in chosen.items()}, activities)
    assert len(moved(before, hashes(site))["course_modules_completion"]) == len(chosen)


def test_only_the_buckets_that_changed(site: Site) -> None:
    activities = {user: [1, 2, 3] for user in range(SIZE, 40 * SIZE)}
    write_states(site, {user: {1} for user in activities}, activities)
    before = hashes(site)
    changed = random.Random(4).sample(range(1, 40), 11)
    users = {bucket * SIZE + bucket % SIZE for bucket in changed}
    where = {"userid": users, "coursemoduleid": 2}
    site.update("course_modules_completion", where, completionstate=2)
    assert moved(before, hashes(site)) == {"course_modules_completion": set(changed)}
    site.update("course_modules_completion", {"userid": users}, timemodified=77)
    site.update("course_modules_completion", where, completionstate=0)
    assert moved(before, hashes(site)) == {}


def test_twin_role_assignments_that_move_together(site: Site) -> None:
    """Two equal rows but for their ids: under an exclusive or they would cancel each other."""
    users = [number * SIZE for number in range(1, 301)]
    twins = [
        {"roleid": STUDENT, "contextid": 50 + user, "userid": user} for user in users for _ in "ab"
    ]
    insert(site, "role_assignments", twins)
    before = hashes(site)
    with site.transaction():
        for user in users:
            site.update("role_assignments", {"userid": user}, contextid=90_000 + user)
    assert moved(before, hashes(site)) == {"role_assignments": {user // SIZE for user in users}}
    site.delete("role_assignments")
    assert moved(before, hashes(site)) == {"role_assignments": {user // SIZE for user in users}}


def test_an_open_completion_is_null_or_zero_and_the_row_is_the_same(site: Site) -> None:
    """Old imports write 0 for NULL; the row says the same, so nothing moved."""
    users = [number * SIZE for number in range(1, 51)]
    rows = [{"userid": user, "course": 3, "timecompleted": None} for user in users]
    insert(site, "course_completions", rows)
    before = hashes(site)
    site.update("course_completions", {}, timecompleted=0)
    assert moved(before, hashes(site)) == {}
    site.update("course_completions", {}, timecompleted=1)
    assert len(moved(before, hashes(site))["course_completions"]) == len(users)


@pytest.mark.parametrize("column", ["firstname", "lastname", "email", "username"])
def test_names_that_a_collation_takes_for_equal(site: Site, column: str) -> None:
    """Every name in turn in a bucket of its own, against every other."""
    values = [name[:100] for name in NAMES]
    insert(
        site,
        "user",
        [{"id": n * SIZE, column: value} for n, value in enumerate(values, 1)],
    )
    before, buckets = hashes(site), set(range(1, len(values) + 1))
    for shift in range(1, len(values)):
        with site.transaction():
            for n in buckets:
                value = values[(n - 1 + shift) % len(values)]
                site.update("user", {"id": n * SIZE}, **{column: value})
        assert moved(before, hashes(site)) == {"user": buckets}


def test_a_text_that_moves_to_the_next_field(site: Site) -> None:
    insert(site, "user", [{"id": 80, "firstname": "ab", "lastname": "c"}])
    before = hashes(site)
    site.update("user", {"id": 80}, firstname="a", lastname="bc")
    assert moved(before, hashes(site)) == {"user": {10}}
    site.update("user", {"id": 80}, firstname="", lastname="abc")
    assert moved(before, hashes(site)) == {"user": {10}}


CHANGES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "user deleted": ("user", {"deleted": 1}, True),
    "user suspended": ("user", {"suspended": 1}, True),
    "user touched": ("user", {"timemodified": 5}, False),
    "membership suspended": ("company_users", {"suspended": 1}, True),
    "another company": ("company_users", {"companyid": 8}, True),
    "department changed": ("company_users", {"departmentid": 9}, False),
    "enrolment suspended": ("user_enrolments", {"status": 1}, True),
    "another method": ("user_enrolments", {"enrolid": 6}, True),
    "enrolment started": ("user_enrolments", {"timestart": 9}, True),
    "enrolment ended": ("user_enrolments", {"timeend": NOW}, True),
    "enrolment will end": ("user_enrolments", {"timeend": NOW + 1}, False),
    "enrolment touched": ("user_enrolments", {"timemodified": 9}, False),
    "course started": ("course_completions", {"timestarted": 9}, True),
    "enrolled earlier": ("course_completions", {"timeenrolled": 9}, False),
    "another role": ("role_assignments", {"roleid": TEACHER}, True),
    "role touched": ("role_assignments", {"timemodified": 9}, False),
    "failed": ("course_modules_completion", {"completionstate": 3}, True),
    "another activity": ("course_modules_completion", {"coursemoduleid": 4}, True),
}


def test_each_column_that_shapes_a_row_and_no_other(site: Site) -> None:
    user = 5 * SIZE
    insert(site, "user", [{"id": user}])
    insert(site, "company_users", [{"companyid": 1, "userid": user, "departmentid": 1}])
    insert(site, "user_enrolments", [{"enrolid": 1, "userid": user, "timeend": 0}])
    insert(site, "course_completions", [{"userid": user, "course": 3}])
    insert(site, "role_assignments", [{"roleid": STUDENT, "contextid": 1, "userid": user}])
    write_states(site, {user: {1}}, {user: [1]})
    before = hashes(site)
    for kind, (name, values, shapes) in CHANGES.items():
        (row,) = site.select(name, **{"id" if name == "user" else "userid": user})
        site.update(name, {"id": row.id}, **values)
        assert moved(before, hashes(site)) == ({name: {5}} if shapes else {}), kind
        site.update(name, {"id": row.id}, **{key: getattr(row, key) for key in values})
    assert moved(before, hashes(site)) == {}


def test_the_clock_alone(site: Site) -> None:
    rows = [
        {"enrolid": 1, "userid": 1 * SIZE, "timestart": 0, "timeend": NOW + DAY},
        {"enrolid": 1, "userid": 2 * SIZE, "timestart": NOW + DAY, "timeend": 0},
        {"enrolid": 1, "userid": 3 * SIZE, "timestart": NOW - DAY, "timeend": NOW + 2 * DAY},
    ]
    insert(site, "user_enrolments", rows)
    before = hashes(site)
    assert moved(before, hashes(site, NOW + DAY - 1)) == {}
    assert moved(before, hashes(site, NOW + DAY)) == {"user_enrolments": {1, 2}}


def test_positions_survive_the_store() -> None:
    position = Position(
        users={0: 0, 5: 2**64 - 1}, courses={1: 2}, companies={3: 4}, rows={"user": 9},
        sharing={7: 1},
    )  # fmt: skip
    assert decode(encode(position)) == position
    assert not movement(position, decode(encode(position)))


@pytest.mark.parametrize("part", ["users", "courses", "companies"])
def test_what_came_or_went_has_moved(part: str) -> None:
    build: Callable[[dict[int, int]], Position] = lambda found: Position(**{part: found})  # noqa: E731
    moves = movement(build({1: 1, 2: 2, 3: 3}), build({2: 2, 3: 4, 4: 4}))
    assert moves is not None
    names = ("users", "courses", "companies")
    got = dict(zip(names, (moves.buckets, moves.courses, moves.companies), strict=True))
    assert got == {name: frozenset({1, 3, 4} if name == part else ()) for name in names}
