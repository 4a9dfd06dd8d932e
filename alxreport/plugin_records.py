"""The Moodle plugin's answers: records with local times, PHP's JSON, Moodle's XML."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, tzinfo
from functools import partial
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from alxreport.listing import TIMES, Listing

FUNCTION = "local_alx_report_api_get_course_progress"
# The years that Python's calendar has.
_FIRST, _LAST = -62_135_596_800 + 86_400, 253_402_300_799 - 86_400
XML_HEAD = '<?xml version="1.0" encoding="UTF-8" ?>\n'


def plugin_array(listing: Listing, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows of ``raw_columns`` as the plugin's JSON array."""
    record = plugin_record(listing)
    return php_json([record(row) for row in rows])


def plugin_record(listing: Listing) -> Callable[[Sequence[Any]], dict[str, Any]]:
    """Return a function from the values of ``raw_columns`` to a record of the plugin.

    Times are ``YYYY-MM-DD HH:MM:SS`` in the listing's zone, "" for none, as PHP's ``date`` writes
    them; a whole percentage has no decimal point, as PHP writes a cleaned PARAM_FLOAT.
    """
    zone = ZoneInfo(listing.plugin_zone)
    makers: list[tuple[int, Callable[[Any], Any]]] = []
    for place, name in enumerate(listing.fields):
        if name in TIMES:
            makers.append((place, partial(local_time, zone=zone)))
        elif name == "percentage":
            makers.append((place, _number))

    def record(values: Sequence[Any]) -> dict[str, Any]:
        row = list(values)
        for place, make in makers:
            row[place] = make(row[place])
        return dict(zip(listing.fields, row, strict=True))

    return record


def local_time(seconds: int, zone: tzinfo) -> str:
    """Return a unix time as the clocks of a zone show it, without an offset; "" for none."""
    if not seconds or not _FIRST <= seconds <= _LAST:
        return ""
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None).isoformat(" ")


def _number(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def php_json(value: Any) -> bytes:
    """Return JSON as PHP's ``json_encode`` writes it: ASCII, and every slash with a backslash."""
    # A slash stands in texts only, so that all of them may be treated alike.
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


def moodle_xml(value: Any) -> bytes:
    """Return an answer as XML, as ``webservice_rest_server::databasestructure_to_xml`` does."""
    return f"{XML_HEAD}<RESPONSE>\n{_xml(value)}</RESPONSE>\n".encode()


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        keys = "".join(f'<KEY name="{key}">{_xml(inner)}</KEY>\n' for key, inner in value.items())
        return f"<SINGLE>\n{keys}</SINGLE>\n"
    if isinstance(value, list):
        return f"<MULTIPLE>\n{''.join(map(_xml, value))}</MULTIPLE>\n"
    if value is None:
        return '<VALUE null="null"/>\n'
    if isinstance(value, bool):
        value = int(value)
    return f"<VALUE>{_escaped(str(value))}</VALUE>\n"


def moodle_exception_xml(exception: str, code: str, message: str) -> bytes:
    """Return a refusal as XML, as ``webservice_rest_server::generate_error`` does."""
    told = f"<ERRORCODE>{_escaped(code)}</ERRORCODE>\n<MESSAGE>{_escaped(message)}</MESSAGE>\n"
    return f'{XML_HEAD}<EXCEPTION class="{exception}">\n{told}</EXCEPTION>\n'.encode()


def _escaped(text: str) -> str:
    """Return a text as PHP's ``htmlspecialchars`` with ENT_COMPAT leaves it."""
    # What XML cannot hold at all has no place in an answer that is to be read.
    plain = "".join(c for c in text if c >= " " or c in "\t\n\r")
    return escape(plain, quote=False).replace('"', "&quot;")
