"""The frozen values that pass between the layers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple


def iso_time(unix: int | None) -> str | None:
    """Return a unix time as ISO 8601 in UTC, None for no time or one that no calendar has."""
    if not unix:
        return None
    try:
        # strftime would write the year 1 as 1.
        return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")[:19] + "Z"
    except (ValueError, OverflowError, OSError):
        return None


class Content(NamedTuple):
    """What a reporting row says about one learner in one course of one company.

    Times are unix seconds, 0 for none; ``percentage`` is 0 to 100 with two decimals.
    """

    userid: int
    courseid: int
    firstname: str
    lastname: str
    email: str
    username: str
    coursename: str
    timecompleted: int
    timestarted: int
    percentage: float
    status: str


class Learner(NamedTuple):
    """One member of one company with everything in Moodle that shapes his rows.

    The last four are packed lists as the server built them: see ``progress.unpack``.
    """

    companyid: int
    userid: int
    firstname: str
    lastname: str
    email: str
    username: str
    enrolments: str  # [course, timestart, timecreated] of each active enrolment
    completions: str  # [course, timestarted, timecompleted] of each course completion
    activities: str  # id of each course module with a state; negative where it was failed
    roles: str  # [context, role] of each role assignment that bears on being tracked


@dataclass(frozen=True)
class SiteData:
    """The small tables of one Moodle site, as read: rows of plain values."""

    config: dict[str, str]
    companies: list[tuple[int, str, str, int]]  # id, shortname, name, suspended
    company_courses: list[tuple[int, int]]  # company, course
    sharing: list[tuple[int, int]]  # course, iomad_courses.shared
    shared_with: list[tuple[int, int]]  # company, course
    courses: list[tuple[int, int, str, int, int]]  # id, category, name, visible, completion on
    activities: list[tuple[int, int]]  # course, course module; tracked ones only
    methods: list[tuple[int, int, int]]  # course, enrol, status
    contexts: list[tuple[int, int, int, str]]  # id, level, instance, path
    categories: list[tuple[int, int]]  # id, parent
    capabilities: list[tuple[int, int, int]]  # context, role, permission


@dataclass(frozen=True)
class CompanyState:
    """What the store knows of one company."""

    id: int
    shortname: str
    name: str
    suspended: bool
    gone: bool
    position: int | None  # the position its rows stand at; None before the first success
    revision: int
    rows: int
    synced_at: int | None  # unix seconds of its last successful sync
    last_status: str
    last_error: str
    tombstones: int = 0
    duration_ms: int = 0  # of its last sync


@dataclass(frozen=True)
class CompanyResult:
    """What one run did to one company."""

    id: int
    company: str
    status: str  # success or failed
    rows: int
    created: int = 0
    updated: int = 0
    deleted: int = 0
    error: str | None = None
    duration_ms: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the result for ``sync --json``."""
        told = asdict(self)
        del told["duration_ms"]
        return told

    @property
    def changed(self) -> bool:
        """Whether any row changed."""
        return bool(self.created or self.updated or self.deleted)

    def after(self, earlier: CompanyResult | None) -> CompanyResult:
        """Return the result of both, where an earlier attempt of the run did a part."""
        if earlier is None:
            return self
        return replace(
            self,
            created=self.created + earlier.created,
            updated=self.updated + earlier.updated,
            deleted=self.deleted + earlier.deleted,
            duration_ms=self.duration_ms + earlier.duration_ms,
        )


@dataclass(frozen=True)
class RunReport:
    """What one sync run did."""

    run: int | None
    mode: str  # full or incremental
    status: str  # success, partial, failed or disabled
    started_at: int
    finished_at: int
    duration_seconds: float
    companies: tuple[CompanyResult, ...] = ()
    dry_run: bool = False

    @property
    def created(self) -> int:
        """Rows that became live."""
        return sum(company.created for company in self.companies)

    @property
    def updated(self) -> int:
        """Live rows whose content changed."""
        return sum(company.updated for company in self.companies)

    @property
    def deleted(self) -> int:
        """Rows that became tombstones."""
        return sum(company.deleted for company in self.companies)

    @property
    def errors(self) -> int:
        """Companies that failed."""
        return sum(company.status == "failed" for company in self.companies)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``sync --json``."""
        return {
            "run": self.run,
            "mode": self.mode,
            "status": self.status,
            "started_at": iso_time(self.started_at),
            "finished_at": iso_time(self.finished_at),
            "duration_seconds": self.duration_seconds,
            "created": self.created,
            "updated": self.updated,
            "deleted": self.deleted,
            "errors": self.errors,
            "companies": [company.as_dict() for company in self.companies],
        } | ({"dry_run": True} if self.dry_run else {})


@dataclass(frozen=True)
class Difference:
    """One reporting row that is not what Moodle's data give."""

    companyid: int
    company: str
    userid: int
    courseid: int
    kind: str  # pending or wrong
    problem: str  # missing, surplus or different
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # name: (stored, expected)
