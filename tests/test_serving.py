"""The server as such: credentials, headers, bounds, health, and callers that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from prometheus_client.parser import text_string_to_metric_families

from alxreport import http_log, http_protocol
from alxreport.errors import StoreError
from alxreport.http_brakes import Brakes, block
from alxreport.switch import set_switch

from .asking import Desk, open_desk
from .crowd import add_crowd
from .moodle_site import NOW
from .serving import FUNCTION, SERVER_PHP, Got, Serving, basic, serving

HOUR = 3_600
SLOW = 5.0  # seconds; who waits for the store waits six times as long


def rename(desk: Desk, name: str) -> None:
    """Rename a learner of the first company."""
    _company, user, _course = min(desk.harness.live())
    desk.site.update("user", {"id": user}, lastname=name)


class Shop:
    """A desk with two companies, and a server on it."""

    def __init__(self, desk: Desk, server: Serving) -> None:
        self.desk, self.server = desk, server
        self.token = desk.token("acme")

    def configure(self, section: str, **values: Any) -> None:
        settings = self.server.office.settings
        changed = replace(getattr(settings, section), **values)
        self.server.configure(replace(settings, **{section: changed}))

    def page(self, **asked: Any) -> Got:
        return self.server.get("/api/v1/progress", self.token, **asked)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Serving]]:
    folder = tmp_path_factory.mktemp("serving")
    with open_desk(folder, f"sqlite:///{folder}/store.db") as desk:
        for name in ("acme", "beta"):
            add_crowd(desk.site, name, 5, 4)
        desk.harness.sync()
        with serving(desk.settings) as server:
            yield desk, server


@pytest.fixture
def shop(opened: tuple[Desk, Serving]) -> Iterator[Shop]:
    desk, server = opened
    server.clock = NOW
    for name in ("settings", "usage", "cache", "logs", "refusals", "tokens", "series"):
        desk.run_sql(f"DELETE FROM {{{name}}}")
    server.configure(desk.settings)
    server.office.brakes.__init__()  # type: ignore[misc]
    http_log._said.clear()
    yield Shop(desk, server)
    server.settle()


# Credentials


def test_bearer_and_basic_are_the_same(shop: Shop) -> None:
    answers = [
        shop.server.get("/api/v1/progress", headers={"Authorization": value}, limit=3).json()
        for value in (
            f"Bearer {shop.token}", f"bearer {shop.token}", f"BEARER  {shop.token}",
            basic(shop.token), basic(shop.token, ""), basic(shop.token, "Ünïcode"),
        )
    ]  # fmt: skip
    assert all(answer["data"] == answers[0]["data"] for answer in answers)


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Basic", "Basic !!!", "Digest x", "Basic " + "A" * 40,
     "Bearer alx_wrong", "Bearer " + "0" * 32, "Token abc", "Negotiate YII"],
)  # fmt: skip
@pytest.mark.parametrize(
    "path",
    ["/api/v1/progress", "/api/v1/company", "/api/v1/export", "/odata/v4/", "/odata/v4/Progress",
     "/odata/v4/$metadata"],
)  # fmt: skip
def test_without_a_good_token_nothing_but_the_challenge(
    shop: Shop, value: str | None, path: str
) -> None:
    shop.server.office.brakes.count = lambda _a, _n: 0.0  # type: ignore[method-assign]
    got = shop.server.get(path, headers={} if value is None else {"Authorization": value})
    assert got.status == 401
    challenges = [text for name, text in got.pairs if name == "www-authenticate"]
    assert challenges == ['Basic realm="alxreport", charset="UTF-8"', 'Bearer realm="alxreport"']
    assert b"acme" not in got.body
    assert shop.desk.rows("usage") == []
    del shop.server.office.brakes.count


def test_asking_without_a_token_is_no_failed_authentication(shop: Shop) -> None:
    """Many clients ask without one first, to learn how to."""
    for _ in range(20):
        assert shop.server.get("/odata/v4/").status == 401
    shop.server.settle()
    assert {row["kind"] for row in shop.desk.rows("refusals")} == {"missing"}


def test_who_guesses_is_answered_later_and_later() -> None:
    brakes = Brakes()
    waits = [brakes.count("192.0.2.1", 100.0 + n) for n in range(12)]
    assert waits == [0.0] * 5 + [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert brakes.count("192.0.2.2", 112.0) == 0.0
    assert brakes.count("192.0.2.1", 800.0) == 0.0  # forgotten after ten minutes
    assert block("2001:db8:1:2:3::4") == block("2001:db8:1:2::9") != block("2001:db8:1:3::4")
    assert block("::ffff:192.0.2.1") == "192.0.2.1"
    assert block("") == ""


def test_the_wait_of_one_holds_up_nobody_else(shop: Shop) -> None:
    def guess() -> None:
        shop.server.get("/api/v1/progress", "0" * 32)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(8):
            threads.submit(guess)
        time.sleep(0.1)
        started = time.perf_counter()
        assert shop.page(limit=1).status == 200
        good = time.perf_counter() - started
        guess()
        bad = time.perf_counter() - started - good
    assert good < 0.25 <= bad


def test_a_proxys_word_counts_only_if_it_is_trusted(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    far = shop.desk.token("acme", networks=["203.0.113.0/24"])
    told = {"X-Forwarded-For": "203.0.113.7"}
    for _ in range(2):
        assert shop.server.get("/api/v1/progress", far, headers=told).status == 403
    assert capfd.readouterr().err.count("serve.trusted_proxies") == 1
    settings = replace(
        shop.desk.settings,
        serve=replace(shop.desk.settings.serve, trusted_proxies=["127.0.0.1"]),
    )
    with serving(settings) as behind:
        behind.clock = NOW
        assert behind.get("/api/v1/progress", far, headers=told).status == 200
        forged = {"X-Forwarded-For": "203.0.113.7, 198.51.100.9"}
        assert behind.get("/api/v1/progress", far, headers=forged).status == 403
        assert behind.get("/api/v1/progress", far).status == 403
        behind.settle()
    ips = [row["ip"] for row in shop.desk.log()]
    assert ips == ["127.0.0.1", "127.0.0.1", "203.0.113.7", "198.51.100.9", "127.0.0.1"]


def test_what_a_caller_says_of_himself_is_cleaned(shop: Shop) -> None:
    agent = f"evil \x80 {shop.token} ' ; -- \xff"
    shop.server.get("/api/v1/progress", shop.token, headers={"User-Agent": agent})
    shop.server.get("/api/v1/progress", shop.token, headers={"User-Agent": "A" * 9_000})
    shop.server.settle()
    first, second = [row["agent"] for row in shop.desk.log()]
    assert shop.token not in first
    assert first.startswith("evil")
    assert second == "A" * 255


# Headers


def test_the_budget_is_told_with_each_answer(shop: Shop) -> None:
    shop.configure("requests", rate_limit=3)
    left = []
    for offset in range(4):
        got = shop.page(limit=1, offset=offset)
        left.append((got.status, got.headers["ratelimit-remaining"], got.headers["ratelimit"]))
    until = (NOW // 86_400 + 1) * 86_400 - NOW
    assert left == [
        (200, "2", f'"day";r=2;t={until}'), (200, "1", f'"day";r=1;t={until}'),
        (200, "0", f'"day";r=0;t={until}'), (429, "0", f'"day";r=0;t={until}'),
    ]  # fmt: skip
    assert got.headers["ratelimit-policy"] == '"day";q=3;w=86400'
    assert got.headers["retry-after"] == got.headers["ratelimit-reset"] == str(until)
    assert got.headers["content-type"] == "application/problem+json"
    free = shop.server.get("/api/v1/company", shop.token)
    assert (free.status, free.headers["ratelimit-remaining"]) == (200, "0")
    assert free.json()["rate_limit"]["used"] == 3


def test_no_limit_no_headers(shop: Shop) -> None:
    shop.configure("requests", rate_limit=0)
    assert not [name for name in shop.page().headers if name.startswith("ratelimit")]


def test_what_is_known_is_not_sent_again(shop: Shop) -> None:
    first = shop.page(limit=3)
    tag = first.headers["etag"]
    again = shop.page(limit=3, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == tag
    assert shop.page(limit=4, headers={"If-None-Match": tag}).status == 200
    assert shop.page(limit=3, fields="userid,courseid").headers["etag"] != tag
    beta = shop.desk.token("beta")
    assert shop.server.get("/api/v1/progress", beta, limit=3).headers["etag"] != tag
    rename(shop.desk, "Changed")
    shop.desk.harness.sync()
    assert shop.page(limit=3, headers={"If-None-Match": tag}).status == 200


def test_who_is_told_that_nothing_changed_gets_a_new_delta_every_day(shop: Shop) -> None:
    """A delta that is kept for a year, while nothing changes, would be too old to go on with."""
    first = shop.page()
    shop.desk.harness.sync()
    shop.server.clock = NOW + HOUR
    known = {"If-None-Match": first.headers["etag"]}
    assert shop.page(headers=known).status == 304
    try:
        shop.desk.run_sql("UPDATE local_alx_api_sync_status SET synced_at = synced_at + 86400")
        later = shop.page(headers=known)
        assert later.status == 200
        assert later.json()["data"] == first.json()["data"]
        assert later.json()["delta"] != first.json()["delta"]
    finally:
        shop.desk.run_sql("UPDATE local_alx_api_sync_status SET synced_at = synced_at - 86400")


def test_the_cursor_of_a_page_that_was_known_is_still_paid_for(shop: Shop) -> None:
    shop.configure("requests", rate_limit=2)
    first = shop.page(limit=3)
    assert shop.page(limit=3, headers={"If-None-Match": first.headers["etag"]}).status == 304
    for _series in range(2):  # each of the two first pages promised one further page
        assert shop.page(limit=3, cursor=first.json()["next"]).status == 200
    assert shop.page(limit=3, cursor=first.json()["next"]).status == 429


@pytest.mark.parametrize("path", ["/api/v1/progress", "/api/v1/export", "/odata/v4/Progress"])
def test_gzip_for_who_reads_it(shop: Shop, path: str) -> None:
    plain = shop.server.get(path, shop.token)
    for accepted in ("gzip", "deflate, GZIP;q=0.5", "*"):
        got = shop.server.get(path, shop.token, headers={"Accept-Encoding": accepted})
        assert got.headers["content-encoding"] == "gzip"
        assert got.headers["vary"] == "Accept-Encoding"
        assert without_marks(gzip.decompress(got.body)) == without_marks(plain.body)
    for accepted in ("identity", "gzip;q=0", "br"):
        got = shop.server.get(path, shop.token, headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in got.headers


def without_marks(body: bytes) -> Any:
    told = json.loads(body)
    return told.get("data") or told.get("value") if isinstance(told, dict) else told


def test_nothing_is_kept_by_others_on_the_way(shop: Shop) -> None:
    for path in ("/api/v1/progress", "/api/v1/company", "/api/v1/export", "/odata/v4/Progress"):
        assert "private" in shop.server.get(path, shop.token).headers["cache-control"]
    for path in ("/api/v1/progress", "/odata/v4/", "/healthz", "/metrics"):
        assert "no-store" in shop.server.get(path).headers["cache-control"]


def test_the_server_does_not_name_its_parts(shop: Shop) -> None:
    assert "server" not in shop.page().headers


# The API


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"limit": "0"}, 400), ({"limit": "1001"}, 400), ({"limit": "x"}, 400), ({"limit": ""}, 400),
     ({"limit": "1.0"}, 400), ({"offset": "-1"}, 400), ({"offset": "9" * 30}, 400),
     ({"mode": "all"}, 400), ({"cursor": "Cx"}, 400), ({"cursor": ""}, 400),
     ({"since": "T", "mode": "incremental"}, 410), ({"sincce": "T"}, 400), ({"fields": "foo"}, 400),
     ({"fields": "username"}, 400), ({"courses": "a"}, 400), ({"courses": ""}, 400),
     ({"status": "done"}, 400), ({"company": "beta"}, 403), ({"company": "id:1"}, 200),
     ({"company": "acme"}, 200), ({"format": "json"}, 400), ({"limit": "1000"}, 200)],
)  # fmt: skip
def test_statuses_of_a_page(shop: Shop, asked: dict[str, str], status: int) -> None:
    got = shop.page(**asked)
    assert got.status == status, got.body
    if status != 200:
        told = got.json()
        assert told["status"] == status
        assert told["error"]["message"]
        assert "--" not in told["detail"] or status == 410 or "alxreport " in told["detail"]
        assert shop.desk.rows("usage") == []


def test_repeated_and_badly_encoded_parameters(shop: Shop) -> None:
    for query in ("limit=1&limit=2", "limit=%ff", "fields=%C3%28", "&".join(["x=1"] * 60), "=1"):
        got = shop.server.get(f"/api/v1/progress?{query}", shop.token)
        assert got.status == 400, query


def test_a_usage_error_is_told_only_to_who_may_ask(shop: Shop) -> None:
    for query in ("limit=0", "foo=1", "limit=%ff"):
        assert shop.server.get(f"/api/v1/progress?{query}").status == 401
        assert shop.server.get(f"/odata/v4/Progress?${query}").status == 401


def test_an_export(shop: Shop) -> None:
    records = [row for page in shop.desk.pages(shop.token, limit=7) for row in page["data"]]
    got = shop.server.get("/api/v1/export", shop.token)
    assert got.json() == records
    assert got.headers["alxreport-rows"] == "20"
    lines = shop.server.get("/api/v1/export", shop.token, format="ndjson").body.splitlines()
    assert [json.loads(line) for line in lines] == records
    some = shop.server.get("/api/v1/export", shop.token, fields="userid,email", format="csv")
    assert some.body.splitlines()[0] == b"userid,email"
    changed = shop.server.get(
        "/api/v1/export", shop.token, mode="incremental", since=got.headers["alxreport-delta"]
    )
    assert changed.json() == []
    assert shop.server.get("/api/v1/export", shop.token, format="xml").status == 400


def test_a_list_of_courses_that_fits_an_address_goes_on(shop: Shop) -> None:
    courses = ",".join(str(number) for number in range(1, 6_200))
    assert 29_000 < len(courses) <= 30_000
    path = f"/api/v1/progress?limit=7&courses={courses}"  # commas as they are
    page = shop.server.get(path, shop.token).json()
    seen = page["count"]
    while page["next"]:
        page = shop.page(limit=7, cursor=page["next"]).json()
        seen += page["count"]
    assert seen == 20
    more = ",".join(str(number) for number in range(1, 7_000))
    assert shop.server.get(f"/api/v1/progress?courses={more}", shop.token).status == 400


def test_a_paging_loop_as_power_query_makes_it_with_a_sync_in_the_middle(shop: Shop) -> None:
    """The whole of the company as it was and is: none missed that was there all the time."""
    shop.configure("requests", rate_limit=1)
    whole = json.loads(shop.desk.export(None, company="acme")[0])
    before = {(row["userid"], row["courseid"]) for row in whole}
    got, position, pages = [], None, 0
    while True:
        page = shop.page(mode="full", limit=3, cursor=position).json()
        assert page["company"]["id"] == 1
        got += [(row["userid"], row["courseid"]) for row in page["data"]]
        pages += 1
        if pages == 3:
            rename(shop.desk, "Other")
            shop.desk.harness.sync()
        if page["next"] is None:
            break
        position = page["next"]
    assert len(got) == len(set(got))
    assert before <= set(got)
    shop.server.settle()
    assert [row["calls"] for row in shop.desk.rows("usage")] == [1]
    assert page["delta"]


@pytest.mark.parametrize("name", ["acme", "ACME", "1", "id:1", "id%3A1"])
def test_the_address_may_name_the_company(shop: Shop, name: str) -> None:
    beta = shop.desk.token("beta")
    paths = ("api/v1/progress", "api/v1/export", "api/v1/company", "odata/v4/", "",
             "odata/v4/$metadata", "odata/v4/Progress", "odata/v4/Progress/$count")  # fmt: skip
    for path in paths:
        at = f"/company/{name}/{path}"
        assert shop.server.get(at, shop.token).status == 200, at
        refused = shop.server.get(at, beta)
        assert refused.status == 403, at
        assert b"beta" not in refused.body
        if path:  # said twice is said once, and cannot be two
            assert shop.server.get(at, shop.token, company=name.replace("%3A", ":")).status == 200
            for other in ("beta", "nobody", ""):
                assert shop.server.get(at, shop.token, company=other).status == 403, (at, other)
                assert shop.server.get(at, beta, company=other).status == 403, (at, other)


def test_the_plugins_address_for_one_company(shop: Shop) -> None:
    form = f"wsfunction={FUNCTION}&moodlewsrestformat=json&wstoken="
    kind = "application/x-www-form-urlencoded"
    told = []
    for token in (shop.token, shop.desk.token("beta")):
        at = f"/company/acme{SERVER_PHP}"
        got = shop.server.ask("POST", at, (form + token).encode(), Content_Type=kind)
        told.append(got.json())
    assert len(told[0]) == 20
    assert told[1]["errorcode"] == "accessexception"


def test_links_stay_below_the_companys_address(shop: Shop) -> None:
    headers = {"Prefer": "odata.maxpagesize=3"}
    page = shop.server.get("/company/acme/odata/v4/Progress", shop.token, headers=headers).json()
    link = urljoin("/company/acme/odata/v4/Progress", page["@odata.nextLink"])
    assert link.startswith("/company/acme/odata/v4/Progress?")
    assert shop.server.get(link, shop.token).json()["value"]
    moved = shop.server.get("/company/acme/odata/v4")
    assert urljoin("/company/acme/odata/v4", moved.headers["location"]) == (
        "/company/acme/odata/v4/"
    )


# Health and metrics


def test_health(shop: Shop) -> None:
    shop.desk.run_sql(
        "UPDATE local_alx_api_sync_runs SET started_at = :now, finished_at = :now", now=NOW
    )
    assert health(shop) == (200, "ok", "")
    shop.server.clock = NOW + 2 * HOUR
    assert health(shop)[0] == 200
    shop.server.clock = NOW + 2 * HOUR + 1
    assert health(shop) == (503, "unavailable", "the last good sync ended at 2026-11-23T02:13:20Z")
    set_switch(shop.desk.harness.engine, shop.desk.harness.tables, enabled=False)
    assert health(shop)[0] == 200
    set_switch(shop.desk.harness.engine, shop.desk.harness.tables, enabled=True)
    assert health(shop)[0] == 503
    shop.configure("alerts", overdue_hours=3)
    assert health(shop)[0] == 200
    shop.desk.run_sql("UPDATE local_alx_api_sync_runs SET status = 'failed'")
    assert health(shop) == (503, "unavailable", "no sync has succeeded yet")
    shop.desk.run_sql("UPDATE local_alx_api_sync_runs SET status = 'success'")


def health(shop: Shop) -> tuple[int, str, str]:
    got = shop.server.get("/healthz")
    told = got.json()
    return got.status, told["status"], told["reason"]


def test_a_store_that_cannot_be_used(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise StoreError("the server db.internal refuses alx:secret")

    assert shop.page().status == 200
    monkeypatch.setattr(shop.server.office.store, "_session", broken)
    for got in (
        shop.page(), shop.server.get("/odata/v4/Progress", shop.token),
        shop.server.moodle(shop.token), shop.server.get("/healthz"),
    ):  # fmt: skip
        assert got.status == 503
        assert b"internal" not in got.body
        assert b"secret" not in got.body
    assert shop.server.get("/healthz").json()["reason"] == "the store cannot be read"
    monkeypatch.undo()
    assert shop.page().status == 200


def test_who_waits_for_a_locked_store_holds_up_no_free_answer(shop: Shop) -> None:
    path = str(shop.desk.settings.store.url).removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(4) as threads:
            waiting = [threads.submit(shop.page, limit=1) for _ in range(4)]
            time.sleep(0.2)
            started = time.perf_counter()
            for path in ("/healthz", "/metrics", "/api/v1/company", "/odata/v4/", "/"):
                assert shop.server.get(path, shop.token).status in {200, 503}
            took = time.perf_counter() - started
            assert not any(each.done() for each in waiting)
            other.execute("ROLLBACK")
            assert [each.result().status for each in waiting] == [200] * 4
    assert took < SLOW


@pytest.mark.parametrize("broken", ["closed", "full"])
def test_nobody_to_tell_of_a_fault_is_no_other_fault(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fails(*_arguments: Any, **_named: Any) -> Any:
        raise StoreError("gone")

    with open("/dev/full", "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", None if broken == "closed" else stream)
        monkeypatch.setattr(shop.server.office.store, "_session", fails)
        got = shop.page()
        monkeypatch.setattr("alxreport.http_api.query_page", lambda *_a, **_n: 1 // 0)
        worse = shop.page()
        monkeypatch.undo()
        with suppress(OSError):
            stream.close()
    assert (got.status, got.headers["content-type"]) == (503, "application/problem+json")
    assert (worse.status, worse.headers["content-type"]) == (500, "application/problem+json")


def test_the_same_trouble_is_told_once_a_minute(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_arguments: Any, **_named: Any) -> Any:
        raise StoreError("gone")

    monkeypatch.setattr(shop.server.office.store, "_session", fails)
    assert {shop.page().status for _ in range(5)} == {503}
    assert capfd.readouterr().err == "alxreport: gone\n"


def test_a_fault_of_ours_is_told_without_its_traceback(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise RuntimeError(f"a fault near {shop.token}")

    monkeypatch.setattr("alxreport.http_api.query_page", broken)
    got = shop.page()
    assert got.status == 500
    assert got.json()["error"]["code"] == "unexpected"
    assert shop.token.encode() not in got.body
    said = capfd.readouterr().err
    assert said == "alxreport: GET /api/v1/progress: failed, RuntimeError\n"


def test_metrics(shop: Shop) -> None:
    shop.page()
    shop.server.settle()
    got = shop.server.get("/metrics")
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(got.body.decode())}
    assert "alxreport_sync_status" in names
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        hidden = shop.server.get("/metrics", headers={header: "203.0.113.7"})
        assert hidden.status == 403
        assert b"acme" not in hidden.body
    for trusted, local in ((["192.0.2.1"], 403), (["127.0.0.1"], 200)):
        serve = replace(shop.desk.settings.serve, trusted_proxies=trusted)
        with serving(replace(shop.desk.settings, serve=serve)) as behind:
            far, near = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "127.0.0.1"}
            assert behind.get("/metrics", headers=far).status == 403
            assert behind.get("/metrics", headers=near).status == local
            assert behind.get("/metrics").status == 200
    shop.configure("serve", metrics_from=["10.0.0.0/8"])
    assert shop.server.get("/metrics").status == 403


def test_the_root_looks_at_a_token_that_is_given(shop: Shop) -> None:
    assert shop.server.get("/").json()["odata"] == "odata/v4/"
    assert shop.server.get("/", shop.token).status == 200
    assert shop.server.get("/", "0" * 32).status == 401
    assert shop.desk.rows("usage") == []


def test_other_addresses(shop: Shop) -> None:
    for path in ("/nothing", "/api/v1/progress/", "/api/v2/progress", "/../etc/passwd", "/%2e%2e/",
                 "//", "/webservice/rest/", "/odata", "/odata/v5/", "/\x7f"):  # fmt: skip
        got = shop.server.get(quote(path, safe="/%."), shop.token)
        assert got.status == 404, path
        assert got.json()["error"]["hint"]
    assert shop.server.get("/odata/v4/Nothing", shop.token).status == 404
    wrong = shop.server.ask("POST", "/api/v1/progress")
    assert (wrong.status, wrong.json()["status"]) == (405, 405)
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
    moved = shop.server.get("/odata/v4?company=acme")
    assert (moved.status, moved.headers["location"]) == (307, "v4/?company=acme")


# Bounds


def is_whole(answer: bytes) -> bool:
    """Tell whether all of an answer has come after which the connection stays open."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or b"connection: close" in head.lower():
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return length is None or len(body) >= int(length[1])


def raw(shop: Shop, data: bytes, *, wait: float = 5.0) -> bytes:
    """Send bytes, and return what comes until the server hangs up or is done."""
    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=wait) as connection:
        got = b""
        try:
            connection.sendall(data)
            while not is_whole(got) and (part := connection.recv(65_536)):
                got += part
        except (TimeoutError, ConnectionError):
            pass
        return got


def test_heads_that_are_too_large(shop: Shop) -> None:
    long_url = b"GET /?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(shop, long_url)[9:12] in {b"414", b"400"}
    just = b"GET /?" + b"x" * 65_100 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(shop, just).startswith(b"HTTP/1.1 414")
    many = b"".join(b"X-%d: y\r\n" % number for number in range(200))
    assert raw(shop, b"GET / HTTP/1.1\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431")
    big = b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000
    assert raw(shop, big).startswith(b"HTTP/1.1 431")
    assert shop.page().status == 200


def test_a_head_without_end_is_cut_off(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.2)
    assert raw(shop, b"GET / HTTP/1.1\r\nHost:").startswith(b"HTTP/1.1 408")
    assert raw(shop, b"").startswith(b"HTTP/1.1 408")
    # The second request of a connection, too.
    got = raw(shop, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n", wait=2)
    assert got


def test_slow_clients_hold_up_nobody(shop: Shop) -> None:
    connections = []
    for number in range(60):
        connection = socket.create_connection(("127.0.0.1", shop.server.port))
        if number % 3 == 0:
            connection.sendall(b"GET /api/v1/prog")  # a head that does not end
        elif number % 3 == 1:  # a body that does not come
            connection.sendall(
                f"POST {SERVER_PHP} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n\r\nwstoken=".encode()
            )
        else:  # an answer that is not read
            connection.sendall(
                f"GET /api/v1/progress HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.token}"
                "\r\n\r\n".encode()
            )
        connections.append(connection)
    time.sleep(0.2)
    started = time.perf_counter()
    assert all(shop.page(limit=2).status == 200 for _ in range(10))
    assert time.perf_counter() - started < 3
    for connection in connections:
        connection.close()


def test_more_than_can_wait_is_told_to_come_back(shop: Shop) -> None:
    hold = threading.Event()

    async def crowd() -> list[str]:
        async def one() -> str:
            try:
                await shop.server.office.run(hold.wait)
            except Exception as error:
                return type(error).__name__
            return "done"

        tasks = [asyncio.ensure_future(one()) for _ in range(210)]
        await asyncio.sleep(0.1)
        hold.set()
        return list(await asyncio.gather(*tasks))

    told = asyncio.run(crowd())
    assert told.count("BusyError") == 10
    assert told.count("done") == 200


TOKENS = ["", "x", "alx_", "\x00", "' OR 1=1 --", "Ü" * 20, "a" * 5_000, "%00", "{}", "null"]


def test_a_thousand_malformed_requests(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    """All are refused, none fails, nothing is told of the inside, and the server lives on."""
    rng = random.Random(7)
    shop.server.office.brakes.count = lambda _a, _n: 0.0  # type: ignore[method-assign]
    counts: dict[bytes, int] = {}

    def noise(length: int) -> bytes:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, length)))

    def word() -> str:
        return rng.choice(["limit", "offset", "cursor", "$filter", "$top", "since", "wstoken",
                           "$skiptoken", "fields", "%24orderby", "company", "é", ""])  # fmt: skip

    def request(number: int) -> bytes:
        kind = number % 10
        path = rng.choice(["/api/v1/progress", "/odata/v4/Progress", "/api/v1/export",
                           "/api/v1/company", "/odata/v4/$metadata", "/odata/v4/x"])  # fmt: skip
        good = f"Authorization: Bearer {shop.token}\r\n".encode()
        if kind == 0:  # no HTTP at all
            return noise(300) + b"\r\n\r\n"
        if kind == 1:  # a token that is none
            bad = basic(rng.choice(TOKENS)) if rng.random() < 0.5 else "Bearer \xff\xfe"
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {bad}\r\n\r\n"
            return head.encode("latin-1")
        if kind in {2, 3, 4}:  # parameters that are none
            query = "&".join(
                f"{word()}={quote(noise(30), safe='')}" for _ in range(rng.randrange(1, 5))
            )
            return f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n".encode() + good + b"\r\n"
        if kind == 5:  # a path that is none
            odd = quote(noise(60), safe="/")
            return f"GET /{odd} HTTP/1.1\r\nHost: x\r\n".encode() + good + b"\r\n"
        if kind == 6:  # bytes where text should be
            return b"GET /" + noise(40) + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        if kind == 7:  # a form that is none
            body = noise(500)
            return (
                f"POST {SERVER_PHP} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                f"Content-Type: {rng.choice(FORMS)}\r\n\r\n".encode()
                + body
            )
        if kind == 8:  # a length that is none
            length = rng.choice(["-1", "abc", "99999999999999999999", "1, 2", "70000"])
            return (
                f"POST {SERVER_PHP} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nx"
            ).encode()
        method = rng.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "CONNECT"])
        return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + good + b"\r\n"

    def send(number: int) -> bytes:
        # Where less comes than was announced the server waits for the rest, and we do not.
        return raw(shop, requests[number], wait=0.5 if number % 10 == 8 else 20.0)

    requests = [request(number) for number in range(1_000)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(send, range(1_000)))
    for number, got in enumerate(answers):
        status = got[9:12]
        counts[status] = counts.get(status, 0) + 1
        assert b"Traceback" not in got
        assert b'File "' not in got
        if number % 10 == 7:  # as Moodle: 200 and an exception
            assert status in {b"200", b"413", b"400"}
            assert b"xception" in got or status == b"400"
        elif status == b"200":
            assert number % 10 in {0, 6}, got[:200]
        elif got:
            assert status.startswith(b"4") or status in {b"501", b"307"}, got[:300]
    assert sum(counts.get(code, 0) for code in (b"400", b"401", b"404", b"405", b"413")) > 600
    assert shop.page(limit=1).status == 200
    assert "Traceback" not in capfd.readouterr().err
    del shop.server.office.brakes.count


FORMS = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
         "multipart/form-data", "text/plain", "application/json", "\x01"]  # fmt: skip
