"""How every endpoint answers: status, headers, and a body packed where the client reads that."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from alxreport.errors import (
    AlxError,
    BusyError,
    DatabaseError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    ResyncError,
    UnsupportedError,
    UsageError,
)
from alxreport.http_call import CREDENTIAL_REASONS, office

PACKED_FROM = 1_000  # bytes; shorter answers gain nothing
PACK_LEVEL = 4
_FLAG = re.compile(r"(?<!alxreport )--(?=[a-z])")


def status_of(error: AlxError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, NotAuthorisedError):
        return 401 if error.reason in CREDENTIAL_REASONS else 403
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 500


_STATUS: tuple[tuple[type[AlxError], int], ...] = (
    (ResyncError, 410),
    (UnsupportedError, 501),
    (UsageError, 400),
    (RateLimitError, 429),
    (NotFoundError, 404),
    (DatabaseError, 503),
    (BusyError, 503),
)


def in_words_of_http(error: AlxError) -> tuple[str, str]:
    """Return message and hint without the dashes of the command line's options."""
    if isinstance(error, ResyncError):
        return error.message, error.hint  # the contract's words
    hint = error.hint if "alxreport " in error.hint else _FLAG.sub("", error.hint)
    return _FLAG.sub("", error.message), hint


def refusal_headers(response: Response, error: AlxError, now: int) -> Response:
    """Add what a client needs to do better: a challenge, or when to come back."""
    headers = response.headers
    headers["Cache-Control"] = "no-store"
    headers["X-Content-Type-Options"] = "nosniff"
    if status_of(error) == 401:
        headers.append("WWW-Authenticate", 'Basic realm="alxreport", charset="UTF-8"')
        headers.append("WWW-Authenticate", 'Bearer realm="alxreport"')
    elif isinstance(error, RateLimitError):
        wait = max(1, error.resets_at - now)
        headers["Retry-After"] = str(wait)
        headers.update(limit_headers(error.limit, 0, wait))
    elif isinstance(error, BusyError):
        headers["Retry-After"] = "1"
    elif isinstance(error, DatabaseError):
        headers["Retry-After"] = "60"
    return response


def budget_headers(budget: Any, now: int) -> dict[str, str]:
    """Return what is told of a budget (``rate_limit.Budget``, or None) with each answer."""
    if budget is None or budget.left is None:
        return {}
    return limit_headers(budget.limit, budget.left, max(1, budget.resets_at - now))


def limit_headers(limit: int, left: int, seconds: int) -> dict[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-10, and those of its version 3."""
    return {
        "RateLimit-Policy": f'"day";q={limit};w=86400',
        "RateLimit": f'"day";r={left};t={seconds}',
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(left),
        "RateLimit-Reset": str(seconds),
    }


def takes_gzip(request: Request) -> bool:
    """Tell whether the client reads gzip."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _mark, weight = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


class Parts(Response):
    """A body in parts that are sent as they are: joining a page would copy it once more."""

    def __init__(
        self, parts: Sequence[bytes], status: int, headers: Mapping[str, str], kind: str
    ) -> None:
        super().__init__(b"", status, headers, kind)
        self._parts = parts
        self.headers["Content-Length"] = str(sum(map(len, parts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send head and parts."""
        del receive
        await send({
            "type": "http.response.start", "status": self.status_code, "headers": self.raw_headers,
        })  # fmt: skip
        for part in () if scope["method"] == "HEAD" else self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def reply(
    request: Request, body: bytes | Sequence[bytes], media_type: str,
    headers: Mapping[str, str] = {},
    status: int = 200,
) -> Response:  # fmt: skip
    """Return a body as an answer, packed where the client reads that."""
    more = {"Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff", **headers}
    parts = [body] if isinstance(body, bytes) else body
    if sum(map(len, parts)) >= PACKED_FROM and takes_gzip(request):
        parts = [await office(request).run(lambda: packed(b"".join(parts)))]
        more["Content-Encoding"] = "gzip"
    return Parts(parts, status, more, media_type)


def packed(body: bytes) -> bytes:
    """Return bytes as gzip."""
    return zlib.compress(body, PACK_LEVEL, wbits=31)


def packing() -> Any:
    """Return what packs a stream as gzip."""
    return zlib.compressobj(PACK_LEVEL, wbits=31)
