"""Follows the statements of a PHP file as far as they set plain values of ``$CFG``."""

from __future__ import annotations

import re
from collections.abc import Collection

from alxreport.php_tokens import COMPUTED, END, Computed, Lexer, Scalar, Token, Value, as_text

# What a person is asked for, by the name in the file -> the attribute it fills.
ATTRIBUTES = {
    "dbtype": "dbtype",
    "dbhost": "host",
    "dbname": "database",
    "dbuser": "user",
    "dbpass": "password",
    "prefix": "prefix",
    "dboptions.dbport": "port",
    "dboptions.dbsocket": "socket",
    "dboptions.ssl": "ssl",
}
PROPERTIES = frozenset(name for name in ATTRIBUTES if "." not in name)
OPTIONS = tuple(name.partition(".")[2] for name in ATTRIBUTES if "." in name)
_CONSTANTS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_OPENERS, _CLOSERS = frozenset({"(", "[", "{", "#["}), frozenset({")", "]", "}"})
_ASSIGNMENTS = frozenset({"=", ".=", "??="})
_CONTROL = re.compile(r"if|else|elseif|while|for|foreach|switch|do|try|catch|finally")
_DECLARATION = re.compile(r"function|class|interface|trait|enum|abstract|final|namespace")
_BRACE = re.compile("}")
_ALTERNATIVE_END = re.compile("}|else|elseif|end(?:if|while|for|foreach|switch)")


class Parser:
    """Follow a file's statements, noting what each leaves in $CFG."""

    def __init__(self, text: str) -> None:
        self.tokens = [*Lexer(text).tokens(), END]
        self.position = 0
        self.found: dict[str, Value] = {}

    def settings(self) -> dict[str, Value]:
        """Return what the file leaves behind, by the names of ATTRIBUTES."""
        while self._peek() is not END:
            self._statement(conditional=False)
            self._accept("}")
        return self.found

    def _peek(self) -> Token:
        return self.tokens[self.position]

    def _word(self) -> str:
        return self._peek().text.lower()

    def _next(self) -> None:
        self.position = min(self.position + 1, len(self.tokens) - 1)

    def _accept(self, text: str) -> bool:
        matched = self._peek().text == text
        if matched:
            self._next()
        return matched

    def _statement(self, *, conditional: bool) -> None:
        word = self._word()
        if self._accept("{"):
            self._block(conditional=conditional)
            self._accept("}")
        elif self._accept("#["):
            self._scan({"]"})
            self._next()
        elif _CONTROL.fullmatch(word):
            self._control()
        elif _DECLARATION.fullmatch(word):
            self._scan({"{", ";"})
            self._statement(conditional=True)
        elif word in ("case", "default"):
            self._scan({":", ";"})
            self._next()
        elif word in ("return", "exit", "die") and not conditional:
            self.position = len(self.tokens) - 1
        else:
            self._simple(word, conditional=conditional)

    def _simple(self, word: str, *, conditional: bool) -> None:
        if word == "unset":
            while self._word() not in (";", "}", END.text):
                if self._peek().text == "$CFG":
                    self._store(self._target(), None, conditional=conditional)
                else:
                    self._next()
        elif self._peek().text == "$CFG":
            self._assignment(conditional=conditional)
        self._scan({";"})
        if self._word() != "}":
            self._next()

    def _block(self, ends: re.Pattern[str] = _BRACE, *, conditional: bool) -> None:
        while self._peek() is not END and not ends.fullmatch(self._word()):
            self._statement(conditional=conditional)

    def _control(self) -> None:
        self._next()
        if self._accept("("):
            self._scan({")"})
            self._next()
        if self._accept(":"):
            self._block(_ALTERNATIVE_END, conditional=True)
            if self._word().startswith("end"):
                self._next()
        else:
            self._statement(conditional=True)
        if self._word() in ("else", "elseif"):
            self._control()

    def _scan(self, stops: Collection[str]) -> None:
        # Pass to a stop outside brackets; what is assigned on the way may or may not happen.
        depth = 0
        while (token := self._peek()) is not END:
            if depth == 0 and (token.text in stops or token.text in _CLOSERS):
                return
            depth += (token.text in _OPENERS) - (token.text in _CLOSERS)
            if token.text != "$CFG" or not self._assignment(conditional=True):
                self._next()

    def _assignment(self, *, conditional: bool) -> bool:
        start = self.position
        target = self._target()
        operator = self._peek().text
        if operator not in _ASSIGNMENTS:
            self.position = start
            return False
        self._next()
        created = not target and self._word() == "new"  # $CFG = new stdClass();
        value = self._value({";", ","})
        if created:
            value = None
        elif operator != "=":
            value = COMPUTED
        self._store(target, value, conditional=conditional)
        return True

    def _target(self) -> list[str | None]:
        # The literal names behind $CFG, None for one that PHP computes.
        self._next()
        path: list[str | None] = []
        while True:
            if self._accept("["):
                name = self._value({"]"})
                self._accept("]")
            elif not self._accept("->"):
                return path
            elif self._accept("{"):
                name = self._value({"}"})
                self._accept("}")
            else:
                word = self._peek().text
                name = COMPUTED if word.startswith("$") else word
                self._next()
            path.append(name if isinstance(name, str) else None)

    def _store(self, target: list[str | None], value: Value, *, conditional: bool) -> None:
        options = {name: f"dboptions.{name}" for name in OPTIONS}
        match target:
            case [] if value is None:
                if not conditional:
                    self.found.clear()
            case [] | [None, *_]:
                self.found.update(dict.fromkeys(ATTRIBUTES, COMPUTED))
            case [str(name)] if name in PROPERTIES:
                self._put(name, value, conditional=conditional)
            case ["dboptions"]:
                unknown = COMPUTED if value is COMPUTED else None
                for name, full in options.items():
                    item = value.get(name) if isinstance(value, dict) else unknown
                    self._put(full, item, conditional=conditional)
            case ["dboptions", None, *_]:
                self.found.update(dict.fromkeys(options.values(), COMPUTED))
            case ["dboptions", str(name)] if name in options:
                self._put(options[name], value, conditional=conditional)

    def _put(self, name: str, value: Value, *, conditional: bool) -> None:
        if conditional and self.found.get(name) != value:
            value = COMPUTED
        self.found[name] = value

    def _value(self, stops: Collection[str]) -> Value:
        value = self._literal()
        while value is not COMPUTED and self._accept("."):
            value = _joined(value, self._literal())
        if self._peek() is not END and self._peek().text not in stops:
            self._scan(stops)
            return COMPUTED
        return value

    def _literal(self) -> Value:
        token, word = self._peek(), self._word()
        if token.text == "" or word in _CONSTANTS:
            self._next()
            return _CONSTANTS[word] if word else token.value
        if word == "array" and self.tokens[self.position + 1].text == "(":
            self._next()
            return self._array(")")
        if word == "[":
            return self._array("]")
        if self._accept("("):
            value = self._value({")"})
            self._accept(")")
            return value
        return COMPUTED

    def _array(self, closer: str) -> Value:
        self._next()
        items: dict[str, Value] = {}
        while self._peek() is not END and self._peek().text != closer:
            spread = self._peek().text == "..."
            key: Value = None
            value = self._value({"=>", ",", closer})
            if self._accept("=>"):
                key, value = value, self._value({",", closer})
            if spread or key is COMPUTED:
                items.update(dict.fromkeys(OPTIONS, COMPUTED))
            elif isinstance(key, str):
                items[key] = value
            if not self._accept(","):
                break
        self._accept(closer)
        return items


def _joined(left: Value, right: Value) -> Value:
    if isinstance(left, dict | Computed) or isinstance(right, dict | Computed):
        return COMPUTED
    return f"{as_text(left) or ''}{as_text(right) or ''}"
