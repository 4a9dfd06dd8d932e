"""SQLAlchemy's cache of compiled statements, one for all engines of a test session.

An engine keeps what it has compiled, and dies with it. The program opens two engines a run, the
tests thousands in one process, and would spend a quarter of their time on compiling the same
statements again. A statement compiled for one engine is the same text for any other whose dialect
found the same server; nothing of what is sent to a database changes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
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


class Shared:
    """What one engine takes for its own cache."""

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


def share() -> None:
    """Let every engine that is made from now on use the same cache."""
    begin = sa.Engine.__init__

    def init(engine: sa.Engine, *words: Any, **options: Any) -> None:
        begin(engine, *words, **options)
        engine._compiled_cache = Shared()  # type: ignore[assignment]

    sa.Engine.__init__ = init  # type: ignore[method-assign]
