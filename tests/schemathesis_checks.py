"""A check that Schemathesis loads: what fits the document is accepted, unless a reason is told."""

from __future__ import annotations

import schemathesis
from schemathesis.generation import GenerationMode

# Of the rules that no schema can tell. Marks that Schemathesis makes up are none of ours.
REASONS = (
    "This cursor is damaged, or of another company or store.",
    "The cursor belongs to a series with another",
    "A cursor and an offset",
    "An increment needs the fields userid, courseid.",
)


@schemathesis.check
def what_fits_is_accepted(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Fail where a request that the document allows is refused as a mistake."""
    mode = case.meta.generation.mode if case.meta is not None else None
    if mode != GenerationMode.POSITIVE or response.status_code != 400:
        return
    message = response.json()["error"]["message"]
    if message.startswith("limit must be 1 to") and int(case.query["limit"]) > 1:
        return  # more than the company's max_limit
    assert message.startswith(REASONS), f"refused though it fits the document: {message}"
