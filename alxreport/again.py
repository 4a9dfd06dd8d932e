"""What is done again when a database gave way: transactions at once, whole runs after a while."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection, Engine

from alxreport.database import is_file, reading, writing
from alxreport.errors import DatabaseError, StoreError

# The pauses between these add up to twenty seconds.
ATTEMPTS = 10
# The pauses between these add up to half a minute: a server restarts, a cluster counts its nodes.
RUN_ATTEMPTS = 6
Result = TypeVar("Result")


def wait(seconds: float) -> None:
    """Wait before something is done again."""
    time.sleep(seconds)


def pause(attempt: int) -> float:
    """Return how long to wait after an attempt, in seconds.

    Jitter, so that two who met once do not meet again.
    """
    return random.uniform(0.01, 0.03) * 2.0**attempt  # noqa: S311


def written(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Return what ``work`` does in one write transaction of the store: all of it, or nothing.

    One that gave way is done again, also where it cannot be told whether its commit was lost:
    ``work`` must bear that. Raises what ``work`` raises, and StoreError.
    """
    return _tried(lambda: writing(engine), work, is_file(engine))


def read(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """Return what ``work`` finds in one read transaction of the store; as ``written`` otherwise."""
    return _tried(lambda: reading(engine), work, is_file(engine))


def _tried(
    opened: Callable[[], AbstractContextManager[Connection]],
    work: Callable[[Connection], Result],
    alone: bool,
) -> Result:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with opened() as connection:
                return work(connection)
        except StoreError as error:
            # A lock on a file was waited for long enough.
            if not error.transient or attempt == ATTEMPTS or alone:
                raise
            wait(pause(attempt))
    raise AssertionError  # the last attempt returned or raised


def until_done(work: Callable[[int], Result], is_known: Callable[[DatabaseError], bool]) -> Result:
    """Return what ``work`` returns for the number of its attempt, from 1 on.

    It is done again, after growing pauses, while a database is away that may be back in a moment.
    One that was never reached is more likely a mistake in the configuration: ``is_known`` tells.
    """
    for attempt in range(1, RUN_ATTEMPTS + 1):
        try:
            return work(attempt)
        except DatabaseError as error:
            if not error.passing or attempt == RUN_ATTEMPTS:
                raise
            if error.unreachable and not is_known(error):
                raise
            wait(random.uniform(0.3, 0.7) * 2**attempt)  # noqa: S311
    raise AssertionError  # the last attempt returned or raised
