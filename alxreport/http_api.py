"""The API of version 1: a page of progress, all of it, and what is set for the company."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any, BinaryIO

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from alxreport.admission import Known, recognised
from alxreport.errors import AlxError, NotAuthorisedError, UnsupportedError, UsageError
from alxreport.export import FORMATS, Exported
from alxreport.export import export as write_export
from alxreport.http_call import caller, office, parameters, token_of, whole_number
from alxreport.http_reply import (
    budget_headers,
    in_words_of_http,
    packing,
    refusal_headers,
    reply,
    status_of,
    takes_gzip,
)
from alxreport.listing import parse_fields, parse_filter
from alxreport.openapi import COMPANY_PARAMETERS, EXPORT_PARAMETERS, PAGE_PARAMETERS
from alxreport.query import Page, query_page
from alxreport.question import Question
from alxreport.records import iso_time

JSON = "application/json"
PROBLEM = "application/problem+json"
TYPES = {
    "json": JSON,
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
LONGEST_COURSES = 30_000  # characters
CHUNK_BYTES = 256 * 1024
# An answer up to this size never touches the disk.
SPOOLED_BYTES = 4_000_000


async def progress(request: Request) -> Response:
    """Answer one page: the page object of ``alxreport query``."""
    here, now = office(request), office(request).now()
    company = request.query_params.get("company")
    who = caller(request, "api", token_of(request), company)

    def ask() -> Question:
        given = parameters(request, PAGE_PARAMETERS)
        return _question(
            given, cursor=given.get("cursor"), limit=whole_number(given, "limit"),
            offset=whole_number(given, "offset"),
        )  # fmt: skip

    page = await here.run(
        lambda: query_page(here.store, here.settings, who, ask, now, memory=here.memory)
    )
    headers = budget_headers(page.budget, now) | _cache_headers(page)
    if _is_known(request, headers["ETag"]):
        return Response(status_code=304, headers={**headers, "Vary": "Accept-Encoding"})
    return await reply(request, page.parts(), JSON, headers)


def _question(given: dict[str, str], **more: Any) -> Question:
    if len(given.get("courses", "")) > LONGEST_COURSES:
        # They come again in every cursor, which has to fit into an address.
        raise UsageError("courses names too many courses.", "Ask for fewer, or for all.")
    courses, status = given.get("courses"), given.get("status")
    wanted = None if courses is None and status is None else parse_filter(courses, status)
    return Question(
        mode=given.get("mode"), since=given.get("since"), wanted=wanted,
        fields=parse_fields(given.get("fields")), **more,
    )  # fmt: skip


def _cache_headers(page: Page) -> dict[str, str]:
    # Weak: the same rows and marks, though 'cached' and 'synced_at' may differ.
    return {"ETag": f'W/"{page.mark}"', "Cache-Control": "private, no-cache"}


def _is_known(request: Request, tag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    wanted = tag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") in {wanted, "*"} for part in known.split(","))


async def export(request: Request) -> Response:
    """Answer all rows at once: complete, or an error."""
    here, now = office(request), office(request).now()
    who = caller(request, "export", token_of(request), request.query_params.get("company"))
    form = request.query_params.get("format", "json")

    def ask() -> Question:
        given = parameters(request, EXPORT_PARAMETERS)
        if form not in FORMATS:
            raise UsageError(f"There is no format {form[:50]!r}.", f"It is one of {_listed()}.")
        if not _is_written(form):
            raise UnsupportedError("Parquet is not offered by this server.", "Ask for another.")
        return _question(given, everything=True)

    # Written before it is sent: what fails has a status of its own, no transaction waits for a
    # slow reader, and memory stays flat.
    file = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed by _sent

    def work() -> tuple[Exported, int]:
        out: BinaryIO = file  # type: ignore[assignment]
        known = form if _is_written(form) else "json"  # refused by ``ask``, after the credential
        done = write_export(here.store, here.settings, who, ask, out, form=known, now=now)
        size = file.tell()
        file.seek(0)
        return done, size

    try:
        done, size = await here.run(work, "export")
    except BaseException:
        file.close()
        raise
    headers = budget_headers(done.budget, now) | {
        "Cache-Control": "private, no-store",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="progress.{form}"',
        "Alxreport-Mode": done.mode,
        "Alxreport-Delta": done.delta,
        "Alxreport-Rows": str(done.rows),
    }
    pack = form != "parquet" and takes_gzip(request)
    headers |= {"Content-Encoding": "gzip"} if pack else {"Content-Length": str(size)}
    return StreamingResponse(_sent(file, pack=pack), 200, headers, TYPES[form])


def _is_written(form: str) -> bool:
    return form in FORMATS and (form != "parquet" or find_spec("pyarrow") is not None)


def _listed() -> str:
    return ", ".join(FORMATS)


async def _sent(file: Any, *, pack: bool) -> AsyncIterator[bytes]:
    packer = packing() if pack else None

    def part() -> bytes:
        data: bytes = file.read(CHUNK_BYTES)
        while packer is not None and data:
            told: bytes = packer.compress(data)
            if told:
                return told
            data = file.read(CHUNK_BYTES)
        return data

    try:
        while data := await run_in_threadpool(part):
            yield data
        if packer is not None:
            yield packer.flush()
    finally:
        file.close()


async def company(request: Request) -> Response:
    """Answer what is set for the token's company, and what is left of its requests."""
    here, now = office(request), office(request).now()
    who = caller(request, "company", token_of(request), request.query_params.get("company"))

    def work() -> dict[str, Any]:
        with recognised(here.store, here.settings, who, now) as known:
            parameters(request, COMPANY_PARAMETERS)
            request.state.budget = known.budget
            return _told(known)

    told = await here.run(work, "look")
    headers = budget_headers(request.state.budget, now) | {"Cache-Control": "private, no-store"}
    return await reply(request, orjson.dumps(told), JSON, headers)


def _told(known: Known) -> dict[str, Any]:
    company, options, budget = known.company, known.options, known.budget
    return {
        "company": {"id": company.id, "shortname": company.shortname, "name": company.name},
        "rows": company.rows,
        "revision": company.revision,
        "synced_at": iso_time(company.synced_at),
        "fields": options.fields,
        "max_limit": options.max_limit,
        "sync_mode": options.sync_mode,
        "cache_minutes": options.cache_minutes,
        "rate_limit": {
            "limit": budget.limit,
            "used": budget.used,
            "remaining": budget.left,
            "resets_at": iso_time(budget.resets_at),
        },
    }


def refuse(request: Request, error: AlxError, status: int | None = None) -> Response:
    """Return a refusal as a problem document (RFC 9457), with the command line's error in it."""
    message, hint = in_words_of_http(error)
    status = status_of(error) if status is None else status
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": f"{message} {hint}".strip(),
        "error": {"code": error.code, "message": message, "hint": hint},
    }
    if isinstance(error, NotAuthorisedError):
        told["error"]["reason"] = error.reason
    response = Response(orjson.dumps(told), status, media_type=PROBLEM)
    return refusal_headers(response, error, office(request).now())


TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
