"""Texts and levels as HTML that also is sound XML, whatever characters a name holds."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from alxreport.screens import LEVEL_WORDS, Level

MARKS: dict[Level, str] = {"ok": "✓", "warning": "!", "critical": "✕"}
WEIGHTS: dict[Level, int] = {"muted": 0, "plain": 0, "ok": 1, "warning": 2, "critical": 3}
_BREAKS = re.compile("[\t\n\r\x85\u2028\u2029]")
# XML has no place for them; the last two rows would turn the text around them, or are no text.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u202a-\u202e\u2066-\u2069"
    "\ufdd0-\ufdef\ufffe\uffff]"
)
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def safe(text: str) -> str:
    """Return a text for an element or a quoted attribute, escaped and without control characters.

    A line break becomes a space, half of a surrogate pair the replacement character.
    """
    text = _CONTROLS.sub("", _BREAKS.sub(" ", text))
    return html.escape(_LONE_SURROGATES.sub("\ufffd", text), quote=True)


def worst(levels: Iterable[Level]) -> Level:
    """Return the level that weighs most; plain for none."""
    return max(levels, key=WEIGHTS.__getitem__, default="plain")


def mark(level: Level) -> str:
    """Return the sign of a judged level, which is read out as its word; else nothing."""
    if level not in MARKS:
        return ""
    word = LEVEL_WORDS[level]
    return (
        f'<span class="mark {level}" role="img" aria-label="{word}" title="{word}">'
        f"{MARKS[level]}</span>"
    )


def badge(level: Level) -> str:
    """Return the sign and the word of a judged level; else nothing."""
    if level not in MARKS:
        return ""
    return (
        f'<span class="badge {level}"><span aria-hidden="true">{MARKS[level]}</span> '
        f"{LEVEL_WORDS[level]}</span>"
    )
