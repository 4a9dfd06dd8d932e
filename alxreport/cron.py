"""Cron looks after the sync: the lines that do it, put in, taken out, and looked at."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from alxreport import cron_host as host
from alxreport.cron_judge import Found, Setting, find_lines, listed_crontab
from alxreport.cron_lines import Log, Task, all_lines, host_minute, with_lines, without_lines
from alxreport.cron_program import own_program
from alxreport.records import iso_time
from alxreport.settings import environment_overrides, find_config, user_name

Verdict = Literal["ok", "warning"]
COMMAND = "alxreport cron install"
NO_MAIL = (
    "There is no sendmail here, with which cron mails what a sync says;"
    " with --log logger it goes to the system's log."
)


@dataclass(frozen=True)
class CronStatus:
    """Whether cron runs the sync, and everything found about it."""

    verdict: Verdict
    finding: str
    advice: str
    daemon: str | None  # "" when none runs, None when that cannot be seen
    next_run: int | None
    lines: tuple[Found, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``cron status --json``."""
        lines = [asdict(line) | {"next_run": iso_time(line.next_run)} for line in self.lines]
        return asdict(self) | {"next_run": iso_time(self.next_run), "lines": lines}


@dataclass(frozen=True)
class CronChange:
    """What ``install`` or ``remove`` did to this user's crontab."""

    changed: bool
    lines: tuple[str, ...]  # that were put in, or are to be
    removed: int
    notes: tuple[str, ...]


def cron_lines(
    config: Path | None, *, minute: int | None = None, log: Log = "mail"
) -> dict[Task, str]:
    """Return the lines for this machine, this user and this configuration, by their task.

    The minute is the machine's own unless one is given. Raises UsageError as sync_line does.
    """
    named = None if config is None or _is_usual(config) else str(config.absolute())
    when = host_minute(socket.gethostname()) if minute is None else minute
    return all_lines(own_program(), named, when, log)


def cron_status(config: Path | None, now: int, *, any_config: bool = False) -> CronStatus:
    """Look for everything that runs the sync with this configuration, and whether it will.

    ``any_config`` says that the configuration is not known: a line may use whichever it likes.
    Nothing is raised for what cannot be read; it is told.
    """
    user = user_name()
    mine, unreadable = listed_crontab(user)
    lines = tuple(find_lines(Setting(user, config, now, any_config), mine))
    daemon = host.cron_daemon()
    finding, advice = _finding(lines, daemon, config, unreadable)
    return CronStatus(
        verdict="warning" if advice else "ok",
        finding=finding,
        advice=advice,
        daemon=daemon,
        next_run=_next(lines),
        lines=lines,
        notes=tuple(_notes(lines, unreadable)),
    )


def next_sync_run(now: int, config: Path | None = None) -> int | None:
    """Return when an installed line or timer next runs the sync, None when none does.

    ``config`` is the configuration meant, by default the one that is found without --config.
    Raises ConfigError when ALXREPORT_CONFIG names a file that is not there.
    """
    user = user_name()
    mine, _unreadable = listed_crontab(user)
    return _next(find_lines(Setting(user, config or find_config(None), now), mine))


def _next(lines: Iterable[Found]) -> int | None:
    times = (line.next_run for line in lines if line.task == "sync" and line.runs)
    return min((time for time in times if time is not None), default=None)


def install_lines(
    config: Path | None, now: int, *, minute: int | None = None, log: Log = "mail"
) -> CronChange:
    """Put the lines into this user's crontab, in the place of alxreport's own old ones.

    An old one is a line that says in its marker that it is alxreport's, of this configuration, on
    or commented out. Every other line stays byte for byte; where one written by hand does the
    same already, none is put in. Raises ConfigError when the crontab cannot be read or written,
    UsageError as sync_line does.
    """
    user = user_name()
    with host.one_at_a_time(user):
        return _install(user, config, now, minute=minute, log=log)


def _install(
    user: str, config: Path | None, now: int, *, minute: int | None, log: Log
) -> CronChange:
    before = host.read_crontab(user)
    found = tuple(find_lines(Setting(user, config, now), before))
    old = _own(found)
    doing = {line.task: line for line in found if line.mine and not line.marked and line.runs}
    wanted = cron_lines(config, minute=minute, log=log)
    notes = []
    for task, line in doing.items():
        if task in wanted and line.state == "ok" and task not in old.values():
            del wanted[task]
            notes.append(f"{_capital(line.where)}, does it already; nothing was put in for {task}.")
    after = with_lines(before, wanted, old) if wanted or old else before
    if after != before:
        host.write_crontab(after, user)
    put_in = tuple(find_lines(Setting(user, config, now), after))
    notes += [
        f"{_capital(line.where)}, was commented out; it is on again."
        for line in found
        if line.mine and line.line in old and line.state == "off"
    ]
    notes += _install_notes(put_in, config, log)
    return CronChange(after != before, tuple(wanted.values()), 0, tuple(notes))


def _install_notes(lines: tuple[Found, ...], config: Path | None, log: Log) -> list[str]:
    notes = [
        f"{_capital(line.where)}: {line.fault}"
        for line in lines
        if line.mine and line.state in ("problem", "warning")
    ]
    runs = [line for line in lines if line.runs and line.task == "sync"]
    if len(runs) > 1:
        places = "; ".join(line.where for line in runs)
        notes.append(f"More than one line runs the sync: {places}. One of them is enough.")
    if config is None:
        notes.append("There is no configuration yet, without which it cannot sync: alxreport init")
    notes += [
        f"{name} is set here, and will not be for cron: write its value into the configuration."
        for name in environment_overrides()
    ]
    if host.cron_daemon() == "":
        notes.append("No cron daemon runs here, so nothing will happen until one does.")
    if log == "mail" and not host.can_mail():
        notes.append(NO_MAIL)
    return notes


def remove_lines(config: Path | None, now: int) -> CronChange:
    """Take alxreport's own lines of this configuration out of this user's crontab.

    Lines without its marker stay, and are told. Raises ConfigError as install_lines does.
    """
    user = user_name()
    with host.one_at_a_time(user):
        return _remove(user, config, now)


def _remove(user: str, config: Path | None, now: int) -> CronChange:
    before = host.read_crontab(user)
    found = tuple(find_lines(Setting(user, config, now), before))
    old = _own(found)
    if old:
        host.write_crontab(without_lines(before, old), user)
    notes = [
        f"{_capital(line.where)}, still runs {line.task}; it was not put in by alxreport."
        for line in found
        if line.runs and not (line.mine and line.line in old)
    ]
    notes += [
        f"{_capital(line.where)}, stays. {line.fault}"
        for line in found
        if line.mine and line.marked and line.state == "other"
    ]
    return CronChange(bool(old), (), len(old), tuple(notes))


def _own(found: Iterable[Found]) -> dict[int, Task]:
    return {
        line.line: line.task
        for line in found
        if line.mine and line.marked and line.state != "other"
    }


def _finding(
    lines: tuple[Found, ...], daemon: str | None, config: Path | None, unreadable: str
) -> tuple[str, str]:
    """Return what was found, and the one thing to do, "" when nothing is."""
    syncs = [line for line in lines if line.task == "sync" and line.state != "other"]
    install = install_command(config)
    good = [line for line in syncs if line.state == "ok"]
    if good:
        return _what_runs(good, daemon, install)
    if syncs:
        first = min(syncs, key=lambda line: ("warning", "problem", "off").index(line.state))
        return f"{_capital(first.where)}: {first.fault}", _mend_advice(first, install)
    if host.crontab_program() is None:
        return (
            "There is no crontab command here, and no cron line in /etc runs the sync.",
            f"Install cron, then run: {install}",
        )
    if unreadable:
        return unreadable, "Ask who administers this machine, or use a systemd timer."
    return "No cron line runs the sync.", f"Run: {install}"


def _what_runs(good: list[Found], daemon: str | None, install: str) -> tuple[str, str]:
    by_timer = [line for line in good if not line.line]
    by_cron = [line for line in good if line.line]
    if by_timer and host.systemd_runs():
        return f"A timer runs the sync at '{by_timer[0].times}' ({by_timer[0].place}).", ""
    if not by_cron:
        return "A timer is there, but systemd does not run this machine.", f"Run: {install}"
    told = f"The sync runs at '{by_cron[0].times}' ({by_cron[0].where})"
    if daemon == "":
        return f"{told}, but no cron daemon is running.", _start_advice()
    return f"{told}.", ""


def install_command(config: Path | None) -> str:
    """Return the command that puts the lines of this configuration into the crontab."""
    if config is None or _is_usual(config):
        return COMMAND
    return f"{COMMAND} --config {shlex.quote(str(config.absolute()))}"


def _is_usual(config: Path) -> bool:
    """Tell whether a job of this user finds the configuration by itself."""
    home = host.home_of(user_name())
    usual = host.default_config(home) if home else None
    return usual is not None and os.path.realpath(usual) == os.path.realpath(config)


def _start_advice() -> str:
    name = "crond" if os.path.exists("/usr/sbin/crond") else "cron"
    return f"Start it: systemctl enable --now {name}"


def _mend_advice(line: Found, install: str) -> str:
    if line.mine and line.marked:
        return f"Run: {install}"
    if line.mine:
        return f"Remove that line with crontab -e, then run: {install}"
    if not line.line:
        return f"Enable it: systemctl enable --now {Path(line.place).name}"
    return f"Correct that line, or remove it and run: {install}"


def _notes(lines: tuple[Found, ...], unreadable: str) -> Iterable[str]:
    if unreadable and host.crontab_program() is not None:
        yield unreadable
    if any(line.runs and line.line for line in lines) and not host.can_mail():
        yield NO_MAIL


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
