"""Small facts about the store as a whole: the sync's switch, and what was last done when."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, insert, select, update

from alxreport import again
from alxreport.schema import StoreTables

SWITCH = "sync"
DISABLED, ENABLED = "disabled", "enabled"
VALUE_LENGTH = 255


def read(connection: Connection, tables: StoreTables, name: str) -> str | None:
    """Return the value of a fact, or None."""
    t = tables.meta.c
    value: str | None = connection.scalar(select(t.value).where(t.name == name))
    return value


def write(connection: Connection, tables: StoreTables, name: str, value: str) -> None:
    """Set the value of a fact."""
    t = tables.meta
    statement = update(t).where(t.c.name == name).values(value=value)
    if connection.execute(statement).rowcount == 0:
        connection.execute(insert(t).values(name=name, value=value))


def read_long(connection: Connection, tables: StoreTables, name: str) -> str:
    """Return the text that ``write_long`` kept under a name, "" for none."""
    t = tables.meta.c
    found = connection.execute(select(t.name, t.value).where(t.name.startswith(f"{name}:")))
    pieces = {int(key.rpartition(":")[2]): value for key, value in found}
    return "".join(pieces[place] for place in sorted(pieces))


def write_long(connection: Connection, tables: StoreTables, name: str, text: str) -> None:
    """Keep a text of any length under a name, in as many facts as it takes."""
    if read_long(connection, tables, name) == text:
        return
    t = tables.meta
    connection.execute(delete(t).where(t.c.name.startswith(f"{name}:")))
    for place in range(0, len(text), VALUE_LENGTH):
        piece = text[place : place + VALUE_LENGTH]
        connection.execute(insert(t).values(name=f"{name}:{place}", value=piece))


def is_disabled(engine: Engine, tables: StoreTables) -> bool:
    """Tell whether an administrator switched the sync off."""
    return again.read(engine, lambda connection: read(connection, tables, SWITCH)) == DISABLED


def set_switch(engine: Engine, tables: StoreTables, *, enabled: bool) -> None:
    """Switch the sync on or off."""
    value = ENABLED if enabled else DISABLED
    again.written(engine, lambda connection: write(connection, tables, SWITCH, value))


def is_due(
    connection: Connection, tables: StoreTables, name: str, now: int, every_seconds: int
) -> bool:
    """Tell whether something is due again, and note that it is being done now."""
    last = int(read(connection, tables, name) or 0)
    # A clock that was set back must not put the next time off by what it was set back.
    if last <= now < last + every_seconds:
        return False
    write(connection, tables, name, str(now))
    return True
