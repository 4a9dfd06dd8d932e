"""Several servers behind one URL: their names, and which of them a connection is made to.

The servers hold the same data: nodes of a cluster, or a primary and those that may take its place.
They are asked in the order in which they are written, so that all processes use the same one while
it is there. In a ``URL`` the first one is the host; the others stand in its query.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import URL

from alxreport.error_codes import ELSEWHERE_CODES, UNREACHABLE_CODES, error_code, error_text

OTHERS = "alx_others"
# How long a server may take to greet; and how long one that did not is asked last.
GREETING_SECONDS = 10
AVOIDED_SECONDS = 30.0
# Connections go back to the first server, after it was away, when they are so old.
RECYCLE_SECONDS = 300
_AUTHORITY = re.compile(
    r"(?P<head>[\w+]+://(?:[^/?@]*(?::[^@]*)?@)?)(?P<hosts>[^/?@]*)(?P<rest>.*)"
)
Server = tuple[str, int | None]


def split_hosts(text: str) -> tuple[str, str]:
    """Return a database URL with the first of its hosts, and the others as they are written."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or "," not in found["hosts"]:
        return text, ""
    first, _comma, others = found["hosts"].partition(",")
    return found["head"] + first + found["rest"], others or ","


def with_hosts(text: str, url: URL) -> str:
    """Return the text of a URL, as it is rendered without its query, with all of its hosts."""
    others = url.query.get(OTHERS)
    if not others:
        return text
    found = _AUTHORITY.fullmatch(text)
    return text if found is None else f"{found['head']}{found['hosts']},{others}{found['rest']}"


def servers(url: URL) -> list[Server]:
    """Return the hosts and ports of a URL in their order; ValueError for one that is none."""
    others = url.query.get(OTHERS)
    found: list[Server] = [(url.host or "", url.port)]
    for text in str(others).split(",") if others else ():
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, colon, port = text, "", ""
        host = host.removeprefix("[").removesuffix("]")
        if not host or (colon and not port.isdecimal()):
            raise ValueError(text)
        found.append((host, int(port) if port else None))
    if len(found) > 1 and not found[0][0]:
        raise ValueError("")
    return found


@dataclass(frozen=True)
class Manner:
    """How to connect: ``silence`` is how long a server may say nothing, in seconds."""

    silence: float | None = None
    writing: bool = False  # a server that only reads is of no use


class _Memory:
    """Which servers lately did not answer; shared by the threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._avoided: dict[Server, float] = {}

    def order(self, there: list[Server]) -> list[Server]:
        """Return the servers in their order, those that did not answer last."""
        now = time.monotonic()
        with self._lock:
            return sorted(there, key=lambda server: self._avoided.get(server, 0.0) > now)

    def note(self, server: Server, *, good: bool) -> None:
        with self._lock:
            if good:
                self._avoided.pop(server, None)
            else:
                self._avoided[server] = time.monotonic() + AVOIDED_SECONDS


def connect_to_one(engine: Engine, there: list[Server], manner: Manner) -> None:
    """Let an engine connect to the first of its servers that can be used.

    A node of a Galera cluster is told to wait, before it reads, until it has what the others had
    committed by then: what one process wrote, the next one finds on any node.
    """
    memory = _Memory()

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Dialect, _record: Any, _arguments: Any, options: dict[str, Any]) -> Any:
        if len(there) == 1:
            return _connect(dialect, options, manner, several=False)
        worth: Exception | None = None  # what a server says that is there, but cannot be used now
        for server in (order := memory.order(there)):
            try:
                place = dict(zip(("host", "port"), server, strict=True))
                if place["port"] is None:
                    del place["port"]
                rest = {name: value for name, value in options.items() if name != "port"}
                made = _connect(dialect, rest | place, manner, several=True)
            except dialect.loaded_dbapi.Error as error:
                memory.note(server, good=False)
                if error_code(error) not in ELSEWHERE_CODES:
                    raise
                worth = error if error_code(error) not in UNREACHABLE_CODES else worth
                if server == order[-1]:
                    raise _nobody(worth or error, len(order)) from error
            else:
                memory.note(server, good=True)
                return made
        raise AssertionError  # the last server was connected to, or raised


def _nobody(error: Exception, count: int) -> Exception:
    text = f"none of {count} servers can be used, one says: {error_text(error)}"
    code = error_code(error)
    return type(error)(code, text) if isinstance(code, int) else type(error)(text)


def _connect(dialect: Dialect, options: dict[str, Any], manner: Manner, *, several: bool) -> Any:
    if dialect.name == "postgresql":
        needs = {"target_session_attrs": "read-write"} if several and manner.writing else {}
        return dialect.connect(**options | needs)
    if dialect.name not in {"mysql", "mariadb"}:
        return dialect.connect(**options)
    limits = {"read_timeout": GREETING_SECONDS, "write_timeout": manner.silence}
    made: Any = dialect.connect(**options | limits)
    try:
        _settle(made, manner, several=several)
    except BaseException:
        with suppress(Exception):
            made.close()
        raise
    # PyMySQL has no public way to give the greeting less time than a statement.
    made._read_timeout = manner.silence
    return made


def wait_without_end(connection: Connection) -> None:
    """Let a connection wait for a statement as long as it takes, such as one on a whole table."""
    made = connection.connection.driver_connection
    if made is not None and hasattr(made, "_read_timeout"):
        made._read_timeout = None


def abandon(connection: Connection | None) -> None:
    """Have PyMySQL not read on, when it cleans up, from a connection that is lost."""
    if connection is None or connection.invalidated:
        return
    result = getattr(connection.connection.driver_connection, "_result", None)
    if getattr(result, "unbuffered_active", False):
        result.unbuffered_active = False  # type: ignore[union-attr]


def _settle(made: Any, manner: Manner, *, several: bool) -> None:
    """Find out whether a MySQL server can be used; and have a node of a cluster keep up."""
    from pymysql.err import OperationalError

    with made.cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")  # answered by any node in any state
        found = cursor.fetchone()
        in_cluster = found is not None and str(found[1]).upper() == "ON"
        if in_cluster:
            cursor.execute("SET SESSION wsrep_sync_wait = 1")
        if not several:
            return
        if in_cluster:
            cursor.execute("SHOW STATUS LIKE 'wsrep_ready'")
            if str(cursor.fetchone()[1]).upper() != "ON":
                raise OperationalError(1047, "The node is not in its cluster")
        cursor.execute("SELECT @@global.read_only")
        if manner.writing and str(cursor.fetchone()[0]).upper() not in {"0", "OFF"}:
            raise OperationalError(1290, "The server is read-only")
