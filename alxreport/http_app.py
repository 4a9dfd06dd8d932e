"""The application: every address, its endpoint, and how each tells a refusal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Address
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from alxreport import (
    __version__,
    health,
    http_api,
    http_docs,
    http_dropin,
    http_odata,
    metrics,
    monitor,
)
from alxreport.admission import recognised
from alxreport.cron import next_sync_run
from alxreport.errors import AlxError, NotAuthorisedError, NotFoundError, UsageError
from alxreport.http_call import (
    Answer,
    Office,
    Refuse,
    address,
    caller,
    endpoint,
    is_forwarded,
    office,
    token_of,
)
from alxreport.http_reply import reply
from alxreport.networks import allows
from alxreport.records import iso_time
from alxreport.settings import Settings
from alxreport.snapshots import Snapshot

PEER = "alxreport.peer"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
SERVER_PHP = "/webservice/rest/server.php"


def make_app(settings: Settings, *, debug: bool = False) -> Starlette:
    """Return the application; its store is opened when it starts and closed when it ends."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.office = opened = Office(settings, debug=debug)
        try:
            yield
        finally:
            opened.close()

    app = Starlette(
        routes=[
            _get("/healthz", healthz),
            _get("/metrics", metrics_text),
            *_asked_at(""),
            # The same for one company by name: Power BI keeps one credential for an address.
            *_asked_at("/company/{company}"),
        ],
        exception_handlers={HTTPException: _wrong_address},
        lifespan=lifespan,
        middleware=[Middleware(_NotePeer), *_believed(settings)],
    )  # fmt: skip
    # Sent to an absolute address, a client would leave the proxy that it came through.
    app.router.redirect_slashes = False
    return app


class _NotePeer:
    """Keeps who is at the other end, before a trusted proxy's word takes its place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client = scope.get("client")
            scope[PEER] = Address(*client) if client else None
        await self._app(scope, receive, send)


def _believed(settings: Settings) -> list[Middleware]:
    """Return what believes the trusted proxies, as each worker finds them configured."""
    trusted = settings.serve.trusted_proxies
    if not trusted:
        return []
    return [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted))]


def _asked_at(start: str) -> list[Route]:
    """Return the addresses at which rows are asked for, behind the beginning of a path."""
    plugin = endpoint(http_dropin.server_php, http_dropin.refuse)
    return [
        _get(f"{start}/", root),
        Route(f"{start}{SERVER_PHP}", plugin, methods=["GET", "POST"]),
        _get(f"{start}/api/v1/progress", http_api.progress),
        _get(f"{start}/api/v1/export", http_api.export),
        _get(f"{start}/api/v1/company", http_api.company),
        _get(f"{start}/api/v1/openapi.json", http_docs.openapi_json),
        _get(f"{start}/api/v1/docs", http_docs.page),
        _get(f"{start}/api/v1", http_docs.to_page),
        _get(f"{start}/api/v1/", http_docs.to_page),
        _get(f"{start}/odata/v4", _to_odata),
        _get(f"{start}/odata/v4/{{path:path}}", http_odata.answer, http_odata.refuse),
    ]


def _get(path: str, answer: Answer, refuse: Refuse = http_api.refuse) -> Route:
    return Route(path, endpoint(answer, refuse), methods=["GET"])


async def _wrong_address(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        told: AlxError = NotFoundError(
            "There is nothing at this address.", "See /api/v1/docs, or /odata/v4/ for OData."
        )
        return http_api.refuse(request, told)
    wrong = UsageError("This address is not asked in this way.", "Ask it with GET.")
    response = http_api.refuse(request, wrong, status)
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _to_odata(request: Request) -> Response:
    query = request.url.query
    return RedirectResponse("v4/" + (f"?{query}" if query else ""), 307)


async def root(request: Request) -> Response:
    """Tell where things are; a token that is given is looked at, as Power BI tests it here."""
    here, now = office(request), office(request).now()
    if "authorization" in request.headers:
        who = caller(request, "root", token_of(request))

        def work() -> None:
            with recognised(here.store, here.settings, who, now):
                pass

        await here.run(work, "look")
    told = {
        "name": "alxreport",
        "version": __version__,
        "api": "api/v1/docs",
        "openapi": "api/v1/openapi.json",
        "odata": "odata/v4/",
        "moodle": SERVER_PHP.removeprefix("/"),
    }
    return await reply(request, orjson.dumps(told), http_api.JSON)


async def healthz(request: Request) -> Response:
    """Answer 200 if requests can be answered with data that are not old, else 503."""
    here, now = office(request), office(request).now()
    found = await here.run(lambda: health.take(here.store, here.settings, now), "look")
    told = {
        "status": "ok" if found.ready else "unavailable",
        "reason": found.reason,
        "synced_at": iso_time(found.synced_at),
    }
    headers = {"Cache-Control": "no-store"}
    status = 200 if found.ready else 503
    return await reply(request, orjson.dumps(told), http_api.JSON, headers, status)


def _figures(here: Office, now: int) -> Snapshot:
    return monitor.take(
        here.store, here.settings, now=now, next_sync_at=next_sync_run(now, here.settings.path)
    )


async def metrics_text(request: Request) -> Response:
    """Answer the monitor's figures for Prometheus, to those that may see all companies."""
    here, now = office(request), office(request).now()
    # A proxy that is not trusted hides who asks: on this machine it would let everybody in.
    hidden = is_forwarded(request) and request.client == request.scope[PEER]
    if hidden or not allows(here.settings.serve.metrics_from, address(request)):
        raise NotAuthorisedError(
            "The metrics are for the administrator's addresses only.",
            "Add this one to serve.metrics_from in the configuration.",
            reason="network",
        )
    told = await here.run(lambda: metrics.text(_figures(here, now)), "look")
    return await reply(request, told.encode(), METRICS, {"Cache-Control": "no-store"})
