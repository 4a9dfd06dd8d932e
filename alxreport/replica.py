"""Is Moodle's database a replica: how far is it behind, and did a sync see more than it has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from alxreport.database_errors import where_known

# From here on old data is worth a warning; replication is rarely behind for longer than seconds.
LATE_SECONDS = 300

_PAGE, _PAGE_HEADERS = 8192, (24, 40)  # bytes of PostgreSQL's log
_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})")
# Nothing received to wait for: all that is known to exist is applied. A receiver that lost its
# primary knows of nothing, so then the last applied commit tells the time.
_POSTGRES_LAG = (
    "SELECT CASE WHEN (SELECT count(*) FROM pg_stat_wal_receiver) > 0"
    " AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,"
    " (SELECT count(*) FROM pg_stat_wal_receiver)"
)


@dataclass(frozen=True)
class Standing:
    """What a server says of itself.

    ``position`` is what it has of all that was ever committed, "" if it does not tell; ``lag`` is
    how many seconds it is behind, None if unknown; ``stopped`` says that nothing arrives any more.
    """

    replica: bool
    position: str = ""
    lag: float | None = None
    stopped: bool = False

    @property
    def late(self) -> bool:
        """Whether it is a replica with old data, or soon will be."""
        return self.replica and (self.stopped or (self.lag or 0) > LATE_SECONDS)


PRIMARY = Standing(replica=False)


def lag_text(standing: Standing) -> str:
    """Return the lag of a replica as the store keeps it for the monitor, "" for a primary."""
    if not standing.replica:
        return ""
    return json.dumps({"lag_seconds": standing.lag, "stopped": standing.stopped})


def standing(connection: Connection) -> Standing:
    """Ask a server whether it is a replica and where it stands.

    Needs no right beyond reading; the lag of a MariaDB or MySQL replica is only told to a user who
    may see the replication's state.
    """
    name = connection.dialect.name
    if name == "postgresql":
        return _postgres(connection)
    if name in {"mysql", "mariadb"}:
        return _mysql(connection)
    return PRIMARY


def right_to_see(connection: Connection) -> str:
    """Return the statement that lets the user of a connection see how a replica stands."""
    user, host = str(connection.exec_driver_sql("SELECT CURRENT_USER()").scalar()).rsplit("@", 1)
    right = "SLAVE MONITOR" if _gtid(connection)[0] == "mariadb" else "REPLICATION CLIENT"
    named = "@".join("'" + part.replace("'", "''") + "'" for part in (user, host))
    return f"Let it, on the primary: GRANT {right} ON *.* TO {named};"


def position(connection: Connection) -> str:
    """Return what a server has of all that was ever committed, "" if it does not tell."""
    name = connection.dialect.name
    if name == "postgresql":
        # What others see may not be written yet, so on a primary it is the end of all inserted.
        statement = (
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
            " ELSE pg_current_wal_insert_lsn() END"
        )
        with where_known():  # a service that speaks the protocol may lack these
            found = connection.exec_driver_sql(statement).scalar()
            return f"{name} {found}" if found else ""
    elif name in {"mysql", "mariadb"}:
        kind, variable = _gtid(connection)
        with where_known():  # a server without GTIDs lacks the variable
            found = connection.exec_driver_sql(f"SELECT @@global.{variable}").scalar()
            return f"{kind} {''.join(str(found or '').split())}" if found else ""
    return ""


def covers(now: str, seen: str) -> bool:
    """Tell whether a server at the position ``now`` has all that was there at ``seen``.

    Positions of different kinds of servers, and those nobody can read, cannot be compared; then
    nothing speaks against it.
    """
    kind, _space, there = now.partition(" ")
    other, _space, wanted = seen.partition(" ")
    if kind != other or not there or not wanted:
        return True
    try:
        if kind == "postgresql":
            return _lsn(there) >= _lsn(wanted)
        if kind == "mariadb":
            have = _domains(there)
            return all(have.get(d, -1) >= n for d, n in _domains(wanted).items())
        return _has_all(_intervals(there), _intervals(wanted))
    except ValueError:
        return True


def _gtid(connection: Connection) -> tuple[str, str]:
    # A server of either kind may be spoken to by either name in the URL.
    if getattr(connection.dialect, "is_mariadb", False):
        return "mariadb", "gtid_current_pos"
    return "mysql", "gtid_executed"


def _postgres(connection: Connection) -> Standing:
    with where_known():
        if not connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar():
            return Standing(replica=False, position=position(connection))
        lag, receivers = connection.exec_driver_sql(_POSTGRES_LAG).one()
        seconds = None if lag is None else max(0.0, float(lag))
        return Standing(True, position(connection), seconds, stopped=not receivers)
    return PRIMARY


def _mysql(connection: Connection) -> Standing:
    at = position(connection)
    states = _replication(connection)
    if states is None:
        # Without the right to see more: a replica says that it runs, or refuses to be written.
        running = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Slave_running'").first()
        runs = running is not None and str(running[1]).upper() == "ON"
        only = str(connection.exec_driver_sql("SELECT @@global.read_only").scalar())
        return Standing(replica=runs or only.upper() in {"1", "ON"}, position=at)
    if not states:
        return Standing(replica=False, position=at)
    lags = [_first(state, "Seconds_Behind_Master", "Seconds_Behind_Source") for state in states]
    known = [float(str(lag)) for lag in lags if lag is not None]
    return Standing(True, at, max(known) if len(known) == len(lags) else None, stopped=None in lags)


def _replication(connection: Connection) -> list[Mapping[str, object]] | None:
    """Return the state of each connection to a primary; None when this user may not see it."""
    mariadb = getattr(connection.dialect, "is_mariadb", False)
    for statement in ("SHOW ALL SLAVES STATUS",) if mariadb else (
        "SHOW REPLICA STATUS", "SHOW SLAVE STATUS",
    ):  # fmt: skip
        with where_known():
            return [dict(row) for row in connection.exec_driver_sql(statement).mappings()]
    return None


def _first(state: Mapping[str, object], *names: str) -> object:
    return next((state[name] for name in names if name in state), None)


def _lsn(text: str) -> int:
    found = _LSN.fullmatch(text)
    if not found:
        raise ValueError(text)
    at = (int(found[1], 16) << 32) + int(found[2], 16)
    # Where a record will begin that is the first of its page is behind the page's header, though
    # the last one ended before it.
    return at - at % _PAGE if at % _PAGE in _PAGE_HEADERS else at


def _domains(text: str) -> dict[int, int]:
    """Read MariaDB's ``domain-server-sequence,…``."""
    parts = (part.split("-") for part in text.split(","))
    return {int(domain): int(sequence) for domain, _server, sequence in parts}


def _intervals(text: str) -> dict[str, list[tuple[int, int]]]:
    """Read MySQL's ``uuid:1-5:7,…``; a tag of a set counts to its name."""
    found: dict[str, list[tuple[int, int]]] = {}
    for part in text.lower().split(","):
        name, *pieces = part.split(":")
        for piece in pieces:
            first, _dash, last = piece.partition("-")
            if not first.isdecimal():
                name = f"{name}:{first}"
                continue
            found.setdefault(name, []).append((int(first), int(last or first)))
    return found


def _has_all(
    have: Mapping[str, list[tuple[int, int]]], wanted: Mapping[str, list[tuple[int, int]]]
) -> bool:
    # A server writes its intervals merged, so each wanted one lies within one that is there.
    return all(
        any(a <= first and last <= b for a, b in have.get(name, ()))
        for name, pieces in wanted.items()
        for first, last in pieces
    )
