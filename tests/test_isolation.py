"""The isolation table: whatever is read and however, one company's token shows that company alone.

Ana's company is acme, Beta's rows are what she must never see. Both have people, courses and
shared courses in common; every name that is Beta's alone holds the word "Zebra".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from alxreport import company_admin, limit_admin, token_admin
from alxreport.errors import AlxError, NotAuthorisedError, ResyncError, UsageError
from alxreport.token_form import checksum

from .asking import Desk, lasting_desk, open_desk
from .command_line import Done, run, write_config
from .conftest import Backend
from .moodle_site import NOW, Site
from .servers import OFFICES  # noqa: F401 - over HTTP, too

ACME, BETA = 1, 2
FOREIGN = "zebra"  # in every name that is Beta's alone
Pairs = list[tuple[int, int]]


def two_companies(site: Site) -> None:
    """Fill a site: people of one company, of the other and of both; courses of each and shared."""
    with site.transaction():
        acme, beta = site.add_company("Acme Ltd", "acme"), site.add_company("Zebra Ltd", "zebra")
        assert (acme, beta) == (ACME, BETA)
        people = {
            acme: [site.add_user(f"Ana{n}", "Ruiz", email=f"ana{n}@acme.example") for n in "123"],
            beta: [site.add_user(f"Zebra{n}", "Zebra", email=f"{n}@zebra.example") for n in "1234"],
        }
        both = [site.add_user(f"Both{n}", "Sides", email=f"both{n}@x.example") for n in "12"]
        courses = {
            acme: [site.add_course(1, "Acme safety"), site.add_course(1, "Acme first aid")],
            beta: [site.add_course(1, "Zebra safety"), site.add_course(1, "Zebra drill")],
        }
        common = [site.add_course(1, name) for name in ("Given twice", "Shared", "Listed")]
        for company in (acme, beta):
            for course in (*courses[company], common[0]):
                site.give_course(company, course)
            for user in (*people[company], *both):
                site.assign_user(company, user)
            site.list_share(company, common[2])
        site.share_course(common[1], 1)
        site.share_course(common[2], 2)
        # Everybody is enrolled everywhere: only the company decides.
        for course in (*courses[acme], *courses[beta], *common):
            activity, method = site.add_activity(course), site.ids("enrol", courseid=course)[0]
            for place, user in enumerate((*people[acme], *people[beta], *both)):
                site.enrol(method, user)
                site.set_state(activity, user, place % 2, NOW)


@dataclass
class Case:
    """A desk with the two companies, a token of each, and what each should see."""

    desk: Desk
    ana: str
    zoe: str
    acme: Pairs
    beta: Pairs

    @classmethod
    def on(cls, desk: Desk) -> Case:
        two_companies(desk.site)
        desk.harness.sync()
        desk.configure(rate_limit=0)
        rows = sorted(desk.harness.live())
        pairs = [[(user, course) for c, user, course in rows if c == who] for who in (ACME, BETA)]
        # 5 people in 5 courses, 6 people in 5 courses; 2 people in 3 courses are in both.
        assert [len(part) for part in pairs] == [25, 30]
        assert len(set(pairs[0]) & set(pairs[1])) == 6
        return cls(desk, desk.token("acme"), desk.token("zebra"), *pairs)


@pytest.fixture(scope="module")
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    with lasting_desk(request.param, request, tmp_path_factory.mktemp("isolation")) as desk:
        yield desk


@pytest.fixture(scope="module")
def case(lasting: Desk) -> Case:
    """One site for the whole table: reading changes nothing that another reader sees."""
    return Case.on(lasting)


@pytest.fixture(scope="module")
def lasting_other(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("fresh")
    with lasting_desk(request.param, request, folder, word="fresh") as desk:
        yield desk


@pytest.fixture
def fresh(lasting_other: Desk) -> Case:
    """A site of one test's own, in which it may change anything."""
    lasting_other.renew()
    return Case.on(lasting_other)


def pairs_of(records: list[dict[str, Any]]) -> Pairs:
    return [(int(row["userid"]), int(row["courseid"])) for row in records]


def unforeign(what: Any) -> None:
    """Assert that nothing of Beta's is in a text."""
    text = what if isinstance(what, str) else json.dumps(what, default=str)
    assert FOREIGN not in text.lower()


# What a reader gets: each function reads in its own way and returns the pairs it was given


def one_page(case: Case, **asked: Any) -> Pairs:
    page = case.desk.ask(case.ana, limit=1000, **asked)
    unforeign(page)
    assert page["company"] == {"id": ACME, "shortname": "acme", "name": "Acme Ltd"}
    assert page["total"] == page["count"] == len(page["data"])
    return pairs_of(page["data"])


def many_pages(case: Case, size: int, **asked: Any) -> Pairs:
    found: Pairs = []
    for page in case.desk.pages(case.ana, limit=size, **asked):
        unforeign(page)
        assert (page["company"]["id"], page["total"]) == (ACME, 25)
        found += pairs_of(page["data"])
    return found


def offsets(case: Case) -> Pairs:
    found: Pairs = []
    for offset in range(0, 60, 7):  # beyond the end, too
        page = case.desk.ask(case.ana, limit=7, offset=offset)
        unforeign(page)
        assert page["total"] == 25
        found += pairs_of(page["data"])
    return found


def cached_page(case: Case, **asked: Any) -> Pairs:
    """Beta's page of the same question is kept first: it must not be answered."""
    for token in (case.zoe, case.zoe, case.ana):
        case.desk.ask(token, limit=999, **asked)
    page = case.desk.ask(case.ana, limit=999, **asked)
    unforeign(page)
    assert page["cached"]
    assert page["total"] == page["count"]
    return pairs_of(page["data"])


def cached_cursors(case: Case) -> Pairs:
    for token in (case.zoe, case.ana):
        list(case.desk.pages(token, limit=4))
    return many_pages(case, 4)


def export_as(form: str, case: Case, **asked: Any) -> Pairs:
    data, done = case.desk.export(case.ana, form=form, **asked)
    if form == "parquet":
        records = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    elif form == "csv":
        records = list(csv.DictReader(io.StringIO(data.decode())))
    elif form == "ndjson":
        records = [json.loads(line) for line in data.splitlines()]
    else:
        records = json.loads(data)
    unforeign(records)
    unforeign(data.decode("latin-1"))
    assert done.rows == len(records)
    return pairs_of(records)


def since_old_delta(case: Case, **asked: Any) -> Pairs:
    """From revision 0 of acme, which tells everything that changed since: all its rows."""
    _data, done = case.desk.export(case.ana, mode="incremental")
    page = case.desk.ask(case.ana, limit=1000, since=done.delta, **asked)
    unforeign(page)
    assert page["data"] == []
    assert page["mode"] == "incremental"
    return one_page(case, mode="full")


READS: dict[str, Callable[[Case], Pairs]] = {
    "query": one_page,
    "query --company acme": lambda case: one_page(case, company="acme"),
    "query --company ACME": lambda case: one_page(case, company="ACME"),
    "query --company 1": lambda case: one_page(case, company="1"),
    "query --company id:1": lambda case: one_page(case, company="id:1"),
    "query --mode full": lambda case: one_page(case, mode="full"),
    "query --mode incremental": lambda case: one_page(case, mode="incremental"),
    "query --mode auto": lambda case: one_page(case, mode="auto"),
    "query --since": since_old_delta,
    "query --mode auto --since": lambda case: since_old_delta(case, mode="auto"),
    "query --fields": lambda case: one_page(case, fields="userid,email,courseid"),
    "every cursor page of 1": lambda case: many_pages(case, 1),
    "every cursor page of 7": lambda case: many_pages(case, 7),
    "every cursor page, incremental": lambda case: many_pages(case, 6, mode="incremental"),
    "every offset page": offsets,
    "a cached page": cached_page,
    "a cached page, incremental": lambda case: cached_page(case, mode="incremental"),
    "cached cursor pages": cached_cursors,
    "export json": lambda case: export_as("json", case),
    "export ndjson": lambda case: export_as("ndjson", case),
    "export csv": lambda case: export_as("csv", case),
    "export parquet": lambda case: export_as("parquet", case),
    "export --mode incremental": lambda case: export_as("json", case, mode="incremental"),
    "export --mode auto": lambda case: export_as("csv", case, mode="auto"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_token_reads_its_company_alone(case: Case, read: Callable[[Case], Pairs]) -> None:
    assert read(case) == case.acme


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "parquet"])
@pytest.mark.parametrize("status", ["completed", "in_progress", "not_started"])
def test_a_filter_by_status_stays_inside(case: Case, form: str, status: str) -> None:
    assert set(export_as(form, case, status=status)) <= set(case.acme)
    assert set(one_page(case, status=status)) <= set(case.acme)


def test_a_filter_by_the_courses_of_the_other_finds_nothing(case: Case) -> None:
    """By id, a course of Beta's alone reads as one that does not exist."""
    alone = sorted({course for _, course in case.beta} - {course for _, course in case.acme})
    assert len(alone) == 2
    for courses in (str(alone[0]), ",".join(map(str, alone)), "987654"):
        page = case.desk.ask(case.ana, courses=courses)
        assert (page["total"], page["count"], page["data"], page["next"]) == (0, 0, [], None)
        for form in ("json", "ndjson", "csv", "parquet"):
            assert export_as(form, case, courses=courses) == []


# What a reader is refused

# Values of --company, and whether any of them is Beta: it must make no difference to Ana.
GUESSES = (
    "zebra", "ZEBRA", "2", "id:2", "id:02", "Zebra Ltd", "nope", "3", "id:3", "999", "id:999", "",
    " ", "*", "%", "acme%", "acme,zebra", "id:", "id:1 OR 1=1", "-1", "0", "١", "acme\x00", "acmé",
)  # fmt: skip


@pytest.mark.parametrize("guess", GUESSES)
def test_a_company_that_is_not_the_tokens_is_refused(case: Case, guess: str) -> None:
    before = len(case.desk.log())
    told = set()
    for attempt in (
        lambda: case.desk.ask(case.ana, company=guess),
        lambda: case.desk.export(case.ana, company=guess),
        lambda: case.desk.ask(case.ana, company=guess, limit=0),  # before any usage error
        lambda: case.desk.ask(case.ana, company=guess, since="T", mode="incremental"),
    ):
        with pytest.raises(NotAuthorisedError) as caught:
            attempt()
        assert (caught.value.exit_code, caught.value.reason) == (4, "company")
        hint = caught.value.hint.replace("--", "")
        told.add((caught.value.message.replace(repr(guess), "…"), hint))
    # The same words for all of them: nobody learns which companies there are.
    assert told == {
        ("This token is not for the company ….",
         "Leave company out: the token says which one it is.")
    }  # fmt: skip
    for row in case.desk.log()[before:]:
        assert (row["companyid"], row["error"], row["row_count"]) == (
            ACME, "not_authorised:company", 0
        )  # fmt: skip


def test_the_refusals_were_counted(case: Case) -> None:
    with pytest.raises(NotAuthorisedError):
        case.desk.ask(case.ana, company="zebra", now=NOW + 600, ip="192.0.2.9")
    found = [row for row in case.desk.rows("refusals") if row["subject"] == "192.0.2.9"]
    assert [(row["kind"], row["refused"]) for row in found] == [("authorisation", 1)]
    assert case.desk.log()[-1]["error"] == "not_authorised:company"


def mistyped(token: str, place: int) -> str:
    return token[:place] + ("0" if token[place] != "0" else "1") + token[place + 1 :]


def sound(token: str) -> str:
    """Return a token with another character and the checksum that belongs to it."""
    body = mistyped(token, 20)[:-6]
    return body + checksum(body)


# Name of the credential, what it is made of Ana's, why it is refused
CREDENTIALS: dict[str, tuple[Callable[[Case], dict[str, Any]], str]] = {
    "expired": (
        lambda c: {"token": c.desk.token("acme", expires="1h"), "now": NOW + 3600},
        "expired",
    ),
    "revoked": (lambda c: {"token": revoked(c)}, "revoked"),
    "rotated, its grace over": (lambda c: {"token": rotated(c), "now": NOW + 60}, "expired"),
    "outside its network": (
        lambda c: {"token": c.desk.token("acme", networks=["10.0.0.0/8"])},
        "network",
    ),
    "from no address": (
        lambda c: {"token": c.desk.token("acme", networks=["127.0.0.1"]), "ip": ""},
        "network",
    ),
    "first character changed": (lambda c: {"token": mistyped(c.ana, 4)}, "malformed"),
    "a character changed": (lambda c: {"token": mistyped(c.ana, 20)}, "malformed"),
    "last character changed": (lambda c: {"token": mistyped(c.ana, 49)}, "malformed"),
    "case changed": (lambda c: {"token": "alx_" + c.ana[4:].swapcase()}, "malformed"),
    "prefix changed": (lambda c: {"token": "Alx_" + c.ana[4:]}, "unknown"),
    "without its prefix": (lambda c: {"token": c.ana[4:]}, "unknown"),
    "another one, well formed": (lambda c: {"token": sound(c.ana)}, "unknown"),
    "cut": (lambda c: {"token": c.ana[:-1]}, "malformed"),
    "prolonged": (lambda c: {"token": c.ana + "0"}, "malformed"),
    "with a space behind": (lambda c: {"token": c.ana + " "}, "malformed"),
    "with a space before": (lambda c: {"token": " " + c.ana}, "unknown"),
    "with a line end": (lambda c: {"token": c.ana + "\n"}, "malformed"),
    "empty": (lambda c: {"token": ""}, "missing"),
    "its hash": (lambda c: {"token": c.desk.rows("tokens")[0]["hash"]}, "unknown"),
    "its number": (lambda c: {"token": "1"}, "unknown"),
    "a wildcard": (lambda c: {"token": "%"}, "unknown"),
    "SQL": (lambda c: {"token": "' OR '1'='1"}, "unknown"),
    "two tokens": (lambda c: {"token": f"{c.ana},{c.zoe}"}, "malformed"),
    "not ASCII": (lambda c: {"token": "é" * 32}, "malformed"),
    "half a surrogate": (lambda c: {"token": "\udc80"}, "malformed"),
    "NUL": (lambda c: {"token": "\x00"}, "malformed"),
    "a megabyte": (lambda c: {"token": "x" * 1_000_000}, "malformed"),
}


def revoked(case: Case) -> str:
    token = case.desk.token("acme")
    token_admin.revoke_token(case.desk.store, case.desk.tokens()[-1]["id"], NOW)
    return token


def rotated(case: Case) -> str:
    token = case.desk.token("acme")
    number = case.desk.tokens()[-1]["id"]
    token_admin.rotate_token(case.desk.store, number, grace="1m", expires=None, now=NOW)
    return token


@pytest.mark.parametrize(("make", "why"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_a_credential_that_does_not_open(
    case: Case, make: Callable[[Case], dict[str, Any]], why: str
) -> None:
    given = make(case)
    given = {"now": NOW} | given
    if case.desk.endpoint == "api" and given.get("ip") == "":
        pytest.skip("over HTTP everybody has an address")
    before = len(case.desk.log())
    out = io.BytesIO()
    for attempt in (
        lambda: case.desk.ask(**given),
        lambda: out.write(case.desk.export(**given)[0]),
        lambda: case.desk.ask(**given, company="acme"),
        lambda: case.desk.ask(**given, company="zebra", limit=0),
    ):
        with pytest.raises(NotAuthorisedError) as caught:
            attempt()
        assert (caught.value.exit_code, caught.value.reason) == (4, why)
        unforeign(caught.value.message + caught.value.hint)
        assert "acme" not in caught.value.message.lower()
    assert out.getvalue() == b""
    for row in case.desk.log()[before:]:
        assert (row["error"], row["row_count"]) == (f"not_authorised:{why}", 0)
        assert row["companyid"] == (ACME if row["tokenid"] else 0)


# Marks of one reader in the hands of the other


def marks(case: Case, token: str) -> tuple[str, str]:
    """Return a cursor and a delta that were given to a token."""
    first = case.desk.ask(token, limit=2)
    return str(first["next"]), case.desk.export(token, mode="incremental")[1].delta


@pytest.mark.parametrize("reader", ["ana", "zoe"])
def test_marks_of_the_other_company(case: Case, reader: str) -> None:
    mine, other = (case.ana, case.zoe) if reader == "ana" else (case.zoe, case.ana)
    cursor, delta = marks(case, other)
    for asked in ({"cursor": cursor}, {"cursor": cursor, "limit": 2}, {"cursor": delta}):
        with pytest.raises(UsageError, match="another company"):
            case.desk.ask(mine, **asked)
    for asked in ({"since": delta}, {"since": delta, "mode": "incremental"}, {"since": cursor}):
        with pytest.raises(ResyncError, match="another company") as caught:
            case.desk.ask(mine, **asked)
        assert (caught.value.code, caught.value.exit_code) == ("resync_required", 2)
        assert "--mode full" in caught.value.hint
        with pytest.raises(ResyncError):
            case.desk.export(mine, **asked)
    # auto answers in full instead: with the reader's own rows.
    page = case.desk.ask(mine, since=delta, mode="auto", limit=1000)
    assert page["mode"] == "full"
    assert pairs_of(page["data"]) == (case.acme if reader == "ana" else case.beta)
    # Both marks in one request: the cursor is of the reader, the delta is not.
    own = case.desk.ask(mine, limit=2, mode="incremental")["next"]
    own_delta = case.desk.export(mine, mode="incremental")[1].delta
    with pytest.raises(UsageError):
        case.desk.ask(mine, cursor=cursor, since=own_delta)
    page = case.desk.ask(mine, cursor=own, limit=2)
    assert set(pairs_of(page["data"])) <= set(case.acme if reader == "ana" else case.beta)


def test_marks_that_were_tampered_with(case: Case) -> None:
    cursor, delta = marks(case, case.ana)
    for mark in (cursor, delta):
        for place in (0, 1, 2, *range(3, len(mark), 16), len(mark) - 2, len(mark) - 1):
            changed = mistyped(mark, place)
            with pytest.raises(UsageError):
                case.desk.ask(case.ana, cursor=changed)
            with pytest.raises(ResyncError):
                case.desk.ask(case.ana, since=changed)
        for changed in ("", mark[:-1], mark + "A", mark + "=", f" {mark}", mark[1:], mark * 2):
            with pytest.raises(UsageError):
                case.desk.ask(case.ana, cursor=changed)


@pytest.mark.not_over_http  # an address is shorter; see test_serving.py
def test_a_reader_goes_on_however_many_courses_he_named(case: Case) -> None:
    """His own marks, which hold the filter, are not taken for another's for being long."""
    courses = ",".join(map(str, [*range(1, 40), *range(10**8, 10**8 + 3_000)]))
    first = case.desk.ask(case.ana, limit=20, courses=courses)
    assert first["total"] == 25
    assert case.desk.ask(case.ana, limit=20, cursor=first["next"])["count"] == 5
    delta = case.desk.export(case.ana, courses=courses, mode="incremental")[1].delta
    assert case.desk.export(case.ana, courses=courses, since=delta)[1].rows == 0


def test_the_marks_and_tokens_of_another_store(
    case: Case, make_backend: Callable[[str], Backend], tmp_path: Path
) -> None:
    """A store with the very same companies and rows, such as the test system's."""
    with open_desk(tmp_path, make_backend("sqlite").new_url()) as desk:
        twin = Case.on(desk)
        assert twin.acme == case.acme
        cursor, delta = marks(twin, twin.ana)
        with pytest.raises(UsageError, match="store"):
            case.desk.ask(case.ana, cursor=cursor)
        with pytest.raises(ResyncError, match="store"):
            case.desk.ask(case.ana, since=delta)
        with pytest.raises(NotAuthorisedError) as caught:
            case.desk.ask(twin.ana)
        assert caught.value.reason == "unknown"


# What happens to the companies


def test_the_changes_of_one_are_none_of_the_other(fresh: Case) -> None:
    """Neither a row nor a revision nor the cache of acme moves when only Beta's rows change."""
    desk = fresh.desk
    before = desk.ask(fresh.ana, limit=1000)
    desk.ask(fresh.zoe, limit=1000)
    zebras = [row.id for row in desk.site.select("user", lastname="Zebra")]
    desk.site.change_user(zebras[0], NOW, firstname="Zebra the first")
    desk.site.delete_user(zebras[1], NOW)
    desk.now += 60
    desk.harness.sync()
    after = desk.ask(fresh.ana, limit=1000)
    assert (after["revision"], after["cached"]) == (before["revision"], True)
    assert after["data"] == before["data"]
    told = desk.ask(fresh.ana, limit=1000, since=before["delta"])
    assert (told["total"], told["data"]) == (0, [])
    other = desk.ask(fresh.zoe, limit=1000)
    assert (other["cached"], other["total"]) == (False, 25)
    assert "Zebra the first" in json.dumps(other)


def test_someone_who_leaves_one_of_two_companies(fresh: Case) -> None:
    desk = fresh.desk
    deltas = {t: desk.export(t, mode="incremental")[1].delta for t in (fresh.ana, fresh.zoe)}
    user = desk.site.ids("user", firstname="Both1")[0]
    desk.site.delete("company_users", companyid=BETA, userid=user)
    desk.now += 60
    desk.harness.sync()
    told = desk.ask(fresh.ana, since=deltas[fresh.ana])
    assert told["data"] == []
    assert (user, fresh.acme[0][1]) in pairs_of(desk.ask(fresh.ana, limit=1000)["data"])
    told = desk.ask(fresh.zoe, since=deltas[fresh.zoe])
    assert {(row["userid"], row["is_deleted"], row["email"]) for row in told["data"]} == {
        (user, True, "")
    }


def test_a_course_that_is_taken_back(fresh: Case) -> None:
    desk = fresh.desk
    course = desk.site.ids("course", fullname="Given twice")[0]
    desk.site.delete("company_course", companyid=ACME, courseid=course)
    desk.now += 60
    desk.harness.sync()
    assert pairs_of(desk.ask(fresh.ana, limit=1000)["data"]) == [
        pair for pair in fresh.acme if pair[1] != course
    ]
    assert pairs_of(desk.ask(fresh.zoe, limit=1000)["data"]) == fresh.beta


def test_a_suspended_company(fresh: Case) -> None:
    """From the next sync on it has no rows; pages that were kept are not answered any more."""
    desk = fresh.desk
    cursor, delta = marks(fresh, fresh.ana)
    assert desk.ask(fresh.ana, limit=1000)["total"] == 25
    desk.site.suspend_company(ACME)
    desk.now += 60
    desk.harness.sync()
    page = desk.ask(fresh.ana, limit=1000)
    assert (page["total"], page["data"], page["cached"], page["next"]) == (0, [], False, None)
    assert pairs_of(json.loads(desk.export(fresh.ana)[0])) == []
    assert desk.ask(fresh.ana, cursor=cursor)["data"] == []
    gone = desk.ask(fresh.ana, since=delta, limit=1000)["data"]
    assert pairs_of(gone) == fresh.acme
    assert {(row["is_deleted"], row["firstname"], row["email"]) for row in gone} == {(True, "", "")}
    assert pairs_of(desk.ask(fresh.zoe, limit=1000)["data"]) == fresh.beta
    assert [c["suspended"] for c in company_admin.list_companies(desk.store)] == [True, False]
    desk.site.suspend_company(ACME, 0)
    desk.now += 60
    desk.harness.sync()
    assert pairs_of(desk.ask(fresh.ana, limit=1000)["data"]) == fresh.acme


def test_a_deleted_company(fresh: Case) -> None:
    desk = fresh.desk
    cursor, delta = marks(fresh, fresh.ana)
    desk.ask(fresh.ana, limit=1000)
    desk.site.delete_company(ACME)
    desk.now += 60
    desk.harness.sync(allow_mass_delete=True)
    for asked in ({}, {"limit": 1000}, {"cursor": cursor}, {"since": delta}, {"company": "acme"}):
        with pytest.raises(NotAuthorisedError):
            desk.ask(fresh.ana, **asked)
    with pytest.raises(AlxError) as caught:
        desk.ask(None, company="acme")
    assert caught.value.exit_code == 6
    with pytest.raises(AlxError):
        desk.token("acme")
    assert [c["id"] for c in company_admin.list_companies(desk.store)] == [BETA]
    assert [row for row in desk.rows("cache") if row["companyid"] == ACME] == []
    assert pairs_of(desk.ask(fresh.zoe, limit=1000)["data"]) == fresh.beta
    # Its id comes back as another company's, with a token, a cursor and a delta from before.
    desk.site.insert("company", id=ACME, name="Other", shortname="acme", suspended=0)
    person = desk.site.add_user("New", "Person")
    desk.site.assign_user(ACME, person)
    course = desk.site.ids("course", fullname="Acme safety")[0]
    desk.site.give_course(ACME, course)
    desk.site.enrol(desk.site.ids("enrol", courseid=course)[0], person)
    desk.now += 60
    desk.harness.sync()
    with pytest.raises(NotAuthorisedError):
        desk.ask(fresh.ana)
    new = desk.token("acme")
    page = desk.ask(new, limit=1000)
    assert {user for user, _ in pairs_of(page["data"])} == {person}
    assert "Ana" not in json.dumps(page)


def test_a_company_that_was_deleted_and_never_cleared_away(fresh: Case) -> None:
    """Where the tokens were not revoked with it, as from an older store, it still is gone."""
    desk = fresh.desk
    desk.run_sql("UPDATE {sync_status} SET gone = (1 = 1) WHERE companyid = 1")
    with pytest.raises(NotAuthorisedError) as caught:
        desk.ask(fresh.ana)
    assert caught.value.reason == "gone"
    desk.run_sql("DELETE FROM {sync_status} WHERE companyid = 1")
    with pytest.raises(NotAuthorisedError) as caught:
        desk.export(fresh.ana)
    assert caught.value.reason == "gone"


def test_a_company_that_takes_the_settings_of_its_id(fresh: Case) -> None:
    """What was set for a company that is gone holds for no other one that gets its id."""
    desk = fresh.desk
    company_admin.company_fields(
        desk.store, desk.settings, "acme", NOW, show=["username"], hide=["email"]
    )
    company_admin.set_options(desk.store, "acme", {"max_limit": "5"}, NOW)
    limit_admin.set_limit(desk.store, desk.settings, "acme", "7", NOW)
    desk.site.delete_company(ACME)
    desk.now += 60
    desk.harness.sync(allow_mass_delete=True)
    desk.site.insert("company", id=ACME, name="Other", shortname="other", suspended=0)
    desk.now += 60
    desk.harness.sync()
    shown = company_admin.show_company(desk.store, desk.settings, "other", desk.now)
    assert "username" not in shown["fields"]
    assert "email" in shown["fields"]
    assert shown["settings"]["max_limit"] == {
        "value": 1000, "default": True, "meaning": shown["settings"]["max_limit"]["meaning"]
    }  # fmt: skip


def test_a_page_that_was_kept_for_the_other_company(fresh: Case) -> None:
    """Even an entry under the very key of Ana's question, were it Beta's, would be no hit."""
    desk = fresh.desk
    desk.ask(fresh.ana, limit=1000)
    desk.ask(fresh.zoe, limit=1000)
    keys = {row["companyid"]: row["cache_key"] for row in desk.rows("cache")}
    assert keys[ACME] != keys[BETA]
    desk.run_sql("DELETE FROM {cache} WHERE companyid = 1")
    desk.run_sql(
        "UPDATE {cache} SET companyid = 1, cache_key = :key WHERE companyid = 2", key=keys[ACME]
    )
    page = desk.ask(fresh.ana, limit=1000)
    assert not page["cached"]
    assert pairs_of(page["data"]) == fresh.acme


# The command line: exit codes


@pytest.fixture(scope="module")
def shell(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(case, tmp_path_factory.mktemp("shell"))


class Shell:
    """The command line on a case's store; the clock is the machine's."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        url = case.desk.settings.store.url
        more = "[requests]\nrate_limit = 0\n"
        self.config = write_config(folder, str(case.desk.harness.source.url), url, more)

    def by_file(self, token: str, *words: str) -> Done:
        path = self.folder / "token"
        path.write_bytes(token.encode("utf-8", "surrogateescape"))
        return run(*words, "--token-file", path, "--config", self.config)

    def by_stdin(self, token: str, *words: str) -> Done:
        return run(*words, "--token-file", "-", "--config", self.config, stdin=token)

    def by_variable(self, token: str, *words: str) -> Done:
        return run(*words, "--config", self.config, ALXREPORT_TOKEN=token)


WAYS = (Shell.by_file, Shell.by_stdin, Shell.by_variable)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_command_line_reads_its_company_alone(shell: Shell, way: Callable[..., Done]) -> None:
    page = way(shell, shell.case.ana, "query", "--limit", "1000")
    assert page.code == 0
    unforeign(page.out.decode() + page.err)
    assert pairs_of(page.json()["data"]) == shell.case.acme
    everything = way(shell, shell.case.ana, "export", "--format", "json")
    unforeign(everything.out.decode() + everything.err)
    assert pairs_of(everything.json()) == shell.case.acme
    for form in ("table", "csv"):
        unforeign(way(shell, shell.case.ana, "query", "--format", form).out.decode())


EXITS: dict[str, tuple[Callable[[Case], str], tuple[str, ...], int, str]] = {
    "other company": (lambda c: c.ana, ("--company", "zebra"), 4, "not_authorised"),
    "other company by id": (lambda c: c.ana, ("--company", "id:2"), 4, "not_authorised"),
    "no such company": (lambda c: c.ana, ("--company", "nope"), 4, "not_authorised"),
    "mistyped": (lambda c: mistyped(c.ana, 9), (), 4, "not_authorised"),
    "mistyped, with a company": (
        lambda c: mistyped(c.ana, 9), ("--company", "acme"), 4, "not_authorised"
    ),
    "unknown": (lambda c: sound(c.ana), (), 4, "not_authorised"),
    "revoked": (revoked, (), 4, "not_authorised"),
    "outside its network": (
        lambda c: c.desk.token("acme", networks=["10.0.0.0/8"]), (), 4, "not_authorised"
    ),
    "empty": (lambda c: "", (), 4, "not_authorised"),
    "empty, with a company": (lambda c: "", ("--company", "acme"), 4, "not_authorised"),
    "blank, with a company": (lambda c: "  \n", ("--company", "acme"), 4, "not_authorised"),
    "two lines": (lambda c: f"{c.ana}\n{c.zoe}", (), 4, "not_authorised"),
    "another's delta": (
        lambda c: c.ana, ("--since", "{delta}"), 2, "resync_required"
    ),
    "a usage error": (lambda c: c.ana, ("--fields", "nope"), 2, "usage"),
    "a usage error of a stranger": (
        lambda c: sound(c.ana), ("--fields", "nope"), 4, "not_authorised"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words", "code", "kind"), EXITS.values(), ids=EXITS)
def test_exit_codes(
    shell: Shell, make: Callable[[Case], str], words: tuple[str, ...], code: int, kind: str
) -> None:
    token = make(shell.case)
    if "{delta}" in words:
        words = ("--since", marks(shell.case, shell.case.zoe)[1])
    for command, way in (("query", shell.by_variable), ("export", shell.by_file)):
        done = way(token, command, *words, "--json")
        assert (done.code, done.out) == (code, b"")
        assert json.loads(done.err)["error"]["code"] == kind
        unforeign(done.err.lower().replace("'zebra'", ""))


def test_the_cursor_of_the_other_on_the_command_line(shell: Shell) -> None:
    cursor, _delta = marks(shell.case, shell.case.zoe)
    done = shell.by_stdin(shell.case.ana, "query", "--cursor", cursor, "--json")
    assert (done.code, done.out) == (2, b"")


def test_a_token_file_that_cannot_be_read_is_no_operator(shell: Shell) -> None:
    for path in ("/nowhere/token", str(shell.folder), "", "/proc/self/mem"):
        done = run("query", "--company", "acme", "--token-file", path, "--config", shell.config)
        assert (done.code, done.out) == (2, b""), path


def test_an_unset_variable_is_the_operator(shell: Shell) -> None:
    """He names a company; one that does not exist is told to him."""
    words = ("query", "--config", shell.config)
    assert run(*words, ALXREPORT_TOKEN=None).code == 2
    assert run(*words, "--company", "nope", ALXREPORT_TOKEN=None).code == 6
    done = run(*words, "--company", "zebra", "--limit", "1000", ALXREPORT_TOKEN=None)
    assert pairs_of(done.json()["data"]) == shell.case.beta
    row = shell.case.desk.log()[-1]
    assert (row["companyid"], row["tokenid"], row["ip"]) == (BETA, 0, "")
    assert row["agent"].startswith("cli:")


def test_the_file_goes_before_the_variable(shell: Shell) -> None:
    path = shell.folder / "mine"
    path.write_text(shell.case.ana)
    words = ("query", "--config", shell.config, "--token-file", path)
    assert run(*words, ALXREPORT_TOKEN=shell.case.zoe).json()["company"]["id"] == ACME
    path.write_text("")
    assert run(*words, ALXREPORT_TOKEN=shell.case.ana).code == 4


def test_the_state_file_of_the_other(shell: Shell) -> None:
    """Ana goes on from Beta's state: refused, nothing written, and the state stays as it was."""
    state, output = shell.folder / "state", shell.folder / "rows.json"
    words = ("export", "--state", str(state), "--output", str(output))
    assert shell.by_stdin(shell.case.zoe, *words, "--mode", "incremental").code == 0
    kept = state.read_bytes()
    output.unlink()
    done = shell.by_stdin(shell.case.ana, *words, "--json")
    assert (done.code, json.loads(done.err)["error"]["code"]) == (2, "resync_required")
    assert state.read_bytes() == kept
    assert not output.exists()
    done = shell.by_stdin(shell.case.ana, *words, "--mode", "full")
    assert done.code == 0
    assert pairs_of(json.loads(output.read_bytes())) == shell.case.acme
    assert state.read_bytes() != kept
    done = shell.by_stdin(shell.case.ana, *words)
    assert done.code == 0
    assert json.loads(output.read_bytes()) == []
    state.unlink()
    output.unlink()
