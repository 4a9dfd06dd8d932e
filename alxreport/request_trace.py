"""What a request leaves behind that was refused or failed: counted, and logged within bounds."""

from __future__ import annotations

from alxreport import rate_limit, request_log
from alxreport.errors import AlxError, NotAuthorisedError, RateLimitError
from alxreport.sessions import Session

# Refused with a good credential, whoever asks; or without any, as clients do that wait to be asked.
NOBODYS_ATTEMPT = ("disabled", "gone", "missing")


def trace(session: Session, entry: request_log.Entry, error: BaseException, timezone: str) -> None:
    """Count a refusal or failure; log its entry unless its caller had many within the minute."""
    subject = str(entry.company) if entry.company else entry.ip or entry.agent
    kind = error.code if isinstance(error, AlxError) else error_word(error)
    if isinstance(error, NotAuthorisedError):
        kind, subject = request_log.AUTHORISATION, entry.ip or entry.agent
        if error.reason in NOBODYS_ATTEMPT:
            kind = error.reason
    elif isinstance(error, RateLimitError):
        day = rate_limit.day_of(entry.at, rate_limit.zone(timezone))
        rate_limit.refuse(session, company=entry.company, day=day, now=entry.at)
    if request_log.count_refusal(session, kind, subject, company=entry.company, now=entry.at):
        request_log.write(session, entry)


def error_word(error: BaseException) -> str:
    """Return the short code under which a failure is logged."""
    if isinstance(error, NotAuthorisedError):
        return f"{error.code}:{error.reason}"
    if isinstance(error, AlxError):
        return error.code
    return "aborted" if isinstance(error, BrokenPipeError | KeyboardInterrupt) else "failure"
