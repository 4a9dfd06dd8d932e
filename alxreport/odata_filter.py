"""OData's $filter: read, with bounds on what reading may cost, and kept as a condition on rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from alxreport.errors import UsageError
from alxreport.odata_model import Properties
from alxreport.odata_writer import OFFERED, Writer, not_offered, too_many

LONGEST = 8_000  # characters
MOST_TOKENS = 3_000


@dataclass(frozen=True)
class Condition:
    """A filter that was read and checked; ``text`` is as the caller wrote it."""

    text: str
    _tree: Any = field(repr=False, compare=False)
    _properties: Properties = field(repr=False, compare=False)

    def sql(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Return the condition for a kind of store (sqlite, mysql, postgresql), and its values."""
        writer = Writer(self._properties, kind)
        return writer.condition(self._tree, 0), writer.values


def parse(text: str, properties: Properties, tree: Any = None) -> Condition:
    """Return a filter over properties; ``tree`` is what ``read`` returned for the same text.

    Raises UsageError for one that is wrong or too long, and UnsupportedError for what OData knows
    and is not offered.
    """
    condition = Condition(text, read(text) if tree is None else tree, properties)
    condition.sql("sqlite")  # what is wrong with it is told here
    return condition


def read(text: str) -> Any:
    """Return what a filter says, before it is known over which properties; raises as ``parse``.

    This is what takes long: up to some hundredths of a second.
    """
    if len(text) > LONGEST:
        raise UsageError(f"$filter is longer than {LONGEST} characters.", "Ask for less at once.")
    if not text.strip():
        raise UsageError("$filter is empty.", "Leave it out to get all rows.")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError("$filter has a character that no text has.", "Leave it out.")
    return _tree_of(text.strip())


def _tree_of(text: str) -> Any:
    # An extra of the installation: who asks for no filter needs none.
    from odata_query.exceptions import (
        ArgumentCountException,
        ODataException,
        UnknownFunctionException,
    )
    from odata_query.grammar import ODataLexer, ODataParser

    try:
        tree = ODataParser().parse(_mended(ODataLexer().tokenize(text)))
    except UnknownFunctionException as error:
        raise not_offered(f"{error.function_name[:50]}()") from error
    except ArgumentCountException as error:
        raise UsageError(
            f"$filter: {error.function_name[:50]} has the wrong number of arguments.", OFFERED
        ) from error
    # The rest is what the library stumbles over, such as a third named parameter.
    except (ODataException, AttributeError, RuntimeError, ValueError) as error:
        raise _unreadable() from error
    if tree is None:
        raise _unreadable()
    return tree


def _unreadable() -> UsageError:
    return UsageError("$filter cannot be read.", "Check its spelling and its quotes.")


def _mended(tokens: Iterable[Any]) -> Iterator[Any]:
    """Yield the tokens of a filter so that the grammar takes two forms that it does not know.

    These are ``not(...)`` without a blank, as .NET's clients write it, and a list of one, ``in
    (7)``, which the grammar would have as ``in (7,)``.
    """
    from odata_query.ast import Not

    lists: list[int] = []  # how deep each open list has brackets, 0 for one with a comma
    before: Any = None
    for number, token in enumerate(tokens):
        if number > MOST_TOKENS:
            raise too_many()
        if token.type == "/":
            raise not_offered("paths, any and all")  # the grammar takes a square of a path's steps
        if before is not None:
            if before.type == "ODATA_IDENTIFIER" and before.value.full_name() == "not" and (
                token.type == "("
            ):  # fmt: skip
                before.type, before.value = "NOT", Not()
            yield before
        if token.type == "(" and (lists or (before is not None and before.type == "IN")):
            lists.append(0 if before is not None and before.type == "IN" else -1)
        elif token.type == "," and lists and lists[-1] == 0:
            lists[-1] = 1
        elif token.type == ")" and lists and lists.pop() == 0:
            comma = type(token)()
            comma.type, comma.value = ",", ","
            comma.lineno, comma.index = token.lineno, token.index
            yield comma
        before = token
    if before is not None:
        yield before
