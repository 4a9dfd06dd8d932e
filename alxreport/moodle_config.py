"""Read the database settings out of Moodle's config.php as text, without running PHP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from alxreport.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy.engine import URL

# Moodle's lib/dml: these dbtypes speak the MySQL protocol.
MYSQL_TYPES = frozenset({"mariadb", "mysqli", "auroramysql"})
# `MoodleConfig.socket` where dbsocket asks for a socket and leaves its place to the driver.
DEFAULT_SOCKET = ""
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


@dataclass(frozen=True)
class MoodleConfig:
    """The database settings of one config.php; None stands for absent, empty or computed."""

    dbtype: str  # as in the file: mariadb, mysqli, auroramysql, pgsql, sqlsrv, oci; "" if unknown
    host: str | None = None
    port: int | None = None
    socket: str | None = None  # a path, or DEFAULT_SOCKET
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str | None = None
    computed: frozenset[str] = frozenset()  # keys of ATTRIBUTES that only PHP can tell
    ssl: str | None = None  # disable, prefer, require or verify-full


def read_moodle_config(path: Path) -> MoodleConfig:
    """Read the config.php at `path` and return its database settings.

    Raise ConfigError if there is no such file, it cannot be read or is not Moodle's.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "Name Moodle's config.php; it may be readable only to root and the web server."
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint) from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        return parse_moodle_config(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from None


def parse_moodle_config(text: str) -> MoodleConfig:
    """Return the database settings that the config.php `text` leaves behind once it has run.

    Raise ConfigError if it sets none, is broken PHP or names an impossible port.
    """
    try:
        found = _Parser(text).settings()
    except RecursionError:
        raise ConfigError("its PHP is nested too deeply to be read") from None
    if found.keys().isdisjoint(_PROPERTIES):
        hint = "If it requires another file that holds the settings, name that file."
        raise ConfigError("not a Moodle config.php: it sets no $CFG->dbtype", hint)
    computed = frozenset(n for n, value in found.items() if isinstance(value, dict | _Computed))
    texts = {name: _string(value) for name, value in found.items()}
    ssl = texts.get("dboptions.ssl")
    config = MoodleConfig(
        dbtype=texts.get("dbtype") or "",
        host=texts.get("dbhost"),
        port=_port(texts.get("dboptions.dbport")),
        socket=_socket(texts.get("dboptions.dbsocket")),
        database=texts.get("dbname") or None,
        user=texts.get("dbuser") or None,
        password=texts.get("dbpass"),
        prefix=texts.get("prefix"),
        computed=computed,
        ssl={"1": "require", "": None}.get(ssl or "", ssl),
    )
    return _with_mysql_host(config) if config.dbtype in MYSQL_TYPES else config


def source_url(config: MoodleConfig) -> URL:
    """Return the SQLAlchemy URL of the database that `config` describes, without TLS settings.

    Like Moodle it uses the socket only for a local host. Raise ConfigError for a dbtype other than
    MySQL's and PostgreSQL's, or if a needed value is still unknown.
    """
    from sqlalchemy.engine import URL  # noqa: PLC0415 - start-up cost

    mysql = config.dbtype in MYSQL_TYPES
    if not mysql and config.dbtype != "pgsql":
        supported = ", ".join(sorted(MYSQL_TYPES))
        hint = f"Supported are {supported} (MySQL, MariaDB) and pgsql (PostgreSQL)."
        raise ConfigError(f"Moodle's dbtype {config.dbtype!r} is not supported", hint)
    config = _with_mysql_host(config) if mysql else config
    host, socket = config.host, config.socket
    query = {"charset": "utf8mb4"} if mysql else {}
    if mysql and socket and host in (None, "localhost"):
        host, query["unix_socket"] = "localhost", socket
    elif not mysql and host and host.startswith("/"):
        host, query["host"] = "", host
    elif not mysql and socket is not None and host in (None, "", "localhost", "127.0.0.1"):
        host = ""  # without any host libpq looks into its own default directory
        query.update({"host": socket} if socket else {})
    needed = {"dbhost": host, "dbname": config.database or None, "dbuser": config.user or None}
    if "dbpass" in config.computed:
        needed["dbpass"] = config.password
    if missing := [name for name, value in needed.items() if value is None]:
        message = f"Moodle's database settings lack {', '.join(missing)}"
        raise ConfigError(message, "Enter what config.php computes or leaves out.")
    return URL.create(
        "mysql+pymysql" if mysql else "postgresql+psycopg",
        username=config.user,
        password=config.password,
        host=host or None,
        port=config.port,
        database=config.database,
        query=query,
    )


class _Computed(Enum):
    """The type of a value that only PHP can tell."""

    COMPUTED = "computed"


_COMPUTED = _Computed.COMPUTED
_Scalar: TypeAlias = str | int | bool | None
_Value: TypeAlias = "_Scalar | _Computed | dict[str, _Value]"
_PROPERTIES = frozenset(name for name in ATTRIBUTES if "." not in name)
_OPTIONS = tuple(name.partition(".")[2] for name in ATTRIBUTES if "." in name)
_MYSQL_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,9}))?")


def _with_mysql_host(config: MoodleConfig) -> MoodleConfig:
    # As mysqli reads it: `p:` asks for a persistent connection, an empty host is localhost, and a
    # port behind the host means TCP even there.
    if config.host is None:
        return config
    host = config.host.removeprefix("p:") or "localhost"
    match = _MYSQL_HOST.fullmatch(host)
    host = (match[1] or match[2]) if match else host
    if match is None or match[3] is None:
        return replace(config, host=host)
    return replace(config, host=host, port=_port(match[3]), socket=None)


def _string(value: _Value) -> str | None:
    # PHP's own conversion: true is "1", false is "".
    if value is None or isinstance(value, dict | _Computed):
        return None
    return ("1" if value else "") if isinstance(value, bool) else str(value)


def _port(text: str | None) -> int | None:
    digits = re.match(r"\s*([0-9]{1,9})", text or "")
    port = int(digits[1]) if digits else 0
    if port > 65535:
        raise ConfigError(f"dbport {port} is not a port number")
    return port or None


def _socket(text: str | None) -> str | None:
    if text in (None, "", "0"):
        return None
    return text if "/" in text or "\\" in text else DEFAULT_SOCKET


class _Token(NamedTuple):
    text: str  # an operator, a name or a $variable; "" for a literal
    value: _Value = _COMPUTED


_END = _Token("<end>")
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


class _Lexer:
    """Split PHP into tokens, dropping comments and everything outside its tags."""

    def __init__(self, text: str) -> None:
        self.text = text.removeprefix("\ufeff")
        opened = _OPEN_TAG.search(self.text)
        self.position = opened.end() if opened else 0  # a pasted part has no tag

    def tokens(self) -> Iterator[_Token]:
        while (token := self._token()) is not _END:
            yield token

    def _token(self) -> _Token:
        while match := _TOKEN.match(self.text, self.position):
            self.position = match.end()
            if match["blank"] is None:
                return self._meaning(match)
        return _END

    def _meaning(self, match: re.Match[str]) -> _Token:
        token = _Token(match[0])
        if match["close_tag"]:
            opened = _OPEN_TAG.search(self.text, self.position)
            self.position = opened.end() if opened else len(self.text)
            token = _Token(";")
        elif match["label"]:
            token = self._heredoc(match["label"], fixed=match["quote"] == "'")
        elif match["single"] is not None:
            token = _Token("", re.sub(r"\\([\\'])", r"\1", match["single"]))
        elif match["template"]:
            token = self._template(match["template"])
        elif match["number"]:
            token = _Token("", _number(match["number"]))
        elif token.text == "'":
            raise self._unclosed(match.start())
        elif token.text.lower() == "__halt_compiler":
            self.position = len(self.text)
            token = _END
        return token

    def _template(self, quote: str) -> _Token:
        start, fixed = self.position, quote == '"'
        while part := _TEMPLATE_PART.search(self.text, self.position):
            self.position = part.end()
            if part[0] == quote:
                raw = self.text[start : part.start()]
                return _Token("", _unescape(raw, '"') if fixed else _COMPUTED)
            if part[0] in ("{$", "${"):
                self._skip_braces()
            fixed = fixed and part[0][0] not in "{$"
        raise self._unclosed(start)

    def _skip_braces(self) -> None:
        depth = 1
        while depth and (token := self._token()) is not _END:
            depth += (token.text == "{") - (token.text == "}")

    def _heredoc(self, label: str, *, fixed: bool) -> _Token:
        start = self.position
        closing = re.compile(rf"^([ \t]*){label}(?![A-Za-z0-9_\x80-\U0010ffff])", re.MULTILINE)
        match = closing.search(self.text, start)
        if match is None:
            raise self._unclosed(start - 1)
        self.position = match.end()
        body = re.sub(r"\r?\n\Z", "", self.text[start : match.start()])
        body = re.sub(rf"^[ \t]{{0,{len(match[1])}}}", "", body, flags=re.MULTILINE)
        if fixed:
            return _Token("", body)
        parts = (part[0][0] for part in _TEMPLATE_PART.finditer(body))
        return _Token("", _COMPUTED if any(p in "{$" for p in parts) else _unescape(body, ""))

    def _unclosed(self, position: int) -> ConfigError:
        line = self.text.count("\n", 0, position) + 1
        return ConfigError(f"the quoted text that opens on line {line} is never closed")


def _number(text: str) -> _Value:
    try:
        return int(text, 0)
    except ValueError:
        return _COMPUTED


def _unescape(raw: str, quote: str) -> _Value:
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
        return _COMPUTED  # no such character: PHP refuses it too


_CONSTANTS: dict[str, _Scalar] = {"true": True, "false": False, "null": None}
_OPENERS, _CLOSERS = frozenset({"(", "[", "{", "#["}), frozenset({")", "]", "}"})
_ASSIGNMENTS = frozenset({"=", ".=", "??="})
_CONTROL = re.compile(r"if|else|elseif|while|for|foreach|switch|do|try|catch|finally")
_DECLARATION = re.compile(r"function|class|interface|trait|enum|abstract|final|namespace")
_BRACE = re.compile("}")
_ALTERNATIVE_END = re.compile("}|else|elseif|end(?:if|while|for|foreach|switch)")


class _Parser:
    """Follow a file's statements, noting what each leaves in $CFG."""

    def __init__(self, text: str) -> None:
        self.tokens = [*_Lexer(text).tokens(), _END]
        self.position = 0
        self.found: dict[str, _Value] = {}

    def settings(self) -> dict[str, _Value]:
        while self._peek() is not _END:
            self._statement(conditional=False)
            self._accept("}")
        return self.found

    def _peek(self) -> _Token:
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
            while self._word() not in (";", "}", _END.text):
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
        while self._peek() is not _END and not ends.fullmatch(self._word()):
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
        while (token := self._peek()) is not _END:
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
            value = _COMPUTED
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
                name = _COMPUTED if word.startswith("$") else word
                self._next()
            path.append(name if isinstance(name, str) else None)

    def _store(self, target: list[str | None], value: _Value, *, conditional: bool) -> None:
        options = {name: f"dboptions.{name}" for name in _OPTIONS}
        match target:
            case [] if value is None:
                if not conditional:
                    self.found.clear()
            case [] | [None, *_]:
                self.found.update(dict.fromkeys(ATTRIBUTES, _COMPUTED))
            case [str(name)] if name in _PROPERTIES:
                self._put(name, value, conditional=conditional)
            case ["dboptions"]:
                unknown = _COMPUTED if value is _COMPUTED else None
                for name, full in options.items():
                    item = value.get(name) if isinstance(value, dict) else unknown
                    self._put(full, item, conditional=conditional)
            case ["dboptions", None, *_]:
                self.found.update(dict.fromkeys(options.values(), _COMPUTED))
            case ["dboptions", str(name)] if name in options:
                self._put(options[name], value, conditional=conditional)

    def _put(self, name: str, value: _Value, *, conditional: bool) -> None:
        if conditional and self.found.get(name) != value:
            value = _COMPUTED
        self.found[name] = value

    def _value(self, stops: Collection[str]) -> _Value:
        value = self._literal()
        while value is not _COMPUTED and self._accept("."):
            value = _joined(value, self._literal())
        if self._peek() is not _END and self._peek().text not in stops:
            self._scan(stops)
            return _COMPUTED
        return value

    def _literal(self) -> _Value:
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
        return _COMPUTED

    def _array(self, closer: str) -> _Value:
        self._next()
        items: dict[str, _Value] = {}
        while self._peek() is not _END and self._peek().text != closer:
            spread = self._peek().text == "..."
            key: _Value = None
            value = self._value({"=>", ",", closer})
            if self._accept("=>"):
                key, value = value, self._value({",", closer})
            if spread or key is _COMPUTED:
                items.update(dict.fromkeys(_OPTIONS, _COMPUTED))
            elif isinstance(key, str):
                items[key] = value
            if not self._accept(","):
                break
        self._accept(closer)
        return items


def _joined(left: _Value, right: _Value) -> _Value:
    if isinstance(left, dict | _Computed) or isinstance(right, dict | _Computed):
        return _COMPUTED
    return f"{_string(left) or ''}{_string(right) or ''}"
