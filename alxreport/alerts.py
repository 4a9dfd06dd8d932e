"""Alerts: find what is wrong, open and close, tell whoever is to know, once."""

from __future__ import annotations

import hashlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from alxreport import alert_log
from alxreport.alert_log import Alert
from alxreport.alert_rules import CRITICAL, WARNING, Condition, worst
from alxreport.errors import NotFoundError, UsageError
from alxreport.gathering import Gathered, gather
from alxreport.records import iso_time
from alxreport.sessions import Session, Store
from alxreport.settings import Settings
from alxreport.snapshots import P95_PERCENT, percentile, ratio

HOUR, DAY = 3_600, 86_400
# So long after its end an alert's closing is still worth telling.
CLOSING_DAYS = 7
SHOWN_IN_MESSAGE = 20
OK, UNKNOWN = "OK", "UNKNOWN"
EXIT_CODES = {OK: 0, "WARNING": 1, "CRITICAL": 2, UNKNOWN: 3}
# Sends a title and a text to one target; true when it arrived.
Send = Callable[[str, str], bool]


@dataclass(frozen=True)
class Checked:
    """What a check found, opened and closed."""

    open: tuple[Alert, ...]
    advice: dict[int, str]  # by alert
    opened: int
    closed: int
    gathered: Gathered

    @property
    def status(self) -> str:
        """OK, WARNING or CRITICAL; an alert that somebody acknowledged is none the less there."""
        return (worst(alert.severity for alert in self.open) or OK).upper()

    def line(self) -> str:
        """Return the line of a Nagios plugin, with its performance data."""
        alerts = sorted(
            self.open,
            key=lambda alert: (
                alert.severity != CRITICAL, not alert.kind.startswith("sync"), alert.id
            ),
        )  # fmt: skip
        if alerts:
            more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
            said = f"{alerts[0].message}{more}"
        elif self.gathered.last is None:
            said = "No sync has run yet, no data yet"
        else:
            said = "Nothing is wrong"
        return f"{nagios_line(self.status, said)} | {' '.join(_measures(self))}"

    def as_dict(self) -> dict[str, Any]:
        """Return the result for ``alerts check --json``."""
        return {
            "status": self.status,
            "opened": self.opened,
            "closed": self.closed,
            "alerts": [told(alert) | {"advice": self.advice[alert.id]} for alert in self.open],
        }


def nagios_line(status: str, text: str) -> str:
    """Return one line as a Nagios plugin says it; the bar would begin its performance data."""
    return f"ALXREPORT {status} - {_in_one_line(text).replace('|', '/')}"


def _in_one_line(text: str) -> str:
    """Return words without what would end a line or a subject, or steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _measures(checked: Checked) -> list[str]:
    known = checked.gathered
    total = known.calls.total
    p95 = percentile(known.calls.all_latencies, P95_PERCENT)
    success = ratio(total.calls, total.calls + known.failures)
    # Of the company whose data are the oldest: one that fails is not hidden by the others.
    synced = [c.synced_at for c in known.companies if c.synced_at is not None]
    values = {
        "alerts": f"{len(checked.open)};;;0",
        "critical": f"{sum(alert.severity == CRITICAL for alert in checked.open)};;;0",
        "warning": f"{sum(alert.severity == WARNING for alert in checked.open)};;;0",
        "data_age": f"{max(0, known.now - min(synced))}s" if synced else None,
        "calls": f"{total.calls + known.failures};;;0",
        "p95": f"{p95 / 1000:g}s;;;0" if p95 is not None else None,
        "success": f"{success * 100:g}%;;;0;100" if success is not None else None,
    }
    return [f"{name}={value}" for name, value in values.items() if value is not None]


def check(store: Store, settings: Settings, now: int) -> Checked:
    """Look at everything that may be wrong; open and close alerts as their causes come and go.

    Any number of checks at once open an alert once. Raises StoreError and ConfigError.
    """
    gathered = store.read(lambda session: gather(session, settings, now))
    found = {(c.kind, c.subject): c for c in gathered.conditions}
    before = store.read(alert_log.open_alerts)
    if not found and not before:
        return Checked((), {}, 0, 0, gathered)

    def work(session: Session) -> tuple[int, int]:
        return _bring_up_to_date(session, found, now)

    opened, closed = store.write(work)
    there = store.read(alert_log.open_alerts)
    advice = {
        alert.id: found[alert.kind, alert.subject].advice
        for alert in there
        if (alert.kind, alert.subject) in found
    }
    # One that another check opened meanwhile is that check's to tell.
    here = tuple(alert for alert in there if alert.id in advice)
    return Checked(here, advice, opened, closed, gathered)


def _bring_up_to_date(
    session: Session, found: dict[tuple[str, str], Condition], now: int
) -> tuple[int, int]:
    opened = closed = 0
    there = {(alert.kind, alert.subject): alert for alert in alert_log.open_alerts(session)}
    for key, condition in found.items():
        alert = there.get(key)
        if alert is None:
            opened += alert_log.open_one(
                session, kind=condition.kind, subject=condition.subject, name=condition.name,
                severity=condition.severity, message=condition.message, now=now,
            )  # fmt: skip
        elif (alert.severity, alert.message) != (condition.severity, condition.message):
            alert_log.refresh(
                session, alert, severity=condition.severity, message=condition.message, now=now
            )
    for key, alert in there.items():
        if key not in found:
            closed += alert_log.close(session, alert, now=now)
    return opened, closed


@dataclass(frozen=True)
class Listed:
    """The open alerts, and those that closed lately."""

    open: tuple[Alert, ...]
    closed: tuple[Alert, ...]


def list_alerts(store: Store, now: int, *, days: int = CLOSING_DAYS) -> Listed:
    """Return the open alerts, and those that closed within some days, the newest first."""

    def work(session: Session) -> Listed:
        closed = alert_log.closed_since(session, since=now - days * DAY)
        return Listed(tuple(alert_log.open_alerts(session)), tuple(reversed(closed)))

    return store.read(work)


def acknowledge(store: Store, number: int, *, who: str, now: int) -> tuple[Alert, bool]:
    """Note that somebody takes care of an alert, so that nobody is reminded of it.

    Returns the alert, and whether it was not noted before. Raises NotFoundError, and UsageError
    for one that is closed.
    """

    def work(session: Session) -> tuple[Alert, bool]:
        done = alert_log.acknowledge(session, number, who=who, now=now)
        alert = alert_log.by_id(session, number)
        if alert is None:
            raise NotFoundError(f"There is no alert {number}.", "See: alxreport alerts list")
        if alert.closed_at is not None:
            raise UsageError(
                f"The alert {number} closed at {iso_time(alert.closed_at)}.",
                "There is nothing left to acknowledge.",
            )
        return alert, done

    return store.write(work)


def told(alert: Alert) -> dict[str, Any]:
    """Return an alert for JSON."""
    return {
        "id": alert.id,
        "kind": alert.kind,
        "subject": alert.subject,
        "name": alert.name,
        "severity": alert.severity,
        "message": alert.message,
        "opened_at": iso_time(alert.opened_at),
        "closed_at": iso_time(alert.closed_at),
        "acknowledged_at": iso_time(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
    }


def target_name(url: str) -> str:
    """Return the name under which tellings to an address are noted, which may hold a password."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def due_event(alert: Alert, told_at: dict[str, int], now: int, remind_hours: int) -> str | None:
    """Return what is to be told of an alert to somebody who was told these events; None for none.

    The opening, each time that it got graver, reminders while nobody acknowledged it, the closing.
    """
    if alert.closed_at is not None:
        return "closed" if told_at and "closed" not in told_at else None
    opening = f"opened:{alert.rises}"
    if opening not in told_at:
        return opening
    if alert.acknowledged_at is not None or not remind_hours:
        return None
    if now - max(told_at.values()) < remind_hours * HOUR:
        return None
    reminders = sum(event.startswith("reminder:") for event in told_at)
    return f"reminder:{reminders + 1}"


def notify(
    store: Store, settings: Settings, checked: Checked, targets: dict[str, Send], now: int
) -> list[str]:
    """Tell each target what is new to it, in one message; return the targets that failed.

    What did not arrive is told by the next check. Of several checks at once one tells.
    """
    since, began = now - CLOSING_DAYS * DAY, time.monotonic()
    who = f"{socket.gethostname()[:20]}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    failed = []
    for target, send in targets.items():

        def take(session: Session, target: str = target) -> list[tuple[Alert, str]]:
            alerts = alert_log.open_alerts(session) + alert_log.closed_since(session, since=since)
            known = alert_log.tellings(session, alerts, target)
            mine = []
            # The addresses before this one may have taken their time.
            at = now + int(time.monotonic() - began)
            for alert in alerts:
                event = due_event(alert, known.get(alert.id, {}), now, settings.alerts.remind_hours)
                if event and alert_log.claim(session, alert.id, event, target, who=who, now=at):
                    mine.append((alert, event))
            return mine

        mine = store.write(take)
        if not mine:
            continue
        arrived = False
        try:
            arrived = send(*message(mine, checked.advice, now))
        finally:
            _settle(store, mine, target, who, now if arrived else 0)
        if not arrived:
            failed.append(target)
    return failed


def _settle(
    store: Store, mine: Sequence[tuple[Alert, str]], target: str, who: str, told_at: int
) -> None:
    def work(session: Session) -> None:
        for alert, event in mine:
            alert_log.settle(session, alert.id, event, target, who=who, told_at=told_at)

    store.write(work)


def message(
    events: Sequence[tuple[Alert, str]], advice: dict[int, str], now: int
) -> tuple[str, str]:
    """Return title and text of a message: what is wrong, since when, what to do."""
    opened = [(alert, event) for alert, event in events if event != "closed"]
    closed = [alert for alert, event in events if event == "closed"]
    critical = any(alert.severity == CRITICAL for alert, _event in opened)
    first = (opened[0][0] if opened else closed[0]) if events else None
    word = ("CRITICAL" if critical else "Warning") if opened else "Resolved"
    more = f" (and {len(events) - 1} more)" if len(events) > 1 else ""
    title = f"alxreport on {socket.gethostname()}: {word}: {_short(first)}{more}"
    lines = []
    for alert, event in sorted(opened, key=lambda pair: pair[0].severity != CRITICAL):
        again = "Still " if event.startswith("reminder:") else ""
        lines += [
            f"{again}{alert.severity.upper()} since {iso_time(alert.opened_at)}:"
            f" {_in_one_line(alert.message)}",
            f"  To do: {advice[alert.id]}" if alert.id in advice else "",
            f"  Seen to? alxreport alerts ack {alert.id}",
            "",
        ]
        if len(lines) >= 4 * SHOWN_IN_MESSAGE:
            break
    for alert in closed[:SHOWN_IN_MESSAGE]:
        lasted = f"{iso_time(alert.opened_at)} to {iso_time(alert.closed_at)}"
        lines += [f"RESOLVED ({lasted}): {_in_one_line(alert.message)}", ""]
    left = max(0, len(opened) - SHOWN_IN_MESSAGE) + max(0, len(closed) - SHOWN_IN_MESSAGE)
    if left:
        lines += [f"And {left} more: alxreport alerts list", ""]
    lines.append(f"Found at {iso_time(now)}. See all: alxreport monitor")
    return title, "\n".join(line for line in lines)


def _short(alert: Alert | None) -> str:
    words = _in_one_line(alert.message).split(". ")[0] if alert else ""
    return words if len(words) <= 100 else f"{words[:99]}…"
