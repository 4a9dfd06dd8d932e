"""What becomes of each line that runs alxreport, and why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alxreport import cron_host as host
from alxreport.cron_command import Call, find_calls
from alxreport.cron_lines import CONFIG_VARIABLE, Job, Task, find_jobs
from alxreport.cron_program import CRON_PATH, program_fault
from alxreport.cron_times import is_hourly, is_understood, next_run
from alxreport.cron_units import unit_jobs
from alxreport.errors import AlxError

# Works; runs, but not as it should; cannot work; is switched off; is of another configuration.
State = Literal["ok", "warning", "problem", "off", "other"]
MINE = "your crontab"


@dataclass(frozen=True)
class Found:
    """One line that runs alxreport, or should, and what becomes of it."""

    place: str
    line: int  # its number there, 0 for a timer
    user: str
    task: Task
    times: str
    state: State
    fault: str  # why it is not "ok"
    next_run: int | None  # of one that runs
    mine: bool  # in this user's own crontab
    marked: bool  # it says itself that it is one of alxreport's

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return f"{self.place}, line {self.line}" if self.line else self.place

    @property
    def runs(self) -> bool:
        """Whether cron runs it, for this configuration."""
        return self.state in ("ok", "warning")


@dataclass(frozen=True)
class Setting:
    """For whom and when lines are judged."""

    user: str
    config: Path | None
    now: int
    any_config: bool = False  # whichever a line uses is meant


def find_lines(setting: Setting, mine: str) -> Iterator[Found]:
    """Yield the lines of this user's crontab, then all others that can be read."""
    own = host.Tab(MINE, mine, setting.user)
    for tab in (own, *host.other_tabs(setting.user)):
        for job in find_jobs(tab.text, system=tab.user is None):
            yield from judge(setting, tab, job, mine=tab is own)
    for unit in host.timers():
        tab = host.Tab(unit.place, "", None)
        for job in unit_jobs(unit.timer, unit.service, enabled=unit.enabled):
            yield from judge(setting, tab, job, mine=False)


def judge(setting: Setting, tab: host.Tab, job: Job, *, mine: bool) -> Iterator[Found]:
    """Yield what becomes of each call of alxreport in one line; nothing for a foreign line."""
    user = tab.user or job.user or "root"
    calls: list[Call | None] = list(find_calls(job.command))
    if not calls and job.marked:
        calls = [None]
    for call in calls:
        state, fault = _state(setting, tab, job, call, user)
        after = next_run(job.times, setting.now, host.local_zone())
        yield Found(
            place=tab.place,
            line=job.number,
            user=user,
            task=call.task if call else job.marked or "sync",
            times=job.times,
            state=state,
            fault=fault,
            next_run=after if state in ("ok", "warning") else None,
            mine=mine,
            marked=job.marked is not None,
        )


def _state(
    setting: Setting, tab: host.Tab, job: Job, call: Call | None, user: str
) -> tuple[State, str]:
    home = host.home_of(user)
    if call is None or home is None:
        gone = "It does not run alxreport any more."
        return "problem", gone if call is None else f"There is no user {user}."
    named = call.config or job.variables.get(CONFIG_VARIABLE)
    config = home / _expanded(named, home) if named else host.default_config(home)
    if config is not None and not setting.any_config and _is_another(config, setting.config):
        return "other", f"It uses another configuration: {config}."
    if job.commented:
        return "off", "It is commented out." if job.number else "The timer is not enabled."
    faults = (
        tab.fault,
        "" if job.ended else "The line does not end, so cron passes over it.",
        f"It starts through {call.inside}; what comes of that is not known." if call.inside else "",
        program_fault(call.program, home, job.variables.get("PATH", CRON_PATH)),
        call.fault(),
        _config_fault(config, named, user, setting),
        "" if is_understood(job.times) else f"Its times {job.times!r} are not understood.",
    )
    if fault := next(filter(None, faults), ""):
        return "problem", fault
    fault = "It syncs only the companies that it names." if call.is_partial() else ""
    if not is_hourly(job.times):
        fault = f"It runs at '{job.times}', which is not every hour."
    return ("warning" if fault else "ok"), fault


def _expanded(named: str, home: Path) -> str:
    for start in ("~/", "$HOME/", "${HOME}/"):
        if named.startswith(start):
            return str(home / named.removeprefix(start))
    return named


def _is_another(config: Path, ours: Path | None) -> bool:
    """Tell whether a file that is there is not our configuration."""
    if not os.path.exists(config):
        return False
    return ours is None or os.path.realpath(config) != os.path.realpath(ours)


def _config_fault(config: Path | None, named: str | None, user: str, setting: Setting) -> str:
    if config is None:
        return f"It names no configuration, and uses none as {user}." if setting.config else ""
    if named and not os.path.exists(config):
        return f"It names the configuration {config}, which is not there."
    if not host.may_read(config, user):
        return f"The user {user} may not read {config}."
    return ""


def listed_crontab(user: str) -> tuple[str, str]:
    """Return this user's crontab, and why it cannot be read, one of them empty."""
    try:
        return host.list_crontab(user)[0], ""
    except AlxError as error:
        return "", error.message
