"""Systemd timers of alxreport read as if they were lines of a crontab."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from alxreport.cron_lines import Job
from alxreport.cron_times import calendar_times

_SETTING = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*$", re.MULTILINE)


def unit_jobs(timer: str, service: str, *, enabled: bool) -> Iterator[Job]:
    """Yield a job for each command of a service at each time of its timer.

    One that is not enabled counts as commented out. Only times of the calendar are looked at.
    """
    user, variables = "root", {}
    commands = []
    for name, value in _SETTING.findall(service):
        if name == "User":
            user = value
        elif name == "Environment":
            for word in _words(value):
                key, _, content = word.partition("=")
                variables[key] = content
        elif name == "ExecStart":
            commands.append(value.lstrip("@-:+!"))
    for name, value in _SETTING.findall(timer):
        if name == "OnCalendar":
            for command in commands:
                yield Job(0, calendar_times(value), command, user, variables, not enabled)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []
