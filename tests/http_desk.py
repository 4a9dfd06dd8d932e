"""A desk whose requests go over HTTP to the real server: the tests of requests run there too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from alxreport.errors import (
    AlxError,
    NeverSyncedError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    ResyncError,
    StoreError,
    UsageError,
)
from alxreport.export import Exported
from alxreport.query import Page
from alxreport.rate_limit import Budget
from alxreport.sessions import Store
from alxreport.settings import Settings

from .asking import AGENT, HERE, Desk
from .harness import Harness
from .serving import Got, Serving, basic

KINDS: dict[str, type[AlxError]] = {
    "usage": UsageError,
    "resync_required": ResyncError,
    "not_found": NotFoundError,
    "never_synced": NeverSyncedError,
    "store": StoreError,
}
STATUS = {
    "usage": 400, "resync_required": 410, "not_found": 404, "never_synced": 503, "store": 503,
    "rate_limit": 429,
}  # fmt: skip
SENT = {"query": "/api/v1/progress", "export": "/api/v1/export"}


def authorization(token: str) -> str:
    """Return the header with a token: Basic where it has what no header can."""
    plain = token.isascii() and token.isprintable() and token == token.strip() != ""
    return f"Bearer {token}" if plain else basic(token)


class HttpDesk(Desk):
    """Asks with a token over a socket; the local operator, whom HTTP has not, asks as ever."""

    endpoint = "api"

    def __init__(self, source_url: str, store_url: str) -> None:
        super().__init__(source_url, store_url)
        self.server = Serving(self._served())
        self.server.office.brakes.count = lambda _address, _now: 0.0  # type: ignore[method-assign]

    def _served(self) -> Settings:
        settings = self._harness.settings
        serve = replace(settings.serve, trusted_proxies=["127.0.0.1"])
        return replace(settings, serve=serve)

    def close(self) -> None:
        self.server.close()
        super().close()

    def renew(self) -> None:
        self.server.settle()
        super().renew()

    def page(self, token: str | None, *, now: int | None = None, **asked: Any) -> Page:
        if token is None:
            return super().page(token, now=now, **asked)
        got = self._get("query", token, now, asked)
        head, _data, body = got.body.partition(b',"data":')
        records = orjson.loads(body[:-1])
        names = tuple(records[0]) if records else ()
        return Page(orjson.loads(head + b"}"), body[:-1], names, self._budget(got, now))

    def export(
        self, token: str | None, *, form: str = "json", now: int | None = None, **asked: Any
    ) -> tuple[bytes, Exported]:
        if token is None:
            return super().export(token, form=form, now=now, **asked)
        got = self._get("export", token, now, asked | {"format": form})
        said = got.headers
        done = Exported(
            int(said["alxreport-rows"]), said["alxreport-mode"], said["alxreport-delta"],
            self._budget(got, now),
        )  # fmt: skip
        return got.body, done

    @property  # type: ignore[override]
    def harness(self) -> Harness:
        """Moodle and the store, with everything in it that was answered."""
        if hasattr(self, "server"):
            self.server.settle()
        return self._harness

    @harness.setter
    def harness(self, made: Harness) -> None:
        self._harness = made

    @property  # type: ignore[override]
    def store(self) -> Store:
        """The store, with everything in it that was answered."""
        if hasattr(self, "server"):
            self.server.settle()
        return self._store

    @store.setter
    def store(self, opened: Store) -> None:
        self._store = opened

    def rows(self, table: str) -> list[dict[str, Any]]:
        self.server.settle()
        return super().rows(table)

    def _get(self, way: str, token: str, now: int | None, asked: dict[str, Any]) -> Got:
        self.server.configure(self._served())
        self.server.clock = self._harness.now if now is None else now
        headers = {"User-Agent": asked.pop("agent", AGENT)}
        if (ip := asked.pop("ip", HERE)) != HERE:
            headers["X-Forwarded-For"] = ip
        headers["Authorization"] = authorization(token)
        got = self.server.get(SENT[way], headers=headers, **asked)
        if got.status == 431:
            raise NotAuthorisedError("It is too long for a header.", reason="malformed")
        if got.status != 200:
            raise self._error(got)
        return got

    def _error(self, got: Got) -> AlxError:
        """Return the error that the answer tells, after a look at its status."""
        assert got.body.startswith(b"{"), (got.status, got.body[:80])
        told = got.json()
        error = told["error"]
        assert told["status"] == got.status
        assert got.headers["content-type"] == "application/problem+json"
        if error["code"] == "not_authorised":
            reason = error["reason"]
            good = reason in {"network", "company", "gone", "disabled"}
            assert got.status == (403 if good else 401)
            return NotAuthorisedError(error["message"], error["hint"], reason=reason)
        assert got.status == STATUS[error["code"]], error
        if error["code"] == "rate_limit":
            assert got.headers["ratelimit-remaining"] == "0"
            wait, limit = int(got.headers["retry-after"]), int(got.headers["ratelimit-limit"])
            resets_at = (self.server.clock or 0) + wait
            return RateLimitError(error["message"], error["hint"], limit=limit, resets_at=resets_at)
        return KINDS[error["code"]](error["message"], error["hint"])

    def _budget(self, got: Got, now: int | None) -> Budget:
        if "ratelimit-limit" not in got.headers:
            return Budget(0, 0, 0, 0)
        limit, left = (int(got.headers[f"ratelimit-{name}"]) for name in ("limit", "remaining"))
        at = (self._harness.now if now is None else now) + int(got.headers["ratelimit-reset"])
        assert datetime.fromtimestamp(at, UTC)
        return Budget(limit, limit - left, 0, at)
