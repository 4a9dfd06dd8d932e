"""What the program makes once a run, and tests, thousands of runs in one process, share.

Nothing of what is sent to a database changes.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Any

import sqlalchemy as sa
from pymysql.connections import Connection
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.util import LRUCache

STATEMENTS = 3000
PLAIN = (str, int, tuple, type(None))
# Of the database, not of the server: it is asked for when tables are reflected.
APART = {"default_schema_name"}

_compiled: LRUCache[Any, Any] = LRUCache(STATEMENTS)


def _traits(dialect: Dialect) -> tuple[Any, ...]:
    """Return all that dialects of a kind may differ in after they have seen their server."""
    found = {name: value for name, value in vars(dialect).items() if isinstance(value, PLAIN)}
    return type(dialect), *sorted((n, repr(v)) for n, v in found.items() if n not in APART)


class Compiled:
    """What one engine takes for its own cache of compiled statements.

    An engine's own dies with it. A statement compiled for one engine is the same text for any
    other whose dialect found the same server.
    """

    def __init__(self) -> None:
        self._dialect: tuple[Any, ...] | None = None

    def _key(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        dialect, *rest = key
        traits = self._dialect or _traits(dialect)
        if getattr(dialect, "server_version_info", None):  # until then it knows no server
            self._dialect = traits
        return (traits, *rest)

    def get(self, key: tuple[Any, ...]) -> Any:
        return _compiled.get(self._key(key))

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        _compiled[self._key(key)] = value

    def clear(self) -> None:
        """Let an engine be told so; the others keep what they have."""


def share_statements() -> None:
    """Let every engine that is made from now on use the same cache."""
    begin = sa.Engine.__init__

    def init(engine: sa.Engine, *words: Any, **options: Any) -> None:
        begin(engine, *words, **options)
        engine._compiled_cache = Compiled()  # type: ignore[assignment]

    sa.Engine.__init__ = init  # type: ignore[method-assign]


def share_certificates() -> None:
    """Let PyMySQL read the system's certificates once: else it takes 20 ms a connection."""
    make: Any = Connection._create_ssl_ctx
    # Where nothing about TLS is asked for, as ``{}`` says, all contexts are equal.
    plain = cache(lambda: make(None, {}))

    def create(connection: Any, asked: Any) -> Any:
        return make(connection, asked) if asked else plain()

    Connection._create_ssl_ctx = create


def wait_for_no_disk() -> None:
    """Let SQLite hand a test's own writes to the system alone; the program's store is as it is.

    No test pulls the plug: what is written is there for every process, a killed one's too.
    """

    @sa.event.listens_for(sa.Engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF").close()
