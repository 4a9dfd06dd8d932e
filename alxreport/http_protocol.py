"""HTTP as uvicorn speaks it, with bounds on what a caller may send before anybody looks at it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The parser itself takes no more than 65,535 bytes.
LARGEST_URL = 65_000
# Names and values of all headers, and the URL.
LARGEST_HEAD = 96 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 20.0


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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived, unless it makes a head too large."""
        goes_on = self._in_head
        super().data_received(data)
        if self.transport.is_closing() or not self._in_head:
            return
        # The first part of a head is counted with what came before it in the same bytes.
        self._head_bytes = self._head_bytes + len(data) if goes_on else len(data)
        if self._head_bytes > LARGEST_HEAD:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

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
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.url) > LARGEST_URL:
            self._turn_away(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif size > LARGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, of a request that was not turned away."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request that was not turned away."""
        if not self.transport.is_closing():
            super().on_message_complete()

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
        if self.transport.is_closing():
            return
        text = f"{status.phrase}\n".encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n"
            f"content-type: text/plain\r\ncontent-length: {len(text)}\r\n\r\n"
        )
        self.transport.write(head.encode() + text)
        self.transport.close()
