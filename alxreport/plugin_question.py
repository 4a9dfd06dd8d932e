"""What the Moodle plugin's function is asked, checked as the plugin checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from alxreport.errors import UsageError
from alxreport.listing import DEFAULT_FIELDS
from alxreport.question import DEFAULT_LIMIT, FULL, Basis, MarkFits, Plan, Question

# What Moodle takes from every call before the function sees the rest.
SETTINGS_OF_MOODLE = (
    "moodlewssettingraw", "moodlewssettingfileurl", "moodlewssettingfilter", "moodlewssettinglang",
    "moodlewssettingtimezone",
)  # fmt: skip
LARGEST = 2**63 - 1


class MoodleRefusal(UsageError):
    """A call that Moodle refuses with an exception of its own."""

    def __init__(self, exception: str, errorcode: str, message: str) -> None:
        super().__init__(message)
        self.exception = exception
        self.errorcode = errorcode


def invalid_parameter() -> MoodleRefusal:
    """Return the refusal of a parameter that is unknown or of the wrong type."""
    return MoodleRefusal(
        "invalid_parameter_exception", "invalidparameter", "Invalid parameter value detected"
    )


@dataclass(frozen=True)
class PluginQuestion:
    """A call of the plugin's function: the parameters that are left to it, as texts."""

    given: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    posted: bool = True
    everything: bool = False

    @property
    def limit(self) -> int | None:
        """The rows that were asked for, None where that is not said in a number."""
        return _number(self.given.get("limit"))

    @property
    def offset(self) -> int | None:
        """The rows before them."""
        return _number(self.given.get("offset"))

    def plan(self, basis: Basis, mark_fits: MarkFits) -> Plan:
        """Return how to answer it; MoodleRefusal in the plugin's order of checks.

        A limit below 1 and an offset below 0, which the plugin took for "no limit" and for 0, are
        invalid. All live rows are listed, whatever the company's sync_mode.
        """
        names = {"limit", "offset"}
        if set(self.given) - names - set(SETTINGS_OF_MOODLE):
            raise invalid_parameter()
        if any(_number(self.given[name]) is None for name in names & set(self.given)):
            raise invalid_parameter()
        most = basis.options.max_limit
        limit = min(DEFAULT_LIMIT, most) if self.limit is None else self.limit
        if limit > most:
            raise MoodleRefusal(
                "moodle_exception", "limittoolarge",
                "Requested limit is too large. Maximum allowed records per request is"
                f" {most}. Please reduce your limit parameter and try again.",
            )  # fmt: skip
        if limit < 1 or (self.offset or 0) < 0:
            raise invalid_parameter()
        if not self.posted:
            raise MoodleRefusal(
                "moodle_exception", "invalidrequestmethod",
                "Only POST method is allowed for security reasons",
            )  # fmt: skip
        fields = tuple(name for name in basis.options.fields if name in DEFAULT_FIELDS)
        asked = Question(
            mode=FULL, limit=limit, offset=self.offset, fields=fields, plugin_zone=self.zone
        )
        return asked.plan(basis, mark_fits)


def _number(text: str | None) -> int | None:
    """Return a text as Moodle's PARAM_INT takes it: as PHP would write the number."""
    if text is None or not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text):
        return None
    return int(text) if -LARGEST - 1 <= int(text) <= LARGEST else None
