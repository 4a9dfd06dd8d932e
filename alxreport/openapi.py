"""The API of version 1 as an OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alxreport.openapi_answers import (
    Schema,
    company_example,
    page_example,
    record_example,
    reference,
    schemas,
)
from alxreport.openapi_parameters import (
    COMPANY,
    COMPANY_PARAMETERS,
    EXPORT,
    EXPORT_PARAMETERS,
    FORMS,
    PAGE_PARAMETERS,
    PARAMETERS,
    PROGRESS,
    Parameter,
)
from alxreport.openapi_refusals import HEADERS, LIMIT_HEADERS, REFUSALS, refused, told

__all__ = ["COMPANY_PARAMETERS", "EXPORT_PARAMETERS", "PAGE_PARAMETERS", "document"]

OPENAPI = "3.1.0"
# Relative to the document's own address, so that it holds behind any path of a proxy.
SERVER = "../v1"
ABOUT = """\
Learner progress of one company of a Moodle/IOMAD site: one record per learner and course, exact as of the last sync. Read everything once, then only what changed.

Take page after page with the `next` of each as `cursor` of the following, until it is null; no row comes twice and none is missed, whatever is synced meanwhile. Or take all rows at once from `/export`, which costs one request too.

The last page carries `delta`. Keep it, and give it as `since` next time: the answer then holds what changed, each record with `is_deleted`. Replace your row of the same `userid` and `courseid`, or drop it. Status 410 means: forget the delta and read everything once more.

A company has a number of requests a day. All pages of one series, each asked once and within an hour of the first, are one request; what is refused costs nothing."""  # noqa: E501 - paragraphs


# Of each operation: its id, what it is, more of that, and how to ask it by hand.
WORDS = {
    PROGRESS: (
        "getProgress", "One page of rows",
        "Rows in the order of user and course, with the mark of the next page.",
        'curl -H @alxreport.header "$ALXREPORT/api/v1/progress?limit=1"',
    ),
    EXPORT: (
        "exportProgress", "All rows at once",
        "The same rows as all pages together, in one answer and as one request.",
        'curl -H @alxreport.header --compressed --fail-with-body -o progress.csv \\\n'
        '  "$ALXREPORT/api/v1/export?format=csv"',
    ),
    COMPANY: (
        "getCompany", "What is set for the company",
        "Whose token it is, how many rows there are, and what is left of today's requests. Costs"
        " no request.",
        'curl -H @alxreport.header "$ALXREPORT/api/v1/company"',
    ),
}  # fmt: skip


def document(version: str) -> dict[str, Any]:
    """Return the document of the API as this version of alxreport answers it."""
    return {
        "openapi": OPENAPI,
        "info": {"title": "alxreport API", "version": version, "description": ABOUT},
        "servers": [{"url": SERVER, "description": "This server."}],
        "security": [{"bearer": []}, {"basic": []}],
        "paths": {
            "/progress": {"get": _progress()},
            "/export": {"get": _export()},
            "/company": {"get": _company()},
        },
        "components": {
            "schemas": schemas(),
            "headers": HEADERS,
            "responses": {each.name: refused(each) for each in REFUSALS},
            "securitySchemes": _security(),
        },
    }


def _progress() -> dict[str, Any]:
    known = {
        "name": "If-None-Match", "in": "header", "schema": {"type": "string"},
        "description": "The `ETag` of a page that is kept: answered with 304 if it is still so.",
    }  # fmt: skip
    links = {
        "nextPage": _link("getProgress", "cursor", "$response.body#/next", "null: no more pages."),
        "changes": _link("getProgress", "since", "$response.body#/delta", "null: not at the end."),
    }
    answered = _ok(
        "One page.", {FORMS["json"]: _content(reference("Page"), page_example())}, "ETag"
    )
    kept = {
        "description": "The page that you keep is still right.",
        "headers": told("ETag", *LIMIT_HEADERS),
    }
    return _operation(PROGRESS, {"200": answered | {"links": links}, "304": kept}, [known])


def _export() -> dict[str, Any]:
    header = ",".join(record_example())
    values = ",".join(map(str, record_example().values()))
    contents = {
        FORMS["json"]: _content(
            {"type": "array", "items": reference("Record")}, [record_example()]
        ),
        FORMS["ndjson"]: _content({"type": "string", "description": "A record on each line."}),
        FORMS["csv"]: _content(
            {
                "type": "string",
                "description": "RFC 4180, UTF-8. A text that a spreadsheet would run as a formula"
                " has an apostrophe in front.",
            },
            f"{header}\r\n{values}\r\n",
        ),
        FORMS["parquet"]: _content({"type": "string", "format": "binary"}),
    }
    names = ("Alxreport-Mode", "Alxreport-Delta", "Alxreport-Rows", "Content-Disposition")
    return _operation(EXPORT, {"200": _ok("All rows: complete, or an error.", contents, *names)})


def _company() -> dict[str, Any]:
    content = {FORMS["json"]: _content(reference("CompanySettings"), company_example())}
    return _operation(COMPANY, {"200": _ok("The company's settings.", content)})


def _operation(
    name: str, answers: dict[str, Any], more: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    key, summary, description, curl = WORDS[name]
    refusals = {
        str(each.status): {"$ref": f"#/components/responses/{each.name}"}
        for each in REFUSALS
        if name in each.of
    }
    return {
        "operationId": key,
        "summary": summary,
        "description": description,
        "parameters": [*(_parameter(each) for each in PARAMETERS if name in each.of), *more],
        "responses": answers | refusals,
        "x-codeSamples": [{"lang": "Shell", "label": "curl", "source": curl}],
    }


def _parameter(each: Parameter) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": each.name, "in": "query", "description": each.meaning, "schema": each.schema,
    }  # fmt: skip
    if each.schema["type"] == "array":
        made |= {"style": "form", "explode": False}
    return made if each.example is None else made | {"example": each.example}


def _content(schema: Schema, example: Any = None) -> dict[str, Any]:
    return {"schema": schema} | ({} if example is None else {"example": example})


def _ok(description: str, content: dict[str, Any], *headers: str) -> dict[str, Any]:
    named = told(*headers, *LIMIT_HEADERS)
    return {"description": description, "headers": named, "content": content}


def _link(operation: str, parameter: str, value: str, description: str) -> dict[str, Any]:
    return {
        "operationId": operation, "parameters": {parameter: value}, "description": description,
    }  # fmt: skip


def _security() -> dict[str, Any]:
    return {
        "bearer": {
            "type": "http", "scheme": "bearer",
            "description": "`Authorization: Bearer TOKEN`. The token says which company it is.",
        },
        "basic": {
            "type": "http", "scheme": "basic",
            "description": "The token as the password, with any user name: for Power BI and for"
            " other programs that keep a name and a password.",
        },
    }  # fmt: skip
