"""The statuses of version 1 of the API that are no answer, and the headers that it sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alxreport.errors import (
    AlxError,
    BusyError,
    ConfigError,
    NeverSyncedError,
    NotAuthorisedError,
    RateLimitError,
    ResyncError,
    StoreError,
    UnsupportedError,
    UsageError,
)
from alxreport.openapi_answers import ANSWERED_MODES, Schema, problem_example, reference
from alxreport.openapi_parameters import COMPANY, EXPORT, ROWS

PROBLEM, PLAIN = "application/problem+json", "text/plain"


@dataclass(frozen=True)
class Refusal:
    """A status that is no answer: which errors it tells, and what the reader may do."""

    status: int
    title: str
    kinds: tuple[type[AlxError], ...]  # none: refused before the address is looked at
    meaning: str
    message: str = ""  # of the example
    hint: str = ""
    reason: str = ""
    headers: tuple[str, ...] = ()
    of: tuple[str, ...] = (*ROWS, COMPANY)

    @property
    def name(self) -> str:
        """The response's name in the document, such as BadRequest."""
        return self.title.replace(" ", "").replace("-", "")


LIMIT_HEADERS = (
    "RateLimit-Policy", "RateLimit", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
)  # fmt: skip
REFUSALS = (
    Refusal(
        400, "Bad Request", (UsageError,),
        "A parameter is unknown, given twice, or cannot be meant.",
        "limit must be 1 to 1000, not 5000.", "Ask for further pages with the cursor in 'next'.",
    ),
    Refusal(
        401, "Unauthorized", (NotAuthorisedError,),
        "No token, or one that is mistyped, expired or revoked. Who tries many waits longer and"
        " longer.",
        "This token was revoked.", "Ask the administrator for a new one: alxreport token create",
        "revoked", ("WWW-Authenticate",),
    ),
    Refusal(
        403, "Forbidden", (NotAuthorisedError,),
        "The token is good, but not from your network, not for the company that was named, or"
        " requests for the company are disabled.",
        "This token may not be used from 192.0.2.10.",
        "Use it from the network it was made for, or ask for another.", "network",
    ),
    Refusal(
        410, "Gone", (ResyncError,),
        "`since` is damaged, too old, or of another company or store, or the store was restored"
        " since. Read everything once more: `mode=full`, without `since` and `cursor`.",
        "This delta is so old that deletions since then are forgotten.",
        "Resync with --mode full.", of=ROWS,
    ),
    Refusal(414, "URI Too Long", (), "The address is longer than 65,000 bytes."),
    Refusal(
        429, "Too Many Requests", (RateLimitError,),
        "The company's requests of today are used up. Come back after `Retry-After` seconds.",
        "The company's 100 requests of today are used up.",
        "The next day begins at 2026-11-23T00:00:00Z; the administrator can allow more:"
        " alxreport limit set C N", headers=("Retry-After", *LIMIT_HEADERS), of=ROWS,
    ),
    Refusal(431, "Request Header Fields Too Large", (), "The headers are too many or too large."),
    Refusal(
        500, "Internal Server Error", (AlxError, ConfigError),
        "A fault of the server. Tell who runs it.",
        "The server failed at this request.", "Tell who runs it.",
    ),
    Refusal(
        501, "Not Implemented", (UnsupportedError,),
        "This server cannot write Parquet. Ask for another form.",
        "Parquet is not offered by this server.", "Ask for another.",
        of=(EXPORT,),
    ),
    Refusal(
        503, "Service Unavailable", (StoreError, NeverSyncedError, BusyError),
        "The company was never synced, the data cannot be read now, or too many ask. Come back"
        " after `Retry-After` seconds.",
        "The data cannot be read now.", "Try again later.", headers=("Retry-After",),
    ),
)  # fmt: skip


def refused(each: Refusal) -> dict[str, Any]:
    """Return a refusal as a response of the document."""
    if not each.kinds:
        content = {PLAIN: {"schema": {"type": "string"}}}
        return {"description": each.meaning, "content": content, "x-error-codes": []}
    error = {"code": each.kinds[0].code, "message": each.message, "hint": each.hint}
    if each.reason:
        error["reason"] = each.reason
    example = problem_example(each.status, each.title, error)
    response = {
        "description": each.meaning,
        "content": {PROBLEM: {"schema": reference("Problem"), "example": example}},
        "x-error-codes": [kind.code for kind in each.kinds],
    }
    return response | ({"headers": told(*each.headers)} if each.headers else {})


def told(*names: str) -> dict[str, Any]:
    """Return references to some of ``HEADERS``."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _text(description: str, example: str, *, always: bool = True) -> dict[str, Any]:
    return _header(description, {"type": "string"}, example, always)


def _number(description: str, example: int, *, always: bool = True) -> dict[str, Any]:
    return _header(description, {"type": "integer", "minimum": 0}, example, always)


def _header(description: str, schema: Schema, example: Any, always: bool) -> dict[str, Any]:
    return {
        "description": description, "required": always, "schema": schema, "example": example,
    }  # fmt: skip


# The budget is told only where there is one.
HEADERS: dict[str, dict[str, Any]] = {
    "ETag": _text("For `If-None-Match`.", 'W/"3ea86b3fae8c62b9d25c423b644af044"'),
    "RateLimit-Policy": _text("Requests a day.", '"day";q=100;w=86400', always=False),
    "RateLimit": _text(
        "Requests left today, and seconds to the next day.", '"day";r=88;t=25197', always=False
    ),
    "RateLimit-Limit": _number("Requests a day.", 100, always=False),
    "RateLimit-Remaining": _number("Requests left today.", 88, always=False),
    "RateLimit-Reset": _number("Seconds to the next day.", 25_197, always=False),
    "Retry-After": _number("Seconds to wait.", 60),
    "WWW-Authenticate": _text("Basic and Bearer, each once.", 'Bearer realm="alxreport"'),
    "Alxreport-Mode": _header(
        "full or incremental, as `mode` of a page.",
        {"type": "string", "enum": list(ANSWERED_MODES)}, ANSWERED_MODES[0], True,
    ),
    "Alxreport-Delta": _text("The `since` with which to ask for what changes later.", "TkV2b3pB"),
    "Alxreport-Rows": _number("Records of the answer.", 2412),
    "Content-Disposition": _text("A name for the file.", 'attachment; filename="progress.csv"'),
}  # fmt: skip
