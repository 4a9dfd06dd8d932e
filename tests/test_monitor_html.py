"""The monitor's page: one sound document whatever the names are, and tabs in a real browser."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import html
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from itertools import count
from typing import get_args
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alxreport.markup import MARKS, safe, worst
from alxreport.monitor_charts import figure, number, scale
from alxreport.monitor_html import page, view_ids
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

from .conftest import REQUIRE_SERVERS
from .servers import ServerMissing, program

SVG = "http://www.w3.org/2000/svg"
NOW = 1_775_000_000
VOID = {"meta", "link", "br", "hr", "img", "input"}
NASTY = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onclick='x", "]]>", "-->",
    "</style></title></svg>", "&lt;&#0;&", "\x00\x07\x1b[31m\x7f\x85", "\ud800 half \udfff",
    "a\r\n\tb\u2028c", "שלום \u202e abc \u2066", "مؤسسة \u200f(3)", "\ufffe\uffff\ufdd0", "",
    "{y} {} %s $x", "😀 नमस्ते", "x" * 300, "https://example.org/?a=1&b=2",
)  # fmt: skip


# -- Screens ------------------------------------------------------------------------------------

COMPANY_COLUMNS = (
    Column("Company", long=True), Column("Last sync"), Column("Rows", right=True),
    Column("Created", right=True, rank=2), Column("Errors", right=True),
    Column("Duration", right=True, rank=3),
)  # fmt: skip


def failed_sync(companies=12):
    """Return a morning's screen: the night's sync failed for one company."""
    rows = [
        (Cell("Müller & Söhne <Nord>"), Cell("Failed 08:02", "critical"), Cell("12,480"),
         Cell("0"), Cell("1", "critical"), Cell("4.2 s")),
        (Cell("شركة التعليم العربية"), Cell("08:02"), Cell("3,204"), Cell("12"), Cell("0"),
         Cell("1.1 s")),
    ]  # fmt: skip
    rows += [
        (Cell(f"Company {n}"), Cell("08:02", "ok"), Cell(f"{n * 97:,}"), Cell(str(n % 7)),
         Cell("0"), Cell("0.8 s"))
        for n in range(3, companies + 1)
    ]  # fmt: skip
    days = [
        Point(f"{day} {n}", (value,), f"{value} % of 24 syncs" if value else "no data yet", level)
        for n, (day, value, level) in enumerate(
            [("Thu", None, "muted"), ("Fri", 100, "ok"), ("Sat", 100, "ok"), ("Sun", 99.96, "ok"),
             ("Mon", 96, "warning"), ("Tue", 100, "ok"), ("Wed", 54.17, "critical")], start=2)
    ]  # fmt: skip
    hours = [
        Point(
            f"{hour:02}:00",
            (None, None) if hour in {2, 3, 5} else (180 + hour * 9, 900 + (hour % 5) * 400),
            "no calls" if hour in {2, 3, 5} else f"average {180 + hour * 9} ms, p95 1.2 s",
            "critical" if hour == 23 else "plain",
        )
        for hour in range(24)
    ]
    auto_sync = View(
        "auto_sync", "Auto-Sync",
        (Card("Status", "Failed", "critical", "1 of 12 companies failed"),
         Card("Companies", "11 / 12", "warning", "synced / all"),
         Card("Last Sync", "08:02", note="43 minutes ago, took 12 s"),
         Card("Next Sync", "09:02", note="from the cron line"),
         Card("Records", "1,204", note="created 1,100, updated 96, deleted 8"),
         Card("Errors", "1", "critical"),
         Card("Success Rate", "98.21 %", "ok", "7 days")),
        Chart("Success rate, 7 days", "%", ("success",), tuple(days), "No data yet.", 100.0, 95.0,
              "Alert below 95 %"),
        (Table("Companies", COMPANY_COLUMNS, tuple(rows), "No company is synced yet."),),
    )  # fmt: skip
    performance = View(
        "performance", "Performance",
        (Card("API Calls", "18,204", note="24 hours"), Card("Average", "212 ms", "ok"),
         Card("p95", "2.4 s", "ok"), Card("Success Rate", "99.1 %", "ok"),
         Card("Cache Hit Rate", "no data yet", "muted"), Card("Records", "1,402,776")),
        Chart("Response time, 24 hours", "ms", ("average", "p95"), tuple(hours), "No calls yet.",
              threshold=5000.0, threshold_told="Alert above 5 s (p95)"),
        (Table("Top Consumers",
               (Column("Company", long=True), Column("Calls", right=True),
                Column("Rows", right=True), Column("Average", right=True),
                Column("Share", right=True)),
               ((Cell("Acme Ltd"), Cell("9,100"), Cell("700,000"), Cell("201 ms"), Cell("50 %")),
                (Cell("חברה בע״מ"), Cell("9,104"), Cell("702,776"), Cell("223 ms"), Cell("50 %"))),
               "No calls yet."),
         Table("Database", (Column("What"), Column("Value", right=True)),
               ((Cell("Size"), Cell("84 MB")), (Cell("Live rows"), Cell("402,776")),
                (Cell("Last verify"), Cell("2 differences", "warning"))), "")),
    )  # fmt: skip
    security = View(
        "security", "Security",
        (Card("Active Tokens", "14"), Card("Limit Violations", "2", "warning", "24 hours"),
         Card("Failed Authentications", "0", "ok", "24 hours"),
         Card("Suspicious Callers", "0", "ok", "24 hours")),
        None,
        (Table("Violations", (Column("Who", long=True), Column("Used / limit", right=True),
                              Column("When")),
               ((Cell("Acme Ltd"), Cell("104 / 100", "warning"), Cell("2026-04-01 07:12")),),
               "No violations."),
         Table("Recent Errors", (Column("When"), Column("Error", long=True)),
               ((Cell("07:12"), Cell("Rate limit exceeded for the company Acme Ltd, whose budget "
                                     "of requests for today is used up")),), "No errors."),
         Table("Errors by Type", (Column("Type"), Column("Count", right=True)), (), "No errors.")),
    )  # fmt: skip
    alerts = (
        AlertLine("critical", "Sync failed: Müller & Söhne <Nord>", "08:02, 43 minutes ago",
                  "Run 'alxreport sync --company id:4' and read its message.", number=12),
        AlertLine("warning", "Rate limit at 104 %: Acme Ltd", "07:12",
                  "Ask Acme Ltd to refresh less often, or raise the limit.", number=11),
        AlertLine("warning", "Last verify found 2 differences", "yesterday 03:10",
                  "Run 'alxreport verify --repair'.", acknowledged=True, number=9),
    )  # fmt: skip
    return Screen("2026-04-01 08:45 (Europe/Berlin)", alerts, (auto_sync, performance, security))


names = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
levels = st.sampled_from(get_args(Level))
floats = st.one_of(st.none(), st.floats(), st.floats(0, 1e7), st.integers(0, 200).map(float))


@st.composite
def tables(draw):
    columns = draw(
        st.lists(st.builds(Column, names, st.booleans(), st.just(0), st.booleans()),
                 min_size=1, max_size=3)
    )  # fmt: skip
    cells = st.builds(Cell, names, levels)
    row = st.tuples(*[cells] * len(columns))
    return Table(draw(names), tuple(columns), tuple(draw(st.lists(row, max_size=3))), draw(names))


@st.composite
def charts(draw):
    series = draw(st.lists(names, max_size=3))
    values = st.tuples(*[floats] * max(len(series), 1))
    points = draw(st.lists(st.builds(Point, names, values, names, levels), max_size=5))
    return Chart(draw(names), draw(names), tuple(series), tuple(points), draw(names),
                 draw(floats), draw(floats), draw(names))  # fmt: skip


def some(strategy, most=2):
    return st.lists(strategy, max_size=most).map(tuple)


views = st.builds(View, names, names, some(st.builds(Card, names, names, levels, names)),
                  st.none() | charts(), some(tables()))  # fmt: skip
alerts = st.builds(AlertLine, levels, names, names, names, st.booleans(),
                   st.none() | st.integers(1, 99))  # fmt: skip
screens = st.builds(Screen, names, some(alerts), some(views, 3))


# -- Reading a page -----------------------------------------------------------------------------


class Strict(HTMLParser):
    """Reads a page whose every element must be closed in its turn; keeps what it saw."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.attributes, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}"
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self.open, f"<{tag}/> is no HTML"
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def handle_comment(self, data):
        raise AssertionError("a comment")

    def handle_decl(self, decl):
        assert decl == "DOCTYPE html"

    def unknown_decl(self, data):
        raise AssertionError(data)

    handle_pi = unknown_decl


def seen(text):
    """Return what is left of a text on the page, with single spaces."""
    return " ".join(html.unescape(safe(text)).split())


def drawings(text):
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL)]


def texts_of(thing):
    """Return every text of a screen that the page has to show."""
    if isinstance(thing, str):
        return [thing]
    if isinstance(thing, tuple):
        return [text for part in thing for text in texts_of(part)]
    if not is_dataclass(thing):
        return []
    hidden = {View: {"key"}, AlertLine: {"level"}, Card: {"level"}, Cell: {"level"},
              Point: {"level"}}.get(type(thing), set())  # fmt: skip
    if isinstance(thing, Table):
        hidden = {"empty"} if thing.rows else {"columns"}
    if isinstance(thing, Chart):
        measured = any(value is not None for point in thing.points for value in point.values)
        hidden = {"empty"} if measured else {"unit", "series", "points", "threshold_told"}
        hidden |= {"series"} if len(thing.series) < 2 else set()
    return [
        text
        for field in fields(thing)
        if field.name not in hidden
        for text in texts_of(getattr(thing, field.name))
    ]


# -- The document -------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", [failed_sync(), failed_sync(40), Screen("now", (), ())])
def test_everything_is_on_the_page_once(screen):
    text = page(screen)
    read = Strict(text)
    whole = " ".join(" ".join(read.texts).split())
    for wanted in texts_of(screen):
        assert seen(wanted) in whole
    assert read.tags.count("section") == len(screen.views) + 1
    assert read.tags.count("dt") == sum(len(view.cards) for view in screen.views)
    cells = sum(len(row) for view in screen.views for table in view.tables for row in table.rows)
    heads = sum(len(table.columns) for view in screen.views for table in view.tables if table.rows)
    assert read.tags.count("td") + read.tags.count("th") == cells + heads
    charts = [view.chart for view in screen.views if view.chart]
    assert len(drawings(text)) == len(charts)
    for drawing, chart in zip(drawings(text), charts, strict=True):
        titles = [title.text for title in drawing.iter(f"{{{SVG}}}title")]
        assert len(titles) == len(chart.points)
        for title, point in zip(titles, chart.points, strict=True):
            assert title.startswith(f"{point.label}: {point.told}")


@given(screens)
def test_no_text_breaks_out(screen):
    text = page(screen, written=NOW)
    text.encode()
    read = Strict(text)
    known = Strict(page(failed_sync(), written=NOW))
    allowed = {(tag, name) for tag, name, _ in known.attributes} | {("svg", "xmlns")}
    assert set(read.tags) <= set(known.tags) | {"small"}
    assert {(tag, name) for tag, name, _ in read.attributes} <= allowed
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs"} and c != "\n"]
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufffe\uffff") & set(text)
    drawings(text)
    whole = " ".join(" ".join(read.texts).split())
    for view in screen.views:
        for card in view.cards:
            assert seen(card.value) in whole
    assert len(set(view_ids([view.key for view in screen.views]))) == len(screen.views)


@given(names)
def test_a_text_is_read_back_as_it_was_but_for_what_no_page_may_hold(name):
    assert ElementTree.fromstring(f'<a b="{safe(name)}"/>').get("b") == html.unescape(safe(name))
    if name.isprintable():
        assert html.unescape(safe(name)) == name


def test_the_page_needs_nothing_from_elsewhere():
    text = page(failed_sync(), written=NOW)
    assert set(re.findall(r"https?://[^\"' )]*", unquote(text))) == {SVG}
    read = Strict(text)
    assert not {"img", "iframe", "form", "base", "object", "embed", "audio", "video"} & set(
        read.tags
    )
    for _, name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in {"style", "src", "srcset", "action"}
        assert name != "href" or value.startswith(("#", "data:image/svg+xml,"))
        assert value != "refresh"
    assert "@import" not in text
    assert "url(" not in text


def test_only_the_pages_own_script_and_style_may_run():
    text = page(failed_sync())
    policy = next(value for _, name, value in Strict(text).attributes if "default-src" in value)
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    for directive, tag in (("script-src", "script"), ("style-src", "style")):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert parts[directive] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_a_thousand_companies_are_a_modest_page():
    assert len(page(failed_sync(1000)).encode()) < 500_000


def test_the_name_of_the_page_says_how_it_stands():
    def title(*given):
        return re.search("<title>(.*?)</title>", page(Screen("now", given, ())))[1]

    assert title() == "No open alerts – alxreport monitor"
    lines = [AlertLine(level, "x", "y", "z") for level in ("warning", "critical", "warning")]
    lines.append(AlertLine("critical", "x", "y", "z", acknowledged=True))
    assert title(*lines) == "1 critical, 2 warnings, 1 acknowledged – alxreport monitor"


def test_an_alert_says_how_to_acknowledge_it_only_while_that_is_left_to_do():
    how = "alxreport alerts ack"
    done = AlertLine("critical", "x", "y", "z", acknowledged=True, number=3)
    fresh = AlertLine("critical", "x", "y", "z")
    assert how not in page(Screen("now", (done, fresh), ()))
    assert how in page(Screen("now", (done, AlertLine("warning", "x", "y", "z", number=4)), ()))


def test_levels_are_marked_in_more_than_colour():
    for level, word in LEVEL_WORDS.items():
        card = View("a", "A", (Card("Errors", "3", level),), None, ())
        assert f"{MARKS[level]}</span> {word}</span>" in page(Screen("now", (), (card,)))
        table = Table("T", (Column("C"),), ((Cell("3", level),),), "")
        assert f'aria-label="{word}"' in page(
            Screen(
                "now", (AlertLine("critical", "", "", ""),), (View("a", "A", (), None, (table,)),)
            )
        )
    assert worst(["muted", "warning", "ok"]) == "warning"


# -- Charts -------------------------------------------------------------------------------------


def bars(*values, **more):
    points = tuple(Point(f"p{n}", (value,), str(value)) for n, value in enumerate(values))
    return Chart("T", "ms", ("s",), points, "nothing", **more)


def lines(*pairs):
    points = tuple(Point(f"p{n}", pair, str(pair)) for n, pair in enumerate(pairs))
    return Chart("T", "ms", ("average", "p95"), points, "nothing")


def test_a_gap_in_a_line_stays_a_gap_and_a_lonely_value_is_seen():
    (drawing,) = drawings(figure(lines((1, 2), (1, 2), (None, None), (1, None), (None, 4))))
    first, second = drawing.findall(f"{{{SVG}}}g[@class]")
    assert len(first.findall(f"{{{SVG}}}line")) == 1
    assert len(first.findall(f"{{{SVG}}}circle")) == 3
    assert len(second.findall(f"{{{SVG}}}line")) == 1
    assert len(second.findall(f"{{{SVG}}}circle")) == 3


def test_nothing_measured_is_said_and_zero_is_drawn():
    assert "<svg" not in figure(bars(None, float("nan")))
    assert "nothing" in figure(bars())
    (drawing,) = drawings(figure(bars(0, None)))
    bar = drawing.find(f".//{{{SVG}}}rect[@class='bar plain']")
    assert float(bar.get("height")) > 0
    assert len(drawing.findall(f".//{{{SVG}}}rect[@class='bar plain']")) == 1


@pytest.mark.parametrize(
    ("chart", "end", "drawn"),
    [
        (bars(80, 100, top=100.0, threshold=95.0, threshold_told="T"), 100, True),
        (bars(120, 480, threshold=500.0, threshold_told="T"), 600, True),
        (bars(120, 480, threshold=5000.0, threshold_told="T"), 500, False),
        (bars(0.0), 1, False),
        (bars(0.03), 0.04, False),
        (bars(1e300), 1e15, False),
    ],
)
def test_the_scale_fits_the_values(chart, end, drawn):
    assert scale(chart) == pytest.approx(end)
    (drawing,) = drawings(figure(chart))
    assert (drawing.find(f"{{{SVG}}}line[@class='limit']") is not None) == drawn
    assert ("above this scale" in figure(chart)) == (not drawn and chart.threshold is not None)


@given(st.lists(floats, min_size=1, max_size=30), floats, floats)
def test_a_drawing_stays_in_its_frame(values, top, threshold):
    chart = bars(*values, top=top, threshold=threshold)
    for drawing in drawings(figure(chart)):
        height = float(drawing.get("height"))
        for shape in drawing.iter():
            for name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(shape.get(name, 0)) <= height
            for name in ("x1", "x2", "cx"):
                assert 0 <= float(shape.get(name, "0").rstrip("%")) <= 100
            assert float(shape.get("height", 0)) >= 0


@pytest.mark.parametrize(
    ("value", "told"),
    [(99.996, "99.99"), (100, "100"), (99.29, "99.29"), (0, "0"), (0.5, "0.5"), (1234, "1,234"),
     (12_000, "12k"), (2_500_000, "2.5M")],
)  # fmt: skip
def test_a_number_never_claims_more_than_was_measured(value, told):
    assert number(value) == told


# -- Colours ------------------------------------------------------------------------------------


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_can_be_read_in_both_lights():
    (style,) = re.findall("<style>(.*?)</style>", page(failed_sync()), re.DOTALL)
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 3, "light, dark, print"
    for block in blocks[:2]:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        grounds = ("ground", "paper", "critical-ground", "warning-ground")
        for ink in ("ink", "soft"):
            assert min(contrast(colour[ink], colour[ground]) for ground in grounds) >= 4.5
        for level in MARKS:
            for ground in ("ground", "paper", f"{level}-ground", "critical-ground"):
                if not (ground == "critical-ground" and level == "ok"):
                    assert contrast(colour[level], colour[ground]) >= 4.5, (level, ground)
        for line in ("accent", "second"):
            assert contrast(colour[line], colour["paper"]) >= 3


# -- A real browser -----------------------------------------------------------------------------


class Browser:
    """A headless browser, driven over two pipes in the words of its developer tools."""

    SECONDS = 30
    START = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
        "os.execv(sys.argv[3], sys.argv[3:])"
    )

    def __init__(self, binary, folder):
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # Away from 3 and 4, which the browser reads and writes.
        away = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (commands, answers)]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", self.START, *map(str, away), binary, "--headless",
             "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-pipe",
             f"--user-data-dir={folder}", "about:blank"],
            pass_fds=away, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
        )  # fmt: skip
        for end in (commands, answers, *away):
            os.close(end)
        self._numbers, self._buffer, self.events, self._session = count(1), b"", [], None
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self):
        target = next(
            info for info in self.ask("Target.getTargets")["targetInfos"] if info["type"] == "page"
        )
        self._session = self.ask(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method, **parameters):
        """Send one command and return its result; events that come meanwhile are kept."""
        wanted = next(self._numbers)
        message = {"id": wanted, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == wanted:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self):
        deadline = time.monotonic() + self.SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], deadline - time.monotonic())
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser is gone"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, address):
        """Load a page from anew and forget earlier events."""
        for goal in ("about:blank", address):  # else another tab of the page would be no load
            self.events.clear()
            loader = self.ask("Page.navigate", url=goal)["loaderId"]
            while not any(
                event.get("method") == "Page.lifecycleEvent"
                and event["params"]["name"] == "load"
                and event["params"]["loaderId"] == loader
                for event in self.events
            ):
                self.events.append(self._read())

    def run(self, script):
        """Return the value of an expression in the page."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, key):
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"Enter": 13, " ": 32, "Tab": 9}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code,
                     **({"text": text} if text and kind == "keyDown" else {}))  # fmt: skip

    def click(self, selector):
        x, y = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def look(self, width=1280, height=900, dark=False, media="", script=True):
        """Be a window of this size, in this light."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=width < 500)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)

    def faults(self):
        """Return every complaint and every request that is not the page itself."""
        kinds = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        found = [event for event in self.events if event.get("method") in kinds]
        for event in self.events:
            if event.get("method") == "Network.requestWillBeSent":
                address = event["params"]["request"]["url"]
                if not address.startswith(("file:", "data:", "about:")):
                    found.append(event)
        return found

    def close(self):
        os.close(self._commands)  # at which the browser ends
        os.close(self._answers)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        binary = program("chromium")
    except ServerMissing as error:
        if os.environ.get(REQUIRE_SERVERS) == "1":
            pytest.fail(f"{error}, and {REQUIRE_SERVERS} is 1")
        pytest.skip(str(error))
    started = Browser(binary, tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "monitor page.html"
    path.write_text(page(failed_sync(60), written=int(time.time()) - 60), encoding="utf-8")
    return path.as_uri()


STATE = """(() => ({
  shown: [...document.querySelectorAll(".view")].filter((v) => v.offsetParent !== null)
    .map((v) => v.getAttribute("aria-label")),
  chosen: [...document.querySelectorAll("[role=tab][aria-selected=true]")]
    .map((t) => (t.firstChild?.data ?? "").trim()),
  reached: [...document.querySelectorAll("[role=tab]")].filter((t) => t.tabIndex === 0).length,
  hash: location.hash,
  scrolled: scrollY,
}))()"""


def shown(browser):
    state = browser.run(STATE)
    assert state["shown"] == state["chosen"]
    assert state["reached"] == 1
    (title,) = state["shown"]
    return title, state["hash"]


def test_tabs_follow_a_click_and_the_arrow_keys(browser, address):
    browser.look()
    browser.open(address)
    assert shown(browser) == ("Auto-Sync", "")
    browser.click('[role=tab][href="#security"]')
    assert shown(browser) == ("Security", "#security")
    for key, title in (
        ("ArrowRight", "Auto-Sync"), ("ArrowRight", "Performance"), ("ArrowLeft", "Auto-Sync"),
        ("ArrowLeft", "Security"), ("Home", "Auto-Sync"), ("End", "Security"), ("x", "Security"),
    ):  # fmt: skip
        browser.press(key)
        assert shown(browser)[0] == title, key
        assert browser.run("document.activeElement.getAttribute('aria-selected')") == "true"
    assert browser.run("document.activeElement.matches(':focus-visible')")
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('role')") == "tabpanel"
    assert browser.faults() == []


def test_tabs_are_tabs_for_a_screen_reader(browser, address):
    browser.look()
    browser.open(address)
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in tree if not node["ignored"]]
    assert (roles.count("tablist"), roles.count("tab"), roles.count("tabpanel")) == (1, 3, 1)
    named = {(node["role"]["value"], node.get("name", {}).get("value")) for node in tree}
    assert ("tab", "Auto-Sync Critical") in named
    assert ("tabpanel", "Auto-Sync") in named
    (image,) = [name for role, name in named if role == "image" and "Success rate" in name]
    assert "Thu 2 to Wed 8" in image


def test_an_address_opens_its_tab_with_the_alerts_in_sight(browser, address):
    browser.look()
    browser.open(f"{address}#performance")
    assert shown(browser) == ("Performance", "#performance")
    assert browser.run("scrollY") == 0
    browser.run("location.hash = '#security'")
    browser.run("new Promise((done) => setTimeout(done, 50))")
    assert shown(browser) == ("Security", "#security")
    browser.open(f"{address}#nonsense")
    assert shown(browser)[0] == "Auto-Sync"
    assert browser.faults() == []


def test_without_a_script_and_on_paper_all_views_are_there(browser, address):
    everything = ["Auto-Sync", "Performance", "Security"]
    browser.look(script=False)
    browser.open(address)
    browser.look()
    assert browser.run(STATE)["shown"] == everything
    browser.open(address)
    browser.look(media="print")
    assert browser.run(STATE)["shown"] == everything
    browser.look()
    assert browser.run(STATE)["shown"] == everything[:1]


def test_a_phone_scrolls_down_but_not_sideways(browser, address):
    browser.look(360, 740)
    browser.open(address)
    for tab in ("auto-sync", "performance", "security"):
        browser.click(f'[role=tab][href="#{tab}"]')
        assert browser.run("document.documentElement.scrollWidth") == 360
    browser.click('[role=tab][href="#auto-sync"]')
    browser.run("document.querySelector('.box').scrollLeft = 200")
    first, second = browser.run(
        "[...document.querySelectorAll('.box tbody tr:first-child > *')].slice(0, 2)"
        ".map((cell) => cell.getBoundingClientRect().left)"
    )
    assert second < first + 20, "the name stays beside its figures"
    assert browser.faults() == []


def test_dark_follows_the_readers_choice(browser, address):
    browser.look(dark=True)
    browser.open(address)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
    browser.look()
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(244, 246, 249)"


@pytest.mark.parametrize(
    ("seconds", "told"), [(70, None), (14 * 3600 + 5, "14 hours"), (3 * 86400, "3 days")]
)
def test_an_old_page_says_that_it_is_old(browser, tmp_path, seconds, told):
    path = tmp_path / "old.html"
    path.write_text(page(failed_sync(), written=int(time.time()) - seconds), encoding="utf-8")
    browser.open(path.as_uri())
    assert browser.run("document.querySelector('.old').offsetParent !== null") == (told is not None)
    words = told or "1 minute"
    assert browser.run("document.querySelector('.at').textContent").endswith(f", {words} ago")


@settings(max_examples=15)
@given(screens)
def test_any_names_leave_the_browser_calm(browser, tmp_path_factory, screen):
    path = tmp_path_factory.mktemp("any") / "page.html"
    path.write_text(page(screen, written=NOW), encoding="utf-8")
    browser.look()
    browser.open(path.as_uri())
    state = browser.run(STATE)
    assert len(state["shown"]) == min(len(screen.views), 1)
    assert browser.faults() == []


def test_thousands_of_alerts_make_no_large_page():
    line = AlertLine("critical", "The sync failed.", "08:00", "Run it again.", False, 7)
    shown = page(Screen("2026-01-01 00:00 UTC", (line,) * 5_000, ()))
    assert len(shown) < 200_000
    assert "And 4,900 more" in shown
