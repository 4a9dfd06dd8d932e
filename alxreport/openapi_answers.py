"""What version 1 of the API answers, as JSON Schemas with an example of each."""

from __future__ import annotations

from typing import Any

from alxreport.company_options import OPTIONS
from alxreport.listing import (
    DEFAULT_FIELDS,
    FIELDS,
    IS_DELETED,
    MORE_FIELDS,
    STATUSES,
    TEXTS,
    TIMES,
)
from alxreport.question import AUTO, FULL, INCREMENTAL

Schema = dict[str, Any]
ANSWERED_MODES = (FULL, INCREMENTAL)
ASKED_MODES = (FULL, INCREMENTAL, AUTO)
SYNCED_AT = "2026-11-22T17:00:03Z"
COMPANY = {"id": 3, "shortname": "acme", "name": "Acme Ltd"}
# Each field's meaning and an example of it.
FIELD_TEXTS: dict[str, tuple[str, Any]] = {
    "userid": ("Moodle's number of the learner.", 12),
    "firstname": ("First name, as in Moodle now.", "Ana"),
    "lastname": ("Last name, as in Moodle now.", "Ruiz"),
    "email": ("E-mail address, as in Moodle now.", "ana@acme.example"),
    "courseid": ("Moodle's number of the course.", 7),
    "coursename": ("Full name of the course, as in Moodle now.", "Safety"),
    "timecompleted": ("When the course was completed; null if it was not.", "2026-11-02T09:14:00Z"),
    "timecompleted_unix": ("The same in seconds since 1970; 0 if it was not.", 1_793_610_840),
    "timestarted": ("When the learner started; null if that is not known.", "2026-10-01T08:00:00Z"),
    "timestarted_unix": ("The same in seconds since 1970; 0 if not known.", 1_790_841_600),
    "percentage": ("Share of the course that is done, as Moodle shows it.", 100.0),
    "status": ("Where the learner stands; empty where `is_deleted` is true.", "completed"),
    "username": ("Login name in Moodle.", "ana.ruiz"),
    "companyid": ("Moodle's number of the company.", 3),
    "last_updated": ("When a sync last changed the row's content.", "2026-11-02T10:00:02Z"),
    "created_at": ("When a sync first wrote the row.", "2026-10-01T09:00:02Z"),
}
INTEGER: Schema = {"type": "integer", "format": "int64"}
COUNT: Schema = {**INTEGER, "minimum": 0}


def schemas() -> dict[str, Schema]:
    """Return the schema of each answer, by its name in the document."""
    return {
        "Record": _record(),
        "Page": _page(),
        "Company": _company(),
        "CompanySettings": _company_settings(),
        "Problem": _problem(),
    }


def reference(name: str) -> Schema:
    """Return a reference to one of ``schemas``."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(
    description: str, properties: dict[str, Schema], required: tuple[str, ...] | None = None
) -> Schema:
    """Return the schema of an object, all of whose properties are there unless others are named."""
    there = list(properties if required is None else required)
    made: Schema = {"type": "object", "description": description, "properties": properties}
    return made | ({"required": there} if there else {})


def field_type(name: str) -> Schema:
    """Return the JSON type of a record's field."""
    if name in TIMES:
        return {"type": ["string", "null"], "format": "date-time"}
    if name == "status":
        return {"type": "string", "enum": [*STATUSES, ""]}
    if name == "percentage":
        return {"type": "number", "minimum": 0, "maximum": 100}
    return {"type": "string"} if name in TEXTS else dict(INTEGER)


def _record() -> Schema:
    properties: dict[str, Schema] = {}
    for name in FIELDS:
        meaning, example = FIELD_TEXTS[name]
        more = "" if name in DEFAULT_FIELDS else " Only where the administrator shows it."
        properties[name] = field_type(name) | {"description": meaning + more, "examples": [example]}
    properties[IS_DELETED] = {
        "type": "boolean",
        "description": "Only where `mode` is incremental. True: drop your row of this `userid` and"
        " `courseid`; nothing else in the record means anything.",
    }
    return _object(
        "One learner in one course. A field that the administrator hid, or that was not asked for,"
        f" has no key. Not shown unless switched on: {', '.join(MORE_FIELDS)}.",
        properties,
        required=(),
    )


def _company() -> Schema:
    return _object(
        "The token's company.",
        {
            "id": {**INTEGER, "description": "Moodle's number of the company."},
            "shortname": {"type": "string"},
            "name": {"type": "string"},
        },
    )


def _page() -> Schema:
    opaque = {"type": ["string", "null"]}
    return _object(
        "One page of a company's rows, in the order of user and course.",
        {
            "company": reference("Company"),
            "mode": {
                "type": "string", "enum": list(ANSWERED_MODES),
                "description": "full: live rows; incremental: each record has `is_deleted`.",
            },
            "limit": {**INTEGER, "minimum": 1, "description": "The most rows of this page."},
            "offset": {**COUNT, "description": "Rows before this page."},
            "count": {**COUNT, "description": "Rows of this page."},
            "total": {**COUNT, "description": "Rows of all pages, as the first page counted."},
            "next": opaque | {"description": "The `cursor` of the next page; null on the last."},
            "delta": opaque | {
                "description": "On the last page: the `since` with which to ask for what changed"
                " later. Else null."
            },
            "revision": {**COUNT, "description": "Grows with each sync that changed something."},
            "synced_at": _time("When the company was last synced."),
            "cached": {"type": "boolean", "description": "Whether the page was kept from before."},
            "data": {"type": "array", "items": reference("Record")},
        },
    )  # fmt: skip


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _company_settings() -> Schema:
    settings = {
        "max_limit": {**INTEGER, "minimum": 1},
        "sync_mode": {"type": "string", "enum": list(ASKED_MODES)},
        "cache_minutes": dict(COUNT),
    }
    for name, schema in settings.items():
        meaning = OPTIONS[name].meaning
        schema["description"] = f"{meaning[0].upper()}{meaning[1:]}."
    budget = _object(
        "The company's requests of today.",
        {
            "limit": {**COUNT, "description": "Requests a day; 0 = unlimited."},
            "used": dict(COUNT),
            "remaining": {
                **COUNT, "type": ["integer", "null"], "description": "null = unlimited.",
            },
            "resets_at": _time("When the next day begins."),
        },
    )  # fmt: skip
    return _object(
        "What is set for the token's company.",
        {
            "company": reference("Company"),
            "rows": {**COUNT, "description": "Live rows."},
            "revision": {**COUNT, "description": "Grows with each sync that changed something."},
            "synced_at": _time("When the company was last synced."),
            "fields": {
                "type": "array", "items": {"type": "string", "enum": list(FIELDS)},
                "description": "The fields of a record, in their order.",
            },
            **settings,
            "rate_limit": budget,
        },
    )  # fmt: skip


def _problem() -> Schema:
    error = _object(
        "The same error as on the command line.",
        {
            "code": {"type": "string", "description": "A word for programs, such as usage."},
            "message": {"type": "string", "description": "What is wrong."},
            "hint": {"type": "string", "description": "What to do; may be empty."},
            "reason": {
                "type": "string",
                "description": "With not_authorised: why, such as missing, expired or network.",
            },
        },
        required=("code", "message", "hint"),
    )
    return _object(
        "A problem document (RFC 9457).",
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string", "description": "The words of the status."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "Message and hint as one text."},
            "error": error,
        },
    )


def record_example() -> dict[str, Any]:
    """Return a record with the fields that are shown unless something else is set."""
    return {name: FIELD_TEXTS[name][1] for name in DEFAULT_FIELDS}


def page_example() -> dict[str, Any]:
    """Return the first page of several."""
    return {
        "company": COMPANY, "mode": FULL, "limit": 1, "offset": 0, "count": 1, "total": 2412,
        "next": "CkV2b3pBdm9", "delta": None, "revision": 17, "synced_at": SYNCED_AT,
        "cached": False, "data": [record_example()],
    }  # fmt: skip


def company_example() -> dict[str, Any]:
    """Return what a company with no settings of its own is told."""
    return {
        "company": COMPANY, "rows": 2412, "revision": 17, "synced_at": SYNCED_AT,
        "fields": list(DEFAULT_FIELDS), "max_limit": 1000, "sync_mode": FULL, "cache_minutes": 60,
        "rate_limit": {
            "limit": 100, "used": 12, "remaining": 88, "resets_at": "2026-11-23T00:00:00Z",
        },
    }  # fmt: skip


def problem_example(status: int, title: str, error: dict[str, str]) -> dict[str, Any]:
    """Return a problem document of a status and its error object."""
    detail = f"{error['message']} {error['hint']}".strip()
    return {
        "type": "about:blank", "title": title, "status": status, "detail": detail, "error": error,
    }  # fmt: skip
