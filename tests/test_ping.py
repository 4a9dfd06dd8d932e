"""Pings of a sync: heard in order by who listens, and no matter to the sync where nobody does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from alxreport import ping as pings
from alxreport.errors import AlreadyRunningError, SourceError
from alxreport.lease import sync_lease
from alxreport.ping import ping
from alxreport.switch import set_switch
from alxreport.token_form import new_token

from .receivers import (
    Hook,
    dripping_receiver,
    hanging_receiver,
    http_receiver,
    refusing_receiver,
)
from .watching import BIG, Watched

PATH = "/ping/0b9d-uuid?team=a%20b&x=1"
# What a run may take longer than without a watcher: two pings that nobody hears, at this limit.
LIMIT = 0.3


@pytest.fixture
def desk(watched: Watched) -> Watched:
    return watched.furnish()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with http_receiver() as receiver:
        yield receiver


def watch(desk: Watched, url: str) -> None:
    sync = replace(desk.settings.sync, ping_url=url)
    desk.harness.settings = replace(desk.settings, sync=sync)


def heard(hook: Hook) -> list[str]:
    """Return the paths of the pings, without the query that all must have."""
    paths = [path.partition("?") for _verb, path, _body in hook.requests]
    assert {(verb, query) for (verb, *_), (_p, _s, query) in zip(hook.requests, paths, strict=True)
            } <= {("POST", "team=a%20b&x=1")}  # fmt: skip
    hook.requests.clear()
    return [path.removeprefix("/ping/0b9d-uuid") for path, _sign, _query in paths]


def test_each_run_pings_its_start_and_its_end(desk: Watched, hook: Hook) -> None:
    desk.furnish(acme=BIG)
    watch(desk, f"http://{hook.url}{PATH}")
    seen: list[list[str]] = []

    def observe(*_told: object) -> None:
        seen.append([path for _verb, path, _body in hook.requests])

    desk.harness.sync(full=True, observer=observe)
    assert len(seen[0]) == 1  # the start before anything is done, the end after everything
    assert heard(hook) == ["/start", ""]
    desk.sync_without_source()
    [_start, (_verb, _path, told)] = hook.requests
    assert told == desk.rows("runs")[-1]["error"].encode()
    assert heard(hook) == ["/start", "/fail"]
    desk.lose_rows()
    assert desk.harness.sync().status == "partial"
    assert hook.requests[1][2] == b"1 of 2 companies failed"
    assert heard(hook) == ["/start", "/fail"]
    desk.harness.sync(allow_mass_delete=True)
    assert heard(hook) == ["/start", ""]


def test_what_is_no_run_pings_nothing(desk: Watched, hook: Hook) -> None:
    watch(desk, f"http://{hook.url}{PATH}")
    harness = desk.harness
    harness.sync(dry_run=True)
    lease = sync_lease(harness.engine, harness.tables, int(time.time()))
    with lease, pytest.raises(AlreadyRunningError):
        harness.sync()
    set_switch(harness.engine, harness.tables, enabled=False)
    assert harness.sync().status == "disabled"
    assert heard(hook) == []
    set_switch(harness.engine, harness.tables, enabled=True)
    watch(desk, "")
    harness.sync()
    assert heard(hook) == []


def test_a_fault_of_ours_is_pinged_without_its_words(desk: Watched, hook: Hook) -> None:
    watch(desk, f"http://{hook.url}{PATH}")

    def observe(*_told: object) -> None:
        raise RuntimeError("geheim")

    with pytest.raises(RuntimeError):
        desk.harness.sync(full=True, observer=observe)
    assert b"geheim" not in b"".join(body for _verb, _path, body in hook.requests)
    assert heard(hook)[-1] == "/fail"


def test_no_token_is_in_the_words_of_a_ping(desk: Watched, hook: Hook) -> None:
    watch(desk, f"http://{hook.url}{PATH}")
    secret = new_token()
    moodle = desk.settings.moodle
    broken = replace(moodle, url=f"sqlite:////nowhere/{secret}.db")
    desk.harness.settings = replace(desk.settings, moodle=broken)
    with pytest.raises(SourceError):
        desk.harness.sync()
    assert len(hook.requests) == 2
    assert secret.encode() not in b"".join(body for _verb, _path, body in hook.requests)


def timed(desk: Watched) -> float:
    began = time.monotonic()
    assert desk.harness.sync().status == "success"
    return time.monotonic() - began


@pytest.mark.parametrize("kind", ["refusing", "hanging", "dripping", "endless"])
def test_a_receiver_that_is_ill_neither_fails_nor_holds_up_a_run(
    desk: Watched, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * pings.TIMEOUT_SECONDS <= 10
    monkeypatch.setattr(pings, "TIMEOUT_SECONDS", LIMIT)
    made = {
        "refusing": refusing_receiver, "hanging": hanging_receiver, "dripping": dripping_receiver,
        "endless": lambda: dripping_receiver(b"HTTP/1.1 200 OK\r\n"),
    }  # fmt: skip
    with made[kind]() as address:
        watch(desk, f"http://{address}{PATH}")
        assert timed(desk) < 2 * LIMIT + 1.5
        assert not ping(f"http://{address}{PATH}", "start")


@pytest.mark.parametrize("status", [199, 301, 404, 500, 503])
def test_an_answer_that_is_none_is_not_heard(hook: Hook, status: int) -> None:
    hook.status = status
    assert not ping(f"http://{hook.url}{PATH}", "success")
    assert hook.requests


@pytest.mark.parametrize(
    "url",
    ["nonsense", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "http://[::bad", "https://",
     "http://127.0.0.1:99999/", "http://127.0.0.1:port/", "http://user:pass@127.0.0.1:1/",
     "http://a b/", "http://127.0.0.1:1/ü", "http://127.0.0.1:1/a\r\nX: y", "\0", "http://\udc80/"],
)  # fmt: skip
def test_an_address_that_is_none_is_no_matter(desk: Watched, url: str) -> None:
    assert not ping(url, "start")
    watch(desk, url)
    assert timed(desk) < 2


@pytest.mark.parametrize(
    ("given", "path"),
    [("", "/start"), ("/", "/start"), ("/a", "/a/start"), ("/a/", "/a/start"),
     ("?x=1", "/start?x=1"), ("/a?x=/b", "/a/start?x=/b")],
)  # fmt: skip
def test_the_ending_goes_to_the_path(hook: Hook, given: str, path: str) -> None:
    assert ping(f"http://{hook.url}{given}", "start", "Zoë " * 1000)
    [(verb, asked, body)] = hook.requests
    assert (verb, asked) == ("POST", path)
    assert body.decode() == ("Zoë " * 1000)[:1000]
