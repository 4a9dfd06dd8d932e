"""A page from the cache is the page of the table: never older, never damaged, never in the way."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import cache, token_admin
from alxreport.company_admin import company_courses, company_fields, set_options, unset_option
from alxreport.errors import AlxError, NotAuthorisedError
from alxreport.limit_admin import clear_cache, show_cache
from alxreport.listing import STATUSES, Slice
from alxreport.records import iso_time
from alxreport.sessions import Session

from .asking import Desk, people
from .crowd import Crowd
from .moodle_edits import random_edit
from .servers import OFFICES  # noqa: F401 - over HTTP, too

# Server databases are slower by a factor of ten; the SQL is the same in every example.
EXAMPLES = {"sqlite": 6, "mysql": 1, "postgresql": 1}
MINUTE, HOUR, DAY = 60, 3600, 86_400
COUNTS = ("row_count", "total", "last_user", "last_course")


def fresh(desk: Desk, token: str | None, **asked: Any) -> bytes:
    """Return what the table says, past the cache and without a trace in it."""
    kept = desk.settings
    own = desk.rows("settings")
    desk.run_sql("DELETE FROM {settings} WHERE name = 'cache_minutes'")
    desk.configure(cache_minutes=0)
    try:
        page = desk.page(token, **asked)
    finally:
        desk.harness.settings = kept
        for row in own:
            if row["name"] == "cache_minutes":
                desk.run_sql("INSERT INTO {settings} (companyid, name, value, changed_at)"
                             " VALUES (:companyid, :name, :value, :changed_at)", **row)  # fmt: skip
    assert page.head["cached"] is False
    return page.json()


def said(text: bytes) -> bytes:
    """Return a page's text with the mark of the cache as a fresh one has it."""
    return text.replace(b'"cached":true', b'"cached":false', 1)


def hits(desk: Desk, token: str | None, times: int = 2, **asked: Any) -> list[bool]:
    """Ask some times; each answer has to be what the table says."""
    found = []
    for _ in range(times):
        page = desk.page(token, **asked)
        found.append(page.head["cached"])
        assert said(page.json()) == fresh(desk, token, **asked)
    return found


# The same answer


def questions(crowd: Crowd, delta: str, cursor: str) -> list[dict[str, Any]]:
    course = str(crowd.courses[0])
    return [
        {}, {"limit": 5}, {"limit": 5, "offset": 3}, {"limit": 5, "cursor": cursor},
        {"limit": 7, "cursor": cursor}, {"offset": 100}, {"limit": 12}, {"limit": 11},
        {"mode": "incremental"}, {"mode": "incremental", "limit": 5}, {"mode": "auto"},
        {"since": delta}, {"since": delta, "limit": 1}, {"since": delta, "mode": "auto"},
        {"since": delta, "offset": 2}, {"since": delta, "status": "completed"},
        {"fields": "userid,courseid"}, {"fields": "courseid,userid"}, {"fields": "email"},
        *({"status": status} for status in STATUSES), {"courses": course},
        {"courses": f"{course},{crowd.courses[1]}"}, {"courses": "999"},
        {"courses": course, "status": "in_progress", "fields": "userid,courseid,status"},
    ]  # fmt: skip


@pytest.mark.soak_on("postgres")
def test_a_page_from_the_cache_is_the_page_of_the_table(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    delta = desk.ask(token)["delta"]
    desk.now += MINUTE
    desk.site.change_user(crowd.users[0], desk.now, firstname="New")
    desk.site.remove_from_company(crowd.company, crowd.users[1])
    desk.harness.sync()
    cursor = desk.ask(token, limit=5)["next"]
    clear_cache(desk.store, None)
    asked = questions(crowd, delta, cursor)
    for question in asked:
        # One that comes to the same rows in the same form may be answered before.
        assert hits(desk, token, times=1, **question)[0] == (question.get("mode") == "auto")
    for question in asked:
        assert hits(desk, token, times=1, **question) == [True]
        assert hits(desk, None, times=1, company="acme", **question) == [True]
    log = [row["cache"] for row in desk.log() if row["cache"]]
    assert log.count("hit") == 2 * len(asked) + 2
    found = show_cache(desk.store, desk.settings, "acme", desk.now)
    assert (found["hits_24h"], found["misses_24h"]) == (log.count("hit"), log.count("miss"))
    assert found["hit_rate_24h"] == round(log.count("hit") / len(log), 4)


def test_a_sync_that_changes_nothing_leaves_the_pages(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    before = desk.ask(token)
    desk.now += 20 * MINUTE
    desk.harness.sync()
    again = desk.ask(token)
    assert again["cached"]
    assert (before["synced_at"], again["synced_at"]) == (
        iso_time(desk.now - 20 * MINUTE), iso_time(desk.now),
    )  # fmt: skip
    assert hits(desk, token) == [True, True]
    # The delta, too, stands at the later sync: it lives as long as one that was read now.
    assert before["delta"] != again["delta"] == json.loads(fresh(desk, token))["delta"]
    desk.harness.sync(full=True)
    assert hits(desk, token) == [True, True]
    desk.now += MINUTE
    desk.site.change_user(crowd.users[0], desk.now, firstname="New")
    desk.harness.sync(dry_run=True)
    assert hits(desk, token) == [True, True]
    assert len(desk.rows("cache")) == 1
    desk.harness.sync()
    assert desk.rows("cache") == []  # nobody will ask for that revision again
    assert hits(desk, token) == [False, True]
    assert {row["firstname"] for row in desk.ask(token)["data"]} > {"New"}


def test_what_changes_elsewhere_leaves_a_company_its_pages(desk: Desk) -> None:
    people(desk)
    acme, beta = desk.token("acme"), desk.token("beta")
    assert hits(desk, acme) == hits(desk, beta) == [False, True]
    desk.now += MINUTE
    member = desk.site.select("company_users")[-1]
    desk.site.change_user(member.userid, desk.now, firstname="New")
    desk.harness.sync()
    assert hits(desk, beta) == [False, True]
    assert hits(desk, acme) == [True, True]
    assert clear_cache(desk.store, "beta") == 1
    assert hits(desk, acme) == [True, True]
    assert hits(desk, beta) == [False, True]


def test_no_page_is_stale_whatever_an_administrator_changes(desk: Desk) -> None:
    crowd = people(desk)
    secret = desk.token("acme")
    token = secret
    assert hits(desk, token) == [False, True]

    def changed(**asked: Any) -> dict[str, Any]:
        found = hits(desk, token, times=3, **asked)
        assert found[1:] == [True, True]
        return desk.ask(token, **asked)

    company_fields(desk.store, desk.settings, "acme", desk.now, hide=["email"])
    assert "email" not in changed()["data"][0]
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["email", "username"])
    assert "username" in changed()["data"][0]
    set_options(desk.store, "acme", {"sync_mode": "incremental"}, desk.now)
    assert changed()["data"][0]["is_deleted"] is False
    unset_option(desk.store, "acme", "sync_mode")
    assert changed()["mode"] == "full"
    set_options(desk.store, "acme", {"max_limit": "5"}, desk.now)
    assert changed()["limit"] == 5
    desk.site.rename_company(crowd.company, "Acme plc", "acmeplc")
    desk.harness.sync()
    company = {"id": crowd.company, "shortname": "acmeplc", "name": "Acme plc"}
    assert changed()["company"] == company
    desk.site.change_course(crowd.courses[0], desk.now, fullname="Renamed")
    desk.harness.sync()
    assert "Renamed" in {row["coursename"] for row in changed()["data"]}
    company_courses(desk.store, desk.settings, "acmeplc", desk.now, disable=[crowd.courses[1]])
    desk.harness.sync()
    assert {row["courseid"] for row in changed()["data"]} == {crowd.courses[0], crowd.courses[2]}
    [number] = [row["id"] for row in desk.tokens() if row["company"] == "acmeplc"]
    _old, _new, token = token_admin.rotate_token(
        desk.store, number, grace="0", expires=None, now=desk.now
    )
    with pytest.raises(NotAuthorisedError):
        desk.ask(secret)
    changed()
    [last] = [row["id"] for row in desk.tokens() if row["state"] == "active"
              and row["company"] == "acmeplc"]  # fmt: skip
    token_admin.revoke_token(desk.store, last, desk.now)
    with pytest.raises(NotAuthorisedError):
        desk.ask(token)
    desk.site.delete_company(crowd.company)
    desk.harness.sync_whatever()
    with pytest.raises(AlxError):
        desk.ask(None, company="acmeplc")
    assert all(row["companyid"] != crowd.company for row in desk.rows("cache"))


def test_no_page_is_stale_after_any_history(desk: Desk) -> None:
    def run(seed: int) -> None:
        rng = random.Random(seed)
        desk.site.reset().sample(seed, companies=2, users=8, courses=4)
        desk.harness.empty_store()
        desk.now = desk.site.now
        desk.harness.sync_whatever()
        company = max(desk.rows("sync_status"), key=lambda row: row["live_rows"])["companyid"]
        who = {"company": f"id:{company}"}
        deltas, cursors = [desk.ask(None, limit=1000, **who)["delta"]], list[str]()
        for _step in range(5):
            for _ in range(rng.choice((0, 1, 4))):
                random_edit(desk.site, rng.choice, desk.now)
            desk.now += rng.choice((0, 1, MINUTE, 59 * MINUTE, HOUR, DAY, -HOUR))
            desk.harness.sync_whatever()
            if desk.rows("sync_status")[company - 1]["gone"]:
                return
            for _ in range(4):
                asked: dict[str, Any] = {"limit": rng.choice((1, 3, 1000))}
                asked |= rng.choice(
                    (
                        {}, {"status": rng.choice(STATUSES)}, {"offset": rng.randrange(5)},
                        {"mode": "auto", "since": rng.choice(deltas)}, {"mode": "incremental"},
                        {"cursor": rng.choice(cursors)} if cursors else {}, {"courses": "2,3"},
                    )
                )  # fmt: skip
                hits(desk, None, times=rng.choice((1, 2)), **asked, **who)
                page = desk.ask(None, **asked, **who)
                cursors += [page["next"]] if page["next"] else []
            deltas.append(desk.ask(None, limit=1000, **who)["delta"])

    @settings(
        max_examples=EXAMPLES[desk.harness.engine.dialect.name.replace("mariadb", "mysql")],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(seed=st.integers(0, 2**32))
    def history(seed: int) -> None:
        run(seed)

    history()


# Time


def test_a_page_is_kept_for_its_minutes(desk: Desk) -> None:
    people(desk)
    token, began = desk.token("acme"), desk.now

    def cached(seconds: int) -> bool:
        return bool(desk.ask(token, now=began + seconds)["cached"])

    assert [cached(0), cached(1), cached(HOUR - 1), cached(HOUR)] == [False, True, True, False]
    # Kept anew then; of a clock that was set back it is a page of the future.
    assert [cached(HOUR + 1), cached(HOUR - 1), cached(HOUR - 1)] == [True, False, True]
    assert [cached(-DAY), cached(-DAY), cached(DAY), cached(DAY)] == [False, True, False, True]
    set_options(desk.store, "acme", {"cache_minutes": "1"}, desk.now)
    began += 2 * DAY
    assert [cached(0), cached(59), cached(60)] == [False, True, False]


def test_fewer_minutes_hold_for_pages_that_are_kept_already(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    assert hits(local, token) == [False, True]
    local.now += 10 * MINUTE
    local.configure(cache_minutes=5)
    assert hits(local, token) == [False, True]
    set_options(local.store, "acme", {"cache_minutes": "60"}, local.now)
    assert hits(local, token) == [False, True]
    local.now += 10 * MINUTE
    set_options(local.store, "acme", {"cache_minutes": "5"}, local.now)
    assert hits(local, token) == [False, True]


def test_no_minutes_is_no_cache(desk: Desk) -> None:
    people(desk)
    token, beta = desk.token("acme"), desk.token("beta")
    set_options(desk.store, "acme", {"cache_minutes": "0"}, desk.now)
    assert hits(desk, token) == [False, False]
    assert desk.rows("cache") == []
    assert {row["cache"] for row in desk.log()} == {""}
    assert hits(desk, beta) == [False, True]
    desk.configure(cache_minutes=0)
    assert hits(desk, beta) == [False, False]
    set_options(desk.store, "acme", {"cache_minutes": "5"}, desk.now)
    assert hits(desk, token) == [False, True]


def test_pages_past_their_time_are_cleared_away_by_the_sync(desk: Desk) -> None:
    people(desk)
    token, began = desk.token("acme"), desk.now
    for limit in (1, 2, 3):
        desk.now = began + limit * MINUTE
        desk.ask(token, limit=limit)
    desk.now = began + HOUR + 2 * MINUTE - 1
    desk.harness.sync()
    assert len(desk.rows("cache")) == 2
    desk.now += 1
    desk.harness.sync()
    [row] = desk.rows("cache")
    assert row["expires_at"] == desk.now + MINUTE
    desk.now = began  # a clock set back: the page is of the future
    desk.harness.sync()
    assert desk.rows("cache") == []


# Damage


def damages(kind: str) -> list[tuple[str, dict[str, Any]]]:
    changes = [(f"{name} = {name} + 1", {}) for name in COUNTS]
    changes += [(f"{name} = -1", {}) for name in COUNTS]
    changes += [("more = 1 - more", {}), ("digest = ''", {}), ("digest = 'garbage'", {}),
                ("revision = revision + 1", {}), ("created_at = expires_at", {}),
                ("expires_at = 0", {})]  # fmt: skip
    changes += [("body = :body", {"body": body}) for body in (b"", b"[]", b"garbage", b"\0\xff")]
    if kind == "sqlite":  # whose columns take anything
        changes += [
            ("body = :body", {"body": body}) for body in ("text", 5, -1, 2.5, 2**40, 2**63 - 1)
        ]
        changes += [(f"{name} = :it", {"it": it}) for name in (*COUNTS, "digest", "size")
                    for it in ("text", b"bytes", 2.5)]  # fmt: skip
    return changes


@pytest.mark.not_over_http  # a page in memory is not damaged
def test_a_damaged_page_is_a_miss(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    kind = desk.store.read(lambda session: session.kind)
    for change, values in damages(kind):
        clear_cache(desk.store, None)
        desk.page(token, limit=5)
        desk.run_sql(f"UPDATE {{cache}} SET {change}", **values)
        found = hits(desk, token, limit=5)
        harmless = change.startswith("size")
        assert found == [harmless, True], (change, values)


def test_a_page_under_the_key_of_another_is_a_miss(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    desk.ask(token, limit=5)
    desk.ask(token, limit=5, status="in_progress")
    one, other = (row["cache_key"] for row in desk.rows("cache"))
    for old, new in ((one, "x"), (other, one), ("x", other)):
        desk.run_sql("UPDATE {cache} SET cache_key = :new WHERE cache_key = :old", new=new, old=old)
    assert hits(desk, token, limit=5) == [False, True]
    assert hits(desk, token, limit=5, status="in_progress") == [False, True]


def test_a_page_of_an_earlier_revision_is_never_passed_off_as_of_this(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    desk.ask(token)
    [kept] = desk.rows("cache")
    desk.now += MINUTE
    desk.site.change_user(crowd.users[0], desk.now, firstname="New")
    desk.harness.sync()
    names, values = ", ".join(kept), ", ".join(f":{name}" for name in kept)
    desk.run_sql(f"INSERT INTO {{cache}} ({names}) VALUES ({values})", **kept)
    assert hits(desk, token) == [False, True]
    desk.run_sql("DELETE FROM {cache}")
    desk.run_sql(f"INSERT INTO {{cache}} ({names}) VALUES ({values})", **kept)
    desk.run_sql("UPDATE {cache} SET revision = revision + 1")
    assert hits(desk, token) == [False, True]


def test_a_lost_table_costs_no_answer(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    assert hits(local, token) == [False, True]
    local.run_sql("DROP TABLE {cache}")
    assert hits(local, None, company="acme") == [False, False]
    assert hits(local, token) == [False, False]


# Many at once


def test_two_who_read_the_same_page_at_once_both_get_it(desk: Desk) -> None:
    """Both found nothing, and both keep what they read."""
    people(desk)
    token = desk.token("acme")
    page = desk.page(token)
    [kept] = desk.rows("cache")
    entry = cache.Entry(Slice(page.body, 12, False, (kept["last_user"], kept["last_course"])), 12)
    clear_cache(desk.store, None)
    begun, go_on = threading.Event(), threading.Event()

    def keep(session: Session) -> None:
        cache.put(
            session, kept["cache_key"], entry, company=kept["companyid"],
            revision=kept["revision"], now=desk.now, minutes=60, most_bytes=2**20,
        )  # fmt: skip
        begun.set()
        go_on.wait(0.4)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(desk.store.write, keep)
        assert begun.wait(10)
        other = pool.submit(desk.page, token)
        one.result()
        assert other.result().body == page.body
    assert [row["error"] for row in desk.log()] == [""] * 2
    assert hits(desk, token) == [True, True]


def test_many_who_read_at_once_all_get_their_pages(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    expected = {limit: fresh(desk, token, limit=limit) for limit in range(1, 6)}
    start = threading.Barrier(6)

    def work(number: int) -> list[tuple[int, bytes]]:
        rng = random.Random(number)
        start.wait()
        asked = [rng.choice((1, 2, 3, 4, 5)) for _ in range(8)]
        return [(limit, said(desk.page(token, limit=limit).json())) for limit in asked]

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(work, range(6)):
            for limit, text in found:
                assert text == expected[limit]
    assert len(desk.rows("cache")) == 5


# Room


def put(desk: Desk, number: int, size: int, most_bytes: int, now: int | None = None) -> None:
    entry = cache.Entry(Slice(b"x" * size, 1, False, (1, 1)), 1)
    desk.store.write(
        lambda session: cache.put(
            session, f"key{number}", entry, company=1, revision=1, now=now or desk.now,
            minutes=60, most_bytes=most_bytes,
        )
    )  # fmt: skip


def test_the_cache_takes_no_more_room_than_it_may(desk: Desk) -> None:
    rng = random.Random(1)
    for number in range(150):
        put(desk, number, rng.choice((1, 10, 100, 1250, 1251, 5000)), 10_000, desk.now + number)
        entries, size = desk.store.read(cache.figures)
        assert size <= 10_000
        held = desk.rows("cache") if number % 10 == 0 else []
        assert all(len(row["body"]) == row["size"] <= 1250 for row in held)
        assert len(held) in {0, entries}


def test_many_small_pages_make_room_for_large_ones(local: Desk) -> None:
    """However many go first, what is kept is never more than was allowed."""
    for number in range(200):
        put(local, number, 2, 10_000, local.now + number // 10)
    for number in range(200, 230):
        put(local, number, 1250, 10_000, local.now + number)
        _entries, size = local.store.read(cache.figures)
        assert size <= 10_000


def test_the_cache_holds_no_more_pages_than_it_may(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_ENTRIES", 20)
    for number in range(90):
        put(desk, number, 10, 2**20, desk.now + number // 5)
        entries, _size = desk.store.read(cache.figures)
        assert entries <= 20
    assert entries > 5  # not all of them went at once


def test_room_is_made_of_what_is_past_its_time_first(
    local: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_ENTRIES", 20)
    for number in range(10):
        put(local, number, 10, 2**20, local.now - HOUR)
    for number in range(10, 25):
        put(local, number, 10, 2**20, local.now)
    assert {row["cache_key"] for row in local.rows("cache")} == {
        f"key{number}" for number in range(10, 25)
    }


@pytest.mark.parametrize("megabytes", [0, 1])
def test_requests_keep_to_the_megabytes_that_are_set(local: Desk, megabytes: int) -> None:
    people(local, learners=140, courses=4)
    local.configure(cache_megabytes=megabytes)
    token, sizes = local.token("acme"), list[int]()
    for limit in range(380, 560, 6):
        sizes.append(len(local.page(token, limit=limit).body))
        entries, held = local.store.read(cache.figures)
        assert held <= megabytes * 1_000_000
    assert min(sizes) < 125_000 < max(sizes)  # of one megabyte, a page takes an eighth at the most
    assert sum(size for size in sizes if size <= 125_000) > 1_000_000
    assert (entries > 0) == bool(megabytes)
    found = show_cache(local.store, local.settings, None, local.now)
    assert (found["entries"], found["bytes"]) == (entries, held)
    assert found["most_bytes"] == megabytes * 1_000_000


def test_the_figures_are_of_what_is_kept(desk: Desk) -> None:
    people(desk)
    acme, beta = desk.token("acme"), desk.token("beta")

    def shown(name: str | None) -> tuple[Any, ...]:
        found = show_cache(desk.store, desk.settings, name, desk.now)
        return tuple(found[k] for k in ("entries", "bytes", "hits_24h", "misses_24h",
                                        "hit_rate_24h"))  # fmt: skip

    assert shown(None) == shown("acme") == (0, 0, 0, 0, None)
    pages = [desk.page(acme), desk.page(acme, limit=3), desk.page(beta), desk.page(beta)]
    desk.export(acme)
    sizes = [len(page.body) for page in pages]
    assert shown("acme") == (2, sizes[0] + sizes[1], 0, 2, 0.0)
    assert shown("beta") == (1, sizes[2], 1, 1, 0.5)
    assert shown(None) == (3, sum(sizes[:3]), 1, 3, 0.25)
    desk.now += DAY + 1
    assert shown(None)[2:] == (0, 0, None)
    with pytest.raises(AlxError):
        shown("nobody")
    assert (clear_cache(desk.store, "acme"), clear_cache(desk.store, "acme")) == (2, 0)
    assert shown(None)[:2] == (1, sizes[2])
    assert (clear_cache(desk.store, None), shown(None)[:2]) == (1, (0, 0))
