"""What a cron line's command runs: alxreport, which task of it, how, and inside what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from alxreport.cron_lines import CONFIG_VARIABLE, Task

# The options of each task that leave it doing its work, and whether a value follows.
ROOT_OPTIONS = {"--config": True, "--debug": False}
OPTIONS: Mapping[Task, Mapping[str, bool]] = {
    "sync": {
        **ROOT_OPTIONS,
        "--company": True,
        "--full": False,
        "--allow-mass-delete": False,
        "--json": False,
        "--quiet": False,
    },
    "alerts": {**ROOT_OPTIONS, "--notify": False, "--json": False, "--quiet": False},
}
IDLE_OPTIONS = ("--dry-run", "--help")

# What runs the rest of its words as the same user, and takes nothing away from them.
WRAPPERS = frozenset({
    "[", "test", "chronic", "chrt", "command", "cronic", "env", "exec", "flock", "ionice", "nice",
    "nohup", "setsid", "stdbuf", "systemd-cat", "taskset", "time", "timeout",
})  # fmt: skip
SHELLS = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_DEPTH = 3  # of shells inside shells that are looked into


@dataclass(frozen=True)
class Call:
    """alxreport as a command starts it."""

    task: Task
    program: tuple[str, ...]  # ("/usr/bin/alxreport",) or ("python3", "-m", "alxreport")
    options: tuple[str, ...]
    config: str | None  # that its options or its variables name
    inside: str = ""  # a program before it of which it is not known what it does
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def fault(self) -> str:
        """Return why the task would not do its work with these options, "" when it does."""
        known = OPTIONS[self.task]
        words = iter(self.options)
        for word in words:
            name = word.split("=", 1)[0]
            if word.endswith("\r"):
                return "It ends like a Windows line, which makes its last word another one."
            if name in IDLE_OPTIONS:
                return f"With {name} it writes nothing."
            if name not in known:
                return f"It says {word!r}, which '{self.task}' does not know."
            if known[name] and "=" not in word:
                next(words, None)
        return ""

    def is_partial(self) -> bool:
        """Tell whether only some companies are synced."""
        return any(word.split("=", 1)[0] == "--company" for word in self.options)


def find_calls(command: str, *, depth: int = _DEPTH) -> Iterator[Call]:
    """Yield what a shell's command runs of alxreport, as far as its words tell."""
    for words in _simple_commands(command):
        yield from _calls(words, depth)


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Yield the words of each simple command, without redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # a quotation that does not end: the shell refuses it as well
        return
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif token and not token.strip(";&|()<>\n"):
            skip = "<" in token or ">" in token
            if not skip:
                yield words
                words = []
            elif words and words[-1].isdigit():
                words.pop()  # the number of the stream, as in 2>&1
        else:
            words.append(token)
    yield words


def _calls(words: list[str], depth: int) -> Iterator[Call]:
    for place, word in enumerate(words):
        first = _program_at(words, place)
        if first is not None:
            call = _call(words[:first], tuple(words[first : place + 1]), words[place + 1 :])
            if call is not None:
                yield call
                return
        elif depth and " " in word and "alxreport" in word:
            outer = _before(words[:place])
            shell = PurePath(words[0]).name in SHELLS
            for found in find_calls(word, depth=depth - 1):
                variables = {**outer[0], **found.variables}
                yield Call(
                    found.task, found.program, found.options,
                    found.config or variables.get(CONFIG_VARIABLE),
                    found.inside or ("" if shell else outer[1]), variables,
                )  # fmt: skip


def _program_at(words: list[str], place: int) -> int | None:
    """Return where a program that ends at this word begins, None when it is not alxreport."""
    word = words[place]
    if word == "alxreport" and place > 1 and words[place - 1] == "-m":
        for first in range(place - 2, -1, -1):
            if PurePath(words[first]).name.startswith("python"):
                return first
    return place if PurePath(word).name == "alxreport" else None


def _before(words: list[str]) -> tuple[dict[str, str], str]:
    """Return the variables set before a program, and the program it is handed to, if unknown."""
    assigned = [word.partition("=") for word in words if _ASSIGNMENT.match(word)]
    others = [PurePath(word).name for word in words if not _ASSIGNMENT.match(word)]
    unknown = others and others[0] not in WRAPPERS
    return {name: value for name, _, value in assigned}, others[0] if unknown else ""


def _call(before: list[str], program: tuple[str, ...], after: list[str]) -> Call | None:
    variables, inside = _before(before)
    place, options = 0, []
    while place < len(after) and after[place].startswith("-"):
        width = 2 if ROOT_OPTIONS.get(after[place]) else 1
        options += after[place : place + width]
        place += width
    rest = after[place:]
    task: Task
    if rest and rest[0].rstrip("\r") == "sync":
        task = "sync"
        options += rest[1:] if rest[0] == "sync" else ["\r"]
    elif len(rest) > 1 and rest[0] == "alerts" and rest[1].rstrip("\r") == "check":
        task = "alerts"
        options += rest[2:] if rest[1] == "check" else ["\r"]
    else:
        return None
    config = _value(options, "--config") or variables.get(CONFIG_VARIABLE)
    return Call(task, program, tuple(options), config, inside, variables)


def _value(options: list[str], name: str) -> str | None:
    for place, word in enumerate(options):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and place + 1 < len(options):
            return options[place + 1]
    return None
