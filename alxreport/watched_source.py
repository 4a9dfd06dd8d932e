"""Moodle's data for a run that must not see less of them than an earlier run saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from alxreport import replica, switch
from alxreport.database import open_source, reading, snapshot
from alxreport.errors import SourceError
from alxreport.replica import Standing
from alxreport.schema import StoreTables
from alxreport.settings import MoodleSettings
from alxreport.store_names import SOURCE_LAG, SOURCE_POSITION

# How long a run waits for a replica that is a little behind what the last run saw.
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Watched:
    """A snapshot of Moodle's data, and what their server said of itself just before it."""

    connection: Connection
    standing: Standing

    def position(self) -> str:
        """Return a position that has all that the snapshot shows, "" if the server tells none."""
        return replica.position(self.connection) if self.standing.position else ""


@contextmanager
def watched(
    settings: MoodleSettings,
    store: Engine,
    tables: StoreTables,
    *,
    allow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Watched]:
    """Yield a snapshot that shows at least what the last run into this store saw.

    A replica that is behind that is waited for; if it stays behind, and not ``allow``, that is a
    SourceError: what it does not have yet would be reported as deleted.
    """
    with reading(store) as connection:
        seen = switch.read_long(connection, tables, SOURCE_POSITION)
    standings: list[Standing] = []

    def look(connection: Connection) -> None:
        standing = replica.standing(connection)
        waited = 0.0
        while not (allow or _has_seen(standing, seen)):
            if waited >= PATIENCE_SECONDS:
                raise _behind(standing, seen)
            sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
            standing = replica.standing(connection)
        standings.append(standing)

    with snapshot(open_source(settings), settings, look) as connection:
        yield Watched(connection, standings[0])


def remember(
    connection: Connection, tables: StoreTables, position: str, standing: Standing
) -> None:
    """Keep what a run saw, before it reports any of it, for the runs after it."""
    switch.write_long(connection, tables, SOURCE_POSITION, position)
    switch.write(connection, tables, SOURCE_LAG, replica.lag_text(standing))


def _has_seen(standing: Standing, seen: str) -> bool:
    # What a primary does not have is gone: it was restored, or replaced by one that lost it.
    return not standing.replica or replica.covers(standing.position, seen)


def _behind(standing: Standing, seen: str) -> SourceError:
    return SourceError(
        "Moodle's database is a replica that does not have yet what an earlier sync saw"
        f" (it has {_shown(standing.position)}, the sync saw {_shown(seen)})."
        " Nothing was changed.",
        "Look at its replication. If Moodle was restored from a backup, run:"
        " alxreport sync --allow-mass-delete",
    )


def _shown(position: str) -> str:
    text = position.partition(" ")[2]
    return text if len(text) <= 60 else text[:60] + "…"
