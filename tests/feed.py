"""The OData feed asked without HTTP: options in, JSON out, pages followed by their links."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from alxreport import odata
from alxreport.admission import Caller

from .asking import AGENT, HERE, Desk

Items = list[tuple[str, str]]


def ask(
    desk: Desk, token: str | None, path: str = "Progress", items: Items | None = None, *,
    prefer: str = "", accept: str = "", **options: Any,
) -> odata.Reply:  # fmt: skip
    """Return what the feed answers; ``options`` are OData's, without the dollar."""
    sent = [*(items or []), *((f"${name}", str(value)) for name, value in options.items())]
    who = Caller("odata", HERE, AGENT, token)
    call = odata.Call(path, lambda: sent, prefer, accept)
    return odata.answer(desk.store, desk.settings, who, call, desk.now)


def get(desk: Desk, token: str | None, path: str = "Progress", **asked: Any) -> Any:
    """Return the JSON of an answer."""
    return json.loads(ask(desk, token, path, **asked).body)


def link(page: dict[str, Any]) -> tuple[str, Items] | None:
    """Return path and options of a page's next one; the link has to be relative."""
    found = page.get("@odata.nextLink")
    if found is None:
        return None
    parts = urlsplit(found)
    assert not parts.scheme
    assert not parts.netloc
    assert found.isascii()
    assert " " not in found
    return parts.path, parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)


def pages(desk: Desk, token: str | None, **asked: Any) -> Iterator[dict[str, Any]]:
    """Yield the pages of a series as a client reads it: by the link that each one has."""
    kept = {name: asked[name] for name in ("prefer", "accept") if name in asked}
    page = get(desk, token, **asked)
    yield page
    while following := link(page):
        path, items = following
        page = get(desk, token, path, items=items, **kept)
        yield page


def rows(desk: Desk, token: str | None, **asked: Any) -> list[dict[str, Any]]:
    """Return the rows of a whole series."""
    return [row for page in pages(desk, token, **asked) for row in page["value"]]


def keys(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the rows' keys."""
    return [(row["userid"], row["courseid"]) for row in found]
