"""The request log: one true row for each request, few for what is refused, and never in the way."""

from __future__ import annotations

import io
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from alxreport import admission, limit_admin, request_log
from alxreport.errors import (
    AlxError,
    NotAuthorisedError,
    RateLimitError,
    ResyncError,
    StoreError,
    UsageError,
)
from alxreport.export import export
from alxreport.token_form import new_token

from .asking import AGENT, HERE, Desk, caller, open_desk, question
from .command_line import PYTHON, write_config
from .conftest import Backend
from .crowd import add_crowd
from .moodle_site import DAY, NOW
from .servers import OFFICES  # noqa: F401 - over HTTP, too

MINUTE = NOW - NOW % 60


def furnish(desk: Desk) -> Desk:
    for name in ("acme", "beta"):
        add_crowd(desk.site, name, 5)
    desk.harness.sync()
    return desk


@pytest.fixture
def desk(office: Desk) -> Desk:
    office.renew()
    return furnish(office)


@pytest.fixture
def local(local_office: Desk) -> Desk:
    local_office.renew()
    return furnish(local_office)


@pytest.fixture
def fragile(backend: Backend, tmp_path: Path) -> Iterator[Desk]:
    """A desk of one test's own, which may drop a table."""
    with open_desk(tmp_path, backend.new_url()) as opened:
        yield furnish(opened)


def last(desk: Desk, *names: str) -> Any:
    row = desk.log()[-1]
    return tuple(row[name] for name in names) if len(names) > 1 else row[names[0]]


def test_a_row_for_each_request(desk: Desk) -> None:
    """Company, token, caller, endpoint, mode, limit, offset, rows, cache, error, as they were."""
    first, second = desk.token("acme"), desk.token("beta", networks=["10.0.0.0/8"])
    page = desk.ask(first, limit=2)
    desk.ask(first, limit=2)
    desk.ask(first, limit=3, cursor=page["next"])
    desk.ask(first, limit=2, offset=4)
    delta = desk.export(first, mode="incremental")[1].delta
    desk.ask(first, since=delta, now=NOW + 1)
    desk.export(first, form="csv", status="completed")
    desk.ask(second, ip="10.1.2.3", agent="PowerBI/2.1")
    desk.ask(None, company="acme")
    refusals: list[tuple[str | None, dict[str, Any]]] = [
        (first, {"company": "beta"}),
        (second, {}),
        (new_token(), {}),
        ("alx_nonsense", {"agent": "curl/8"}),
        (first, {"limit": 0}),
        (first, {"since": "nonsense", "mode": "incremental"}),
        (None, {"company": "nope"}),
        (None, {}),
    ]
    for token, asked in refusals:
        with pytest.raises(AlxError):
            desk.ask(token, **asked)
    names = ("at", "companyid", "tokenid", "ip", "agent", "endpoint", "mode", "page_limit",
             "page_offset", "row_count", "cache", "error")  # fmt: skip
    way = desk.endpoint
    by_first = (NOW, 1, 1, HERE, AGENT)
    nobody = (NOW, 0, 0, HERE, AGENT)
    assert [tuple(row[name] for name in names) for row in desk.log()] == [
        (*by_first, way, "full", 2, 0, 2, "miss", ""),
        (*by_first, way, "full", 2, 0, 2, "hit", ""),
        (*by_first, way, "full", 3, None, 3, "miss", ""),
        (*by_first, way, "full", 2, 4, 1, "miss", ""),
        (*by_first, "export", "incremental", None, None, 5, "", ""),
        (NOW + 1, 1, 1, HERE, AGENT, way, "incremental", 100, 0, 0, "miss", ""),
        (*by_first, "export", "full", None, None, 0, "", ""),
        (NOW, 2, 2, "10.1.2.3", "PowerBI/2.1", way, "full", 100, 0, 5, "miss", ""),
        (NOW, 1, 0, "", AGENT, "query", "full", 100, 0, 5, "miss", ""),
        (*by_first, way, "", None, None, 0, "", "not_authorised:company"),
        (NOW, 2, 2, HERE, AGENT, way, "", None, None, 0, "", "not_authorised:network"),
        (*nobody, way, "", None, None, 0, "", "not_authorised:unknown"),
        (NOW, 0, 0, HERE, "curl/8", way, "", None, None, 0, "", "not_authorised:malformed"),
        (*by_first, way, "", 0, None, 0, "", "usage"),
        (*by_first, way, "", None, None, 0, "", "resync_required"),
        (NOW, 0, 0, "", AGENT, "query", "", None, None, 0, "", "not_found"),
        (NOW, 0, 0, "", AGENT, "query", "", None, None, 0, "", "usage"),
    ]
    log = desk.log()
    assert [row["id"] for row in log] == sorted(row["id"] for row in log)
    assert all(0 <= row["duration_us"] < 60_000_000 for row in log)
    assert all(row["duration_us"] > 0 for row in log[:9])
    asked = [row["question"] for row in log[:9]]
    assert asked[0] == asked[1] != ""
    assert len(set(asked)) == 8  # the operator's and Beta's differ too


def test_requests_at_once(desk: Desk) -> None:
    """The first ones of the day, all for the same page: each is answered, paid and logged."""
    token, answers = desk.token("acme"), list[Any]()
    start = threading.Barrier(8)

    def one() -> None:
        start.wait()
        try:
            answers.append(desk.ask(token)["count"])
        except AlxError as error:
            answers.append(error.message)

    for _day in range(4):
        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        desk.now += DAY
    assert Counter(answers) == {5: 32}
    assert [row["error"] for row in desk.log()] == [""] * 32
    assert [row["calls"] for row in desk.rows("usage")] == [8] * 4


def test_the_budget_in_the_log(desk: Desk) -> None:
    token = desk.token("acme")
    limit_admin.set_limit(desk.store, desk.settings, "acme", "1", NOW)
    desk.ask(token)
    for _ in range(50):
        with pytest.raises(RateLimitError):
            desk.ask(token, limit=5)
    errors = Counter(row["error"] for row in desk.log())
    assert errors == {"": 1, "rate_limit": request_log.LOGGED_REFUSALS}
    found = desk.rows("refusals")
    names = ("minute", "kind", "subject", "companyid", "refused")
    assert [tuple(row[name] for name in names) for row in found] == [
        (MINUTE, "rate_limit", "1", 1, 50)
    ]
    assert [(row["calls"], row["refused"]) for row in desk.rows("usage")] == [(1, 50)]
    assert last(desk, "companyid", "tokenid", "page_limit", "row_count") == (1, 1, 5, 0)


def attack(desk: Desk, times: int, **asked: Any) -> None:
    for _ in range(times):
        with pytest.raises(NotAuthorisedError):
            desk.ask(new_token(), **asked)


def test_wrong_tokens_do_not_flood_the_log(desk: Desk) -> None:
    times = 500 if desk.settings.store.url.startswith("sqlite") else 100
    attack(desk, times)
    assert len(desk.log()) == request_log.LOGGED_REFUSALS
    found = desk.rows("refusals")
    assert [(r["minute"], r["kind"], r["subject"], r["refused"]) for r in found] == [
        (MINUTE, "authorisation", HERE, times)
    ]  # fmt: skip
    # Another caller and another minute are told apart; what succeeds is always logged.
    attack(desk, 7, ip="192.0.2.1")
    attack(desk, 7, now=NOW + 60)
    counted = {(r["minute"], r["subject"]): r["refused"] for r in desk.rows("refusals")}
    assert counted == {
        (MINUTE, HERE): times, (MINUTE, "192.0.2.1"): 7, (MINUTE + 60, HERE): 7
    }  # fmt: skip
    assert len(desk.log()) == 3 * request_log.LOGGED_REFUSALS
    token = desk.token("acme")
    for _ in range(9):
        desk.ask(token)
    assert len(desk.log()) == 3 * request_log.LOGGED_REFUSALS + 9


def test_many_callers_do_not_flood_it_either(local: Desk) -> None:
    for number in range(300):
        attack(local, 1, ip=f"10.0.{number // 100}.{number % 100}")
    found = {row["subject"]: row["refused"] for row in local.rows("refusals")}
    most = request_log.COUNTED_CALLERS
    assert len(found) == most + 1
    assert found[request_log.OTHERS] == 300 - most
    assert sum(found.values()) == 300
    assert len(local.log()) == most + request_log.LOGGED_REFUSALS


def test_wrong_tokens_at_once_are_all_counted(desk: Desk) -> None:
    def work() -> None:
        for _ in range(10):
            with suppress(NotAuthorisedError):
                desk.ask(new_token())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["refused"] for row in desk.rows("refusals")] == [40]
    assert len(desk.log()) == request_log.LOGGED_REFUSALS


def test_usage_errors_do_not_flood_it_either(desk: Desk) -> None:
    token = desk.token("acme")
    for _ in range(12):
        with pytest.raises(UsageError):
            desk.ask(token, limit=10**40, offset=-(10**40))
    assert len(desk.log()) == request_log.LOGGED_REFUSALS
    assert [(r["kind"], r["subject"], r["refused"]) for r in desk.rows("refusals")] == [
        ("usage", "1", 12)
    ]  # fmt: skip


@pytest.mark.not_over_http  # no header can hold these; see test_serving.py
def test_what_a_caller_says_of_himself_is_cleaned(desk: Desk) -> None:
    token = desk.token("acme")
    desk.ask(token, agent=f"evil\n\x00\x1b[31m {token} \udc80 株 🎓 ' ; --", ip="x" * 500)
    assert last(desk, "agent", "ip") == ("evil   [31m ***   株 🎓 ' ; --", "x" * 64)
    desk.ask(token, agent="A" * 10_000)
    assert last(desk, "agent") == "A" * 255
    with pytest.raises(NotAuthorisedError):
        desk.ask("nonsense", agent=f"{token} " * 20, ip=f"{token} " * 20)
    assert last(desk, "agent", "ip") == ("*** " * 20, ("*** " * 20)[:64])
    for odd in ("a'b\"c`d%(x)s:y\\", "Ä" * 300, "🎓" * 300, "\udc80" * 300, " ", ""):
        for _ in range(2):
            with pytest.raises(NotAuthorisedError):
                desk.ask("nonsense", ip=odd)
    assert sum(row["refused"] for row in desk.rows("refusals")) == 13


def test_the_hourly_sync_prunes(desk: Desk) -> None:
    token = desk.token("acme")
    for days in (200, 91, 90, 89, 1):
        desk.ask(token, now=NOW - days * DAY)
        with pytest.raises(NotAuthorisedError):
            desk.ask("wrong", now=NOW - days * DAY)
    desk.now += 3_600
    desk.harness.sync()
    ages = [(NOW - row["at"]) // DAY for row in desk.log()]
    assert sorted(ages) == [1, 1, 89, 89]
    assert sorted((NOW - row["minute"]) // DAY for row in desk.rows("refusals")) == [1, 89]
    desk.configure(log_retention_days=30)
    desk.now += 3_600
    desk.harness.sync()
    assert [(NOW - row["at"]) // DAY for row in desk.log()] == [1, 1]
    assert len(desk.rows("tokens")) == 1


def test_the_pruning_is_done_in_parts(local: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "PRUNED_ROWS", 4)
    token = local.token("acme")
    for number in range(10):
        local.ask(token, now=NOW - 100 * DAY - number)
    local.ask(token)
    counts = [
        local.store.write(lambda session: request_log.prune(session, before=NOW - DAY))
        for _ in range(4)
    ]
    assert counts == [4, 4, 2, 0]
    assert [row["at"] for row in local.log()] == [NOW]


def test_hits_and_misses(desk: Desk) -> None:
    first, second = desk.token("acme"), desk.token("beta")
    for token in (first, first, first, second):
        desk.ask(token)
    desk.export(first)

    def rates(**asked: Any) -> tuple[int, int]:
        return desk.store.read(lambda session: request_log.hits_and_misses(session, **asked))

    assert rates(since=NOW) == (2, 2)
    assert rates(since=NOW, company=1) == (2, 1)
    assert rates(since=NOW + 1) == (0, 0)


# Where the log itself fails


@pytest.mark.parametrize("table", ["logs", "refusals"])
def test_a_broken_log_hides_no_error(fragile: Desk, table: str) -> None:
    token = fragile.token("acme")
    limit_admin.set_limit(fragile.store, fragile.settings, "acme", "1", NOW)
    fragile.ask(token)
    fragile.run_sql(f"DROP TABLE {{{table}}}")
    with pytest.raises(NotAuthorisedError):
        fragile.ask(new_token())
    with pytest.raises(NotAuthorisedError):
        fragile.ask(token, company="beta")
    with pytest.raises(UsageError):
        fragile.ask(token, limit=0)
    with pytest.raises(ResyncError):
        fragile.export(token, since="nonsense")
    with pytest.raises(RateLimitError):
        fragile.ask(token)
    with pytest.raises(BrokenPipeError):
        export_to(fragile, None, Deaf(BrokenPipeError()))


def test_a_log_that_is_gone_stops_tokens_and_warns_the_operator(fragile: Desk) -> None:
    """Nobody reads without a trace; but the operator may look into a store that is broken."""
    token = fragile.token("acme")
    fragile.run_sql("DROP TABLE {logs}")
    with pytest.raises(StoreError):
        fragile.ask(token)
    page = fragile.page(None, company="acme")
    assert (page.head["count"], len(page.warnings)) == (5, 1)
    assert "not logged" in page.warnings[0]
    _data, done = fragile.export(None, company="acme")
    assert (done.rows, len(done.warnings)) == (5, 1)


@pytest.mark.parametrize("fault", [OverflowError("too large"), ValueError("?"), OSError("?")])
def test_a_fault_in_the_log_hides_no_error(
    local: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_arguments: Any) -> None:
        raise fault

    monkeypatch.setattr(request_log, "write", broken)
    with pytest.raises(NotAuthorisedError):
        local.ask("wrong")


def test_a_refusal_takes_back_what_came_before_it(desk: Desk) -> None:
    """The steps are one transaction: what is refused has cost nothing and left nothing else."""
    token = desk.token("acme")
    with pytest.raises(UsageError):
        desk.ask(token, fields="nope")
    assert desk.rows("usage") == []
    assert desk.tokens()[0]["last_used_at"] is None
    assert desk.rows("cache") == desk.rows("series") == []


# Where the reader goes


class Deaf(io.RawIOBase):
    """A reader that is gone after some bytes."""

    def __init__(self, fault: BaseException, room: int = 0) -> None:
        self.fault = fault
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise self.fault
        return len(data)


def export_to(desk: Desk, token: str | None, out: Any, form: str = "ndjson") -> None:
    asked: dict[str, Any] = {} if token else {"company": "acme"}
    who = caller(token, "export", asked)
    export(desk.store, desk.settings, who, question(everything=True), out, form=form, now=NOW)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (BrokenPipeError(), "aborted"),
        (KeyboardInterrupt(), "aborted"),
        (OSError(28, "No space left on device"), "failure"),
        (ValueError("I/O operation on closed file"), "failure"),
    ],
)
def test_an_export_that_breaks_off(desk: Desk, fault: BaseException, word: str) -> None:
    token = desk.token("acme")
    for form in ("json", "ndjson", "csv", "parquet"):
        with pytest.raises(type(fault)):
            export_to(desk, token, Deaf(fault, 40), form)
        assert last(desk, "endpoint", "companyid", "tokenid", "mode", "error", "row_count") == (
            "export", 1, 1, "full", word, 0
        )  # fmt: skip
    assert desk.rows("usage")[0]["calls"] == 4  # it was granted, and is one request
    assert len(desk.export(token)[0]) > 100
    assert last(desk, "error", "row_count") == ("", 5)


def test_the_rows_that_went_out_before_it_broke_off(
    local: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alxreport.export._rows.__defaults__", (2,))
    out = Deaf(BrokenPipeError(), 900)
    with pytest.raises(BrokenPipeError):
        export_to(local, None, out)
    assert last(local, "error", "row_count") == ("aborted", 2)


def test_a_closed_pipe_is_logged_as_aborted(desk: Desk, tmp_path: Path) -> None:
    config = write_config(tmp_path, str(desk.harness.source.url), desk.settings.store.url)
    words = [*PYTHON, "export", "--company", "acme", "--config", str(config)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (0, b"")
    assert last(desk, "endpoint", "companyid", "error") == ("export", 1, "aborted")


def test_every_refusal_has_a_word_for_the_log() -> None:
    for error in (StoreError("x"), UsageError("x"), ResyncError("x"),
                  NotAuthorisedError("x", reason="unknown"), KeyboardInterrupt(), OSError(),
                  BrokenPipeError(), RateLimitError("x", "", limit=1, resets_at=1)):  # fmt: skip
        word = admission.error_word(error)
        assert 0 < len(word) <= 50
        assert " " not in word
