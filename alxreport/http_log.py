"""What the server says to who runs it: a line each on stderr, which never makes a request fail."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict

# The same line is said once in this time, however many requests have met the same trouble.
QUIET_SECONDS = 60.0
MOST_LINES = 200

_said: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()


def tell(line: str) -> None:
    """Say a line on stderr, unless it was said within the last minute.

    A full disk or a closed terminal behind stderr is nobody's trouble but the reader's.
    """
    if _is_new(line, time.monotonic()):
        say(f"alxreport: {line}")


def say(text: str) -> None:
    """Write a text and the end of its line to stderr, as far as there is one."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def _is_new(line: str, now: float) -> bool:
    with _lock:
        last = _said.get(line)
        if last is not None and now - last < QUIET_SECONDS:
            return False
        _said[line] = now
        _said.move_to_end(line)
        if len(_said) > MOST_LINES:
            _said.popitem(last=False)
        return True


class _Lines(logging.Handler):
    """Log lines as the rest of the program tells its errors: one line, no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = record.getMessage().splitlines()
        except (TypeError, ValueError):
            return
        tell(lines[0] if lines else record.name)


def log_plainly() -> None:
    """Let what the libraries log be said in lines as well, of errors only."""
    root = logging.getLogger()
    root.handlers = [_Lines()]
    root.setLevel(logging.ERROR)
    # What it meets while it tidies up a connection that is lost; the loss itself is an error.
    logging.getLogger("sqlalchemy").propagate = False
    # What callers do wrong is in the log of requests, and must not fill another one.
    for name in ("uvicorn.error", "multipart", "python_multipart"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.ERROR)
