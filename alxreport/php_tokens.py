"""Splits PHP source into tokens and literal values; what only PHP could compute is marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, TypeAlias

from alxreport.errors import ConfigError


class Computed(Enum):
    """The type of a value that only PHP can tell."""

    COMPUTED = "computed"


COMPUTED = Computed.COMPUTED
Scalar: TypeAlias = str | int | bool | None
Value: TypeAlias = "Scalar | Computed | dict[str, Value]"


def as_text(value: Value) -> str | None:
    """Return a value as text, as PHP converts it: true is "1", false is ""; None if computed."""
    if value is None or isinstance(value, dict | Computed):
        return None
    return ("1" if value else "") if isinstance(value, bool) else str(value)


class Token(NamedTuple):
    """One token of the source."""

    text: str  # an operator, a name or a $variable; "" for a literal
    value: Value = COMPUTED


END = Token("<end>")
_WORD = r"[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*"
_OPEN_TAG = re.compile(r"<\?(?:php(?=[ \t\r\n]|\Z)|=|(?=[ \t\r\n]))", re.IGNORECASE)
_TOKEN = re.compile(
    rf"""
    (?P<blank>[ \t\r\n\f\v]+ | (?:\#(?!\[)|//)(?:(?!\?>)[^\r\n])* | /\*.*?(?:\*/|\Z))
  | (?P<close_tag>\?>)
  | [bB]?<<<[ \t]*(?P<quote>["']?)(?P<label>{_WORD})(?P=quote)(?:\r\n|\n|\r)
  | [bB]?'(?P<single>[^'\\]*(?:\\.[^'\\]*)*)'
  | [bB]?(?P<template>["`])
  | (?P<number>[0-9]\w*(?:\.[0-9]+)?)
  | (?P<word>\${_WORD}|\\?{_WORD}(?:\\{_WORD})*)
  | (?P<operator>[=!]==|<=>|\.\.\.|(?:\*\*|<<|>>|\?\?)=|\?->|->|=>|[=!<>]=|&&|\|\||\?\?|::
                |[-+*/%.&|^]=|\#\[|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TEMPLATE_PART = re.compile(r'\\.|\{\$|\$\{|\$[A-Za-z_\x80-\U0010ffff]|["`]', re.DOTALL)
_ESCAPE = re.compile(
    rb'\\(?:([nrtvef\\$"])|([0-7]{1,3})|[xX]([0-9A-Fa-f]{1,2})|u\{([0-9A-Fa-f]+)\})'
)
_CONTROL_CHARACTERS = dict(zip(b"nrtvef", b"\n\r\t\v\x1b\f", strict=True))


class Lexer:
    """Split PHP into tokens, dropping comments and everything outside its tags."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("\ufeff")
        opened = _OPEN_TAG.search(self.text)
        self.position = opened.end() if opened else 0  # a pasted part has no tag

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens up to the end of the source."""
        while (token := self._token()) is not END:
            yield token

    def _token(self) -> Token:
        while match := _TOKEN.match(self.text, self.position):
            self.position = match.end()
            if match["blank"] is None:
                return self._meaning(match)
        return END

    def _meaning(self, match: re.Match[str]) -> Token:
        token = Token(match[0])
        if match["close_tag"]:
            opened = _OPEN_TAG.search(self.text, self.position)
            self.position = opened.end() if opened else len(self.text)
            token = Token(";")
        elif match["label"]:
            token = self._heredoc(match["label"], fixed=match["quote"] == "'")
        elif match["single"] is not None:
            token = Token("", re.sub(r"\\([\\'])", r"\1", match["single"]))
        elif match["template"]:
            token = self._template(match["template"])
        elif match["number"]:
            token = Token("", _number(match["number"]))
        elif token.text == "'":
            raise self._unclosed(match.start())
        elif token.text.lower() == "__halt_compiler":
            self.position = len(self.text)
            token = END
        return token

    def _template(self, quote: str) -> Token:
        start, fixed = self.position, quote == '"'
        while part := _TEMPLATE_PART.search(self.text, self.position):
            self.position = part.end()
            if part[0] == quote:
                raw = self.text[start : part.start()]
                return Token("", _unescape(raw, '"') if fixed else COMPUTED)
            if part[0] in ("{$", "${"):
                self._skip_braces()
            fixed = fixed and part[0][0] not in "{$"
        raise self._unclosed(start)

    def _skip_braces(self) -> None:
        depth = 1
        while depth and (token := self._token()) is not END:
            depth += (token.text == "{") - (token.text == "}")

    def _heredoc(self, label: str, *, fixed: bool) -> Token:
        start = self.position
        closing = re.compile(rf"^([ \t]*){label}(?![A-Za-z0-9_\x80-\U0010ffff])", re.MULTILINE)
        match = closing.search(self.text, start)
        if match is None:
            raise self._unclosed(start - 1)
        self.position = match.end()
        body = re.sub(r"\r?\n\Z", "", self.text[start : match.start()])
        body = re.sub(rf"^[ \t]{{0,{len(match[1])}}}", "", body, flags=re.MULTILINE)
        if fixed:
            return Token("", body)
        parts = (part[0][0] for part in _TEMPLATE_PART.finditer(body))
        return Token("", COMPUTED if any(p in "{$" for p in parts) else _unescape(body, ""))

    def _unclosed(self, position: int) -> ConfigError:
        line = self.text.count("\n", 0, position) + 1
        return ConfigError(f"the quoted text that opens on line {line} is never closed")


def _number(text: str) -> Value:
    try:
        return int(text, 0)
    except ValueError:
        return COMPUTED


def _unescape(raw: str, quote: str) -> Value:
    # Over bytes, as in PHP: "\xC3\xA9" is one letter of UTF-8.
    def meaning(match: re.Match[bytes]) -> bytes:
        char, octal, hexadecimal, point = match.groups()
        if char:
            kept = char == b'"' and not quote
            return match[0] if kept else bytes([_CONTROL_CHARACTERS.get(char[0], char[0])])
        if point:
            return chr(int(point, 16)).encode("utf-8", "surrogatepass")
        return bytes([(int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF])

    try:
        content = _ESCAPE.sub(meaning, raw.encode("utf-8", "surrogatepass"))
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("latin-1")
    except (ValueError, OverflowError):
        return COMPUTED  # no such character: PHP refuses it too
