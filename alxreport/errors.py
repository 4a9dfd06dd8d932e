"""The errors a person can meet: what is wrong, what to do, and the exit code."""

from __future__ import annotations


class AlxError(Exception):
    """A failure with a message for people, a hint on what to do, and an exit code."""

    exit_code = 1
    code = "unexpected"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AlxError):
    """A flag or value that cannot be meant."""

    exit_code = 2
    code = "usage"


class BusyError(AlxError):
    """More is asked at once than can be answered; a moment later it may be different."""

    code = "busy"


class UnsupportedError(UsageError):
    """Something that the caller's protocol knows, and alxreport does not offer."""

    code = "unsupported"


class ConfigError(AlxError):
    """The configuration is missing, unreadable or contradicts itself."""

    exit_code = 3
    code = "configuration"


class DatabaseError(AlxError):
    """A database cannot be reached or refuses what is needed of it.

    ``passing`` says that it may be there again in a moment, or that another server stands in;
    ``unreachable``, that nobody answers where it should be.
    """

    exit_code = 3
    code = "database"

    def __init__(
        self, message: str, hint: str = "", *, passing: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(message, hint)
        self.passing = passing or unreachable
        self.unreachable = unreachable


class SourceError(DatabaseError):
    """Moodle's database cannot be read, or is not the database it should be."""

    code = "source"


class StoreError(DatabaseError):
    """alxreport's own database cannot be used.

    ``fatal`` says that no other company's transaction can succeed either (disk full, server gone),
    ``transient`` that the same transaction may succeed when tried again.
    """

    code = "store"

    def __init__(
        self, message: str, hint: str = "", *, fatal: bool = False, transient: bool = False,
        passing: bool = False, unreachable: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message, hint, passing=passing, unreachable=unreachable)
        self.fatal = fatal
        self.transient = transient


class NoStoreError(StoreError):
    """There is no store yet: no sync has ever begun."""


class NeverSyncedError(DatabaseError):
    """A company's rows were asked for before its first successful sync."""

    code = "never_synced"


class ResyncError(UsageError):
    """A delta that cannot be continued: everything has to be read again."""

    code = "resync_required"


class NotAuthorisedError(AlxError):
    """A credential that does not allow what was asked.

    ``reason`` is a short word for the log: missing, unknown, malformed, expired, revoked, network,
    company, gone or disabled.
    """

    exit_code = 4
    code = "not_authorised"

    def __init__(self, message: str, hint: str = "", *, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


class RateLimitError(AlxError):
    """A company's budget of the day is spent; it is new at ``resets_at`` (unix seconds)."""

    exit_code = 5
    code = "rate_limit"

    def __init__(self, message: str, hint: str, *, limit: int, resets_at: int) -> None:
        super().__init__(message, hint)
        self.limit = limit
        self.resets_at = resets_at


class NotFoundError(AlxError):
    """No such company, token, user or course."""

    exit_code = 6
    code = "not_found"


class AlreadyRunningError(AlxError):
    """Another sync holds the lease."""

    exit_code = 75
    code = "already_running"
