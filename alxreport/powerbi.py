"""What a Power BI person needs to load one company's learner progress, as texts of files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alxreport import powerbi_odata as odata
from alxreport import powerbi_text as text
from alxreport.errors import UsageError


@dataclass(frozen=True)
class CompanyName:
    """Which company it is, and what people call it."""

    id: int
    shortname: str
    name: str


class _Column(NamedTuple):
    type: str
    meaning: str


WHOLE, TEXT, TIME = "Int64.Type", "type text", "type datetimezone"
COLUMNS = {
    "userid": _Column(WHOLE, "the learner's number in Moodle"),
    "firstname": _Column(TEXT, "first name"),
    "lastname": _Column(TEXT, "last name"),
    "email": _Column(TEXT, "e-mail address"),
    "courseid": _Column(WHOLE, "the course's number in Moodle"),
    "coursename": _Column(TEXT, "the course's full name"),
    "timecompleted": _Column(TIME, "when the course was completed; empty if it is not"),
    "timecompleted_unix": _Column(WHOLE, "the same in seconds since 1970 (UTC); 0 if it is not"),
    "timestarted": _Column(TIME, "when the learner started, or was enrolled; empty if unknown"),
    "timestarted_unix": _Column(WHOLE, "the same in seconds since 1970 (UTC); 0 if unknown"),
    "percentage": _Column("type number", "progress from 0 to 100, as Moodle counts it"),
    "status": _Column(TEXT, "`completed`, `in_progress` or `not_started`"),
    "username": _Column(TEXT, "the name that the learner signs in with"),
    "companyid": _Column(WHOLE, "the company's number in Moodle"),
    "last_updated": _Column(TIME, "when alxreport last saw something change in this row"),
    "created_at": _Column(TIME, "when alxreport first saw this row"),
    "is_deleted": _Column(
        "type logical", "true if the row is no more; told by incremental exports only, else empty"
    ),
}
KEYS = ("userid", "courseid")
# What 'alxreport export' puts an apostrophe in front of; a test compares the two.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
FORMS = ("csv", "json", "parquet")

_ESCAPES = {'"': '""', "#": "#(#)", "\t": "#(tab)", "\r": "#(cr)", "\n": "#(lf)"}
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?P<port>:[0-9]{1,5})?"
    r"(?P<path>(?:/(?:[a-z0-9._~!$&'()*+,;=:-]|%[0-9a-f]{2})*)*)",
    re.IGNORECASE | re.ASCII,
)
# What people copy along with the address, and the queries add by themselves.
_ENDPOINTS = re.compile(r"(/api/v1(/.*)?|/odata/v4(/.*)?|/webservice/rest/server\.php)$")
_LOCAL = ("localhost", "127.0.0.1")
_URL_HINT = "Write --url https://reports.example.org, or with a path: https://host.example.org/alx"
_LARGEST_PORT = 65_535


def power_query_files(
    company: CompanyName, url: str | None, fields: Sequence[str], max_limit: int
) -> dict[str, str]:
    """Return the files for one company's Power BI report: name -> text.

    Given are the address at which ``alxreport serve`` is reached (None: queries for exported files
    only), the fields of a record in their order, and the largest page that the company may ask
    for. No file holds a token. Raises UsageError for an address that Power BI cannot use or that
    would carry the token unencrypted, for unknown or no fields and for a page of no rows.
    """
    columns = _known(fields)
    if max_limit < 1:
        raise UsageError("A page needs at least one row.", "Set max_limit to 1 or more.")
    base = None if url is None else base_url(url)
    own = f"{base}/company/id:{int(company.id)}"
    files = {}
    if base is not None:
        files["progress-from-odata.pq"] = odata.ODATA.substitute(
            id=int(company.id),
            url=text_literal(f"{own}{odata.PATH}"),
            columns=_texts(columns),
            types=_types(columns, indent=8),
        )
        files["progress-from-api.pq"] = text.API.substitute(
            id=int(company.id),
            company=text_literal(company.name),
            url=text_literal(own),
            limit=int(max_limit),
            columns=_texts(columns),
            types=_types(columns),
        )
    for form in FORMS:
        files[f"progress-from-{form}.pq"] = _from_file(form, company, columns)
    files["how-to.md"] = _how_to(company, base, columns, list(files))
    return files


def base_url(url: str) -> str:
    """Return the address in the form that stands in the query, without a slash at its end.

    Raises UsageError for one that is not absolute, not https (http is for this machine alone), or
    that has credentials, a query or a fragment. The error never repeats it: it may hold a secret.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise UsageError(
            "--url holds a user name or a password.",
            "Leave it out: Power BI keeps the token as a credential.",
        )
    if "?" in url or "#" in url:
        raise UsageError("--url has a query or a fragment.", _URL_HINT)
    match = _URL.fullmatch(url)
    if match is None or int((match["port"] or ":1")[1:]) not in range(1, _LARGEST_PORT + 1):
        raise UsageError("--url is not an absolute web address.", _URL_HINT)
    scheme, host, path = match["scheme"].lower(), match["host"].lower(), match["path"].rstrip("/")
    if scheme == "http" and host not in _LOCAL:
        raise UsageError("--url with http:// would send the token unencrypted.", _URL_HINT)
    if found := _ENDPOINTS.search(path):
        raise UsageError(f"--url ends with {found[0]}.", "Leave that out; the query adds it.")
    if {"", ".", ".."} & set(path.split("/")[1:]):
        raise UsageError("--url has an empty or a dotted part in its path.", _URL_HINT)
    return f"{scheme}://{host}{match['port'] or ''}{path}"


def text_literal(value: str) -> str:
    """Return a text as a literal of Power Query M.

    Whatever an editor would not show as it is, or would show in another order, is escaped. Half of
    a surrogate pair is no character and becomes U+FFFD.
    """
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    if character.isprintable() and unicodedata.bidirectional(character) not in _RIGHT_TO_LEFT:
        return character
    return f"#({ord(character):0{4 if ord(character) < 0x10000 else 8}X})"


def _known(fields: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(dict.fromkeys(fields))
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or not columns:
        raise UsageError(
            f"There is no field {unknown[0]!r}." if unknown else "No field is named.",
            f"The fields are {', '.join(COLUMNS)}.",
        )
    return columns


def _texts(values: Iterable[str]) -> str:
    return ", ".join(map(text_literal, values))


def _types(columns: Sequence[str], indent: int = 12) -> str:
    pairs = (f"{{{text_literal(name)}, {COLUMNS[name].type}}}" for name in columns)
    return ",\n".join(" " * indent + pair for pair in pairs)


def _of_type(columns: Sequence[str], kind: str) -> list[str]:
    return [name for name in columns if COLUMNS[name].type == kind]


def _from_file(form: str, company: CompanyName, columns: Sequence[str]) -> str:
    # Parquet.Document reads no stream; files of the web have to be taken into memory first.
    buffered = form == "parquet"
    head = text.FILE_HEAD.substitute(
        id=int(company.id),
        form=form,
        columns=_texts(columns),
        buffer="Binary.Buffer(" if buffered else "",
        end=")" if buffered else "",
    )
    required = [name for name in KEYS if name in columns] or columns[:1]
    check = text.CHECK.substitute(required=_texts(required))
    body = {"csv": text.CSV_BODY, "json": text.JSON_BODY, "parquet": text.PARQUET_BODY}[form]
    return head + body.substitute(
        types=_types(columns),
        check=check,
        texts=_texts(_of_type(columns, TEXT)),
        others=_texts(name for name in columns if COLUMNS[name].type != TEXT),
        times=_texts(_of_type(columns, TIME)),
        starts=_texts(FORMULA_STARTS),
    )


def _how_to(
    company: CompanyName, base: str | None, columns: Sequence[str], files: Sequence[str]
) -> str:
    api = base is not None
    tables = set(text.TABLES.split()) <= set(columns)
    connect = (
        odata.CONNECT.substitute(url=f"{base}/company/id:{int(company.id)}", path=odata.PATH)
        if api
        else text.CONNECT_FILE
    )
    return text.HOW_TO.substitute(
        name=_heading(company.name) or f"Company {int(company.id)}",
        id=int(company.id),
        files="\n".join(f"- `{name}`: {_FILE_MEANINGS[name]}" for name in files),
        prepare=text.PREPARE[api],
        connect=connect,
        service=text.SERVICE_API if api else text.SERVICE_FILE.substitute(id=int(company.id)),
        meanings="\n".join(f"| `{name}` | {COLUMNS[name].meaning} |" for name in columns),
        model=text.MODEL_TABLES if tables else text.MODEL_MEASURES,
        dax=_dax(columns),
        increment=odata.INCREMENT if api else text.INCREMENT_FILE,
    )


_FILE_MEANINGS = {
    "progress-from-odata.pq": "asks alxreport's OData feed. The first choice; needs a token",
    "progress-from-api.pq": "asks alxreport's API, for where OData is not wanted; needs a token",
    "progress-from-csv.pq": "reads a file of `alxreport export --format csv`",
    "progress-from-json.pq": "reads a file of `alxreport export --format json`",
    "progress-from-parquet.pq": "reads a file of `alxreport export --format parquet`",
}


def _heading(name: str) -> str:
    """Return a name as one line of Markdown that is nothing but text."""
    shown = "".join(character if character.isprintable() else " " for character in name)
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&])", r"\\\1", " ".join(shown.split()))


def _dax(columns: Sequence[str]) -> str:
    """Return the tables and measures whose columns there are."""
    return "\n\n".join(
        code.strip() for needed, code in text.DAX if set(needed.split()) <= set(columns)
    )
