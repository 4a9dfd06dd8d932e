"""Pings that tell a watching service of each run's start and end, and never fail the run."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

TIMEOUT_SECONDS = 5
Event = Literal["start", "success", "fail"]
# In the form that services for watching cron jobs share: the bare address means success.
ENDINGS: dict[Event, str] = {"start": "/start", "success": "", "fail": "/fail"}


def ping(url: str, event: Event, text: str = "") -> bool:
    """Tell ``sync.ping_url`` of an event, with a few words; return whether it was heard.

    Nothing is raised: a watcher that is down is no fault of the sync.
    """
    if not url:
        return False
    heard: list[bool] = []
    # A socket's time limit begins anew with each part of an answer, and at each redirect.
    worker = threading.Thread(target=lambda: heard.append(_sent(url, event, text)), daemon=True)
    worker.start()
    worker.join(TIMEOUT_SECONDS)
    return any(heard)


def _sent(url: str, event: Event, text: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            return False
        path = parts.path.rstrip("/") + ENDINGS[event]
        request = urllib.request.Request(  # noqa: S310
            urlunsplit(parts._replace(path=path)), data=text[:1000].encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return 200 <= int(answer.status) < 300
    except (OSError, ValueError, urllib.error.URLError):
        return False
    except Exception:  # whatever a server of any kind may answer
        return False
