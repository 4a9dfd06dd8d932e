"""The record of alerts: one row from opening to closing, and one for each telling of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alxreport.sessions import Session, first, insert_new, numbers

# Somebody who claimed a telling and died has it taken over after this.
CLAIM_SECONDS = 300
LONGEST_MESSAGE, LONGEST_NAME = 1000, 255
CRITICAL = "critical"
_COLUMNS = (
    "id, kind, subject, name, severity, rises, message, opened_at, closed_at, acknowledged_at,"
    " acknowledged_by"
)


@dataclass(frozen=True)
class Alert:
    """One alert, from when its cause was found until it was gone."""

    id: int
    kind: str
    subject: str
    name: str
    severity: str
    rises: int  # how often it got graver since it opened
    message: str
    opened_at: int
    closed_at: int | None
    acknowledged_at: int | None
    acknowledged_by: str


def _alert(row: Sequence[Any]) -> Alert:
    number, kind, subject, name, severity, rises, message, opened, closed, seen_to, by = row
    return Alert(
        number,
        kind,
        subject,
        name,
        severity,
        rises,
        message,
        opened,
        closed or None,
        seen_to or None,
        by,
    )


def open_alerts(session: Session) -> list[Alert]:
    """Return the alerts that are open, the oldest first."""
    sql = f"SELECT {_COLUMNS} FROM {session.names.alerts} WHERE closed_at = 0 ORDER BY id"  # noqa: S608
    return [_alert(row) for row in session.rows(sql)]


def closed_since(session: Session, *, since: int) -> list[Alert]:
    """Return the alerts that closed since a moment, the oldest first."""
    sql = f"SELECT {_COLUMNS} FROM {session.names.alerts} WHERE closed_at >= :since"  # noqa: S608
    return [_alert(row) for row in session.rows(f"{sql} ORDER BY id", since=max(since, 1))]


def by_id(session: Session, number: int) -> Alert | None:
    """Return one alert, None where there is none."""
    sql = f"SELECT {_COLUMNS} FROM {session.names.alerts} WHERE id = :id"  # noqa: S608
    found = first(session, sql, id=number)
    return None if found is None else _alert(found)


def open_one(
    session: Session, *, kind: str, subject: str, name: str, severity: str, message: str, now: int
) -> bool:
    """Open an alert; return false where one of this kind and subject is open already.

    However many try at once, one of them opens it.
    """
    columns = ("kind", "subject", "name", "severity", "message", "opened_at", "changed_at")
    return bool(
        session.change(
            insert_new(session, session.names.alerts, columns),
            kind=kind, subject=subject, name=name[:LONGEST_NAME], severity=severity,
            message=message[:LONGEST_MESSAGE], opened_at=now, changed_at=now,
        )
    )  # fmt: skip


def refresh(session: Session, alert: Alert, *, severity: str, message: str, now: int) -> None:
    """Bring an open alert's words up to date; one that gets graver is no longer acknowledged."""
    graver = severity == CRITICAL and alert.severity != CRITICAL
    unseen = ", rises = rises + 1, acknowledged_at = 0, acknowledged_by = ''" if graver else ""
    session.change(
        f"UPDATE {session.names.alerts} SET severity = :severity, message = :message,"  # noqa: S608
        f" changed_at = :now{unseen}"
        " WHERE id = :id AND ended = 0 AND severity = :before",
        severity=severity, message=message[:LONGEST_MESSAGE], now=now, id=alert.id,
        before=alert.severity,
    )  # fmt: skip


def close(session: Session, alert: Alert, *, now: int) -> bool:
    """Close an alert; return false where another one did."""
    return bool(
        session.change(
            f"UPDATE {session.names.alerts} SET closed_at = :now, ended = id"  # noqa: S608
            " WHERE id = :id AND ended = 0",
            now=now, id=alert.id,
        )
    )  # fmt: skip


def acknowledge(session: Session, number: int, *, who: str, now: int) -> bool:
    """Note that somebody knows of an open alert; return false where that was noted before."""
    return bool(
        session.change(
            f"UPDATE {session.names.alerts} SET acknowledged_at = :now, acknowledged_by = :who"  # noqa: S608
            " WHERE id = :id AND ended = 0 AND acknowledged_at = 0",
            now=now, who=who[:64], id=number,
        )
    )  # fmt: skip


def tellings(session: Session, alerts: Sequence[Alert], target: str) -> dict[int, dict[str, int]]:
    """Return what a target was told of some alerts: by alert, the events and when."""
    table = session.names.deliveries
    found = session.rows(
        f"SELECT alertid, event, told_at FROM {table} WHERE target = :target AND told_at > 0"  # noqa: S608
        f" AND alertid IN ({numbers([alert.id for alert in alerts])})",
        target=target,
    )
    told: dict[int, dict[str, int]] = {}
    for number, event, at in found:
        told.setdefault(int(number), {})[str(event)] = int(at)
    return told


def claim(session: Session, number: int, event: str, target: str, *, who: str, now: int) -> bool:
    """Claim the telling of an event to a target; false where another one has or had it."""
    table = session.names.deliveries
    key = {"alertid": number, "event": event, "target": target}
    session.change(insert_new(session, table, tuple(key)), **key)
    return bool(
        session.change(
            f"UPDATE {table} SET claimed_until = :until, claimed_by = :who,"  # noqa: S608
            " attempts = attempts + 1 WHERE alertid = :alertid AND event = :event"
            " AND target = :target AND told_at = 0"
            " AND (claimed_until <= :now OR claimed_until > :until)",
            until=now + CLAIM_SECONDS, who=who, now=now, **key,
        )
    )  # fmt: skip


def settle(
    session: Session, number: int, event: str, target: str, *, who: str, told_at: int
) -> None:
    """End a claim: told at a moment, or with 0 not told and free to be tried again."""
    session.change(
        f"UPDATE {session.names.deliveries} SET told_at = :told, claimed_until = 0"  # noqa: S608
        " WHERE alertid = :alertid AND event = :event AND target = :target AND claimed_by = :who",
        told=told_at, alertid=number, event=event, target=target, who=who,
    )  # fmt: skip


def prune(session: Session, *, before: int) -> None:
    """Delete the alerts that closed before a moment, with their tellings."""
    old = "closed_at > 0 AND closed_at < :before"
    alerts, deliveries = session.names.alerts, session.names.deliveries
    session.change(
        f"DELETE FROM {deliveries} WHERE alertid IN (SELECT id FROM {alerts} WHERE {old})",  # noqa: S608
        before=before,
    )
    session.change(f"DELETE FROM {alerts} WHERE {old}", before=before)  # noqa: S608
