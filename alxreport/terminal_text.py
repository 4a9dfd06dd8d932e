"""Texts on a terminal: a line never grows beyond its room, whatever characters a name holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from unicodedata import bidirectional, category, normalize

from rich.console import Console
from rich.text import Text

from alxreport.screens import LEVEL_WORDS, Level

STYLES: dict[Level, str] = {
    "plain": "", "muted": "dim", "ok": "green", "warning": "yellow", "critical": "bold red",
}  # fmt: skip
WORST_FIRST: tuple[Level, ...] = ("critical", "warning", "ok")
UNICODE = {"ok": "✓", "warning": "!", "critical": "✕", "bar": "▌", "rule": "─", "dots": "…",
           "arrow": "→", "full": "█", "gap": "·", "parts": " ▁▂▃▄▅▆▇█",
           "ends": " ▏▎▍▌▋▊▉█"}  # fmt: skip
ASCII = {"ok": "+", "warning": "!", "critical": "x", "bar": "|", "rule": "-", "dots": "...",
         "arrow": "->", "full": "#", "gap": ".", "parts": " _:-=+*%#",
         "ends": " |||||||#"}  # fmt: skip
# What our own sentences use, where an encoding has no place for it.
SIMPLER = {"…": "...", "–": "-", "—": "-", "·": "-", "→": "->", "≥": ">=", "≤": "<=", "×": "x",
           "’": "'", "‘": "'", "“": '"', "”": '"', "\xa0": " ", "\ufffd": "?"}  # fmt: skip
JOINERS = "\u200c\u200d"
# Terminals that reorder right-to-left texts would draw the next column's digits into the name.
# Isolates would say it better, but are one cell wide to older terminals; this mark is to none.
LEFT_TO_RIGHT = "\u200e"


class Pen:
    """Writes on a console of a certain width, with the characters that its encoding has."""

    def __init__(self, console: Console, width: int) -> None:
        self.console, self.width = console, max(width, 1)
        self.encoding = console.encoding
        self.unicode = self.encoding.startswith("utf")
        self.signs = UNICODE if self.unicode else ASCII

    def text(self, text: str, style: str = "") -> Text:
        """Return a text of any origin as visible characters on one line."""
        return Text(self._encodable(visible(text)), style=style)

    def tag(self, level: Level) -> Text:
        """Return the sign and the word of a judged level; else nothing."""
        if level not in LEVEL_WORDS:
            return Text()
        return Text(f"{self.signs[level]} {LEVEL_WORDS[level]}", style=STYLES[level])

    def tally(self, levels: Iterable[Level]) -> Text:
        """Return how many there are of each judged level, the worst first."""
        counted = Counter(levels)
        told = [
            Text(f"  {self.signs[level]} {counted[level]:,} {LEVEL_WORDS[level]}", STYLES[level])
            for level in WORST_FIRST
            if counted[level]
        ]
        return Text.assemble(*told)

    def fit(self, text: Text, width: int, *, right: bool = False, pad: bool = True) -> Text:
        """Return a text that takes ``width`` cells: cut with an ellipsis, or padded."""
        if text.cell_len > width:
            text, dots = text.copy(), self.signs["dots"][: max(width, 0)]
            text.truncate(max(width - len(dots), 0), overflow="crop")
            text.append(dots)
        if self.unicode and any(bidirectional(char) in {"R", "AL"} for char in text.plain):
            text = Text.assemble(LEFT_TO_RIGHT, text, LEFT_TO_RIGHT)
        spaces = " " * (width - text.cell_len if pad else 0)
        return Text.assemble(spaces, text) if right else Text.assemble(text, spaces)

    def wrap(self, text: Text, width: int) -> list[Text]:
        """Return a text as lines of at most ``width`` cells, broken between words."""
        if text.cell_len <= width:
            return [self.fit(text, width, pad=False)]
        lines = text.wrap(self.console, max(width, 2), overflow="fold")
        for line in lines:
            line.rstrip()
        return [self.fit(line, width, pad=False) for line in lines]

    def barred(self, lines: Iterable[Text], level: Level) -> list[Text]:
        """Return lines behind a bar in their level's colour."""
        style = STYLES[level] or "dim"
        return [Text.assemble((self.signs["bar"], style), " ", line) for line in lines]

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return "".join(map(self._simpler, text))
        return text

    def _simpler(self, char: str) -> str:
        """Return a character, or the nearest that the encoding has; never the same for two names.

        An accent may go, for the base letter remains; a question mark would make names alike.
        """
        base = "".join(part for part in normalize("NFKD", char) if category(part) != "Mn")
        for tried in (char, SIMPLER.get(char, base) or base):
            try:
                tried.encode(self.encoding)
            except UnicodeEncodeError:
                continue
            return tried
        return char.encode(self.encoding, "backslashreplace").decode(self.encoding)


def visible(text: str) -> str:
    """Return a text without anything that moves, colours or turns what stands around it.

    Line breaks become spaces, other control characters the replacement character. Of the invisible
    characters only the joiners inside words stay, which Arabic and Indian scripts need; between
    emoji, and after a sign, terminals disagree about their width.
    """
    kept: list[str] = []
    for char in text:
        kind = category(char)
        if char in "\t\n\v\f\r\x85" or kind in {"Zl", "Zp"}:
            kept.append(" ")
        elif kind in {"Cc", "Cs"}:
            kept.append("\ufffd")
        elif char in JOINERS:
            kept += char if kept and category(kept[-1])[0] in "LM" else ""
        elif kind != "Cf" and not "\ufe00" <= char <= "\ufe0f":
            kept.append(char)
    return "".join(kept)
