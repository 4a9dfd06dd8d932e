"""HTTP as uvicorn speaks it, with bounds on what a caller may send before anybody looks at it."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The parser itself takes no more than 65,535 bytes.
LARGEST_URL = 65_000
# Names and values of all headers, and the URL.
LARGEST_HEAD = 96 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 20.0
# Below the 1,024 files that a process may open unless it is told otherwise. Beyond the first
# number, who comes takes the place of who has been silent for longest; at the second nobody was.
MOST_CONNECTIONS, FULL_HOUSE = 800, 900
# Says what to speak from here on; who may go on in HTTP/1.1 is not told that we do.
UPGRADE = (b"upgrade", b"http2-settings")


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose requests' heads are bounded in bytes and in the time to arrive.

    Uvicorn bounds neither with this parser, so that a caller could fill the memory, or hold
    connections with a byte a minute.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = False
        self._late: asyncio.TimerHandle | None = None
        self._silent_since: float | None = None  # None while a request is answered
        self._refused = self._upgrades = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._silent_since = time.monotonic()
        self._await_head()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def is_new(self, seconds: float) -> bool:
        """Tell whether it was opened within the last seconds, and nothing was asked yet."""
        since = self._silent_since
        return self.cycle is None and since is not None and time.monotonic() - since < seconds

    def _make_room(self) -> None:
        silent = [
            (other._silent_since, number, other)
            for number, other in enumerate(self.connections)
            if isinstance(other, BoundedProtocol)
            and other._silent_since is not None
            and other is not self
            and not other.transport.is_closing()
        ]
        if silent:
            min(silent)[-1].transport.close()
        elif len(self.connections) > FULL_HOUSE:
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless it makes a head too large."""
        goes_on = self._in_head
        self._feed(data)
        if self.transport.is_closing() or not self._in_head:
            return
        # The first part of a head is counted with what came before it in the same bytes.
        self._head_bytes = self._head_bytes + len(data) if goes_on else len(data)
        if self._head_bytes > LARGEST_HEAD:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _feed(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._turn_away(HTTPStatus.BAD_REQUEST)

    def _stay(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 with a request that offers to go on otherwise, as RFC 9110 allows.

        The parser takes what follows such a head for another protocol: it gets the head again
        without the offer.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = [method + b" " + self.url + b" HTTP/" + version.encode()]
        lines += [name + b": " + value for name, value in self.headers if name not in UPGRADE]
        self._upgrades = False
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._in_head = True
        if self._late is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """End a head, and begin the request unless the head is too large."""
        self._in_head = False
        self._head_came()
        self._upgrades = bool(self.parser.should_upgrade())
        if self._upgrades:
            if self.parser.get_method() == b"CONNECT":
                self._turn_away(HTTPStatus.METHOD_NOT_ALLOWED)
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > LARGEST_URL:
            self._turn_away(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif size > LARGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._silent_since = None
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, of a request that was not turned away."""
        if self._is_taken():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request that was not turned away."""
        if self._is_taken():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request that came meanwhile, or wait for one."""
        if not self.pipeline:
            self._silent_since = time.monotonic()
        super().on_response_complete()

    def _is_taken(self) -> bool:
        return not (self._refused or self._upgrades or self.transport.is_closing())

    def _await_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        self._turn_away(HTTPStatus.REQUEST_TIMEOUT)

    def _turn_away(self, status: HTTPStatus) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            # What was asked before is answered to its end; then the connection is closed.
            self.cycle.keep_alive = False
            return
        text = f"{status.phrase}\n".encode()
        wait = "retry-after: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n{wait}"
            f"content-type: text/plain\r\ncontent-length: {len(text)}\r\n\r\n"
        )
        self.transport.write(head.encode() + text)
        self.transport.close()
