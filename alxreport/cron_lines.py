"""The cron lines of alxreport: how they are written, found in a crontab, put in and taken out.

A crontab is text whose undecodable bytes are surrogates, and its lines end with a line feed only,
so that whatever is not ours comes out byte for byte as it went in.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from alxreport.errors import UsageError

Task = Literal["sync", "alerts"]
Log = Literal["mail", "logger"]

# The command of each task, without the program.
COMMANDS: Mapping[Task, str] = {"sync": "sync --quiet", "alerts": "alerts check --notify --quiet"}
ALERTS_TIMES = "*/10 * * * *"
EXAMPLE_PROGRAM, EXAMPLE_MINUTE = "/usr/local/bin/alxreport", 17
LOGGED = " 2>&1 | logger -t alxreport"
CONFIG_VARIABLE = "ALXREPORT_CONFIG"

_FIELD = r"[\d*,/~A-Za-z-]+"
_JOB = re.compile(rf"\s*(@[A-Za-z_]+|{_FIELD}(?:[ \t]+{_FIELD}){{4}})[ \t]+(.*)", re.DOTALL)
_OWN = re.compile(r"\s#\s*alxreport (sync|alerts)\s*$")
_COMMENT = re.compile(r"\s*#[#\s]*")
_VARIABLE = re.compile(r"""\s*("[^"]*"|'[^']*'|[^\s=#"']+)\s*=\s*(.*?)\s*$""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Job:
    """One line that cron runs, or would if it were not commented out."""

    number: int  # of the line, from 1; 0 where there is none
    times: str
    command: str = field(repr=False)  # as the shell gets it; it may set a URL with a password
    user: str | None = None  # None where the crontab is one user's
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    commented: bool = False
    marked: Task | None = None  # which line of ours its marker says it is
    ended: bool = True  # by a line feed, without which cron passes over it


def host_minute(host: str) -> int:
    """Return the minute at which a machine of this name syncs, always the same, never 0.

    Many machines read one database server; their syncs should not begin together, nor with
    everything else that runs on the hour.
    """
    return 1 + int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big") % 59


def sync_line(program: Sequence[str], config: str | None, minute: int, log: Log = "mail") -> str:
    """Return the line that runs the sync every hour.

    ``program`` is what starts alxreport, ``config`` the file to name, None for a default place.
    Cron mails what a job says to the crontab's owner, or to MAILTO, and --quiet says nothing
    unless something is wrong: so the line leaves its output alone unless ``log`` is "logger".
    Raises UsageError for a minute that is none, and for a path that fits into no line.
    """
    if not 0 <= minute <= 59:
        raise UsageError(f"{minute} is no minute of an hour.", "Give one from 0 to 59.")
    return _line("sync", f"{minute} * * * *", program, config, log)


def alerts_line(program: Sequence[str], config: str | None, log: Log = "mail") -> str:
    """Return the line that checks the alerts every ten minutes; see sync_line."""
    return _line("alerts", ALERTS_TIMES, program, config, log)


def all_lines(
    program: Sequence[str],
    config: str | None,
    minute: int,
    log: Log = "mail",
) -> dict[Task, str]:
    """Return the lines to install by their task; see sync_line."""
    return {
        "sync": sync_line(program, config, minute, log),
        "alerts": alerts_line(program, config, log),
    }


def _line(task: Task, times: str, program: Sequence[str], config: str | None, log: Log) -> str:
    words = [f"{CONFIG_VARIABLE}={shlex.quote(config)}"] if config is not None else []
    command = " ".join([*words, *map(shlex.quote, program), COMMANDS[task]])
    if _CONTROL.search(command):
        raise UsageError(
            "The path of the program or of its configuration has a line break in it.",
            "Rename it: a cron line cannot hold that.",
        )
    if log == "logger":
        command += LOGGED
    # Cron ends a command at a bare %. The marker is a comment to the shell.
    return f"{times} {command} # alxreport {task}".replace("%", r"\%")


def find_jobs(text: str, *, system: bool = False) -> Iterator[Job]:
    """Yield the jobs of a crontab, and of its comments those that are jobs of alxreport.

    ``system`` says that a user's name stands before the command, as in /etc/crontab.
    """
    variables: dict[str, str] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if variable := _VARIABLE.fullmatch(line):
            name, value = (_unquoted(part) for part in variable.groups())
            variables[name] = value
            continue
        comment = _COMMENT.match(line)
        job = _JOB.fullmatch(line[comment.end() if comment else 0 :])
        if job is None or (comment and "alxreport" not in job[2]):
            continue
        times, command, user = job[1], job[2], None
        if system:
            user, _, command = command.replace("\t", " ", 1).partition(" ")
        own = _OWN.search(line)
        yield Job(
            number=number,
            times=times,
            command=_shell_text(command.lstrip(" \t")),
            user=user,
            variables=dict(variables),
            commented=comment is not None,
            marked=_task(own[1]) if own else None,
            ended=number < len(lines),
        )


def _task(word: str) -> Task:
    return "alerts" if word == "alerts" else "sync"


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] in "\"'" and text[0] == text[-1]
    return text[1:-1] if quoted else text


def _shell_text(command: str) -> str:
    r"""Return what the shell gets: up to the first bare %, with \% as %."""
    return re.split(r"(?<!\\)%", command, maxsplit=1)[0].replace(r"\%", "%")


def with_lines(text: str, new: Mapping[Task, str], old: Mapping[int, Task]) -> str:
    """Return a crontab with lines put in, each in the place of the first old one of its task.

    ``old`` are the numbers of the lines that give way, with their tasks. A last line without its
    line feed gets one when lines are added behind it: no crontab is accepted without.
    """
    left = dict(new)
    kept: list[str] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if number not in old:
            kept.append(line)
        elif old[number] in left:
            kept.append(left.pop(old[number]))
    if left:
        if kept and kept[-1] == "":
            kept.pop()
        kept += left.values()
    if kept and kept[-1] != "":
        kept.append("")
    return "\n".join(kept)


def without_lines(text: str, old: Collection[int]) -> str:
    """Return a crontab without the lines of these numbers."""
    return with_lines(text, {}, dict.fromkeys(old, "sync")) if old else text


def example_lines() -> dict[Task, str]:
    """Return the lines as README and crontab.example show them."""
    return all_lines((EXAMPLE_PROGRAM,), None, EXAMPLE_MINUTE)
