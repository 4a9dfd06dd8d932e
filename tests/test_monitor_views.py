"""The monitor on a terminal: whole screens, any name at any width, and a watch that ends cleanly.

After a wanted change of what is painted, ALXREPORT_WRITE_SCREENS=1 with this file's tests writes
tests/screens anew; look at the difference before it is kept. ESC stands there as ␛.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from alxreport.errors import StoreError
from alxreport.monitor_views import show_screen, watch
from alxreport.screens import (
    LEVEL_WORDS,
    AlertLine,
    Card,
    Cell,
    Chart,
    Column,
    Level,
    Point,
    Screen,
    Table,
    View,
)
from alxreport.terminal_text import LEFT_TO_RIGHT, visible

from .made_screens import AT, NAMES, SCREENS, failing, fresh, healthy

FILES = Path(__file__).parent / "screens"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ENTER, LEAVE, HIDE, SHOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"


def console(width, *, colour=False, encoding="utf-8", height=50):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    return Console(file=file, width=width, height=height, highlight=False, legacy_windows=False,
                   force_terminal=colour, color_system="standard" if colour else None,
                   _environ={})  # fmt: skip


def written(out):
    out.file.flush()
    return out.file.buffer.getvalue().decode(out.file.encoding)


def painted(screen, width, keys=None, rows=None, **how):
    out = console(width, **how)
    show_screen(out, screen, keys, rows)
    return written(out)


# -- Whole screens ------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_looks_as_it_did(name, width, colour):
    file = FILES / f"{name}-{width}{'-colour' * colour}.txt"
    shown = painted(SCREENS[name](), width, colour=colour).replace("\x1b", "␛")
    if os.environ.get("ALXREPORT_WRITE_SCREENS"):
        FILES.mkdir(exist_ok=True)
        file.write_text(shown, encoding="utf-8")
    assert shown == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCREENS)
def test_colour_adds_nothing_but_colour(name):
    screen = SCREENS[name]()
    assert COLOUR.sub("", painted(screen, 80, colour=True)) == painted(screen, 80)


def test_the_failed_sync_is_said_first():
    lines = painted(failing(), 80).splitlines()
    assert "✕ Critical  The sync of Müller & Söhne GmbH failed" in lines[2]
    assert "run: alxreport sync --company id:4" in lines[5]
    assert "✕ failed" in "\n".join(lines)


def test_only_the_named_views_are_shown():
    shown = painted(failing(), 80, ("performance",))
    assert "── Performance ──" in shown
    assert "Auto-Sync ─" not in shown
    assert "Critical  The sync" in shown, "alerts are of every view"


def test_rows_beyond_the_most_are_told():
    shown = painted(SCREENS["crowded"](), 80, rows=4)
    assert "… and 196 more (alxreport monitor --json lists all)" in shown
    assert "… and 10 more (alxreport monitor --json lists all)  ✕ 10 Critical" in shown


def test_what_is_acknowledged_comes_last():
    first = AlertLine("critical", "Known", "08:00", "Wait.", acknowledged=True, number=1)
    shown = painted(Screen(AT, (first, replace(first, text="New", acknowledged=False)), ()), 80)
    assert shown.index("New") < shown.index("Known")
    assert "since 08:00, alert 1, acknowledged" in shown


def test_nothing_measured_is_not_zero():
    points = [Point("A", (None,), "no run"), Point("B", (0.0,), "0 %"), Point("C", (50.0,), "50 %")]
    chart = Chart("Bars", "%", ("one",), tuple(points), "Nothing.", top=100.0)
    lines = painted(Screen(AT, (), (View("v", "V", (), chart, ()),)), 80).splitlines()
    assert [line[3:4] for line in lines[-3:]] == ["·", "▏", "█"]
    two = [replace(point, values=point.values * 2) for point in points]
    chart = replace(chart, series=("one", "two"), points=tuple(two))
    shown = painted(Screen(AT, (), (View("v", "V", (), chart, ()),)), 80)
    assert re.search(r"two  ·   ▁▁▁ ███\n", shown)
    assert "· nothing measured" in shown
    empty = replace(chart, points=tuple(two[:1]))
    assert "Bars  Nothing.\n" in painted(Screen(AT, (), (View("v", "V", (), empty, ()),)), 80)


def test_only_all_of_it_is_a_full_bar():
    points = tuple(Point(str(n), (value,), "told") for n, value in enumerate((100.0, 99.999)))
    chart = Chart("Bars", "%", ("one",), points, "Nothing.", top=100.0)
    lines = painted(Screen(AT, (), (View("v", "V", (), chart, ()),)), 80).splitlines()
    assert lines[-2].count("█") > lines[-1].count("█")


def test_columns_go_by_rank_and_long_texts_first():
    shown = painted(SCREENS["crowded"](), 80, ("auto-sync",))
    head = next(line for line in shown.splitlines() if line.startswith("Company"))
    assert head.split() == ["Company", "Status", "Last", "sync", "Rows", "Errors"]
    assert "(5 of 9 columns fit)" in shown
    narrow = painted(SCREENS["crowded"](), 40, ("auto-sync",))
    assert re.search("Société G[^ ]+ [^ ]+ ?[^ ]*…  ✕ failed", narrow)
    assert "columns fit" not in painted(SCREENS["crowded"](), 120, ("auto-sync",))


def test_columns_stand_under_each_other_whatever_the_names():
    shown = painted(SCREENS["crowded"](), 80, ("auto-sync",)).splitlines()
    rows = [line for line in shown if "✕ failed" in line]
    assert len({cell_len(line[: line.index("✕ failed")]) for line in rows}) == 1
    assert len({cell_len(line) for line in rows}) == 1


def test_names_from_right_to_left_do_not_draw_digits_into_them():
    shown = painted(SCREENS["crowded"](), 120)
    assert f"{LEFT_TO_RIGHT}{NAMES[2]}{LEFT_TO_RIGHT}" in shown
    assert LEFT_TO_RIGHT not in painted(failing(), 120), "other names stay as they are"


def test_an_encoding_without_the_signs_gets_plain_ones():
    shown = painted(SCREENS["crowded"](), 80, encoding="ascii")
    assert shown.isascii()
    for told in ("x Critical", "! 1 Warning", "+ OK", "######", "-- Auto-Sync --", "Muller",
                 "-> Put right", "... and 185 more", r"\u6771\u4eac"):  # fmt: skip
        assert told in shown
    assert "Müller & Söhne" in painted(SCREENS["crowded"](), 80, encoding="latin-1")


@pytest.mark.parametrize(
    ("given", "seen"),
    [("a\nb\tc\r\u2028d", "a b c  d"), ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
     ("\x9b31m \x07\x00", "\ufffd31m \ufffd\ufffd"), ("\u202eabc\u2069\u200f\ufeff", "abc"),
     ("👩\u200d🏫 ❤\ufe0f", "👩🏫 ❤"), ("می\u200cخواهم", "می\u200cخواهم"), ("क\u094d\u200dष",) * 2,
     ("\ud800", "\ufffd"), ("[red]x[/red]",) * 2, ("e\u0301",) * 2],
)  # fmt: skip
def test_only_what_can_be_seen_is_kept(given, seen):
    assert visible(given) == seen


# -- Any text, any width ------------------------------------------------------------------------

NASTY = (
    *NAMES, "[/]", "[link=x]a[/link]", ":smile:", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "x" * 300,
    "\u202e\u2066\u200e", "\u200d" * 5, "\u0301" * 9, "🇩🇪👍🏽", "\u3000", "\ud83c", "a\r\nb", "",
)  # fmt: skip
names = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=()), max_size=30)
)
levels = st.sampled_from(get_args(Level))
floats = st.one_of(st.none(), st.floats(), st.integers(0, 9_000).map(float))


def some(strategy, most=3):
    return st.lists(strategy, max_size=most).map(tuple)


@st.composite
def tables(draw):
    columns = draw(st.lists(
        st.builds(Column, names, st.booleans(), st.integers(0, 3), st.booleans()),
        min_size=1, max_size=9,
    ))  # fmt: skip
    row = st.tuples(*[st.builds(Cell, names, levels)] * len(columns))
    return Table(draw(names), tuple(columns), draw(some(row)), draw(names), draw(st.integers(1, 4)))


@st.composite
def charts(draw):
    series = draw(st.integers(0, 3))
    values = st.tuples(*[floats] * max(series, 1))
    points = draw(st.lists(st.builds(Point, names, values, names, levels), max_size=26))
    return Chart(draw(names), draw(names), tuple(draw(names) for _ in range(series)),
                 tuple(points), draw(names), draw(floats), draw(floats), draw(names))  # fmt: skip


cards = st.builds(Card, names, names, levels, names)
views = st.builds(View, names, names, some(cards, 8), st.none() | charts(), some(tables(), 2))
alerts = st.builds(AlertLine, levels, names, names, names, st.booleans(),
                   st.none() | st.integers(1, 99))  # fmt: skip
screens = st.builds(Screen, names, some(alerts, 8), some(views, 2))


def levels_of(screen):
    """Return every level that has to be told in words."""
    found = {alert.level for alert in screen.alerts}
    for view in screen.views:
        found |= {card.level for card in view.cards}
        found |= {cell.level for table in view.tables for row in table.rows for cell in row
                  if {"critical": 2, "warning": 1}.get(cell.level, 0) ==
                  max({"critical": 2, "warning": 1}.get(c.level, 0) for c in row)}  # fmt: skip
    return found & LEVEL_WORDS.keys()


@settings(deadline=None, max_examples=75, suppress_health_check=[HealthCheck.too_slow])
@given(screen=screens, width=st.integers(20, 200), rows=st.none() | st.integers(1, 3),
       encoding=st.sampled_from(["utf-8", "ascii", "latin-1", "cp1252"]))  # fmt: skip
def test_no_name_breaks_a_line(screen, width, rows, encoding):
    shown = painted(screen, width, rows=rows, encoding=encoding)
    lines = shown.split("\n")
    assert [line for line in lines if cell_len(line) > width] == []
    kept = {char for line in lines for char in line
            if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}  # fmt: skip
    assert kept <= {LEFT_TO_RIGHT, "\u200c", "\u200d"} or encoding != "utf-8"
    assert not kept & {"\x1b", "\x9b", "\r", "\x07"}
    for level in levels_of(screen):
        assert LEVEL_WORDS[level] in shown
    coloured = painted(screen, width, rows=rows, encoding=encoding, colour=True)
    assert COLOUR.sub("", coloured) == shown


# -- Watching -----------------------------------------------------------------------------------


class Window(io.StringIO):
    """A terminal of a size that may change."""

    def isatty(self):
        return True


class Time:
    """A clock that sleeping moves, until somebody presses Ctrl-C."""

    def __init__(self, end):
        self.now, self.end, self.at = 1_000.0, 1_000.0 + end, {}

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for moment in [moment for moment in self.at if self.now >= 1_000.0 + moment]:
            self.at.pop(moment)()
        if self.now > self.end:
            raise KeyboardInterrupt


def window(width, height):
    return Console(
        file=Window(), width=width, height=height, highlight=False, no_color=True,
        force_terminal=True, legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip


def frames(out):
    """Return what stood in the window after each painting, as lines."""
    shown = COLOUR.sub("", out.file.getvalue())
    assert shown.count(ENTER) == shown.count(LEAVE) == 1
    parts = shown[shown.index(ENTER) : shown.index(LEAVE)].split("\x1b[H")[2:]
    parts = [re.sub(r"\x1b\[\?\d+[hl]", "", part) for part in parts]
    return [[line.rstrip() for line in part.split("\n")] for part in parts]


def taking(*results):
    """Return what gives these screens, one at a call, and raises what is an error."""
    left = iter(results)

    def take():
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return take


def watched(out, take, end, **how):
    time_ = how.pop("time_", None) or Time(end)
    with pytest.raises(KeyboardInterrupt):
        watch(out, take, 5, clock=time_.clock, sleep=time_.sleep, **how)
    return frames(out)


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 50), (40, 15), (200, 200), (20, 2)])
def test_a_watch_never_passes_its_window(name, width, height):
    for lines in watched(window(width, height), SCREENS[name], 6):
        assert len(lines) <= height
        assert max(map(cell_len, lines)) <= width


def test_a_low_window_shows_the_most_important():
    lines = watched(window(80, 24), failing, 6)[-1]
    shown = "\n".join(lines)
    assert "every 5 s, end with Ctrl-C" in lines[0]
    assert "Critical  The sync of Müller" in lines[2]
    assert "… and 2 more" in shown
    assert "── Auto-Sync ─" in shown
    assert "Failed" in shown
    assert lines[-1].startswith("Left out, the window is low: Sync success, 7 days; Companies,")
    tall = "\n".join(watched(window(80, 200), failing, 6)[-1])
    assert "Left out" not in tall
    assert "Elm Park Schools" in tall


def test_a_table_grows_into_the_room_there_is():
    def rows(height):
        out = window(80, height)
        lines = watched(out, SCREENS["crowded"], 6, keys=("auto-sync",))[-1]
        return sum("✕ failed" in line or "✓ ok" in line for line in lines)

    assert 2 <= rows(44) < rows(50) < rows(80) == 15


def test_a_resized_window_is_painted_anew_at_once():
    out, time_ = window(80, 24), Time(4)

    def resize():
        out.size = (120, 60)

    time_.at[1] = resize
    first, last = (frame for frame in watched(out, healthy, 4, time_=time_)[-2:])
    assert (len(first[0]), len(last[0])) == (80, 120)


def test_a_failing_refresh_keeps_the_last_figures_with_the_reason():
    take = taking(
        healthy(),
        StoreError("The store is locked.", "Try: alxreport doctor"),
        StoreError("The store is gone.", "Mount it."),
        replace(fresh(), at="later"),
    )
    shown = ["\n".join(lines) for lines in watched(window(100, 80), take, 17)]
    assert "No newer figures" not in shown[0]
    _first, once, twice, again = dict.fromkeys(shown)
    assert once.split("\n")[2].startswith(
        "▌ ✕ Critical  No newer figures: The store is locked.  these are of 2026-07-15"
    )
    assert "→ Try: alxreport doctor" in once
    assert "1,204" in once, "the last figures stay"
    assert "No newer figures (2 times): The store is gone." in twice
    assert "No newer figures" not in again
    assert "later, every 5 s" in again


def test_the_first_failure_is_nobody_elses():
    def take():
        raise StoreError("The store is gone.")

    out = window(80, 24)
    with pytest.raises(StoreError):
        watch(out, take, 5)
    assert out.file.getvalue() == ""


def test_elsewhere_each_screen_is_printed():
    out, time_ = console(80), Time(11)
    take = taking(healthy(), StoreError("The store is locked.", "Wait."), failing())
    with pytest.raises(KeyboardInterrupt):
        watch(out, take, 5, ("auto-sync",), clock=time_.clock, sleep=time_.sleep)
    first, last = painted(healthy(), 80, ("auto-sync",)), painted(failing(), 80, ("auto-sync",))
    shown = written(out)
    assert shown.startswith(f"{first}\n▌ ✕ Critical  No newer figures: The store is locked.")
    assert shown.endswith(f"{last}\n")
    assert "\x1b" not in shown


PROGRAM = """
import sys
from alxreport.monitor_views import console, watch
from tests.made_screens import failing
try:
    watch(console(sys.stdout), failing, 0.2)
except KeyboardInterrupt:
    sys.exit(130)
"""


def read_until(terminal, wanted, shown="", seconds=30):
    """Read what a program shows until a text appears, or until it ends."""
    end = time.monotonic() + seconds
    while wanted is None or wanted not in shown:
        left = end - time.monotonic()
        ready = left > 0 and select.select([terminal], [], [], left)[0]
        assert ready, f"no {wanted!r}: {shown!r}"
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            assert wanted is None, shown
            return shown
        shown += part.decode(errors="replace")
    return shown


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_ctrl_c_gives_the_terminal_back(term):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    drop = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    env = {name: value for name, value in os.environ.items() if name not in drop}
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[1], env=env | {"TERM": term},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            shown = read_until(ours, "Auto-Sync")
            if term != "dumb":
                fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
                shown = read_until(ours, "─" * 100, shown)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            os.close(theirs)
        shown = read_until(ours, None, shown)
        os.close(ours)
    assert "Traceback" not in shown
    assert "KeyboardInterrupt" not in shown
    if term == "dumb":
        assert "\x1b" not in shown
        return
    assert shown.count(ENTER) == shown.count(LEAVE) == 1
    assert shown.rindex(SHOW) > shown.rindex(HIDE)
    assert shown.index(ENTER) < shown.index("Critical") < shown.index(LEAVE)
    assert COLOUR.sub("", shown).rpartition(LEAVE)[2].strip("\r\n").replace(SHOW, "") == ""
