"""OData's system query options: read, checked, and as a question to a company's rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alxreport.errors import NotFoundError, ResyncError, UnsupportedError, UsageError
from alxreport.listing import Filter, Listing, Order, Slice, field_bits
from alxreport.marks import Delta, Place, read_place, write_place
from alxreport.odata_filter import Condition, parse
from alxreport.odata_model import SET, TIME, Properties, properties_of
from alxreport.question import (
    DISABLED,
    FULL,
    Basis,
    MarkFits,
    Plan,
    requests_disabled,
)

OPTIONS = ("$select", "$filter", "$orderby", "$top", "$skip", "$count", "$skiptoken", "$format")
NOT_OFFERED = (
    "$expand", "$search", "$apply", "$compute", "$levels", "$deltatoken", "$index",
    "$schemaversion",
)  # fmt: skip
# Not OData's: names the company, so that another one's token is refused.
COMPANY = "company"
LARGEST = 2**63 - 1
MOST_ORDERS = 8
NOTHING = Filter()
_KEY = re.compile(r"\s*(userid|courseid)\s*=\s*([0-9]{1,25})\s*")
JSON_FORMS, XML_FORMS = ("json", "application/json"), ("xml", "application/xml")
COUNT_FORMS = ("text/plain", *JSON_FORMS)


@dataclass(frozen=True)
class Options:
    """What a request says, as texts; None for what it does not say."""

    given: Mapping[str, str]
    page_size: int | None = None  # that the client prefers

    def get(self, name: str) -> str | None:
        """Return an option's text."""
        return self.given.get(name)

    def fingerprint(self, fields: Sequence[str]) -> str:
        """Return a text that is another one for other options or fields, the place left out."""
        parts = sorted((n, t) for n, t in self.given.items() if n != "$skiptoken")
        told = repr((parts, tuple(fields))).encode("utf-8", "surrogatepass")
        return hashlib.sha256(told).hexdigest()[:24]


def read_options(
    items: Iterable[tuple[str, str]], allowed: Sequence[str], forms: Sequence[str] = JSON_FORMS
) -> dict[str, str]:
    """Return the options by name; ``forms`` are those that $format may name.

    Raises UsageError for what is not to be there: what was misspelt must not be ignored, or it
    would be answered with everything. Raises UnsupportedError for what OData knows besides.
    """
    found: dict[str, str] = {}
    for name, text in items:
        if name in NOT_OFFERED or name.startswith("@"):
            what = "aliases" if name.startswith("@") else name
            raise UnsupportedError(f"The feed does not offer {what}.", "Leave it out.")
        if name not in {*allowed, COMPANY}:
            close = f"${name}" if f"${name}" in allowed else ""
            hint = f"Did you mean {close}?" if close else f"Known here: {', '.join(allowed)}."
            raise UsageError(f"There is no option {name[:50]!r} here.", hint)
        if name in found:
            raise UsageError(f"{name} is given twice.", "Leave one out.")
        found[name] = text.strip() if name != "$filter" else text
    if "$format" in found and found["$format"].split(";")[0].strip().lower() not in forms:
        raise UnsupportedError(f"$format offers {forms[0]} only.", "Leave it out.")
    return found


@dataclass(frozen=True)
class FeedQuestion:
    """A question to the feed: a page of the set, how many rows it has, or one of them.

    Usage errors are found when it is planned, after the credential.
    """

    items: tuple[tuple[str, str], ...]
    page_size: int | None = None
    what: str = SET  # SET, SET/$count, or SET(userid=1,courseid=2)
    everything: bool = False
    limit: int | None = None
    offset: int | None = None
    trees: Mapping[str, Any] = field(default_factory=dict, compare=False)  # filters, as read
    made: dict[str, Any] = field(default_factory=dict, compare=False)  # told to the answer

    def plan(self, basis: Basis, mark_fits: MarkFits) -> Plan:
        """Return how to answer it.

        Raises UsageError, UnsupportedError, NotFoundError, ResyncError or NotAuthorisedError.
        """
        if basis.options.sync_mode == DISABLED:
            raise requests_disabled()
        properties = properties_of(basis.options)
        if self.what == SET:
            return self._page(basis, properties, mark_fits)
        if self.what == f"{SET}/$count":
            given = read_options(self.items, ("$filter", "$format"), COUNT_FORMS)
            return self._alone(basis, properties, Options(given), limit=0, counted=True)
        key = _key_of(self.what)
        given = read_options(self.items, ("$select", "$format"))
        given["$filter"] = f"userid eq {key['userid']} and courseid eq {key['courseid']}"
        return self._alone(basis, properties, Options(given), limit=1, counted=False)

    def _alone(
        self, basis: Basis, properties: Properties, options: Options, *, limit: int, counted: bool
    ) -> Plan:
        first = _first(basis, properties, options, self.trees)
        self.made["select"] = _told_select(options, properties)
        return replace(first, limit=limit, counted=counted, closes=True)

    def _page(self, basis: Basis, properties: Properties, mark_fits: MarkFits) -> Plan:
        options = Options(read_options(self.items, OPTIONS), self.page_size)
        size = min(basis.options.max_limit, self.page_size or basis.options.max_limit)
        first = _first(basis, properties, options, self.trees)
        counted = _switch(options, "$count")
        left, place = _number(options, "$top"), None
        self.made["select"] = _told_select(options, properties)
        self.made["counted"] = counted
        if (token := options.get("$skiptoken")) is not None:
            fingerprint = options.fingerprint(first.listing.fields)
            place = _place(token, fingerprint, basis, mark_fits)
            left = place.left
        limit = size if left is None else min(size, left)
        rest = None if left is None else left - limit
        plan = replace(
            first, limit=limit, counted=counted, closes=rest == 0,
            rest=rest, fingerprint=options.fingerprint(first.listing.fields),
        )  # fmt: skip
        if place is None:
            return replace(plan, offset=_number(options, "$skip") or 0)
        return replace(plan, after=place.after, total=place.total, cursor=token)


@dataclass(frozen=True)
class FeedPlan(Plan):
    """A plan whose following page is asked with a place of the feed."""

    rest: int | None = None
    fingerprint: str = ""

    def following(self, key: bytes, page: Slice, total: int) -> str:
        """Return the $skiptoken of the rows after a page."""
        begun = self.begun
        place = Place(
            page.last, self.rest, total if self.counted else None, self.fingerprint,
            begun.company, begun.revision, begun.mark,
        )  # fmt: skip
        return write_place(key, place)


def _first(
    basis: Basis, properties: Properties, options: Options, trees: Mapping[str, Any]
) -> FeedPlan:
    """Return the plan of a first page: which rows, in which order, with which properties."""
    fields = _selected(options, properties)
    text = options.get("$filter")
    condition: Condition | None = None if text is None else parse(text, properties, trees.get(text))
    by = _order(options.get("$orderby"), properties)
    begun = Delta(
        basis.company, basis.revision, basis.mark, basis.synced_at, field_bits(fields), NOTHING
    )
    listing = Listing(basis.company, fields, condition=condition, by=by)
    return FeedPlan(
        mode=FULL, listing=listing, limit=0, offset=0, after=None, before=0, total=None,
        begun=begun, whole=False, asked=None,
    )  # fmt: skip


def _place(token: str, fingerprint: str, basis: Basis, mark_fits: MarkFits) -> Place:
    place = read_place(basis.key, token)
    if place is None or place.company != basis.company:
        raise UsageError(
            "This $skiptoken is damaged, or of another company or store.",
            "Begin with the first page.",
        )
    if place.options != fingerprint:
        raise UsageError(
            "This $skiptoken belongs to other options, or the company's fields were changed.",
            "Follow @odata.nextLink as it is, or begin with the first page.",
        )
    begun = Delta(place.company, place.revision, place.mark, 0, 0, NOTHING)
    if place.revision > basis.revision or not mark_fits(begun):
        raise ResyncError(
            "The store was restored since this $skiptoken was made.", "Begin with the first page."
        )
    return place


def _selected(options: Options, properties: Properties) -> tuple[str, ...]:
    text = options.get("$select")
    if text is None or text == "*":
        return tuple(properties)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        _known(name, properties)
    return names


def _told_select(options: Options, properties: Properties) -> tuple[str, ...] | None:
    """Return what was asked for by name, None for everything."""
    return None if options.get("$select") in {None, "*"} else _selected(options, properties)


def _order(text: str | None, properties: Properties) -> tuple[Order, ...]:
    """Return what is sorted by, without what changes nothing: the key in its own order."""
    found: list[Order] = []
    for part in [] if text is None else text.split(","):
        name, *direction = part.split() or [""]
        _known(name, properties)
        if direction not in ([], ["asc"], ["desc"]):
            raise UsageError(f"$orderby cannot be {text!r:.60}.", "Write $orderby=lastname desc")
        order = Order(properties[name].column, direction == ["desc"], properties[name].type == TIME)
        if (order.column, order.time) not in {(each.column, each.time) for each in found}:
            found.append(order)
    if len(found) > MOST_ORDERS:
        raise UsageError(f"$orderby names more than {MOST_ORDERS}.", "Sort by fewer.")
    plain = (Order("userid"), Order("courseid"))
    return () if tuple(found) in {plain, plain[:1]} else tuple(found)


def _known(name: str, properties: Properties) -> None:
    if name not in properties:
        raise UsageError(
            f"There is no property {name[:50]!r}.", f"The properties are {', '.join(properties)}."
        )


def _number(options: Options, name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > LARGEST:
        raise UsageError(f"{name} must be a whole number from 0 on.", f"Write {name}=10")
    return int(text)


def _switch(options: Options, name: str) -> bool:
    text = options.get(name)
    if text not in {None, "true", "false"}:
        raise UsageError(f"{name} is true or false.", f"Write {name}=true")
    return text == "true"


def _key_of(what: str) -> dict[str, str]:
    """Return the key in ``Progress(userid=1,courseid=2)``; NotFoundError for another address."""
    inner = re.fullmatch(rf"{SET}\((.*)\)", what)
    parts = [] if inner is None else inner[1].split(",")
    matches = [_KEY.fullmatch(part) for part in parts]
    found = {match[1]: match[2] for match in matches if match}
    if len(parts) != 2 or len(found) != 2:
        raise NotFoundError(
            "There is nothing at this address of the feed.",
            f"There are {SET}, {SET}/$count and {SET}(userid=1,courseid=2).",
        )
    return found
