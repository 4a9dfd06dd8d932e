"""Values in a $filter, and their comparisons in SQL that says the same on every store.

Nothing is left to how a server rounds, collates or treats a number without a place for it: a
literal is brought to the steps in which a column counts, what lies between two steps or beyond all
of them is decided here, and texts compare by the code points of their characters.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import MAX_EMAX, MIN_EMIN, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any

from alxreport.errors import UsageError
from alxreport.listing import binary, dated
from alxreport.odata_model import DECIMAL, INTEGER, TEXT, TIME

NULL = "null"
TRUE, FALSE = "(1 = 1)", "(1 = 0)"
OPERATORS = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">="}
TURNED = {"Lt": "Gt", "LtE": "GtE", "Gt": "Lt", "GtE": "LtE", "Eq": "Eq", "NotEq": "NotEq"}
_MEANING: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtE": operator.le,
    "Gt": operator.gt, "GtE": operator.ge,
}  # fmt: skip
# Decimals of what a column counts in, and bounds that hold all of its values.
_STEPS = {INTEGER: 0, DECIMAL: 2, TIME: 0}
_BOUNDS = {INTEGER: Decimal(2**63 - 1), DECIMAL: Decimal(1_000), TIME: Decimal(2**63 - 1)}
# Takes every number that fits into a filter without rounding it.
_EXACT = Context(prec=9_000, rounding=ROUND_FLOOR, Emax=MAX_EMAX, Emin=MIN_EMIN)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.A
)
WRITE_TIME = "Write 2026-01-31T12:00:00Z"
Bind = Callable[[Any], str]


@dataclass(frozen=True)
class Value:
    """An expression: a literal that is known, or SQL."""

    type: str
    sql: str = ""
    literal: Any = None  # text, or Decimal for numbers and for the unix seconds of times

    @property
    def known(self) -> bool:
        """Whether it is a literal, null included."""
        return not self.sql


def compared(left: Value, name: str, right: Value, kind: str, bind: Bind) -> str:
    """Return the SQL of a comparison on a kind of store; ``bind`` gives a value its placeholder.

    ``name`` is a key of ``OPERATORS``. Raises UsageError for types that do not compare.
    """
    if NULL in {left.type, right.type}:
        return _with_null(right if left.type == NULL else left, name)
    if left.type != right.type and not {left.type, right.type} <= {INTEGER, DECIMAL}:
        raise UsageError(
            f"$filter compares {left.type} with {right.type}.", "Compare values of one type."
        )
    if left.known and right.known:
        return TRUE if _MEANING[name](left.literal, right.literal) else FALSE
    if left.known:
        left, right, name = right, left, TURNED[name]
    if left.type == TEXT:
        sides = [binary(text_sql(side, kind, bind), kind) for side in (left, right)]
        return f"({sides[0]} {OPERATORS[name]} {sides[1]})"
    if right.known:
        return _against(left, name, right.literal, kind, bind)
    if left.type == TIME:
        return _two_times(left.sql, name, right.sql)
    return f"({left.sql} {OPERATORS[name]} {right.sql})"


def text_sql(text: Value, kind: str, bind: Bind) -> str:
    """Return the SQL of a text."""
    if not text.known:
        return text.sql
    # PostgreSQL would not know of what type a value without a column is.
    return f"CAST({bind(text.literal)} AS text)" if kind == "postgresql" else bind(text.literal)


def _with_null(other: Value, name: str) -> str:
    """Compare with null: it equals null, and is neither before nor after anything."""
    if name not in {"Eq", "NotEq"}:
        return FALSE
    if other.type == NULL:
        return TRUE if name == "Eq" else FALSE
    if other.type != TIME or other.known:
        return FALSE if name == "Eq" else TRUE  # nothing else is ever null
    return f"(NOT {dated(other.sql)})" if name == "Eq" else dated(other.sql)


def _two_times(left: str, name: str, right: str) -> str:
    both = f"({dated(left)} AND {dated(right)} AND {left} {OPERATORS[name]} {right})"
    if name == "NotEq":
        return f"(NOT {_two_times(left, 'Eq', right)})"
    none = f"(NOT {dated(left)} AND NOT {dated(right)})"
    return f"({both} OR {none})" if name == "Eq" else both


def _against(value: Value, name: str, literal: Decimal, kind: str, bind: Bind) -> str:
    """Compare what the store counts in steps with a literal that may lie between or beyond."""
    bound = _BOUNDS[value.type]
    if literal.copy_abs() > bound:
        beyond = {"NotEq", "Lt", "LtE"} if literal > 0 else {"NotEq", "Gt", "GtE"}
        return TRUE if name in beyond else FALSE
    steps = _STEPS[value.type]
    number = _EXACT.scaleb(literal, steps)
    whole = number.to_integral_value(rounding=ROUND_FLOOR)
    if number != whole:
        if name in {"Eq", "NotEq"}:
            return FALSE if name == "Eq" else TRUE
        name = {"Lt": "LtE", "GtE": "Gt"}.get(name, name)
    place: Any = int(whole)
    if steps:
        exact = Decimal(place).scaleb(-steps)
        place = float(exact) if kind == "sqlite" else exact
    text = f"{value.sql} {OPERATORS[name]} {bind(place)}"
    if value.type != TIME:
        return f"({text})"
    if name == "NotEq":
        return f"({text} OR NOT {dated(value.sql)})"
    return f"({dated(value.sql)} AND {text})"


def number_of(text: str) -> Decimal:
    """Return a number's literal; UsageError for one that is none."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise UsageError("$filter has a number that cannot be read.", "Write 3 or 3.5") from error


def moment_of(text: str) -> Decimal:
    """Return a date, or a date with time and offset, as unix seconds; UsageError for neither.

    A date by itself is its midnight in UTC.
    """
    found = _MOMENT.fullmatch(text.upper())
    if found is None:
        raise UsageError(f"$filter: {text[:40]!r} is no time.", WRITE_TIME)
    day, clock, fraction, offset = found.groups()
    if clock and not offset:
        raise UsageError(f"$filter: the time {text[:40]} has no offset.", WRITE_TIME)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{offset or 'Z'}")
    except ValueError as error:
        raise UsageError(f"$filter: {text[:40]!r} is no time.", WRITE_TIME) from error
    whole = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return Decimal(whole.days * 86_400 + whole.seconds) + Decimal(f"0{fraction or ''}")
