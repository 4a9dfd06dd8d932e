"""What was asked of a company's rows, and what that comes to: mode, range, fields, page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from alxreport.company_options import CompanyOptions
from alxreport.errors import NotAuthorisedError, ResyncError, UsageError
from alxreport.listing import KEYS, Filter, Listing, Slice, field_bits
from alxreport.marks import Cursor, Delta, read_cursor, read_delta, write_cursor

DEFAULT_LIMIT = 100
FULL, INCREMENTAL, AUTO, DISABLED = "full", "incremental", "auto", "disabled"
MarkFits = Callable[[Delta], bool]
RESYNC = "Resync with --mode full."
DAY_SECONDS, HOUR_SECONDS = 86_400, 3_600


@dataclass(frozen=True)
class Question:
    """What a caller asked for; None where nothing was said."""

    mode: str | None = None
    since: str | None = None
    cursor: str | None = None
    limit: int | None = None
    offset: int | None = None
    fields: tuple[str, ...] | None = None
    wanted: Filter | None = None
    everything: bool = False  # all rows at once: an export
    plugin_zone: str = ""  # as the Moodle plugin writes them; see listing.Listing
    same_filter: bool = False  # the delta is kept for the next time, and must not become narrower

    def plan(self, basis: Basis, mark_fits: MarkFits) -> Plan:
        """Return how to answer it; see ``make_plan``."""
        return make_plan(self, basis, mark_fits)


class Asked(Protocol):
    """A question of any face, as the way in takes it."""

    @property
    def everything(self) -> bool:
        """Whether all rows are asked for at once."""

    @property
    def limit(self) -> int | None:
        """The rows of a page that were asked for, as it is logged."""

    @property
    def offset(self) -> int | None:
        """The rows before the page that were asked for, as it is logged."""

    def plan(self, basis: Basis, mark_fits: MarkFits) -> Plan:
        """Return how to answer it, or raise UsageError, ResyncError or NotAuthorisedError."""


@dataclass(frozen=True)
class Basis:
    """What a question is measured against: the company as it stands at ``now``."""

    company: int
    revision: int
    mark: str
    purged_revision: int
    rows: int
    synced_at: int
    options: CompanyOptions
    key: bytes  # of this store's marks
    tombstone_days: int
    operator: bool  # asked by the local operator
    now: int


@dataclass(frozen=True)
class Plan:
    """A question that can be answered."""

    mode: str
    listing: Listing
    limit: int
    offset: int
    after: tuple[Any, ...] | None
    before: int  # rows that the series handed out so far
    total: int | None  # as the series' first page counted, None where it has to be counted
    begun: Delta  # what the series' last page hands out
    whole: bool  # the series began with the first row
    asked: tuple[str, ...] | None
    cursor: str | None = None
    counted: bool = True  # whether the listing's rows are to be counted
    closes: bool = False  # whether nothing follows, though rows may be left

    @property
    def cacheable(self) -> bool:
        """Whether the page may be kept: the cache's table holds no place in another order."""
        return not self.listing.by

    @property
    def question_key(self) -> str:
        """Return a text that is the same for all questions with the same rows at a revision."""
        parts: list[Any] = [
            2, self.listing.company, self.mode, self.listing.fields, self.listing.wanted.courses,
            self.listing.wanted.status, self.listing.since, self.listing.upto, self.limit,
            self.offset, self.after, self.listing.plugin_zone, self.counted,
            self.listing.condition and self.listing.condition.text,
            [(each.value, each.descending) for each in self.listing.by],
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(parts, default=str)).hexdigest()

    def following(self, key: bytes, page: Slice, total: int) -> str:
        """Return the text of the cursor that asks for the rows after a page."""
        return write_cursor(key, next_cursor(self, page, total))


def make_plan(question: Question, basis: Basis, mark_fits: MarkFits) -> Plan:
    """Return how to answer a question, or raise UsageError, ResyncError or NotAuthorisedError.

    ``mark_fits`` tells of a delta whether its revision is one of this store's history.
    """
    options = basis.options
    if options.sync_mode == DISABLED:
        raise requests_disabled()
    limit, offset = _page(question, options)
    if question.cursor is not None:
        return _continued(question, basis, mark_fits, limit)
    fields = _fields(question.fields, basis)
    wanted = question.wanted or Filter()
    _refuse_hidden(wanted, basis)
    mode, delta = _mode(question, basis, fields, wanted, mark_fits)
    since = delta.revision if delta else None
    begun = Delta(
        basis.company, basis.revision, basis.mark, basis.synced_at, field_bits(fields), wanted
    )
    return Plan(
        mode=mode,
        listing=replace(_listing(begun, mode, fields, since), plugin_zone=question.plugin_zone),
        limit=limit, offset=offset, after=None, before=offset, total=None, begun=begun,
        whole=offset == 0, asked=question.fields,
    )  # fmt: skip


def requests_disabled() -> NotAuthorisedError:
    """Return the refusal of a company whose sync_mode is ``disabled``."""
    return NotAuthorisedError(
        "Requests for this company are disabled.",
        "The administrator can allow them: alxreport company set C sync_mode full",
        reason="disabled",
    )


def _listing(begun: Delta, mode: str, fields: tuple[str, ...], since: int | None) -> Listing:
    return Listing(
        company=begun.company,
        fields=fields,
        wanted=begun.wanted,
        tells_deleted=mode == INCREMENTAL,
        since=since,
        upto=begun.revision if since is not None else 0,
    )


def _page(question: Question, options: CompanyOptions) -> tuple[int, int]:
    if question.everything:
        return 0, 0
    limit = min(DEFAULT_LIMIT, options.max_limit) if question.limit is None else question.limit
    if not 1 <= limit <= options.max_limit:
        raise UsageError(
            f"limit must be 1 to {options.max_limit}, not {limit}.",
            "Ask for further pages with the cursor in 'next'.",
        )
    offset = question.offset or 0
    if not 0 <= offset < 2**63:
        raise UsageError(f"offset cannot be {offset}.", "The first page has offset 0.")
    return limit, offset


def _fields(asked: tuple[str, ...] | None, basis: Basis) -> tuple[str, ...]:
    """Return the fields of the answer: those shown, or of the asked ones those that may be."""
    options = basis.options
    if asked is None:
        if not options.fields:
            raise UsageError("Every field of this company is hidden.", "Show one: company fields C")
        return options.fields
    for name in asked:
        # What is merely not switched on, the operator may ask for by name; a token may not.
        if name in options.hidden or (name not in options.fields and not basis.operator):
            raise UsageError(
                f"The field {name!r} is hidden for this company.",
                f"The administrator can show it: alxreport company fields C --show {name}",
            )
    return asked


def _refuse_hidden(wanted: Filter, basis: Basis) -> None:
    """Refuse to filter by what is hidden: the answer's length would tell it."""
    for asked, name in ((wanted.status, "status"), (wanted.courses, "courseid")):
        if asked and (name in basis.options.hidden):
            raise UsageError(
                f"The field {name!r} is hidden for this company; it cannot be filtered by.",
                f"The administrator can show it: alxreport company fields C --show {name}",
            )


def _mode(
    question: Question, basis: Basis, fields: tuple[str, ...], wanted: Filter, mark_fits: MarkFits
) -> tuple[str, Delta | None]:
    """Return the mode of a first page, and the delta it continues."""
    mode = basis.options.sync_mode if question.mode is None else question.mode
    if question.mode is None and question.since is not None and mode != AUTO:
        mode = INCREMENTAL  # a delta says by itself what is wanted
    if mode not in {FULL, INCREMENTAL, AUTO}:
        raise UsageError(f"There is no mode {mode[:50]!r}.", "It is full, incremental or auto.")
    if mode == FULL:
        return FULL, None
    problem = "" if set(KEYS) <= set(fields) else "An increment needs the fields userid, courseid."
    if mode == INCREMENTAL and problem:
        raise UsageError(problem, "Ask for them too, or use --mode full.")
    if question.since is None:
        return (INCREMENTAL if mode == INCREMENTAL else FULL), None
    delta = read_delta(basis.key, question.since)
    problem = problem or _refusal(delta, basis, fields, wanted, mark_fits)
    if not problem and delta and question.same_filter and delta.wanted != wanted:
        problem = "The state was kept for another filter."
    if mode == INCREMENTAL:
        if problem or delta is None:
            raise ResyncError(problem, RESYNC)
        return INCREMENTAL, delta
    window = basis.options.sync_window_hours * HOUR_SECONDS
    if problem or delta is None or basis.now - delta.at > window:
        return FULL, None
    return INCREMENTAL, delta


def _refusal(
    delta: Delta | None, basis: Basis, fields: tuple[str, ...], wanted: Filter, mark_fits: MarkFits
) -> str:
    """Return why a delta cannot be continued, "" when it can."""
    if delta is None or delta.company != basis.company:
        return "This delta is damaged, or of another company or store."
    if delta.revision > basis.revision or not mark_fits(delta):
        return "This delta is of another history of the store, such as before it was restored."
    oldest = basis.now - basis.tombstone_days * DAY_SECONDS
    if delta.at < oldest or delta.revision < basis.purged_revision:
        return "This delta is so old that deletions since then are forgotten."
    if field_bits(fields) & ~delta.fields or not delta.wanted.covers(wanted):
        return "This delta was read with fewer fields or with another filter."
    return ""


def _continued(question: Question, basis: Basis, mark_fits: MarkFits, limit: int) -> Plan:
    """Return the plan of a further page: everything but its size was fixed on the first one."""
    if question.offset:
        raise UsageError("A cursor and an offset exclude each other.", "Leave the offset out.")
    cursor = read_cursor(basis.key, question.cursor or "")
    if cursor is None or cursor.begun.company != basis.company:
        raise UsageError(
            "This cursor is damaged, or of another company or store.", "Begin with the first page."
        )
    begun = cursor.begun
    if begun.revision > basis.revision or not mark_fits(begun):
        raise ResyncError("The store was restored since this cursor was made.", RESYNC)
    # Deletions that the series was to tell may be purged by now, and so would never be told.
    if cursor.since is not None and cursor.since < basis.purged_revision:
        raise ResyncError("This cursor is so old that deletions are forgotten.", RESYNC)
    _agrees(question, basis, cursor)
    _refuse_hidden(begun.wanted, basis)
    fields = _fields(cursor.asked, basis)
    if field_bits(fields) != begun.fields:
        raise UsageError("The company's fields were changed.", "Begin with the first page.")
    return Plan(
        mode=cursor.mode,
        listing=_listing(begun, cursor.mode, fields, cursor.since),
        limit=limit, offset=0, after=(cursor.userid, cursor.courseid), before=cursor.before,
        total=cursor.total, begun=begun, whole=cursor.whole, asked=cursor.asked,
        cursor=question.cursor,
    )  # fmt: skip


def _agrees(question: Question, basis: Basis, cursor: Cursor) -> None:
    """Refuse what contradicts the cursor; saying the same again is no contradiction."""
    differs = ""
    if question.mode not in {None, AUTO, cursor.mode}:
        differs = "mode"
    elif question.since is not None and cursor.mode == INCREMENTAL:
        delta = read_delta(basis.key, question.since)
        if delta is None or delta.company != basis.company or delta.revision != cursor.since:
            differs = "since"
    if question.fields is not None and question.fields != cursor.asked:
        differs = "fields"
    if question.wanted is not None and question.wanted != cursor.begun.wanted:
        differs = "filter"
    if differs:
        raise UsageError(
            f"The cursor belongs to a series with another {differs}.", "Begin with the first page."
        )


def next_cursor(plan: Plan, page: Slice, total: int) -> Cursor:
    """Return the cursor that asks for the rows after a page."""
    return Cursor(
        page.last[0], page.last[1], plan.mode, plan.listing.since, total,
        plan.before + page.count, plan.begun, plan.whole, plan.asked,
    )  # fmt: skip
