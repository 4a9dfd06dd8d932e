"""README, crontab.example, Makefile and CHANGELOG say what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from alxreport import cli, command_group, errors

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CRONTAB = (ROOT / "crontab.example").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines() if line.startswith("|")]  # fmt: skip


def program():
    """Return every command by its full name, with the options it takes."""
    found = {}

    def walk(command, names):
        if children := getattr(command, "commands", None):
            for name, child in children.items():
                walk(child, (*names, name))
        else:
            found[" ".join(names)] = {o for param in command.params for o in param.opts}

    walk(typer.main.get_command(cli.app), ())
    return found


COMMANDS = program()


def shown():
    """Return every alxreport command line of README's code and of crontab.example."""
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
    code = [line for block in blocks for line in block.splitlines()]
    code += [line for line in CRONTAB.splitlines() if not line.startswith("#")]
    code += re.findall(r"`(alxreport [^`]+)`", README)
    found = []
    for line in code:
        if match := re.search(r"(?:^|[#$*] +)(alxreport .+)$", line.strip()):
            text = re.split(r"\s[>|#]", match[1])[0]
            if "bin/" not in line:
                found.append(text.strip())
    return sorted(set(found))


def test_the_command_table_names_every_command_and_no_other():
    named = [row[0].strip("`").removeprefix("alxreport ") for row in ROWS
             if row[0].startswith("`alxreport ")]  # fmt: skip
    assert sorted(named) == sorted(COMMANDS)


def test_there_is_something_to_check():
    assert len(shown()) > 10
    assert "alxreport sync" in shown()


@pytest.mark.parametrize("line", shown())
def test_every_command_shown_exists(line):
    _program, *words = shlex.split(line)
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
    assert name, f"{line}: no such command"
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    assert options <= COMMANDS[name] | {"--help"}, line


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_every_option_named_in_the_text_exists(line):
    assert line in {option for options in COMMANDS.values() for option in options}


def test_the_exit_codes_are_the_errors_codes():
    told = {int(row[0]) for row in ROWS if row[0].isdigit()}
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in classes if issubclass(kind, errors.AlxError)}
    others = {0, cli.FAILED_COMPANIES, cli.DIFFERENCES, command_group.INTERRUPTED}
    assert told == raised | others


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()


def test_the_cron_lines():
    lines = [line for line in CRONTAB.splitlines() if line and not line.startswith("#")]
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    assert jobs
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    for job in jobs:
        *times, command = job.split(maxsplit=5)
        assert len(times) == 5
        for value, (low, high) in zip(times, ranges, strict=True):
            step = re.fullmatch(r"\*(/\d+)?|\d+", value)
            assert step, value
            assert not value.isdigit() or low <= int(value) <= high
        assert "%" not in command.replace(r"\%", ""), "cron ends a command at a bare %"
        assert command in README


def test_the_front_door():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "lint", "check", "bench"} <= targets
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
    named = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert named
    assert targets <= set(named[1].split())


def test_the_changelog_has_a_place_for_what_comes():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    headings = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
