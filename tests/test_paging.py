"""Pages joined are the listing: no row twice and none missed, whatever the syncs do meanwhile."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport.company_admin import company_fields, set_options
from alxreport.errors import NotAuthorisedError, ResyncError, UsageError
from alxreport.listing import STATUSES

from .asking import Desk, open_desk, people
from .moodle_edits import random_edit
from .servers import OFFICES  # noqa: F401 - over HTTP, too

# Server databases are slower by a factor of ten; the SQL is the same in every example.
EXAMPLES = {"sqlite": 8, "mysql": 1, "postgresql": 1}
DAY = 86_400
TOLD = ("firstname", "lastname", "email", "coursename", "percentage", "status")


def keys(page: dict[str, Any]) -> list[tuple[int, int]]:
    return [(row["userid"], row["courseid"]) for row in page["data"]]


def check(page: dict[str, Any], *, limit: int, offset: int, total: int, mode: str = "full") -> None:
    assert page["mode"] == mode
    assert page["limit"] == limit
    assert page["offset"] == offset
    assert page["total"] == total
    assert page["count"] == len(page["data"]) <= limit
    assert keys(page) == sorted(set(keys(page)))
    if page["next"]:
        assert page["delta"] is None
        assert page["count"] == limit


# Nothing changes meanwhile


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_pages_of_any_size_joined_are_the_export(desk: Desk, mode: str) -> None:
    people(desk)
    token = desk.token("acme")
    data, done = desk.export(token, mode=mode)
    records = json.loads(data)
    assert len(records) == 12
    for limit in (1, 2, 3, 5, 11, 12, 13, 1000):
        joined: list[Any] = []
        pages = list(desk.pages(token, limit=limit, mode=mode))
        for page in pages:
            check(page, limit=limit, offset=len(joined), total=12, mode=mode)
            assert (page["next"] is None) == (page is pages[-1])
            joined += page["data"]
        assert joined == records
        assert len(pages) == -(-12 // limit)
        assert pages[-1]["delta"] == done.delta
        assert {page["revision"] for page in pages} == {1}


def test_offset_pages_are_as_in_moodle(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    records = json.loads(desk.export(token)[0])
    for limit in (1, 5, 12, 13):
        for offset in (0, 1, 4, 11, 12, 13, 2**31, 2**63 - 1):
            page = desk.ask(token, limit=limit, offset=offset)
            check(page, limit=limit, offset=offset, total=12)
            assert page["data"] == records[offset : offset + limit]
            assert (page["next"] is not None) == (offset + limit < 12)
            # Pages by number may miss a row, so that only a series of one is worth a delta.
            assert (page["delta"] is not None) == (offset == 0 and limit >= 12)
            following = list(desk.pages(token, limit=limit, offset=offset))
            assert [row for page in following for row in page["data"]] == records[offset:]
            assert (following[-1]["delta"] is not None) == (offset == 0)


@pytest.mark.parametrize("changed", [1, 3, 20], ids=["one", "few", "half"])
def test_pages_of_an_increment_joined_are_what_changed(desk: Desk, changed: int) -> None:
    """A small increment is sorted, a large one walked to: the pages are the same."""
    crowd = people(desk, learners=40, courses=1)
    token = desk.token("acme")
    *_, last = desk.pages(token)
    desk.now += 60
    for user in crowd.users[10 : 10 + changed]:
        desk.site.change_user(user, desk.now, firstname=f"New{user}")
    desk.site.remove_from_company(crowd.company, crowd.users[0])
    desk.harness.sync()
    data, done = desk.export(token, mode="incremental", since=last["delta"])
    records = json.loads(data)
    assert [row["userid"] for row in records if row["is_deleted"]] == [crowd.users[0]]
    assert len(records) == changed + 1
    for limit in (2, 7, changed + 1, 100):
        joined: list[Any] = []
        for page in desk.pages(token, limit=limit, mode="incremental", since=last["delta"]):
            check(page, limit=limit, offset=len(joined), total=changed + 1, mode="incremental")
            joined += page["data"]
        assert joined == records
        assert page["delta"] == done.delta
        for offset in range(0, len(records), limit):
            page = desk.ask(token, limit=limit, offset=offset, since=last["delta"])
            assert page["data"] == records[offset : offset + limit]
    for status in STATUSES:
        pages = desk.pages(token, limit=9, since=last["delta"], status=status)
        assert [key for page in pages for key in keys(page)] == [
            (row["userid"], row["courseid"]) for row in records
        ]


def test_a_company_without_rows_has_one_empty_page(desk: Desk) -> None:
    desk.site.add_company("Nobody", "nobody")
    people(desk)
    token = desk.token("nobody")
    for mode in ("full", "incremental"):
        page = desk.ask(token, mode=mode)
        check(page, limit=100, offset=0, total=0, mode=mode)
        assert page["next"] is None
        assert desk.ask(token, mode="incremental", since=page["delta"])["data"] == []


# While syncs go on


def restart(desk: Desk, seed: int) -> int:
    """Make another site and sync it; return the company with the most rows."""
    desk.site.reset().sample(seed, companies=2, users=9, courses=4)
    desk.harness.empty_store()
    desk.run_sql("DELETE FROM {meta} WHERE name = 'pruned_at'")
    desk.now = desk.site.now
    desk.harness.sync_whatever()
    return max(desk.rows("sync_status"), key=lambda row: row["live_rows"])["companyid"]


def change(desk: Desk, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 8))):
        random_edit(desk.site, rng.choice, desk.now)
    desk.now += rng.choice((0, 1, 60, 3600, DAY, -1, -3600))
    desk.harness.sync_whatever()


def matching(desk: Desk, company: int, wanted: dict[str, str]) -> dict[tuple[int, int], Any]:
    """Return the company's live rows that a filter lets through."""
    courses = [int(number) for number in wanted.get("courses", "").split(",") if number]
    return {
        (user, course): row
        for (owner, user, course), row in desk.harness.stored().items()
        if owner == company
        and not row["is_deleted"]
        and row["status"] == wanted.get("status", row["status"])
        and (not courses or course in courses)
    }


def run_series(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    company = restart(desk, seed)
    token = desk.token(f"id:{company}")
    wanted = rng.choice(({}, {}, {"status": rng.choice(STATUSES)}, {"courses": "2,3"}))
    mode = rng.choice(("full", "full", "incremental"))
    there = matching(desk, company, wanted)
    total, versions, told = len(there), [there], list[tuple[int, int]]()
    limit = rng.randint(1, 7)
    page = desk.ask(token, limit=limit, mode=mode, **wanted)
    revision = page["revision"]
    while True:
        check(page, limit=limit, offset=len(told), total=total, mode=mode)
        assert page["revision"] == revision
        assert (page["next"] is None) == (page["delta"] is not None)
        for key, record in zip(keys(page), page["data"], strict=True):
            assert key in there
            assert {name: record[name] for name in TOLD} == {
                name: there[key][name] for name in TOLD
            }
        told += keys(page)
        if page["next"] is None:
            break
        if rng.random() < 0.6:
            change(desk, rng)
            there = matching(desk, company, wanted)
            versions.append(there)
        limit = rng.randint(1, 7)
        try:
            page = desk.ask(token, limit=limit, cursor=page["next"])
        except NotAuthorisedError:
            [state] = [row for row in desk.rows("sync_status") if row["companyid"] == company]
            assert state["gone"]
            return
    assert told == sorted(set(told))
    assert set.intersection(*map(set, versions)) <= set(told) <= set().union(*versions)


def test_a_series_misses_no_row_and_tells_none_twice(desk: Desk) -> None:
    @settings(
        max_examples=EXAMPLES[desk.harness.engine.dialect.name.replace("mariadb", "mysql")],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(seed=st.integers(0, 2**32))
    def history(seed: int) -> None:
        run_series(desk, seed)

    history()


def test_rows_that_come_and_go_around_the_place_of_the_reader(desk: Desk) -> None:
    """The row at which a page ended is deleted, and others come before and after it."""
    crowd = people(desk, learners=6, courses=1)
    [course], users = crowd.courses, crowd.users
    token = desk.token("acme")
    first = desk.ask(token, limit=3)
    assert keys(first) == [(user, course) for user in users[:3]]
    desk.now += 60
    desk.site.remove_from_company(crowd.company, users[2])
    desk.site.remove_from_company(crowd.company, users[4])
    late = desk.site.add_user("Late", "Comer")
    desk.site.assign_user(crowd.company, late)
    desk.site.enrol(crowd.methods[0], late)
    desk.harness.sync()
    second = desk.ask(token, limit=3, cursor=first["next"])
    assert keys(second) == [(users[3], course), (users[5], course), (late, course)]
    assert (second["total"], second["offset"], second["count"]) == (6, 3, 3)
    assert second["next"] is None
    # What went, came or changed since the first page is told with the delta of the last.
    told = desk.ask(token, mode="incremental", since=second["delta"])["data"]
    assert {row["userid"]: row["is_deleted"] for row in told} == {
        users[2]: True, users[4]: True, late: False,
    }  # fmt: skip


# Cursors


def test_a_cursor_keeps_what_its_series_asked_for(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    asked = {
        "mode": "incremental", "fields": "courseid,userid,status", "status": "in_progress",
        "courses": f"{crowd.courses[0]},{crowd.courses[2]}",
    }  # fmt: skip
    first = desk.ask(token, limit=3, **asked)
    for again in ({}, asked, {"mode": "incremental"}, {"mode": "auto"}, {"offset": 0}):
        page = desk.ask(token, limit=5, cursor=first["next"], **again)
        check(page, limit=5, offset=3, total=8, mode="incremental")
        assert list(page["data"][0]) == ["courseid", "userid", "status", "is_deleted"]
        assert {row["courseid"] for row in page["data"]} == {crowd.courses[0], crowd.courses[2]}
    for other in (
        {"mode": "full"}, {"offset": 3}, {"fields": "userid,courseid"}, {"status": "completed"},
        {"courses": str(crowd.courses[0])}, {"since": first["next"]}, {"limit": 0},
        {"cursor": first["next"][:-1]}, {"cursor": "C"}, {"cursor": "T" + first["next"][1:]},
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            desk.ask(token, **({"limit": 5, "cursor": first["next"]} | other))
        assert not isinstance(caught.value, ResyncError)


def test_a_cursor_belongs_to_its_company_and_store(desk: Desk, tmp_path: Path) -> None:
    people(desk)
    token, colleague = desk.token("acme"), desk.token("acme")
    cursor = desk.ask(token, limit=2)["next"]
    with pytest.raises(UsageError, match="another company or store"):
        desk.ask(desk.token("beta"), limit=2, cursor=cursor)
    assert desk.ask(colleague, limit=2, cursor=cursor)["offset"] == 2
    assert desk.ask(None, company="acme", limit=2, cursor=cursor)["offset"] == 2
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/other.db") as other:
        people(other)
        with pytest.raises(UsageError, match="another company or store"):
            other.ask(other.token("acme"), limit=2, cursor=cursor)


def test_what_an_administrator_changes_holds_on_the_next_page(local: Desk) -> None:
    desk = local
    people(desk)
    token = desk.token("acme")
    cursor = desk.ask(token, limit=5)["next"]
    set_options(desk.store, "acme", {"max_limit": "4"}, desk.now)
    with pytest.raises(UsageError, match="1 to 4"):
        desk.ask(token, limit=5, cursor=cursor)
    assert desk.ask(token, cursor=cursor)["limit"] == 4
    set_options(desk.store, "acme", {"sync_mode": "incremental"}, desk.now)
    assert desk.ask(token, cursor=cursor)["mode"] == "full"
    set_options(desk.store, "acme", {"sync_mode": "full"}, desk.now)
    company_fields(desk.store, desk.settings, "acme", desk.now, hide=["email"])
    with pytest.raises(UsageError, match="fields were changed"):
        desk.ask(token, cursor=cursor)
    by_name = desk.ask(token, limit=4, fields="userid,courseid,status")["next"]
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["username"])
    assert list(desk.ask(token, cursor=by_name)["data"][0]) == ["userid", "courseid", "status"]
    company_fields(desk.store, desk.settings, "acme", desk.now, hide=["status"])
    with pytest.raises(UsageError, match="hidden"):
        desk.ask(token, cursor=by_name)
    set_options(desk.store, "acme", {"sync_mode": "disabled"}, desk.now)
    with pytest.raises(NotAuthorisedError, match="disabled"):
        desk.ask(token, cursor=by_name)


@pytest.mark.parametrize("courses", [100, 5_000])
def test_a_filter_of_many_courses_can_be_paged(local: Desk, courses: int) -> None:
    """A filter is refused when it is asked with, or each of its cursors and deltas is taken."""
    crowd = people(local)
    token = local.token("acme")
    ids = [*crowd.courses, *range(10_000, 10_000 + courses - 3)]
    asked = {"courses": ",".join(map(str, ids)), "limit": 5}
    try:
        first = local.ask(token, **asked)
    except UsageError:
        assert courses > 1_000, "what a large company has must be possible"
        return
    *_, last = pages = list(local.pages(token, **asked))
    assert first["total"] == sum(page["count"] for page in pages) == 12
    assert local.ask(token, mode="incremental", since=last["delta"], **asked)["count"] == 0


@pytest.mark.parametrize("number", [1, 2**31, 2**32 + 1, 2**63 - 1])
def test_ids_of_any_size_are_paged(local: Desk, number: int) -> None:
    crowd = people(local, learners=3, courses=1)
    last = crowd.users[-1]
    local.run_sql("UPDATE {reporting} SET userid = :new WHERE userid = :old", new=number, old=last)
    local.run_sql("UPDATE {reporting} SET courseid = :new WHERE userid = :old", new=number,
                  old=number)  # fmt: skip
    token = local.token("acme")
    found = [key for page in local.pages(token, limit=1) for key in keys(page)]
    assert len(found) == 3
    assert (number, number) in found
    assert found == sorted(found)
    assert local.ask(token, courses=str(number))["total"] == 1
