"""The OpenAPI document is valid, and the server takes and answers what it says, and no more."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from urllib.parse import urljoin

import pyarrow.parquet
import pytest
from jsonschema import ValidationError
from openapi_spec_validator import validate

from alxreport import __version__, http_reply
from alxreport.company_admin import company_fields
from alxreport.errors import NotAuthorisedError
from alxreport.export import FORMATS
from alxreport.http_api import TITLES as SENT_TITLES
from alxreport.http_api import TYPES
from alxreport.http_protocol import LARGEST_URL
from alxreport.listing import DEFAULT_FIELDS, FIELDS, LARGEST_ID, MORE_FIELDS
from alxreport.openapi_parameters import FORMS
from alxreport.openapi_refusals import REFUSALS

from .api_answers import DOCUMENT, TITLES, check, check_value, followed, parameters, responses
from .api_site import COMPANY, EXPORT, PATHS, PROGRESS, Api, api, lasting
from .serving import Got, basic

__all__ = ["api", "lasting"]  # fixtures


# The document by itself


def test_the_document_is_valid():
    validate(DOCUMENT)
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    names = [path["get"]["operationId"] for path in DOCUMENT["paths"].values()]
    assert len(set(names)) == len(names) == len(PATHS)
    assert tuple(DOCUMENT["paths"]) == PATHS


def test_every_example_is_one():
    found = 0
    for path in PATHS:
        for each in DOCUMENT["paths"][path]["get"]["parameters"]:
            if "example" in each:
                check_value(each["example"], each["schema"])
                found += 1
        for node in responses(path).values():
            for kind, content in followed(node).get("content", {}).items():
                if "example" in content:
                    check_value(content["example"], content["schema"])
                    found += 1
                assert "example" in content or not kind.endswith("/json")
    for header in DOCUMENT["components"]["headers"].values():
        check_value(header["example"], header["schema"])
    for schema in DOCUMENT["components"]["schemas"].values():
        for each in schema["properties"].values():
            for example in each.get("examples", ()):
                check_value(example, each)
                found += 1
    assert found > 40


@pytest.mark.parametrize("prefix", ["", "/reports", "/a/b"])
def test_the_server_is_the_one_that_the_document_came_from(prefix):
    root = urljoin(f"https://h.example{prefix}/api/v1/openapi.json", DOCUMENT["servers"][0]["url"])
    assert root + PROGRESS == f"https://h.example{prefix}/api/v1/progress"


def test_the_document_says_what_the_code_says():
    assert tuple(FORMS) == FORMATS
    assert {form: kind.partition(";")[0] for form, kind in TYPES.items()} == FORMS
    record = DOCUMENT["components"]["schemas"]["Record"]["properties"]
    assert tuple(record) == (*FIELDS, "is_deleted")
    for each in REFUSALS:
        assert each.kinds or each.status in {414, 431}
        for kind in each.kinds:
            if kind is not NotAuthorisedError:
                made = kind.__new__(kind)
                assert http_reply.status_of(made) == each.status
        if each.kinds:
            assert SENT_TITLES[each.status] == each.title
    assert f"{LARGEST_URL:,} bytes" in followed(responses(PROGRESS)["414"])["description"]
    assert set(TITLES) == {str(each.status) for each in REFUSALS if each.kinds}


def test_the_document_is_served_to_everybody(api):
    got = api.ask("/openapi.json", None)
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert got.json() == DOCUMENT
    assert DOCUMENT["info"]["version"] == __version__


# Parameters

GOOD: dict[str, list[Any]] = {
    "limit": [1, 1000], "offset": [0, LARGEST_ID], "cursor": [], "since": [],
    "mode": ["full", "incremental", "auto"], "fields": ["userid,courseid", "courseid,userid,email"],
    "courses": ["0", f"1,{LARGEST_ID}"], "status": ["completed", "in_progress", "not_started"],
    "company": ["acme"], "format": ["json", "ndjson", "csv", "parquet"],
}  # fmt: skip
BAD: dict[str, list[Any]] = {
    "limit": [0, -1, 1001, "x", "", "1.5", 10**30], "offset": [-1, LARGEST_ID + 1, "x", ""],
    "cursor": ["", "x"], "since": ["", "x"], "mode": ["", "disabled", "FULL"],
    "fields": ["", "nobody", "username"], "courses": ["", "x", "-1", LARGEST_ID + 1],
    "status": ["", "done"], "company": ["", "beta", "nobody"], "format": ["", "xlsx"],
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_documented_parameter_is_accepted_and_bounded(api, path):
    api.configure(rate_limit=0)
    for name, each in parameters(path).items():
        values = GOOD[name] or [_mark(api, name)]
        assert set(each["schema"].get("enum", ())) <= set(values)
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            if bound in each["schema"]:
                assert each["schema"][bound] in values
                assert each["schema"][bound] + beyond in BAD[name]
        for value in values:
            got = api.ask(path, **{name: value})
            assert got.status == 200, (name, value, got.body)
            check(path, got, limited=False)
        for value in BAD[name]:
            got = api.ask(path, **{name: value})
            assert got.status == {"company": 403, "since": 410}.get(name, 400), (name, value)
            check(path, got, limited=False)
        if "example" in each and name not in {"courses", "fields"}:
            assert api.ask(path, **{name: each["example"]}).status == 200


def _mark(api: Api, name: str) -> str:
    first = api.ask(PROGRESS, limit=1 if name == "cursor" else 1000).json()
    return str(first["next" if name == "cursor" else "delta"])


@pytest.mark.parametrize("path", PATHS)
def test_every_accepted_parameter_is_documented(api, path):
    hint = check(path, api.ask(path, zzzzzz=1))["error"]["hint"]
    accepted = hint.removeprefix("Known here: ").removesuffix(".").split(", ")
    assert accepted == list(parameters(path))


def test_lists_are_written_as_documented(api):
    for path in (PROGRESS, EXPORT):
        for name in ("fields", "courses"):
            each = parameters(path)[name]
            assert (each["style"], each["explode"]) == ("form", False)
    courses = ",".join(map(str, api.crowd.courses[:2]))
    told = check(PROGRESS, api.ask(PROGRESS, courses=courses, fields="email,courseid"))
    assert {tuple(row) for row in told["data"]} == {("email", "courseid")}
    assert {row["courseid"] for row in told["data"]} == set(api.crowd.courses[:2])


# Answers


def test_pages_are_as_documented(api):
    first = check(PROGRESS, api.ask(PROGRESS, limit=5))
    assert (first["count"], first["delta"]) == (5, None)
    last = check(PROGRESS, api.ask(PROGRESS, limit=1000, cursor=first["next"]))
    assert (last["count"], last["next"]) == (7, None)
    assert check(PROGRESS, api.ask(PROGRESS, status="completed"))["data"] == []
    assert check(PROGRESS, api.ask(PROGRESS, limit=5))["cached"] is True


def test_increments_are_as_documented(api):
    begun = check(PROGRESS, api.ask(PROGRESS, mode="incremental"))
    assert all(row["is_deleted"] is False for row in begun["data"])
    api.desk.now += 60
    api.desk.site.change_user(api.crowd.users[0], api.desk.now, deleted=1)
    api.desk.site.change_user(api.crowd.users[1], api.desk.now, firstname="New")
    api.desk.harness.sync()
    company_fields(api.desk.store, api.desk.settings, "acme", show=MORE_FIELDS, now=api.desk.now)
    for path, marked in ((PROGRESS, lambda told: told["data"]), (EXPORT, lambda told: told)):
        got = api.ask(path, since=begun["delta"], fields=",".join(DEFAULT_FIELDS))
        rows = marked(check(path, got))
        assert [row["is_deleted"] for row in rows] == [True] * 3 + [False] * 3
        assert {row["status"] for row in rows[:3]} == {""}


def test_fields_that_are_hidden_and_shown_are_as_documented(api):
    desk = api.desk
    company_fields(
        desk.store, desk.settings, "acme", show=MORE_FIELDS, hide=("email", "status"), now=desk.now
    )
    shown = [name for name in FIELDS if name not in {"email", "status"}]
    assert list(check(PROGRESS, api.ask(PROGRESS))["data"][0]) == shown
    assert list(check(EXPORT, api.ask(EXPORT))[0]) == shown
    assert check(COMPANY, api.ask(COMPANY))["fields"] == shown


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_exports_are_as_documented(api, form, mode):
    got = api.ask(EXPORT, format=form, mode=mode)
    body = check(EXPORT, got)
    assert got.headers["content-type"].partition(";")[0] == FORMS[form]
    assert got.headers["alxreport-rows"] == "12"
    assert got.headers["alxreport-mode"] == mode
    names = [*DEFAULT_FIELDS, *(["is_deleted"] if mode == "incremental" else [])]
    if form == "ndjson":
        body = [json.loads(line) for line in body.splitlines()]
        check_value(body, {"type": "array", "items": {"$ref": "#/components/schemas/Record"}})
    elif form == "csv":
        body = list(csv.DictReader(io.StringIO(body.decode())))
    elif form == "parquet":
        body = pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()
    assert [list(row) for row in body] == [names] * 12


def test_the_company_is_as_documented(api):
    told = check(COMPANY, api.ask(COMPANY))
    assert told["rate_limit"] | {"resets_at": ""} == {
        "limit": 100, "used": 0, "remaining": 100, "resets_at": "",
    }  # fmt: skip
    api.configure(rate_limit=0)
    assert check(COMPANY, api.ask(COMPANY), limited=False)["rate_limit"]["remaining"] is None


def test_both_ways_to_authenticate_are_as_documented(api):
    assert DOCUMENT["security"] == [{"bearer": []}, {"basic": []}]
    for path in PATHS:
        got = api.ask(path, None, headers={"Authorization": basic(api.token, "anybody")})
        assert got.status == 200
        check(path, got)


# The checks themselves


def test_a_wrong_answer_is_found(api):
    good = api.ask(PROGRESS, limit=1)
    check(PROGRESS, good)
    told = good.json()

    def answered(**changed: Any) -> Got:
        return Got(200, good.headers, json.dumps(told | changed).encode())

    row = told["data"][0]
    for changed in (
        {"new": 1}, {"count": -1}, {"next": 1}, {"mode": "auto"}, {"synced_at": None},
        {"data": [row | {"password": "x"}]}, {"data": [row | {"timestarted": 0}]},
        {"data": [row | {"status": "done"}]}, {"company": {"id": 1}},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            check(PROGRESS, answered(**changed))
    for name in ("etag", "ratelimit"):
        less = {key: value for key, value in good.headers.items() if key != name}
        with pytest.raises(AssertionError, match="is missing"):
            check(PROGRESS, Got(200, less, good.body))
    with pytest.raises(KeyError):
        check(PROGRESS, Got(204, good.headers, b""))
    with pytest.raises(KeyError):
        check(PROGRESS, Got(200, good.headers | {"content-type": "text/html"}, good.body))
