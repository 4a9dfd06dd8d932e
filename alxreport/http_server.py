"""The server: a socket, one or more workers, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import errno
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from alxreport.errors import ConfigError
from alxreport.http_app import make_app
from alxreport.http_log import log_plainly
from alxreport.http_protocol import BoundedProtocol
from alxreport.http_workers import Workers
from alxreport.settings import Settings

BACKLOG = 1024
# Longer than nginx and Apache keep an idle connection to us, so that they close first.
KEEP_ALIVE_SECONDS = 75
# After this a client that does not read loses its connection, and a stop waits no longer.
STALLED_SECONDS = 30
# A stop answers the calls that the system has taken in, and gives the last ones time to speak.
DRAIN_SECONDS, GREETING_SECONDS = 2.0, 1.0

_LISTEN_HINTS = {
    errno.EADDRNOTAVAIL: "Give --host an address of this machine, or 0.0.0.0 for all of them.",
    errno.EACCES: "Choose a port from 1024 on with --port N, and put a proxy in front of it.",
}


@dataclass(frozen=True)
class Place:
    """Where to listen, and with how many workers."""

    host: str
    port: int
    workers: int


def listen(place: Place) -> socket.socket:
    """Return a socket that is bound to the place; ConfigError where that is not possible."""
    try:
        found = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _name, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ConfigError(
            f"{place.host!r} is no address of this machine: {error}.", "Check --host and --port."
        ) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Inherited by the connections: ends those whose client has stopped reading.
        milliseconds = STALLED_SECONDS * 1000
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        listener.bind(address)
        # From here on calls are taken in, and answered once the workers are up.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {place.host} port {place.port}: {error.strerror}.",
            _LISTEN_HINTS.get(
                error.errno or 0, "Stop what listens there, or choose another with --port N."
            ),
        ) from error
    listener.set_inheritable(True)
    return listener


class _Server(uvicorn.Server):
    """Answers a listener's calls, those included that the system took in before the stop."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], told: list[int], *, alone: bool
    ) -> None:
        super().__init__(config)
        self._ready, self._told, self._alone = ready, told, alone

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.should_exit = self.should_exit or bool(self._told)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            if self._alone:
                listener.listen(0)  # takes in nobody more; of several workers, their parent does it
            until = time.monotonic() + DRAIN_SECONDS
            while select.select([listener], [], [], 0)[0] and time.monotonic() < until:
                await asyncio.sleep(0.005)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        until = time.monotonic() + GREETING_SECONDS
        while self._is_expecting() and time.monotonic() < until:
            await asyncio.sleep(0.005)
        await super().shutdown(sockets)

    def _is_expecting(self) -> bool:
        """Tell whether somebody who has just been let in has not said yet what he wants."""
        return any(
            isinstance(each, BoundedProtocol) and each.is_new(GREETING_SECONDS)
            for each in self.server_state.connections
        )


def serve(
    settings: Settings, load: Callable[[], Settings], place: Place, listener: socket.socket, *,
    debug: bool,
) -> None:  # fmt: skip
    """Answer requests until a SIGTERM or SIGINT; then end what is begun, and return.

    With several workers a SIGHUP renews them, one after the other and without refusing anybody;
    ``load`` returns the settings that the new ones get. Raises ConfigError, and KeyboardInterrupt
    after a SIGINT.
    """
    log_plainly()
    tls_files(settings)
    if place.workers == 1:
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # renewing needs a second worker
        answer_calls(settings, listener, lambda: None, debug=debug, alone=True)
        return
    work = partial(answer_calls, debug=debug, alone=False)
    if Workers(place.workers, listener, settings, work, load).run() == signal.SIGINT:
        raise KeyboardInterrupt


def answer_calls(
    settings: Settings, listener: socket.socket, ready: Callable[[], None], *, debug: bool,
    alone: bool,
) -> None:  # fmt: skip
    """Answer a listener's calls in this process until told to stop."""
    log_plainly()
    told: list[int] = []
    # Uvicorn sends itself the signal again after it has stopped; that is no failure.
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    configured = uvicorn.Config(
        make_app(settings, debug=debug),
        interface="asgi3", lifespan="on", ws="none", http=BoundedProtocol,
        log_config=None, access_log=False, server_header=False,
        proxy_headers=False,  # the application does that, as it is configured
        backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STALLED_SECONDS, **tls_files(settings),
    )  # fmt: skip
    _Server(configured, ready, told, alone=alone).run([listener])


def tls_files(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options of TLS; ConfigError for files that are no certificate and key."""
    serve = settings.serve
    if not serve.tls_cert:
        return {}
    key = serve.tls_key or serve.tls_cert
    for path in (serve.tls_cert, key):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The TLS file {path} cannot be read: {error.strerror}.",
                "Check serve.tls_cert and serve.tls_key.",
            ) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # An encrypted key would be asked for where nobody sits.
        context.load_cert_chain(serve.tls_cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"serve.tls_cert and serve.tls_key are no certificate with its key: {error}.",
            "Give PEM files of one pair, the key not encrypted."
            if serve.tls_key
            else "Set serve.tls_key, or put the key into the file of serve.tls_cert.",
        ) from error
    return {"ssl_certfile": serve.tls_cert, "ssl_keyfile": serve.tls_key or None}
