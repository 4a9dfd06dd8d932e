"""A $filter that was read, written as a condition in SQL with every value bound.

What a function gives has to be the same on every store, to the letter. Letters of the other case,
what counts as a blank, and parts of dates are not, and so are not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from alxreport.errors import UnsupportedError, UsageError
from alxreport.listing import binary
from alxreport.odata_compare import (
    FALSE,
    NULL,
    OPERATORS,
    TRUE,
    Value,
    compared,
    moment_of,
    number_of,
    text_sql,
)
from alxreport.odata_model import DECIMAL, FUNCTIONS, INTEGER, TEXT, TIME, Properties

DEEPEST = 40
MOST_PARTS = 600  # SQLite takes expressions of 1,000 levels
# What functions may cost for each row: a text no longer than any column, and not many of them.
LONGEST_TEXT, MOST_FUNCTIONS = 1_333, 50
LARGEST_PLACE = 100_000  # of a character: beyond the end of every text
CONDITIONS = ("contains", "endswith", "startswith")
OFFERED = (
    "Offered are eq, ne, lt, le, gt, ge, in, and, or, not, null and the functions"
    f" {', '.join(FUNCTIONS)}."
)
_WORDS = {
    "BinOp": "arithmetic",
    "GUID": "Edm.Guid", "Duration": "Edm.Duration", "Time": "Edm.TimeOfDay",
    "Geography": "Edm.Geography", "NamedParam": "named parameters", "List": "lists",
}  # fmt: skip


def too_many() -> UsageError:
    """Return the error of a filter that is too large."""
    return UsageError("$filter has too many parts.", "Ask for less at once.")


def not_offered(what: str) -> UnsupportedError:
    """Return the error of what OData knows and is not offered."""
    return UnsupportedError(f"$filter does not offer {what}.", OFFERED)


class Writer:
    """Writes one filter for one kind of store."""

    def __init__(self, properties: Properties, kind: str) -> None:
        self.values: dict[str, Any] = {}
        self._properties, self._kind = properties, kind
        self._parts = self._functions = 0

    def condition(self, node: Any, depth: int) -> str:
        """Return the SQL of a node that is true or false."""
        self._count(depth)
        name = type(node).__name__
        if name == "BoolOp":
            kind = type(node.op)
            word = " AND " if kind.__name__ == "And" else " OR "
            parts = [self.condition(part, depth + 1) for part in _chain(node, kind)]
            return f"({word.join(parts)})"
        if name == "UnaryOp" and _is_not(node):
            return f"(NOT {self.condition(node.operand, depth + 1)})"
        if name == "Compare":
            return self._compare(node, depth + 1)
        if name == "Boolean":
            return TRUE if _is_true(node) else FALSE
        if name == "Call" and node.func.full_name() in CONDITIONS:
            return self._search(node, depth + 1)
        self._value(node, depth + 1)  # tells first what is wrong inside
        raise UsageError("$filter has a value where it needs a condition.", "Write userid eq 3")

    def _count(self, depth: int) -> None:
        self._parts += 1
        if depth > DEEPEST or self._parts > MOST_PARTS:
            raise too_many()

    def _compare(self, node: Any, depth: int) -> str:
        name = type(node.comparator).__name__
        if name == "In":
            left = self._value(node.left, depth)
            items = [self._value(item, depth) for item in node.right.val]
            parts = [compared(left, "Eq", item, self._kind, self._bind) for item in items]
            return f"({' OR '.join(parts)})"
        assert name in OPERATORS  # noqa: S101 - the grammar has no other
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if type(one).__name__ == "Boolean" and name in {"Eq", "NotEq"}:
                same = _is_true(one) == (name == "Eq")
                return f"({'' if same else 'NOT '}{self.condition(other, depth)})"
        left, right = self._value(node.left, depth), self._value(node.right, depth)
        return compared(left, name, right, self._kind, self._bind)

    def _value(self, node: Any, depth: int) -> Value:
        """Return a node that has a value."""
        self._count(depth)
        name = type(node).__name__
        if name == "UnaryOp" and not _is_not(node):
            return self._negative(node, depth)
        if name == "Call":
            return self._function(node, depth)
        maker = self._makers().get(name)
        if maker is None and name in _WORDS:
            raise not_offered(_WORDS[name])
        if maker is None:
            raise UsageError(
                "$filter has a condition where it needs a value.", "Write not (userid eq 3)"
            )
        return maker(node)

    def _makers(self) -> dict[str, Callable[[Any], Value]]:
        return {
            "Identifier": self._property,
            "Null": lambda _node: Value(NULL),
            "String": lambda node: Value(TEXT, literal=node.val),
            "Integer": lambda node: Value(INTEGER, literal=number_of(node.val)),
            "Float": lambda node: Value(DECIMAL, literal=number_of(node.val)),
            "DateTime": lambda node: Value(TIME, literal=moment_of(node.val)),
            "Date": lambda node: Value(TIME, literal=moment_of(node.val)),
        }

    def _negative(self, node: Any, depth: int) -> Value:
        value = self._value(node.operand, depth + 1)
        if value.type not in {INTEGER, DECIMAL} or not value.known:
            raise not_offered("arithmetic")
        return Value(value.type, literal=value.literal.copy_negate())

    def _property(self, node: Any) -> Value:
        found = self._properties.get(node.full_name())
        if found is None:
            raise UsageError(
                f"There is no property {node.full_name()[:50]!r}.",
                f"The properties are {', '.join(self._properties)}.",
            )
        return Value(found.type, found.column)

    def _search(self, node: Any, depth: int) -> str:
        """Return the SQL of contains, startswith or endswith."""
        whole, part = self._texts(node.args, depth)
        name = node.func.full_name()
        if whole.known and part.known:
            found = {
                "contains": part.literal in whole.literal,
                "startswith": whole.literal.startswith(part.literal),
                "endswith": whole.literal.endswith(part.literal),
            }[name]
            return TRUE if found else FALSE
        text, wanted = self._sql(whole), self._sql(part)
        if name == "contains":
            return f"({self._place(text, wanted)} > 0)"
        size = f"{self._length}({wanted})"
        begin = "1" if name == "startswith" else f"{self._length}({text}) - {size} + 1"
        # Of a shorter text, whatever a server makes of a place before its begin is shorter, too.
        cut = f"substr({text}, {begin}, {size})"
        return f"({binary(cut, self._kind)} = {binary(wanted, self._kind)})"

    def _function(self, node: Any, depth: int) -> Value:
        """Return a function that has a value."""
        name, arguments = node.func.full_name(), node.args
        if name in CONDITIONS:
            raise UsageError(
                f"$filter: {name} is a condition by itself.", f"Write {name}(email,'x')"
            )
        if name == "substring":
            return self._substring(arguments, depth)
        if name not in FUNCTIONS:
            raise not_offered(f"{name[:50]}()")
        texts = self._texts(arguments, depth)
        if all(text.known for text in texts):
            return _folded(name, [text.literal for text in texts])
        written = [self._sql(text) for text in texts]
        if name == "concat":
            joined = f"concat({', '.join(written)})"
            return Value(TEXT, joined if self._kind == "mysql" else f"({' || '.join(written)})")
        if name == "length":
            return Value(INTEGER, f"{self._length}({written[0]})")
        return Value(INTEGER, f"({self._place(*written)} - 1)")

    def _substring(self, arguments: list[Any], depth: int) -> Value:
        (text,) = self._texts(arguments[:1], depth)
        places = [self._value(argument, depth + 1) for argument in arguments[1:]]
        if any(not place.known or place.type != INTEGER for place in places):
            raise not_offered("substring() up to a place that is computed")
        if any(place.literal < 0 for place in places):
            raise UsageError("$filter: substring takes no negative number.", "Count from 0.")
        begin, *size = [int(min(place.literal, LARGEST_PLACE)) for place in places]
        if text.known:
            end = begin + size[0] if size else None
            return Value(TEXT, literal=text.literal[begin:end])
        length = f", {size[0]}" if size else ""
        return Value(TEXT, f"substr({text.sql}, {begin + 1}{length})")

    def _texts(self, arguments: list[Any], depth: int) -> list[Value]:
        self._functions += 1
        if self._functions > MOST_FUNCTIONS:
            raise UsageError(
                f"$filter has more than {MOST_FUNCTIONS} functions.", "Ask for less at once."
            )
        values = [self._value(argument, depth + 1) for argument in arguments]
        if any(value.type != TEXT for value in values):
            raise UsageError("$filter has a function of a text, and another value in it.", OFFERED)
        return values

    def _sql(self, text: Value) -> str:
        if text.known and len(text.literal) > LONGEST_TEXT:
            raise UsageError(
                f"$filter has a function of a text longer than {LONGEST_TEXT} characters.",
                "No property is so long.",
            )
        return text_sql(text, self._kind, self._bind)

    @property
    def _length(self) -> str:
        return "length" if self._kind == "sqlite" else "char_length"

    def _place(self, text: str, wanted: str) -> str:
        """Return the SQL of the place of a text in another one, from 1 on, 0 for none."""
        return f"{'strpos' if self._kind == 'postgresql' else 'instr'}({text}, {wanted})"

    def _bind(self, value: Any) -> str:
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def _folded(name: str, texts: list[str]) -> Value:
    """Return what a function gives for texts that are known."""
    if name == "concat":
        return Value(TEXT, literal="".join(texts))
    number = len(texts[0]) if name == "length" else texts[0].find(texts[1])
    return Value(INTEGER, literal=number_of(str(number)))


def _is_not(node: Any) -> bool:
    return type(node.op).__name__ == "Not"


def _is_true(node: Any) -> bool:
    return bool(node.val.lower() == "true")


def _chain(node: Any, kind: type[Any]) -> Iterator[Any]:
    """Yield the operands of a chain of one operator, from left to right."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if type(part).__name__ == "BoolOp" and type(part.op) is kind:
            waiting += [part.right, part.left]
        else:
            yield part
