"""Pages of the feed while syncs go on, its links, and requests that were never meant."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import odata, rate_limit
from alxreport.company_options import company_options
from alxreport.errors import AlxError, NotAuthorisedError, ResyncError, StoreError, UsageError
from alxreport.listing import Listing, conditions, order
from alxreport.marks import Place, read_place, write_place
from alxreport.odata_filter import parse
from alxreport.odata_model import Property, type_of
from alxreport.odata_options import FeedQuestion
from alxreport.question import Basis, Question
from alxreport.sessions import Store
from alxreport.settings import Settings

from . import feed
from .asking import Desk, open_desk, people
from .feed import ask, get, keys
from .test_increments import back_up, rename, restore
from .test_paging import change, restart

EXAMPLES = {"sqlite": 8, "mysql": 2, "postgresql": 2}
SECONDS = 10.0  # a reading in quadratic time takes minutes
TIMES = ("timecompleted", "timestarted", "last_updated", "created_at")
ORDERS = (
    (), ("lastname",), ("status", "-percentage"), ("-courseid",), ("coursename", "-lastname"),
    ("-timestarted",), ("-last_updated", "email"),
)  # fmt: skip
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PROPERTIES = {
    name: Property(name, type_of(name), name) for name in ("userid", "email", "percentage", *TIMES)
}

# While syncs go on


def written(by: Sequence[str]) -> str:
    return ",".join(f"{name[1:]} desc" if name[0] == "-" else name for name in by)


def place(row: dict[str, Any], by: Sequence[str]) -> tuple[Any, ...]:
    """Return what decides where a row comes."""
    return (*(row[name.lstrip("-")] for name in by), row["userid"], row["courseid"])


def present(desk: Desk, company: int, by: Sequence[str]) -> dict[tuple[int, int], Any]:
    """Return where each live row of a company stands in an order."""
    return {
        (row["userid"], row["courseid"]): place(row, by)
        for row in desk.rows("reporting")
        if row["companyid"] == company and not row["is_deleted"]
    }


def run_series(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    company = restart(desk, seed)
    token = desk.token(f"id:{company}")
    by = rng.choice(ORDERS)
    asked = {"orderby": written(by)} if by else {}
    moments, told = [present(desk, company, by)], list[tuple[int, int]]()
    page = get(desk, token, prefer=f"maxpagesize={rng.randint(1, 6)}", **asked)
    while True:
        told += keys(page["value"])
        following = feed.link(page)
        if following is None:
            break
        if rng.random() < 0.6:
            change(desk, rng)
            moments.append(present(desk, company, by))
        path, items = following
        try:
            page = get(desk, token, path, items=items, prefer=f"maxpagesize={rng.randint(1, 6)}")
        except NotAuthorisedError:
            return  # the company is gone
    # A row that a sync moves to another place in the order may pass the reader, either way.
    stayed = {
        key for key, where in moments[0].items() if all(m.get(key) == where for m in moments[1:])
    }
    assert stayed <= set(told) <= set().union(*moments)
    assert not [key for key in stayed if told.count(key) > 1]
    if not by:
        assert told == sorted(set(told))


def test_a_series_misses_no_row_and_tells_none_twice(desk: Desk) -> None:
    @settings(
        max_examples=EXAMPLES[desk.harness.engine.dialect.name.replace("mariadb", "mysql")],
        suppress_health_check=list(HealthCheck), deadline=None,
    )  # fmt: skip
    @given(seed=st.integers(0, 2**32))
    def history(seed: int) -> None:
        run_series(desk, seed)

    history()


@pytest.mark.parametrize("by", ["", "email desc", "status"])
def test_rows_that_come_and_go_around_the_place_of_the_reader(desk: Desk, by: str) -> None:
    crowd = people(desk, learners=6, courses=1)
    [course], users = crowd.courses, crowd.users[:: -1 if "desc" in by else 1]
    token = desk.token("acme")
    asked = {"orderby": by} if by else {}
    first = get(desk, token, prefer="maxpagesize=3", count="true", **asked)
    assert keys(first["value"]) == [(user, course) for user in users[:3]]
    desk.now += 60
    for user in (users[2], users[4]):
        desk.site.remove_from_company(crowd.company, user)
    desk.harness.sync()
    path, items = feed.link(first) or ("", [])
    second = get(desk, token, path, items=items, prefer="maxpagesize=3")
    assert keys(second["value"]) == [(users[3], course), (users[5], course)]
    assert second["@odata.count"] == 6
    assert feed.link(second) is None


# The links


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.one_of(st.integers(-(2**63), 2**63 - 1), texts, st.floats(0, 100), st.decimals(0, 100))
places = st.builds(
    Place, st.lists(values, max_size=4).map(tuple), st.none() | st.integers(0, 2**63 - 1),
    st.none() | st.integers(0, 2**40), st.text("0123456789abcdef", max_size=24),
    st.integers(1, 2**60), st.integers(0, 2**60), st.text("0123456789abcdef", max_size=16),
)  # fmt: skip


@given(places)
def test_a_place_comes_back_with_its_own_key_only(where: Place) -> None:
    text = write_place(KEY, where)
    found = read_place(KEY, text)
    assert found == where
    assert [type(value) for value in found.after] == [type(value) for value in where.after]
    assert read_place(OTHER, text) is None
    assert not read_place(KEY, text[:-1])
    assert not read_place(KEY, "C" + text[1:])


def test_a_link_repeats_what_was_asked_whatever_is_in_it(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    odd = "a&b=c#d%41+ ;é\U0001f600'"
    desk.site.change_user(crowd.users[0], desk.now, lastname=odd)
    desk.now += 60
    desk.harness.sync()
    quoted = odd.replace("'", "''")
    text = f"lastname eq '{quoted}'"
    found = list(feed.pages(desk, token, filter=text, orderby="lastname,coursename desc",
                            select="userid,lastname", prefer="maxpagesize=1"))  # fmt: skip
    assert [page["value"] for page in found] == [
        [{"userid": crowd.users[0], "lastname": odd}] for _course in crowd.courses
    ]
    assert "$filter=" in found[0]["@odata.nextLink"]
    assert text in unquote(found[0]["@odata.nextLink"])


def test_a_link_whose_options_were_changed_is_refused(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    page = get(local, token, filter="userid gt 0", select="userid,courseid", top=9,
               prefer="maxpagesize=2")  # fmt: skip
    path, items = feed.link(page) or ("", [])
    assert get(local, token, path, items=items, prefer="maxpagesize=1")["value"]
    others = [
        [(name, "userid ge 0" if name == "$filter" else text) for name, text in items],
        [(name, "10" if name == "$top" else text) for name, text in items],
        [item for item in items if item[0] != "$select"],
        [item for item in items if item[0] != "$filter"],
        [*items, ("$orderby", "email")], [*items, ("$count", "true")], [*items, ("$skip", "1")],
    ]  # fmt: skip
    for other in others:
        with pytest.raises(UsageError, match="other options"):
            get(local, token, path, items=other)
    [mark] = [text for name, text in items if name == "$skiptoken"]
    cursor = local.ask(token, limit=1)["next"]
    for damaged in (mark[:-1], mark + "A", "S", "C" + mark[1:], cursor, mark.lower(), mark * 2):
        with pytest.raises(UsageError, match="damaged") as caught:
            get(local, token, items=[*items[:-1], ("$skiptoken", damaged)])
        assert not isinstance(caught.value, ResyncError)
    with pytest.raises(UsageError):
        local.ask(token, cursor=mark)


def test_a_link_belongs_to_its_store_and_history(desk: Desk, tmp_path: Path) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    path, items = feed.link(get(desk, token, prefer="maxpagesize=2")) or ("", [])
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/other.db") as other:
        people(other)
        with pytest.raises(UsageError, match="another company or store"):
            ask(other, other.token("acme"), path, items=items)
    backup = back_up(desk)
    rename(desk, crowd.users[0], "A")
    _path, lost = feed.link(get(desk, token, prefer="maxpagesize=2")) or ("", [])
    restore(desk, backup)
    assert get(desk, token, path, items=items)["value"], "this history goes on"
    with pytest.raises(ResyncError):
        get(desk, token, path, items=lost)
    rename(desk, crowd.users[1], "B")  # the same number again
    with pytest.raises(ResyncError):
        get(desk, token, path, items=lost)


def test_the_default_order_is_asked_of_the_store_as_any_page_is() -> None:
    """The walk along the key's index is measured for pages; the feed must not lose it."""
    options = company_options(Settings(), {})
    basis = Basis(3, 7, "mark", 0, 12, 1, options, KEY, 90, False, 2)

    def listing(question: Question | FeedQuestion) -> Listing:
        return question.plan(basis, lambda _delta: True).listing

    plain = listing(Question(mode="full"))
    for items in ((), (("$orderby", "userid"),), (("$orderby", "userid asc,courseid"),)):
        mine = listing(FeedQuestion(items))
        assert mine.by == ()
        for after in (None, (12, 7)):
            assert conditions(mine, after) == conditions(plain, after)
        assert order(mine) == order(plain)
    assert listing(FeedQuestion((("$orderby", "userid desc"),))).by


# What was never meant


def refused_or_answered(work: Any) -> None:
    """Assert that a request ends soon, and with an answer or an error that a caller is told."""
    began, error = time.perf_counter(), None
    try:
        work()
    except AlxError as told:
        error = told
    assert error is None or (error.exit_code in {2, 6} and len(error.message) < 300), error
    assert time.perf_counter() - began < SECONDS


PIECES = (
    "userid", "email", "percentage", "timecompleted", "eq", "ne", "lt", "in", "and", "or", "not",
    "(", ")", ",", "'", "''", "'a'", "null", "true", "1", "-1", "1.5", "1e400", "9" * 30,
    "1e-99999999",
    "2026-01-01T00:00:00Z", "2026-01-01", "contains(", "length(", "substring(", "x", "/", "any(",
    ":", "duration'P1D'", "\U0001f600", "\ud800", "\0", "%", "_", "\\", ";--", "add", "=",
    "geo.length(",
    "a.b(", "$it", "@p", " ", "\n", "\u0663", "::", "00:00:00",
)  # fmt: skip
soups = st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join) | st.lists(
    st.sampled_from(PIECES), max_size=14
).map("".join)
OPTIONS = ("$select", "$filter", "$orderby", "$top", "$skip", "$count", "$skiptoken", "$format",
           "$expand", "filter", "")  # fmt: skip


def test_requests_that_were_never_meant(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    few = {"sqlite": 250}.get(desk.harness.engine.dialect.name, 60)

    @settings(max_examples=few, suppress_health_check=list(HealthCheck), deadline=None)
    @given(
        st.sampled_from(("Progress", "Progress", "Progress", "Progress/$count", "", "$metadata"))
        | soups.map(lambda text: f"Progress({text})") | soups,
        st.lists(st.tuples(st.sampled_from(OPTIONS), soups | st.text(max_size=8)), max_size=3),
        st.just("") | soups.map("maxpagesize={}".format), soups,
    )  # fmt: skip
    def ends(path: str, items: feed.Items, prefer: str, accept: str) -> None:
        refused_or_answered(
            lambda: ask(desk, token, path, items=items, prefer=prefer, accept=accept)
        )

    ends()


@given(soups | st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_filters_that_were_never_meant(text: str) -> None:
    def work() -> None:
        condition = parse(text, PROPERTIES)
        for kind in ("sqlite", "mysql", "postgresql"):
            condition.sql(kind)

    refused_or_answered(work)


@pytest.mark.parametrize(
    ("begin", "middle", "end"),
    [
        ("(", "userid eq 1", ")"), ("not ", "true", ""), ("not(", "true", ")"),
        ("- ", "1 eq 1", ""),
        ("length(", "email", ") eq 1"), ("concat(", "email", ",'a')"), ("a/", "a eq 1", ""),
        (" ", "x", ""), ("'", "", ""), ("''", "'", ""), ("9", "", " lt userid"), ("a(", "", ""),
        ("1 eq ", "1", ""), ("true and (true or ", "true", ")"), ("x/any(y:", "true", ")"),
        ("userid in (", "1", ")"), ("userid in (1,", "1", ")"), ("1,", "", ""), ("x.", "x", ""),
        ("true or ", "true", ""), ("userid eq 1 or ", "true", ""), ("0", "1 eq userid", ""),
    ],
)  # fmt: skip
def test_filters_as_long_as_they_may_be(begin: str, middle: str, end: str) -> None:
    most = (7_990 - len(middle)) // (len(begin) + len(end))
    for count in (30, most):
        for text in (begin * count + middle + end * count, begin * count + middle + end):
            refused_or_answered(partial(parse, text, PROPERTIES))
    with pytest.raises(UsageError, match="longer than 8000"):
        parse(begin * 8_001, PROPERTIES)


def test_the_largest_filter_that_is_taken_is_answered(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    numbers = ",".join(str(number) for number in [*crowd.users, *range(100, 680)])
    assert len(feed.rows(desk, token, filter=f"userid in ({numbers})")) == 12
    chain = " or ".join(["timecompleted lt 2026-01-01T00:00:00Z"] * 190)
    assert feed.rows(desk, token, filter=chain) == []
    deep = "not (" * 18 + "contains(email,'@')" + ")" * 18
    assert len(feed.rows(desk, token, filter=deep)) == 12
    assert len(feed.rows(desk, token, orderby=",".join(["email desc", "percentage", *TIMES]))) == 12


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"contains(concat(email,'{'a' * 1_334}'),'b')", "longer than 1333"),
        (f"indexof(email,'{'a' * 1_334}') eq 1", "longer than 1333"),
        (" or ".join(["contains(email,'a')"] * 51), "more than 50 functions"),
        ("userid in (" + ",".join("1" * 1_600) + ")", "too many parts"),
    ],
)
def test_what_a_filter_costs_for_each_row_is_bounded(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(text, PROPERTIES)
    parse(f"contains(email,'{'a' * 1_333}')", PROPERTIES)
    parse(" or ".join(["contains(email,'a')"] * 50), PROPERTIES)
    parse(f"email eq '{'a' * 5_000}'", PROPERTIES)


def test_a_filter_is_read_while_others_can_write_and_only_for_who_may_ask(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(desk)
    token = desk.token("acme")
    read = odata.read
    texts: list[str] = []

    def watched(text: str) -> Any:
        texts.append(text)
        other = Store(desk.settings.store)
        sql = f"UPDATE {other.read(lambda session: session.names.usage)} SET calls = calls"
        other.write(lambda session: session.change(sql))  # waits where this request is writing
        other.close()
        return read(text)

    monkeypatch.setattr(odata, "read", watched)
    assert len(feed.rows(desk, token, filter="userid gt 0")) == 12
    assert texts == ["userid gt 0"]
    for bad in ("x" * 40, None, ""):
        with pytest.raises(AlxError):
            ask(desk, bad or "", filter="userid gt 1")
    assert texts == ["userid gt 0"]


def test_a_transaction_that_gave_way_is_answered_as_if_it_had_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if desk.store.is_file:
        pytest.skip("writers of a file stand in a queue")
    people(desk)
    token = desk.token("acme")
    spend, lost = rate_limit.spend, [0]

    def deadlock(*arguments: Any, **named: Any) -> bool:
        lost[0] += 1
        if lost[0] % 3:
            raise StoreError("deadlock", transient=True)
        return spend(*arguments, **named)

    monkeypatch.setattr(rate_limit, "spend", deadlock)
    asked = (
        ("Progress", {"count": "true", "filter": "userid gt 0"}), ("Progress", {}),
        ("Progress/$count", {}),
    )  # fmt: skip
    for path, options in asked:
        told = ask(desk, token, path, **options).body
        assert told == b"12" or len(json.loads(told)["value"]) == 12
    assert len(desk.ask(token)["data"]) == 12
    assert lost == [12]
    assert [row["calls"] for row in desk.rows("usage")] == [4]


def test_filters_are_read_in_many_threads_at_once() -> None:
    def read(number: int) -> bool:
        text = f"userid in ({number}) or email eq '{number}' and not(percentage gt {number}.5)"
        values = parse(text, PROPERTIES).sql("mysql")[1]
        return list(values.values()) == [number, str(number), Decimal(f"{number}.5")]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(1, 90)))
