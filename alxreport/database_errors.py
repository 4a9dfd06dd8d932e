"""What a database's own errors mean to a person, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alxreport.error_codes import (
    AGAIN_CODES,
    BUSY_CODES,
    FULL_CODES,
    GONE_CODES,
    LOST_CODES,
    SERVER_BUSY_CODES,
    TRANSIENT_CODES,
    UNREACHABLE_CODES,
    error_code,
    error_text,
)
from alxreport.errors import SourceError, StoreError, UsageError

_SOURCE_HINTS: dict[Any, tuple[str, str]] = {
    1045: ("Moodle's database refuses the user or the password", "Check the name and password."),
    1044: (
        "The user has no rights on Moodle's database, or its name is misspelt",
        "Check the name in moodle.url, and GRANT SELECT on it to this user.",
    ),
    1049: ("There is no such Moodle database", "Check the database name in moodle.url."),
    1142: ("The user may not read a table of Moodle", "GRANT SELECT on all of its tables."),
    1146: ("A table of Moodle is missing", "Check moodle.prefix, and run 'alxreport doctor'."),
    1317: ("Moodle's database stopped the query", "Run the sync again."),
    "28P01": ("Moodle's database refuses the user or the password", "Check name and password."),
    "28000": ("Moodle's database refuses the user", "Check the user's name, and pg_hba.conf."),
    "3D000": ("There is no such Moodle database", "Check the database name in moodle.url."),
    "42501": ("The user may not read a table of Moodle", "GRANT SELECT on all of its tables."),
    "42P01": ("A table of Moodle is missing", "Check moodle.prefix, and run 'alxreport doctor'."),
    "SQLITE_NOTADB": ("Moodle's database file is not a database", "Check moodle.url."),
    "SQLITE_CANTOPEN": ("Moodle's database file cannot be opened", "Check its path and rights."),
}


def source_error(error: Exception) -> SourceError:
    """Return the SourceError that says what ``error`` means and what to do."""
    code = error_code(error)
    message, hint = _SOURCE_HINTS.get(
        code, ("Moodle's database cannot be read", "Check that it runs and moodle.url is right.")
    )
    text = f"{message}: {error_text(error).rstrip('.')}."
    away = code in UNREACHABLE_CODES
    passing = code in LOST_CODES | SERVER_BUSY_CODES | AGAIN_CODES
    return SourceError(text, hint, passing=passing, unreachable=away)


@contextmanager
def where_known() -> Iterator[None]:
    """Go on without what a server does not know or allow; what only got lost is a SourceError."""
    try:
        yield
    except SourceError as error:
        if error.passing:
            raise


def too_slow(seconds: float) -> UsageError:
    """Return the error of a question that was stopped after so many seconds."""
    return UsageError(
        f"The question takes the database longer than {seconds:g} seconds.",
        "Ask for less at once, or with a simpler condition.",
    )


def store_error(error: Exception) -> StoreError:
    """Return the StoreError that says what ``error`` means and what to do."""
    code, text = error_code(error), error_text(error)
    full = code in FULL_CODES or str(code).startswith("SQLITE_IOERR")
    if full or "disk is full" in text or "No space left" in text:
        return StoreError(
            f"The store's disk is full or does not work: {text}",
            "Free some space there; the next sync goes on.",
            fatal=True,
        )
    if code in BUSY_CODES:
        hint = "Another process writes to it; try again."
        # A node that was cut off from its cluster says the same when it cannot keep up.
        passing = code in SERVER_BUSY_CODES
        return StoreError(f"The store is busy: {text}", hint, transient=True, passing=passing)
    if code in TRANSIENT_CODES:
        return StoreError(f"The store gave way: {text}", "Try again.", transient=True, passing=True)
    if code in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
        return StoreError(
            f"The store file is not a sound database: {text}",
            "Restore it from a backup, or move it away: the next sync makes and fills a new one.",
            fatal=True,
        )
    if code in {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"}:
        hint = "Let this user write to the file and its folder."
        what = "opened" if code == "SQLITE_CANTOPEN" else "written"
        return StoreError(f"The store cannot be {what}: {text}", hint, fatal=True)
    gone = code in GONE_CODES or getattr(error, "connection_invalidated", False)
    hint = "Check store.url, and that the server runs and lets this user in."
    away = code in UNREACHABLE_CODES
    return StoreError(f"The store cannot be used: {text}", hint, fatal=bool(gone), unreachable=away)
