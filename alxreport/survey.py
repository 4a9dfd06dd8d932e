"""One look at the source: is it sound, what is in it, and where does each company stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from alxreport import company_settings, evidence, fingerprints, moodle, store
from alxreport.catalogue import Catalogue, build_catalogue
from alxreport.errors import SourceError, StoreError
from alxreport.fingerprints import Movement, Position
from alxreport.records import CompanyState, SiteData
from alxreport.schema import StoreTables
from alxreport.sessions import ServerSession
from alxreport.settings import Settings

# No Moodle works without a row in these.
NEVER_EMPTY = ("user", "course", "context", "config")
# No reporting row is live, or no activity there, without a row in these.
STRUCTURE = ("company", "company_users", "enrol", "user_enrolments", "modules")
# These shape the figures. A small site may really lose its last row here, a large one does not.
FIGURES = ("course_completions", "course_modules_completion", "role_assignments", *moodle.COUNTED)
FIGURES_ROWS = 20
# From this share of the buckets on, one pass over all learners is cheaper than picking.
PICKED_SHARE = 0.3
PICKED_LEAST = 32


@dataclass(frozen=True)
class Survey:
    """What one snapshot of the source holds, without any learner's rows."""

    source: moodle.Source
    site: SiteData
    catalogue: Catalogue
    position: Position
    now: int


@dataclass(frozen=True)
class Scope:
    """Which learners of which companies have to be derived again."""

    whole: frozenset[int]  # companies, with all of their learners
    picked: frozenset[int]  # companies, with the learners of ``buckets``
    buckets: frozenset[int]

    @property
    def companies(self) -> frozenset[int]:
        """All companies of which anything is derived."""
        return self.whole | self.picked


def take(
    source_connection: Connection,
    store_connection: Connection,
    tables: StoreTables,
    settings: Settings,
    now: int,
) -> Survey:
    """Check the source and read its small tables and fingerprints, all in one snapshot."""
    source = moodle.inspect(source_connection, settings.moodle.prefix)
    site = moodle.load_site(source_connection, source)
    default = settings.sync.include_untracked
    stored = ServerSession(store_connection, tables.prefix)
    own = company_settings.untracked_too(stored, default)
    catalogue = build_catalogue(
        site,
        switched_off=company_settings.switched_off(stored),
        untracked_too=own
        if isinstance(own, bool)
        else {row[0] for row in site.companies if own.get(row[0], default)},
    )
    hashes = evidence.fingerprints(source_connection, source, now, fingerprints.BUCKET_BITS)
    position = fingerprints.position(catalogue, hashes)
    small: dict[str, Sequence[object]] = {
        "config": list(site.config),
        "company": site.companies,
        "course": site.courses,
        "context": site.contexts,
        "enrol": site.methods,
    }
    counts = {name: len(rows) for name, rows in small.items()}
    counts |= moodle.row_counts(source_connection, source)
    return Survey(source, site, catalogue, replace(position, rows={**position.rows, **counts}), now)


def refuse_emptied(survey: Survey, before: Position | None, *, prefix: str, allow: bool) -> None:
    """Raise SourceError if the source lost what it had: a report of it would be a lie.

    ``before`` is the position of the last successful sync. ``allow`` lets through all but what no
    Moodle can be without.
    """
    rows = survey.position.rows
    for name in NEVER_EMPTY:
        if not rows.get(name):
            raise SourceError(
                f"Moodle's table {prefix}{name} is empty. Nothing was changed.",
                "Check that moodle.url names the right database and that its restore is complete.",
            )
    if before is None or allow:
        return
    for name in STRUCTURE + FIGURES:
        had = before.rows.get(name, 0)
        least = 1 if name in STRUCTURE else FIGURES_ROWS
        if had >= least and not rows.get(name):
            raise SourceError(
                f"Moodle's table {prefix}{name} is empty; at the last sync it held {had:,} rows."
                " Nothing was changed.",
                "If it is meant to be empty, run: alxreport sync --allow-mass-delete",
            )


def load_positions(
    connection: Connection, tables: StoreTables, states: Mapping[int, CompanyState]
) -> dict[int, Position]:
    """Return the positions at which the companies stand, by version."""
    found = {}
    for version in {s.position for s in states.values() if s.position is not None}:
        data = store.load_position(connection, tables, version)
        if data is not None:
            # A damaged one is as good as none: its companies are derived again.
            with suppress(StoreError):
                found[version] = fingerprints.decode(data)
    return found


def movements(
    survey: Survey, states: Mapping[int, CompanyState], positions: Mapping[int, Position]
) -> dict[int, Movement | None]:
    """Return, for each company, what moved since its last sync; None for everything.

    Companies that are in the store only are gone: everything of theirs moved, once.
    """
    by_version = {
        version: fingerprints.movement(position, survey.position)
        for version, position in positions.items()
    }
    found: dict[int, Movement | None] = {}
    for company in survey.catalogue.companies.keys() | states.keys():
        state = states.get(company)
        version = state.position if state else None
        moved = by_version.get(version) if version is not None else None
        if moved is not None and company in moved.companies:
            moved = None
        found[company] = moved
    return found


def scope_of(
    source_connection: Connection,
    store_connection: Connection,
    tables: StoreTables,
    survey: Survey,
    moved: Mapping[int, Movement | None],
) -> Scope:
    """Turn what moved into the learners to derive again.

    A course that moved brings in everybody who has an enrolment in it or a live row about it.
    """
    whole = frozenset(company for company, found in moved.items() if found is None)
    some = {company: found for company, found in moved.items() if found}
    courses: frozenset[int] = frozenset().union(*(found.courses for found in some.values()))
    buckets: frozenset[int] = frozenset().union(*(found.buckets for found in some.values()))
    most = max(PICKED_LEAST, PICKED_SHARE * len(survey.position.users))
    if courses and len(buckets) <= most:
        buckets |= evidence.buckets_of_courses(
            source_connection, survey.source, courses, fingerprints.BUCKET_BITS
        )
        buckets |= store.buckets_with_courses(
            store_connection, tables, courses, fingerprints.BUCKET_BITS
        )
    if len(buckets) > most:
        return Scope(whole | some.keys(), frozenset(), frozenset())
    return Scope(whole, frozenset(some), buckets)
