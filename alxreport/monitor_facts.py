"""The recorded facts behind the monitor: one short statement each, most of one index range."""

from __future__ import annotations

from dataclasses import dataclass

from alxreport import cache
from alxreport.company_options import RATE_LIMIT, RATE_LIMIT_OPTION
from alxreport.records import iso_time
from alxreport.request_log import AUTHORISATION
from alxreport.request_log import RATE_LIMIT as RATE_LIMIT_KIND
from alxreport.sessions import Session, first, store_bytes
from alxreport.settings import Settings

HOUR = 3_600


@dataclass(frozen=True)
class RunFact:
    """One run of the sync."""

    started_at: int
    finished_at: int | None
    status: str


@dataclass(frozen=True)
class CallGroup:
    """Calls that are the same in all of this, counted by the server."""

    hour: int
    company: int
    endpoint: str
    cache: str
    error: str
    ms: int  # response time rounded down to the millisecond
    count: int
    total_us: int
    rows: int

    @property
    def is_page(self) -> bool:
        """Whether its response time tells how fast pages are."""
        return not self.error and self.endpoint != "export"


@dataclass(frozen=True)
class CompanyFact:
    """One company's state after its last sync."""

    id: int
    shortname: str
    name: str
    status: str
    synced_at: int | None
    rows: int
    last_status: str
    last_error: str
    duration_ms: int | None


def seconds(milliseconds: int | None) -> float | None:
    """Return milliseconds as seconds."""
    return None if milliseconds is None else milliseconds / 1000
