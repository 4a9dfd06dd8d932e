"""What people see fits their terminal, and is plain when it is piped or with NO_COLOR."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import unicodedata

import pytest

from .command_line import PYTHON, spawn

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SCREENS = [
    ("sync", "--full"), ("company", "list"), ("verify",), ("doctor",), ("sync-state",), ("--help",),
]  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    home = tmp_path_factory.mktemp("screens")
    spawn("demo", home / "demo", HOME=str(home))
    return home


def environment(home, **more):
    drop = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    env = {name: value for name, value in os.environ.items() if name not in drop}
    config = str(home / "demo" / "config.toml")
    return env | {"HOME": str(home), "ALXREPORT_CONFIG": config, "TERM": "xterm-256color"} | more


def on_terminal(words, columns, env):
    """Run a command on a terminal of so many columns; return what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [*PYTHON, *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:  # the terminal's end on Linux
            pass
        os.close(ours)
    assert process.returncode == 0, b"".join(parts)
    return b"".join(parts).decode()


def width(line):
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in line)
    return wide + sum(unicodedata.category(char) not in {"Mn", "Me"} for char in line)


def too_long(shown, columns):
    lines = [line.rpartition("\r")[2].rstrip() for line in shown.replace("\r\n", "\n").split("\n")]
    # A path or a command to copy cannot be cut.
    return [line for line in lines if width(line) > columns and "/" not in line]


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.soak)])
@pytest.mark.parametrize("words", SCREENS, ids=" ".join)
def test_no_line_is_longer_than_the_terminal(demo, words, columns):
    shown = on_terminal(words, columns, environment(demo, NO_COLOR="1"))
    assert too_long(CODES.sub("", shown), columns) == []
    if "--full" not in words:  # a progress bar moves the cursor
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown), "a colour in spite of NO_COLOR"


def test_colours_are_there_on_a_terminal(demo):
    assert re.search(r"\x1b\[32m", on_terminal(("verify",), 80, environment(demo)))


@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.soak)])
def test_the_demo_fits_the_terminal(demo, columns):
    place = demo / f"again{columns}"
    shown = on_terminal(("demo", place), columns, environment(demo, NO_COLOR="1"))
    assert too_long(CODES.sub("", shown), columns) == []
    for command in ("company list", "query", "export", "verify"):
        line = rf"alxreport {command} [^\r\n]*{re.escape(str(place))}"
        assert re.search(line, shown), "a command to copy is on one line"


@pytest.mark.parametrize("words", SCREENS, ids=" ".join)
def test_nothing_but_text_goes_into_a_pipe(demo, words):
    done = subprocess.run(
        [*PYTHON, *words], capture_output=True, env=environment(demo, COLUMNS="80"), check=True
    )
    assert b"\x1b" not in done.stdout + done.stderr
    assert too_long(done.stdout.decode(), 80) == []
