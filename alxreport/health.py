"""Whether requests can be answered with data that are not old: for a load balancer's question."""

from __future__ import annotations

from dataclasses import dataclass

from alxreport import monitor_facts
from alxreport.errors import StoreError
from alxreport.gathering import SWITCH, SWITCHED_OFF
from alxreport.process_mark import is_held
from alxreport.records import iso_time
from alxreport.sessions import Session, Store, first
from alxreport.settings import Settings

HOUR_SECONDS = 3_600


@dataclass(frozen=True)
class Health:
    """The answer: ``reason`` says why not, "" when ready."""

    ready: bool
    reason: str
    synced_at: int | None  # when the last run ended that did something, unix seconds


def take(store: Store, settings: Settings, now: int) -> Health:
    """Return whether the store can be read and the last good sync is not overdue.

    A sync that is switched off is not overdue; neither is one that is running after a good one.
    """
    try:
        return store.read(lambda session: _look(session, settings, now))
    except StoreError:
        return Health(False, "the store cannot be read", None)


def _look(session: Session, settings: Settings, now: int) -> Health:
    ended = monitor_facts.last_good_end(session, now=now)
    if ended is None:
        return Health(False, "no sync has succeeded yet", None)
    value = first(
        session,
        f"SELECT value FROM {session.names.meta} WHERE name = :name",  # noqa: S608
        name=SWITCH,
    )
    overdue = settings.alerts.overdue_hours * HOUR_SECONDS
    disabled = value is not None and value[0] == SWITCHED_OFF
    if not disabled and overdue and now - ended > overdue:
        if is_held(*monitor_facts.lease(session), now) and now - ended <= 2 * overdue:
            return Health(True, "", ended)
        return Health(False, f"the last good sync ended at {iso_time(ended)}", ended)
    return Health(True, "", ended)
