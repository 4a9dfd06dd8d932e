"""What a check of the doctor says: a verdict, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from alxreport.errors import AlxError

Verdict = Literal["ok", "warning", "problem"]
SEVERITY: tuple[Verdict, ...] = ("ok", "warning", "problem")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""


def failed(name: str, error: AlxError) -> Check:
    """Return the check that ``error`` ended."""
    return Check(name, "problem", error.message, error.hint)


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the gravest verdict; "ok" for no checks."""
    return max((check.verdict for check in checks), key=SEVERITY.index, default="ok")


def age_text(seconds: int) -> str:
    """Return an age for people: ``5 min``, ``3 h`` or ``2 days``."""
    minutes = max(seconds, 0) // 60
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
