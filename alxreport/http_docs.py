"""The description of the API: for programs, and as a page for people; open to everybody."""

from __future__ import annotations

from functools import cache

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alxreport import __version__, openapi_html
from alxreport.http_reply import reply
from alxreport.openapi import document

# It changes with the version only.
KEPT = {"Cache-Control": "public, max-age=3600"}


@cache
def _document() -> bytes:
    return orjson.dumps(document(__version__))


@cache
def _page() -> bytes:
    return openapi_html.page(document(__version__)).encode()


async def openapi_json(request: Request) -> Response:
    """Answer the OpenAPI document."""
    # Any page may read it, such as one that shows such documents: it says nothing secret.
    headers = KEPT | {"Access-Control-Allow-Origin": "*"}
    return await reply(request, _document(), "application/json", headers)


async def page(request: Request) -> Response:
    """Answer the readable page of it."""
    headers = KEPT | {
        "Content-Security-Policy": openapi_html.policy(),
        "Referrer-Policy": "no-referrer",
    }
    return await reply(request, _page(), "text/html; charset=utf-8", headers)


async def to_page(request: Request) -> Response:
    """Send the reader of ``/api/v1`` and ``/api/v1/`` to the page, behind any prefix."""
    place = "docs" if request.url.path.endswith("/") else "v1/docs"
    return RedirectResponse(place, 307, {"Cache-Control": "public, max-age=3600"})
