"""Naming a company: by shortname, by number, or by id:7; never two at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from alxreport.errors import NotFoundError, UsageError


class Named(Protocol):
    """Anything with a company's id and shortname."""

    @property
    def id(self) -> int:
        """Moodle's id of the company."""

    @property
    def shortname(self) -> str:
        """Moodle's short name of the company."""


AnyCompany = TypeVar("AnyCompany", bound=Named)


def find_company(companies: Iterable[AnyCompany], name: str) -> AnyCompany:
    """Return the one company that ``name`` means.

    ``id:7`` is always the id; anything else is a shortname (as written, else without regard to
    case) or an id. Raises NotFoundError for none, and UsageError when the name fits two.
    """
    known = list(companies)
    wanted = name.strip()
    if wanted.startswith("id:"):
        found = [c for c in known if str(c.id) == wanted.removeprefix("id:").lstrip("0")]
    else:
        exact = [c for c in known if c.shortname == wanted]
        folded = [c for c in known if c.shortname.casefold() == wanted.casefold()]
        numbered = [
            c for c in known if wanted.isdecimal() and str(c.id) == (wanted.lstrip("0") or "0")
        ]
        found = exact or folded
        found += [c for c in numbered if c not in found]
    if len(found) > 1:
        both = " and ".join(f"{c.shortname!r} (id:{c.id})" for c in found[:2])
        raise UsageError(f"{name!r} fits two companies: {both}.", "Name it as id:NUMBER.")
    if not found:
        raise NotFoundError(
            f"There is no company {name!r}.", "See 'alxreport company list' for their names."
        )
    return found[0]
