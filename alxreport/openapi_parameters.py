"""What version 1 of the API can be asked: each operation's parameters, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alxreport.listing import FIELDS, LARGEST_ID, STATUSES
from alxreport.openapi_answers import ASKED_MODES, INTEGER, Schema
from alxreport.question import DEFAULT_LIMIT

PROGRESS, EXPORT, COMPANY = "progress", "export", "company"
ROWS = (PROGRESS, EXPORT)
# The forms of an export, the first where none is named.
FORMS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of the query string; ``of`` names the operations that take it."""

    name: str
    schema: Schema
    meaning: str
    of: tuple[str, ...]
    example: Any = None  # none for what has to come from the caller's own answers


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


PARAMETERS = (
    Parameter(
        "format", {"type": "string", "enum": list(FORMS), "default": next(iter(FORMS))},
        "The form of the answer: one array, a record a line, a table with a header, or Parquet.",
        (EXPORT,), "csv",
    ),
    Parameter(
        "limit", {**INTEGER, "minimum": 1, "default": DEFAULT_LIMIT},
        "Rows a page; at most the `max_limit` that `/company` tells.", (PROGRESS,), 100,
    ),
    Parameter(
        "offset", {**INTEGER, "minimum": 0, "maximum": LARGEST_ID, "default": 0},
        "Rows to skip. Each page is a request then, and rows that come or go shift the others:"
        " `cursor` is better. Not together with it.", (PROGRESS,), 0,
    ),
    Parameter(
        "cursor", {"type": "string"},
        "The `next` of the page before, as it is. It carries mode, filters and fields: saying them"
        " again does no harm, saying others is refused.", (PROGRESS,),
    ),
    Parameter(
        "mode", {"type": "string", "enum": list(ASKED_MODES)},
        "`full`: all live rows. `incremental`: what changed after `since`, or all rows where that"
        " is left out. `auto`: what changed if `since` is good and recent, else all. If not given:"
        " what is set for the company, and incremental where `since` is given.", ROWS, "full",
    ),
    Parameter(
        "since", {"type": "string"},
        "The `delta` of the last page, or the `Alxreport-Delta` of the export, that was read"
        " before.", ROWS,
    ),
    Parameter(
        "fields", _list_of({"type": "string", "enum": list(FIELDS)}),
        "Some of the fields that are shown, by comma, in the order that is wanted. What changed"
        " can be told only with userid and courseid.", ROWS,
        ["userid", "courseid", "percentage", "status"],
    ),
    Parameter(
        "courses", _list_of({**INTEGER, "minimum": 0, "maximum": LARGEST_ID}),
        "Only these courses: Moodle's numbers, by comma.", ROWS, [7, 9],
    ),
    Parameter(
        "status", {"type": "string", "enum": list(STATUSES)}, "Only rows of this status.",
        ROWS, "completed",
    ),
    Parameter(
        "company", {"type": "string"},
        "Short name, number or `id:` and number of the company, to make sure: one that is not the"
        " token's is refused with 403.", (*ROWS, COMPANY),
    ),
)  # fmt: skip


def parameter_names(operation: str) -> tuple[str, ...]:
    """Return the parameters that an operation takes."""
    return tuple(each.name for each in PARAMETERS if operation in each.of)


PAGE_PARAMETERS = parameter_names(PROGRESS)
EXPORT_PARAMETERS = parameter_names(EXPORT)
COMPANY_PARAMETERS = parameter_names(COMPANY)
