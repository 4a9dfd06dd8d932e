"""Filters and orders of the feed say on every store what a plain reading of OData says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport.company_admin import company_fields

from . import feed
from .asking import Desk, open_desk, people

EXAMPLES = {"sqlite": 60, "mysql": 15, "postgresql": 15}
NO_TIME = 0
BEFORE, AFTER = -62_135_596_800, 253_402_300_799  # the first and the last second of the calendar
MOMENTS = (
    NO_TIME,
    1,
    -1,
    1_793_610_840,
    1_793_610_841,
    BEFORE,
    AFTER,
    BEFORE - 1,
    AFTER + 1,
    2**62,
)
# Letters, blanks, wildcards, quotes and what a collation would take for the same.
TEXTS = (
    "", "a", "A", "á", "a ", " a", "b", "ab", "aB", "a%b", "a_b", "a\\b", "it's", "''", '"', "ß",
    "ss", "SS", "İ", "i", "\U0001f600", "x\U0001f600y", "日本", "\ufffd", "e\u0301", "é", "a\nb",
    ":f0", "%(f0)s",
)  # fmt: skip
PERCENTS = ("0", "0.01", "33.33", "33.34", "66.67", "99.99", "100")
STATUSES = ("completed", "in_progress", "not_started")
NUMBERS, TIMES = ("userid", "courseid", "timecompleted_unix", "companyid"), (
    "timecompleted", "timestarted", "last_updated", "created_at",
)  # fmt: skip
NAMES = ("firstname", "lastname", "email", "coursename", "username", "status")


class Filter(NamedTuple):
    """A filter as a client writes it, and what it means of a row."""

    text: str
    means: Callable[[dict[str, Any]], bool]


class Operand(NamedTuple):
    """The same of a value."""

    text: str
    of: Callable[[dict[str, Any]], Any]


MEANINGS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a is not None and b is not None and a < b,
    "le": lambda a, b: a is not None and b is not None and a <= b,
    "gt": lambda a, b: a is not None and b is not None and a > b,
    "ge": lambda a, b: a is not None and b is not None and a >= b,
}
named = st.sampled_from


def prop(name: str) -> Operand:
    return Operand(name, lambda row: row[name])


def literal(text: str, value: Any) -> Operand:
    return Operand(text, lambda _row: value)


def quoted(text: str) -> Operand:
    return literal("'" + text.replace("'", "''") + "'", text)


def moment(seconds: int, fraction: str, hours: int) -> Operand:
    """Return a point of time, written in some offset."""
    zone = timezone(timedelta(hours=hours))
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    text = whole.astimezone(zone).replace(tzinfo=None).isoformat()
    offset = f"{'-' if hours < 0 else '+'}{abs(hours):02}:00" if hours else "Z"
    return literal(f"{text}{fraction}{offset}", Decimal(seconds) + Decimal(f"0{fraction}"))


some_text = named(TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=1), max_size=3
)
text_values: st.SearchStrategy[Operand] = st.deferred(
    lambda: named(NAMES).map(prop)
    | named(NAMES).map(prop)
    | some_text.map(quoted)
    | st.builds(
        lambda a, b: Operand(f"concat({a.text},{b.text})", lambda row: a.of(row) + b.of(row)),
        text_values, named(NAMES).map(prop),
    )
    | st.builds(
        lambda a, n, m: Operand(
            f"substring({a.text},{n}{'' if m is None else f',{m}'})",
            lambda row: a.of(row)[n : None if m is None else n + m],
        ),
        text_values, st.integers(0, 4), st.none() | st.integers(0, 3),
    )
)  # fmt: skip
whole_numbers = st.sampled_from((0, 1, -1, 2, 3, 7, 2**63 - 1, 2**63, -(2**63) - 1, 10**40)) | (
    st.integers(1, 12)
)
decimals = (named(PERCENTS) | named(("33.335", "33.3300000000000000000000000000000000001", "1e2",
    "3.333E1", "-0.001", "1e-40", "2.5", "9223372036854775806.5"))).map(
    lambda text: literal(text, Decimal(text))
)  # fmt: skip
numbers: st.SearchStrategy[Operand] = (
    named((*NUMBERS, "percentage")).map(prop)
    | named((*NUMBERS, "percentage")).map(prop)
    | whole_numbers.map(lambda number: literal(str(number), Decimal(number)))
    | decimals
    | text_values.map(lambda a: Operand(f"length({a.text})", lambda row: len(a.of(row))))
    | st.builds(
        lambda a, b: Operand(f"indexof({a.text},{b.text})", lambda row: a.of(row).find(b.of(row))),
        text_values, text_values,
    )
)  # fmt: skip
times = (
    named(TIMES).map(prop)
    | named(TIMES).map(prop)
    | st.builds(
        moment, named((0, 1, -1, 1_793_610_840, 1_793_610_841)),
        named(("", ".0", ".0000000", ".5", ".0000001", ".999999999999")), st.integers(-12, 12),
    )
)  # fmt: skip


def comparison(operands: st.SearchStrategy[Operand]) -> st.SearchStrategy[Filter]:
    null = st.just(literal("null", None))
    return st.builds(
        lambda a, word, b: Filter(
            f"{a.text} {word} {b.text}", lambda row: MEANINGS[word](a.of(row), b.of(row))
        ),
        operands, named(list(MEANINGS)), operands | operands | operands | null,
    )  # fmt: skip


def listed(operands: st.SearchStrategy[Operand]) -> st.SearchStrategy[Filter]:
    return st.builds(
        lambda a, items: Filter(
            f"{a.text} in ({','.join(item.text for item in items)})",
            lambda row: any(a.of(row) == item.of(row) for item in items),
        ),
        operands, st.lists(operands, min_size=1, max_size=3),
    )  # fmt: skip


SEARCHES: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
searches = st.builds(
    lambda name, a, b: Filter(
        f"{name}({a.text},{b.text})", lambda row: SEARCHES[name](a.of(row), b.of(row))
    ),
    named(list(SEARCHES)), text_values, text_values,
)  # fmt: skip
plain = st.one_of(
    searches,
    *(make(kind) for make in (comparison, listed) for kind in (text_values, numbers, times)),
    st.just(Filter("true", lambda _row: True)),
)
NOTS = ("not ({})", "not({})", "({}) eq false", "false eq ({})")
filters = st.recursive(
    plain,
    lambda inner: st.builds(
        lambda form, a: Filter(form.format(a.text), lambda row: not a.means(row)),
        named(NOTS), inner,
    )
    | st.builds(lambda a: Filter(f"( {a.text} )", a.means), inner)
    | st.builds(
        lambda a, b: Filter(f"({a.text}) and ({b.text})", lambda r: a.means(r) and b.means(r)),
        inner, inner,
    )
    | st.builds(
        # "and" binds closer than "or".
        lambda a, b, c: Filter(
            f"({a.text}) or ({b.text}) and ({c.text})",
            lambda r: a.means(r) or (b.means(r) and c.means(r)),
        ),
        inner, inner, inner,
    ),
    max_leaves=5,
)  # fmt: skip
ALL = (*NUMBERS, *TIMES, *NAMES, "percentage")
orders = st.lists(st.tuples(named(ALL), named(("", " asc", " desc"))), max_size=3)


class Asked(NamedTuple):
    """One request for rows."""

    filter: Filter | None
    order: list[tuple[str, str]]
    select: list[str] | None
    top: int | None
    skip: int | None
    size: int


requests = st.builds(
    Asked, st.none() | filters, orders,
    st.none() | st.lists(named(ALL), min_size=1, max_size=4, unique=True),
    st.none() | st.integers(0, 25), st.none() | st.integers(0, 25), st.integers(1, 25),
)  # fmt: skip


def stored_rows(desk: Desk, company: int) -> list[dict[str, Any]]:
    """Return a company's live rows with what the feed shows of each: None for no time."""
    found = []
    for stored in desk.rows("reporting"):
        if stored["companyid"] != company or stored["is_deleted"]:
            continue
        row = dict(stored) | {"timecompleted_unix": stored["timecompleted"]}
        for name in TIMES:
            told = stored[name] != NO_TIME and BEFORE <= stored[name] <= AFTER
            row[name] = stored[name] if told else None
        row["percentage"] = Decimal(str(stored["percentage"])).quantize(Decimal("0.01"))
        found.append(row)
    return found


def expected(rows: Sequence[dict[str, Any]], asked: Asked) -> tuple[list[tuple[int, int]], int]:
    """Return the keys of the rows that are wanted, in order, and how many there are in all."""
    found = [row for row in rows if asked.filter is None or asked.filter.means(row)]
    found.sort(key=lambda row: (row["userid"], row["courseid"]))
    for name, direction in reversed(asked.order):
        nothing = BEFORE - 1  # comes first
        found.sort(
            key=lambda row: nothing if row[name] is None else row[name],
            reverse=direction == " desc",
        )
    begin = asked.skip or 0
    end = None if asked.top is None else begin + asked.top
    return [(row["userid"], row["courseid"]) for row in found[begin:end]], len(found)


def fill(desk: Desk) -> tuple[str, int]:
    """Sync a company and write into each row what no sync would; return its token and number."""
    crowd = people(desk, learners=7, courses=3)
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["username", "companyid"])
    for place, row in enumerate(
        row for row in desk.rows("reporting") if row["companyid"] == crowd.company
    ):
        values = {name: TEXTS[(place * 5 + n * 7) % len(TEXTS)] for n, name in enumerate(NAMES)}
        values["status"] = STATUSES[place % 3]
        moments = {
            name: MOMENTS[(place * (n + 3) + n) % len(MOMENTS)] for n, name in enumerate(TIMES)
        }
        changed = values | moments | {"percentage": float(PERCENTS[place % len(PERCENTS)])}
        assignments = ", ".join(f"{name} = :{name}" for name in changed)
        desk.run_sql(
            f"UPDATE {{reporting}} SET {assignments} WHERE id = :id", id=row["id"], **changed
        )
    last = crowd.users[-1]
    desk.run_sql(
        "UPDATE {reporting} SET userid = :new WHERE userid = :old", new=2**63 - 1, old=last
    )
    return desk.token("acme"), crowd.company


def check(desk: Desk, token: str, stored: list[dict[str, Any]], asked: Asked) -> None:
    options: dict[str, Any] = {"count": "true"}
    if asked.filter is not None:
        options["filter"] = asked.filter.text
    if asked.order:
        options["orderby"] = ", ".join(name + direction for name, direction in asked.order)
    shown = list(dict.fromkeys(["userid", "courseid", *asked.select])) if asked.select else None
    if shown:
        options["select"] = ",".join(shown)
    options |= {name: n for name, n in (("top", asked.top), ("skip", asked.skip)) if n is not None}
    wanted, total = expected(stored, asked)
    found = []
    for page in feed.pages(desk, token, prefer=f"odata.maxpagesize={asked.size}", **options):
        assert page["@odata.count"] == total
        assert len(page["value"]) == asked.size or "@odata.nextLink" not in page
        found += page["value"]
    assert feed.keys(found) == wanted
    if shown:
        assert all(list(row) == shown for row in found)
    if asked.filter is not None:
        counted = feed.ask(desk, token, "Progress/$count", filter=asked.filter.text)
        assert int(counted.body) == total


def test_an_answer_is_what_a_plain_reading_of_odata_gives(desk: Desk) -> None:
    token, company = fill(desk)
    stored = stored_rows(desk, company)
    assert len(stored) == 21

    @settings(
        max_examples=EXAMPLES[desk.harness.engine.dialect.name.replace("mariadb", "mysql")],
        suppress_health_check=list(HealthCheck), deadline=None,
    )  # fmt: skip
    @given(asked=requests)
    def agrees(asked: Asked) -> None:
        check(desk, token, stored, asked)

    agrees()


def test_every_operator_and_function_by_itself(desk: Desk) -> None:
    """What the property may happen not to draw."""
    token, company = fill(desk)
    stored = stored_rows(desk, company)
    by_hand = [
        Filter(f"{name} {word} {text}", lambda row, n=name, w=word, v=value: MEANINGS[w](row[n], v))
        for word in MEANINGS
        for name, text, value in (
            ("email", "'a'", "a"), ("email", "'a '", "a "),
            ("percentage", "33.33", Decimal("33.33")), ("percentage", "33.335", Decimal("33.335")),
            ("userid", "9223372036854775807", 2**63 - 1),
            ("timecompleted", "null", None), ("timecompleted", "1970-01-01T00:00:00Z", 0),
            ("timecompleted", "1969-12-31T23:59:59.5Z", Decimal("-0.5")),
            ("timecompleted", "2026-11-02T09:14:00.0000001Z", Decimal("1793610840.0000001")),
        )
    ]  # fmt: skip
    by_hand += [
        Filter(
            f"{name}(email,{quoted(part).text})",
            lambda row, n=name, p=part: SEARCHES[n](row["email"], p),
        )
        for name in SEARCHES
        for part in TEXTS
    ]
    seen = set()
    for each in by_hand:
        wanted = [(row["userid"], row["courseid"]) for row in stored if each.means(row)]
        asked = Asked(each, [], None, None, None, 1_000)
        found = feed.rows(desk, token, filter=each.text, select="userid,courseid")
        assert feed.keys(found) == sorted(wanted), asked
        seen.add(len(wanted))
    assert len(seen) > 5, "the rows tell the filters apart"


def test_texts_compare_alike_in_a_database_with_a_language(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """There "a" comes before "B", and the one is sorted with accents, the other without."""
    server = request.getfixturevalue("postgres_server")
    server.execute(
        "CREATE DATABASE in_english LOCALE_PROVIDER icu ICU_LOCALE 'en-US' TEMPLATE template0"
    )
    try:
        with open_desk(tmp_path, server.url("in_english")) as desk:
            desk.configure(rate_limit=0)
            token, company = fill(desk)
            stored = stored_rows(desk, company)
            for name in NAMES:
                check(desk, token, stored, Asked(None, [(name, "")], None, None, None, 4))
                for text in ("a", "B", "é", "a "):
                    word = {"a": "lt", "B": "ge"}.get(text, "gt")
                    each = Filter(
                        f"{name} {word} '{text}'",
                        lambda row, n=name, w=word, t=text: MEANINGS[w](row[n], t),
                    )
                    check(desk, token, stored, Asked(each, [], None, None, None, 30))
    finally:
        server.drop_database("in_english")


def test_every_property_orders_both_ways_page_by_page(desk: Desk) -> None:
    token, company = fill(desk)
    stored = stored_rows(desk, company)
    for name in ALL:
        for direction in ("", " desc"):
            check(desk, token, stored, Asked(None, [(name, direction)], ["userid"], None, None, 8))
