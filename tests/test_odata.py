"""The OData feed: its documents, options, addresses and refusals, and what it costs."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import datetime
from typing import Any

import orjson
import pytest

from alxreport import odata
from alxreport.company_admin import company_fields, set_options
from alxreport.errors import (
    AlxError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    UnsupportedError,
    UsageError,
)
from alxreport.limit_admin import set_limit
from alxreport.listing import DEFAULT_FIELDS, FIELDS
from alxreport.odata_model import FUNCTIONS

from . import feed
from .asking import Desk, people
from .feed import ask, get, keys

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
EDMX = "{http://docs.oasis-open.org/odata/ns/edmx}"
SHOWN = [*DEFAULT_FIELDS, "last_updated", "created_at"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def tree(desk: Desk, token: str) -> ET.Element:
    reply = ask(desk, token, "$metadata")
    assert reply.content_type.startswith("application/xml")
    return ET.fromstring(reply.body)


def declared(desk: Desk, token: str) -> dict[str, ET.Element]:
    found = tree(desk, token).iter(f"{EDM}Property")
    return {each.attrib["Name"]: each for each in found}


# The documents


def test_the_service_document_names_the_one_set(local: Desk) -> None:
    people(local)
    reply = ask(local, local.token("acme"), "")
    assert orjson.loads(reply.body) == {
        "@odata.context": "$metadata",
        "value": [{"name": "Progress", "kind": "EntitySet", "url": "Progress"}],
    }
    assert (reply.status, reply.headers["OData-Version"]) == (200, "4.0")
    assert reply.content_type == "application/json;odata.metadata=minimal;charset=utf-8"


def test_the_schema_declares_what_answers_hold(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    desk.run_sql("UPDATE {reporting} SET timecompleted = 1793610840 WHERE courseid = 2")
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["username", "companyid"])
    found = declared(desk, token)
    fits = {
        "Edm.Int64": lambda value: type(value) is int,
        "Edm.String": lambda value: type(value) is str,
        "Edm.Decimal": lambda value: type(value) is float,
        "Edm.DateTimeOffset": lambda value: bool(TIME.fullmatch(value)),
    }
    rows = feed.rows(desk, token)
    assert {row["timecompleted"] for row in rows} == {None, "2026-11-02T09:14:00Z"}
    for row in rows:
        assert list(row) == list(found) == list(FIELDS)
        for name, value in row.items():
            attributes = found[name].attrib
            if value is None:
                assert attributes["Nullable"] == "true", name
            else:
                assert fits[attributes["Type"]](value), name
    assert (
        found["percentage"].attrib | {"Precision": "5", "Scale": "2"} == found["percentage"].attrib
    )
    assert {found[name].attrib["Nullable"] for name in ("userid", "courseid")} == {"false"}


def test_the_schema_is_csdl_and_tells_what_can_be_asked(local: Desk) -> None:
    people(local)
    root = tree(local, local.token("acme"))
    assert (root.tag, root.attrib) == (f"{EDMX}Edmx", {"Version": "4.0"})
    [schema] = root.iter(f"{EDM}Schema")
    [entity] = schema.iter(f"{EDM}EntityType")
    assert [key.attrib["Name"] for key in entity.iter(f"{EDM}PropertyRef")] == [
        "userid", "courseid",
    ]  # fmt: skip
    [entities] = schema.iter(f"{EDM}EntitySet")
    assert entities.attrib == {
        "Name": "Progress",
        "EntityType": f"{schema.attrib['Namespace']}.{entity.attrib['Name']}",
    }
    included = {each.attrib["Namespace"] for each in root.iter(f"{EDMX}Include")}
    terms = {each.attrib["Term"]: each for each in schema.iter(f"{EDM}Annotation")}
    assert {term.rpartition(".")[0] for term in terms} == included
    functions = terms["Org.OData.Capabilities.V1.FilterFunctions"]
    assert {each.text for each in functions.iter(f"{EDM}String")} == set(FUNCTIONS)
    allowed = {
        term.rpartition(".")[2]: value.attrib["Bool"]
        for term, each in terms.items()
        for value in each.iter()
        if "Bool" in value.attrib
    }
    assert {name for name, value in allowed.items() if value == "true"} == {
        "TopSupported", "SkipSupported", "CountRestrictions", "FilterRestrictions",
        "SortRestrictions",
    }  # fmt: skip
    assert {"ExpandRestrictions", "InsertRestrictions", "BatchSupported"} <= allowed.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_that_is_named_is_there(local: Desk, name: str) -> None:
    people(local)
    begins, ends = "concat('<',email),'<'", "concat(email,'>'),'>'"
    compared = {
        "length": "length(email) gt 0", "indexof": "indexof(email,'user') eq 0",
        "substring": "substring(email,4) ne ''", "concat": "concat(email,'x') ne ''",
    }.get(name, f"{name}({ends if name == 'endswith' else begins})")  # fmt: skip
    assert len(feed.rows(local, local.token("acme"), filter=compared)) == 12


# What is shown


def test_the_rows_are_those_of_the_export(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    exported = orjson.loads(desk.export(token)[0])
    for size in (1, 5, 12, 13):
        found = feed.rows(desk, token, prefer=f"maxpagesize={size}")
        assert [{name: row[name] for name in DEFAULT_FIELDS} for row in found] == exported
    assert all(list(row) == SHOWN for row in found)
    made = datetime.fromisoformat(found[0]["created_at"]).timestamp()
    assert made == datetime.fromisoformat(found[0]["last_updated"]).timestamp() == desk.now


def test_what_is_hidden_cannot_be_seen_filtered_or_sorted_by(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    link = feed.link(get(desk, token, prefer="maxpagesize=2"))
    assert link
    hidden = ["email", "last_updated", "status"]
    company_fields(desk.store, desk.settings, "acme", desk.now, hide=hidden)
    with pytest.raises(UsageError, match="fields were changed"):
        get(desk, token, link[0], items=link[1])
    for name in (*hidden, "username", "companyid", "nothing", "is_deleted", "revision", "id"):
        assert name not in declared(desk, token)
        assert all(name not in row for row in feed.rows(desk, token))
        literal = "2020-01-01T00:00:00Z" if name == "last_updated" else "'x'"
        for options in (
            {"filter": f"{name} ne {literal}"}, {"orderby": name}, {"select": f"userid,{name}"},
            {"filter": f"{name} eq null"}, {"filter": f"length({name}) gt 0"},
        ):  # fmt: skip
            with pytest.raises(UsageError, match=f"no property '{name}'"):
                get(desk, token, **options)
    assert "created_at" in declared(desk, token)


def test_without_its_key_there_is_no_feed(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    company_fields(local.store, local.settings, "acme", local.now, hide=["courseid"])
    for path in ("", "$metadata", "Progress", "Progress/$count", "Progress(userid=1,courseid=2)"):
        with pytest.raises(UnsupportedError, match="userid and courseid"):
            ask(local, token, path)


def test_the_feed_is_full_whatever_the_mode_and_closed_when_disabled(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    for mode in ("incremental", "auto"):
        set_options(local.store, "acme", {"sync_mode": mode}, local.now)
        assert len(feed.rows(local, token)) == 12
    set_options(local.store, "acme", {"sync_mode": "disabled"}, local.now)
    for path in ("", "$metadata", "Progress", "Progress/$count", "Progress(userid=1,courseid=2)"):
        with pytest.raises(NotAuthorisedError, match="disabled"):
            ask(local, token, path)


# Options


def test_how_much_an_answer_tells_of_itself(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    asked = {"top": 1, "select": "userid,courseid,percentage,timecompleted,email"}
    plain = get(local, token, **asked)
    assert (
        plain["@odata.context"]
        == "$metadata#Progress(userid,courseid,percentage,timecompleted,email)"
    )
    [row] = plain["value"]
    none = ask(local, token, accept="application/json;odata.metadata=none;q=0.9,*/*", **asked)
    assert orjson.loads(none.body) == {"value": [row]}
    assert "odata.metadata=none" in none.content_type
    full = ask(local, token, items=[("$format", "application/json;odata.metadata=full")], **asked)
    assert "odata.metadata=full" in full.content_type
    assert orjson.loads(full.body)["value"] == [{
        "@odata.type": "#alxreport.Progress",
        "@odata.id": f"Progress(userid={row['userid']},courseid={row['courseid']})",
        "userid@odata.type": "#Int64", "courseid@odata.type": "#Int64",
        "percentage@odata.type": "#Decimal", **row,
    }]  # fmt: skip
    assert get(local, token, select="*", top=1)["@odata.context"] == "$metadata#Progress"
    assert get(local, token, top=1, format="json")["@odata.context"] == "$metadata#Progress"


def test_top_skip_and_count(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    every = feed.rows(desk, token)
    nothing = get(desk, token, top=0, count="true")
    assert nothing == {"@odata.context": "$metadata#Progress", "@odata.count": 12, "value": []}
    for top, skip, size in ((5, 0, 2), (4, 3, 2), (100, 11, 5), (3, 2**63 - 1, 1), (12, 0, 12)):
        found = list(feed.pages(desk, token, top=top, skip=skip, count="true",
                                prefer=f"odata.maxpagesize={size}"))  # fmt: skip
        assert [row for page in found for row in page["value"]] == every[skip : skip + top]
        assert {page["@odata.count"] for page in found} == {12}
        assert len(found) == max(1, -(-len(every[skip : skip + top]) // size))
    assert ask(desk, token, "Progress/$count").body == b"12"
    assert ask(desk, token, "Progress/$count", filter="courseid eq 2").body == b"4"


def test_the_size_of_a_page(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    set_options(local.store, "acme", {"max_limit": "5"}, local.now)
    for prefer, size, applied in (
        ("", 5, None), ("odata.maxpagesize=3", 3, "odata.maxpagesize=3"),
        ("return=minimal, maxpagesize=2", 2, "maxpagesize=2"), ("maxpagesize=0", 5, None),
        ("respond-async", 5, None), ("odata.maxpagesize=900", 5, "odata.maxpagesize=900"),
    ):  # fmt: skip
        reply = ask(local, token, prefer=prefer)
        assert len(orjson.loads(reply.body)["value"]) == size
        assert reply.headers.get("Preference-Applied") == applied


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ([("$expand", "x")], UnsupportedError), ([("$search", "x")], UnsupportedError),
        ([("$apply", "x")], UnsupportedError), ([("$compute", "x")], UnsupportedError),
        ([("$deltatoken", "x")], UnsupportedError), ([("@p", "1")], UnsupportedError),
        ([("$format", "atom")], UnsupportedError), ([("$format", "")], UnsupportedError),
        ([("$filter", "tolower(email) eq 'x'")], UnsupportedError),
        ([("$filter", "year(timecompleted) eq 2026")], UnsupportedError),
        ([("$filter", "userid add 1 eq 2")], UnsupportedError),
        ([("filter", "userid eq 1")], UsageError), ([("$filer", "userid eq 1")], UsageError),
        ([("$Filter", "userid eq 1")], UsageError), ([("x", "1")], UsageError),
        ([("$top", "1"), ("$top", "1")], UsageError), ([("$top", "-1")], UsageError),
        ([("$top", "1.0")], UsageError), ([("$top", "")], UsageError),
        ([("$top", "\u0663")], UsageError),
        ([("$skip", "-1")], UsageError), ([("$skip", str(2**63))], UsageError),
        ([("$count", "yes")], UsageError), ([("$select", "")], UsageError),
        ([("$select", "userid,,email")], UsageError), ([("$orderby", "")], UsageError),
        ([("$orderby", "userid up")], UsageError), ([("$orderby", "userid desc desc")], UsageError),
        ([("$orderby", "length(email)")], UsageError), ([("$filter", " ")], UsageError),
        ([("$skiptoken", "")], UsageError), ([("$skiptoken", "Sabc")], UsageError),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_and_costs_nothing(
    local: Desk, options: feed.Items, kind: type[AlxError]
) -> None:
    people(local)
    token = local.token("acme")
    with pytest.raises(UsageError) as caught:
        ask(local, token, items=options)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert not [row for row in local.rows("usage") if row["calls"]]
    with pytest.raises(NotAuthorisedError):  # only who may ask is told what is wrong
        ask(local, "no token", items=options)


# Addresses


def test_one_row_by_its_key(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    user, course = crowd.users[1], crowd.courses[2]
    [wanted] = feed.rows(desk, token, filter=f"userid eq {user} and courseid eq {course}")
    for path in (
        f"Progress(userid={user},courseid={course})",
        f"Progress( courseid={course} , userid={user})",
    ):  # fmt: skip
        assert get(desk, token, path) == {"@odata.context": "$metadata#Progress/$entity", **wanted}
    found = get(desk, token, path, select="email")
    assert found == {
        "@odata.context": "$metadata#Progress(email)/$entity",
        "email": wanted["email"],
    }
    beta = feed.keys(feed.rows(desk, desk.token("beta")))[0]
    for key in (beta, (user, 999), (0, 0), (2**63 - 1, course), (10**24, course)):
        with pytest.raises(NotFoundError, match="no such row"):
            ask(desk, token, f"Progress(userid={key[0]},courseid={key[1]})")


@pytest.mark.parametrize(
    "path",
    [
        "progress", "Progress/", "Progress/count", "Progress/$value", "Progresses", "Progress()",
        "Progress(1,2)", "Progress(userid=1)", "Progress(userid=1,userid=2)", "$batch", "$all", "/",
        "Progress(userid=1,courseid=2)/email", "Progress(userid='1',courseid=2)", "$metadata/x",
        "Progress(userid=-1,courseid=2)", "Progress(userid=1,courseid=2,companyid=3)", "\0", "../x",
        "Progress(userid=1,courseid=2", "$metadata#Progress", "Progress(" + "1," * 9_000 + ")",
    ],
    ids=lambda path: repr(path[:40]),
)  # fmt: skip
def test_other_addresses_are_not_there(local: Desk, path: str) -> None:
    people(local)
    with pytest.raises(NotFoundError, match="nothing at this address"):
        ask(local, local.token("acme"), path)
    with pytest.raises(NotAuthorisedError):
        ask(local, "", path)


def test_errors_are_objects_as_odata_has_them() -> None:
    error = UsageError("There is no property 'x'.", "The properties are a, b.")
    told = orjson.loads(odata.error_body(error, error.message))
    assert told == {"error": {"code": "usage", "message": "There is no property 'x'."}}


# Cost, and whom it tells


def used(desk: Desk) -> int:
    return sum(row["calls"] for row in desk.rows("usage"))


def test_what_a_request_costs(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    entity = f"Progress(userid={crowd.users[0]},courseid={crowd.courses[0]})"
    for number, (path, asked, cost) in enumerate((
        ("", {}, 0), ("$metadata", {}, 0), ("Progress/$count", {}, 1), (entity, {}, 1),
        ("Progress", {"filter": "userid eq 1"}, 1), ("Progress", {"filter": "x"}, 0),
        ("Progress", {"expand": "x"}, 0), ("Nothing", {}, 0), ("Progress", {"top": "0"}, 1),
    )):  # fmt: skip
        before, logged = used(desk), len(desk.log())
        try:
            reply = ask(desk, token, path, **asked)
            assert reply.budget is not None
        except (UsageError, NotFoundError):
            assert not cost
        assert used(desk) == before + cost, (number, path)
        assert len(desk.log()) == logged + 1
        assert desk.log()[-1]["endpoint"] == "odata"
    for asked in ({}, {"orderby": "email desc"}, {"top": 7, "filter": "percentage ge 0"}):
        before = used(desk)
        found = list(feed.pages(desk, token, prefer="maxpagesize=2", **asked))
        assert len(found) > 3
        assert used(desk) == before + 1


def test_a_page_asked_again_is_a_request_and_a_spent_budget_refuses(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    set_limit(local.store, local.settings, "acme", "2", local.now)
    path, items = feed.link(get(local, token, prefer="maxpagesize=5")) or ("", [])
    get(local, token, path, items=items)
    assert used(local) == 1
    get(local, token, path, items=items)
    assert used(local) == 2
    for asked in ("Progress", "Progress/$count"):
        with pytest.raises(RateLimitError):
            get(local, token, asked)
    assert get(local, token, "") is not None


def test_no_address_tells_of_another_company(desk: Desk) -> None:
    people(desk)
    token, other = desk.token("acme"), desk.token("beta")
    theirs = set(keys(feed.rows(desk, other)))
    assert theirs
    for text in (
        "true", "userid gt 0 or true", "not (userid eq 0)", "companyid eq 2 or true",
        "email ne 'x' or (true or true)", "1 eq 1", "userid in (1,2,3,4,5,6,7,8,9,10)",
    ):  # fmt: skip
        try:
            assert not theirs & set(keys(feed.rows(desk, token, filter=text)))
        except UsageError:
            assert "companyid" in text, "a field that is not switched on"
    path, items = feed.link(get(desk, token, prefer="maxpagesize=2")) or ("", [])
    with pytest.raises(UsageError, match="another company or store"):
        ask(desk, other, path, items=items)
    who = odata.Caller("odata", "127.0.0.1", "", token, "beta")
    call = odata.Call("Progress", lambda: [("company", "beta")])
    with pytest.raises(NotAuthorisedError, match="not for the company"):
        odata.answer(desk.store, desk.settings, who, call, desk.now)


def test_deletions_are_not_told(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    desk.now += 60
    desk.site.remove_from_company(crowd.company, crowd.users[0])
    desk.harness.sync()
    assert crowd.users[0] not in {row["userid"] for row in feed.rows(desk, token)}
    for text in ("true", f"userid eq {crowd.users[0]} or firstname eq ''"):
        assert crowd.users[0] not in {row["userid"] for row in feed.rows(desk, token, filter=text)}
    assert ask(desk, token, "Progress/$count").body == b"9"


def test_a_cached_page_is_the_fresh_one(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    asked: list[dict[str, Any]] = [
        {}, {"filter": "userid gt 4"}, {"filter": "userid gt 5"}, {"count": "true"},
        {"filter": "userid gt 4", "count": "true"}, {"orderby": "courseid desc"},
        {"top": 3}, {"orderby": "courseid"}, {"skip": 2}, {"select": "userid"},
    ]  # fmt: skip
    fresh = [get(desk, token, **each) for each in asked]
    assert len({orjson.dumps(page) for page in fresh}) == len(asked)
    assert [get(desk, token, **each) for each in asked] == fresh
    assert len(desk.rows("cache")) == len(asked) - 2
    told = [row["cache"] for row in desk.log()]
    assert told.count("hit") == len(asked) - 2, "pages in an order of their own are not kept"


def test_without_the_extra_only_filters_are_missing() -> None:
    code = "import sys; from alxreport import odata; print('odata_query' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
