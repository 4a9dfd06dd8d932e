"""The OData feed of a company's rows: service document, schema, pages, counts and single rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from alxreport.admission import Caller, recognised
from alxreport.cache import Memory
from alxreport.errors import AlxError, NotFoundError, UsageError
from alxreport.odata_filter import read
from alxreport.odata_model import (
    SET,
    annotated,
    metadata,
    properties_of,
    service_document,
)
from alxreport.odata_options import JSON_FORMS, XML_FORMS, FeedQuestion, read_options
from alxreport.query import Page, query_page
from alxreport.rate_limit import Budget
from alxreport.sessions import Store
from alxreport.settings import Settings

JSON = "application/json;odata.metadata={level};charset=utf-8"
XML, TEXT = "application/xml;charset=utf-8", "text/plain;charset=utf-8"
VERSION = {"OData-Version": "4.0"}
_PAGE_SIZE = re.compile(r"(?:^|[,;\s])(odata\.)?maxpagesize\s*=\s*\"?([0-9]{1,9})\"?", re.I)
_LEVEL = re.compile(r"(?:odata\.)?metadata\s*=\s*(none|minimal|full)(?![\w.])", re.I)
FILTER = "$filter"
Items = Callable[[], list[tuple[str, str]]]


@dataclass(frozen=True)
class Reply:
    """An answer of the feed."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    budget: Budget | None = None


@dataclass(frozen=True)
class Call:
    """A request to the feed: what follows its root, the options, and two headers."""

    path: str
    items: Items  # raises UsageError for options that are no text
    prefer: str = ""
    accept: str = ""

    def has(self, *names: str) -> bool:
        """Tell whether one of these options is given."""
        try:
            return any(name in names for name, _text in self.items())
        except UsageError:
            return False


def answer(
    store: Store, settings: Settings, caller: Caller, call: Call, now: int, *,
    memory: Memory | None = None,
) -> Reply:  # fmt: skip
    """Return what the feed answers to a call.

    The documents cost nothing; a series of pages, a count and a single row are one request each.
    Raises what ``query.query_page`` raises, UnsupportedError and NotFoundError.
    """
    if call.path in {"", "$metadata"}:
        with recognised(store, settings, caller, now) as known:
            forms = XML_FORMS if call.path else JSON_FORMS
            read_options(call.items(), ("$format",), forms)
            properties = properties_of(known.options)
            if call.path:
                return Reply(200, XML, metadata(properties), VERSION, known.budget)
            level = _level(call)
            body = service_document(context=level != "none")
            return Reply(200, JSON.format(level=level), body, VERSION, known.budget)
    if not call.path.startswith(SET):
        with recognised(store, settings, caller, now):
            raise NotFoundError("There is nothing at this address of the feed.", f"There is {SET}.")
    size = _PAGE_SIZE.search(call.prefer)
    wanted = int(size[2]) if size and int(size[2]) else None
    asked: list[FeedQuestion] = []
    trees: dict[str, Any] = {}

    def prepare() -> None:
        trees.update({text: read(text) for name, text in call.items() if name == FILTER})

    def ask() -> FeedQuestion:
        asked.append(FeedQuestion(tuple(call.items()), wanted, call.path, trees=trees))
        return asked[-1]

    page = query_page(
        store, settings, caller, ask, now, memory=memory,
        prepare=prepare if call.has(FILTER) else None,
    )  # fmt: skip
    question = asked[-1]  # a transaction that gave way to another one asks once more
    headers = dict(VERSION)
    if question.what == f"{SET}/$count":
        return Reply(200, TEXT, str(page.head["total"]).encode(), headers, page.budget)
    kind = JSON.format(level=_level(call))
    if question.what != SET:
        return Reply(200, kind, _entity(page, question, call), headers, page.budget)
    if wanted:
        headers["Preference-Applied"] = f"{size[1] or ''}maxpagesize={wanted}" if size else ""
    return Reply(200, kind, _entities(page, question, call), headers, page.budget)


def _level(call: Call) -> str:
    """Return how much an answer tells about itself: none, minimal or full."""
    try:
        form = dict(call.items()).get("$format", "")
    except UsageError:
        form = ""
    found = _LEVEL.search(form) or _LEVEL.search(call.accept)
    return found[1].lower() if found else "minimal"


def _context(question: FeedQuestion, call: Call, end: str = "") -> bytes:
    if _level(call) == "none":
        return b""
    select = question.made["select"]
    shown = f"({','.join(select)})" if select else ""
    return b'"@odata.context":' + orjson.dumps(f"$metadata#{SET}{shown}{end}") + b","


def _records(page: Page, call: Call) -> bytes:
    """Return the records as they were read, or with the types that full metadata adds."""
    return page.body if _level(call) != "full" else annotated(page.records())


def _entities(page: Page, question: FeedQuestion, call: Call) -> bytes:
    parts = [b"{", _context(question, call)]
    if question.made["counted"]:
        parts.append(b'"@odata.count":%d,' % page.head["total"])
    parts += [b'"value":', _records(page, call)]
    if page.head["next"]:
        parts += [b',"@odata.nextLink":', orjson.dumps(_next_link(call, page.head["next"]))]
    return b"".join([*parts, b"}"])


def _next_link(call: Call, place: str) -> str:
    """Return the following page's address, relative to this one's: it holds behind any proxy."""
    items = [(name, text) for name, text in call.items() if name != "$skiptoken"]
    return f"{SET}?{urlencode([*items, ('$skiptoken', place)], quote_via=quote, safe='$')}"


def _entity(page: Page, question: FeedQuestion, call: Call) -> bytes:
    if page.head["count"] == 0:
        raise NotFoundError("There is no such row.", "Its learner or course may have left.")
    return b"{" + _context(question, call, "/$entity") + _records(page, call)[2:-1]


def error_body(error: AlxError, message: str) -> bytes:
    """Return a refusal in OData's form."""
    return orjson.dumps({"error": {"code": error.code, "message": message}})
