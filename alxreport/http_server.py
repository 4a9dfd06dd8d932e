"""The server: a socket, one or more workers, and a stop that loses nothing."""

from __future__ import annotations

import logging
import signal
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from alxreport.errors import ConfigError
from alxreport.http_app import from_config
from alxreport.http_protocol import BoundedProtocol
from alxreport.settings import Settings

BACKLOG = 1024
# Below the 1,024 files that a process may open unless it is told otherwise.
MOST_CONNECTIONS = 800
# Longer than nginx and Apache keep an idle connection to us, so that they close first.
KEEP_ALIVE_SECONDS = 75
# After this a client that does not read loses its connection, and a stop waits no longer.
STALLED_SECONDS = 30


@dataclass(frozen=True)
class Place:
    """Where to listen, and with how many workers."""

    host: str
    port: int
    workers: int


class _Lines(logging.Formatter):
    """Log lines as the rest of the program tells its errors: one line, no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"alxreport: {record.getMessage().splitlines()[0]}"


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
            "Stop what listens there, or choose another: alxreport serve --port N",
        ) from error
    listener.set_inheritable(True)
    return listener


def serve(
    settings: Settings, config: Path | None, place: Place, listener: socket.socket, *, debug: bool
) -> None:
    """Answer requests until a SIGTERM or SIGINT; then end what is begun, and return.

    ``config`` is read again by each worker that starts. With several workers a SIGHUP renews
    them, one after the other, without refusing anybody.
    """
    _log_plainly()
    configured = uvicorn.Config(
        partial(from_config, config, debug),
        factory=True, interface="asgi3", lifespan="on", ws="none", http=BoundedProtocol,
        workers=place.workers, log_config=None, access_log=False, server_header=False,
        proxy_headers=False,  # the application does that, as it is configured
        limit_concurrency=MOST_CONNECTIONS, backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=STALLED_SECONDS,
        **_tls(settings),
    )  # fmt: skip
    # Uvicorn sends itself the signal again after it has stopped; that is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    if place.workers > 1:
        Multiprocess(configured, [listener]).run()
    else:
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # renewing needs a second worker
        uvicorn.Server(configured).run([listener])


def _tls(settings: Settings) -> dict[str, Any]:
    serve = settings.serve
    if not serve.tls_cert:
        return {}
    for path in (serve.tls_cert, serve.tls_key or serve.tls_cert):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The TLS file {path} cannot be read: {error.strerror}.",
                "Check serve.tls_cert and serve.tls_key.",
            ) from error
    return {"ssl_certfile": serve.tls_cert, "ssl_keyfile": serve.tls_key or None}


def _log_plainly() -> None:
    told = logging.StreamHandler()
    told.setFormatter(_Lines())
    logger = logging.getLogger("uvicorn.error")
    logger.handlers, logger.propagate = [told], False
    # What callers do wrong is in the log of requests, and must not fill another one.
    logger.setLevel(logging.ERROR)
