"""Cron lines as text: written, found, understood, put in and taken out, and their times."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import crontab as independent
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from alxreport import cli, cron_command, cron_times
from alxreport.cron_command import find_calls
from alxreport.cron_lines import (
    all_lines,
    example_lines,
    find_jobs,
    host_minute,
    sync_line,
    with_lines,
    without_lines,
)
from alxreport.cron_units import unit_jobs
from alxreport.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
LINE = sync_line(("/opt/alxreport/bin/alxreport",), None, 17)


def call(command):
    found = list(find_calls(command))
    assert len(found) == 1, found
    return found[0]


# As they are written


def test_the_lines():
    lines = all_lines(("/usr/bin/alxreport",), "/srv/a b.toml", 7, "logger")
    assert lines == {
        "sync": "7 * * * * ALXREPORT_CONFIG='/srv/a b.toml' /usr/bin/alxreport sync --quiet"
        " 2>&1 | logger -t alxreport # alxreport sync",
        "alerts": "*/10 * * * * ALXREPORT_CONFIG='/srv/a b.toml' /usr/bin/alxreport alerts check"
        " --notify --quiet 2>&1 | logger -t alxreport # alxreport alerts",
    }


def test_what_fits_into_no_line():
    for minute in (-1, 60):
        with pytest.raises(UsageError):
            sync_line(("/x",), None, minute)
    with pytest.raises(UsageError):
        sync_line(("/x",), "/a\nb", 1)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_machine_has_a_minute(name):
    assert 1 <= host_minute(name) <= 59


def test_machines_spread_over_the_hour():
    assert len({host_minute(f"web{number}") for number in range(1000)}) == 59
    assert host_minute("moodle.example.org") == 13, "the same in every version and on every Python"


words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)


@given(words, words, st.integers(0, 59), st.sampled_from(["mail", "logger"]))
def test_what_is_written_is_understood(folder, config, minute, log):
    program = f"/{folder.replace('/', '_')}/alxreport"
    line = sync_line((program,), config, minute, log)
    (job,) = find_jobs(line + "\n")
    assert (job.times, job.marked, job.commented, job.ended) == (
        f"{minute} * * * *", "sync", False, True,
    )  # fmt: skip
    found = call(job.command)
    assert (found.program, found.config, found.task) == ((program,), config, "sync")
    assert not found.inside
    assert not found.fault()


def test_the_examples_are_these_lines():
    example = (ROOT / "crontab.example").read_text(encoding="utf-8")
    lines = [job for job in find_jobs(example) if not job.commented]
    assert [job.marked for job in lines] == list(example_lines())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in example_lines().values():
        assert line in example.split("\n")
        assert line in readme


@pytest.mark.parametrize("task", ["sync", "alerts"])
def test_the_timers_run_the_same_as_the_lines(task):
    timer, service = (
        (ROOT / "systemd" / f"alxreport-{task}.{kind}").read_text() for kind in ("timer", "service")
    )
    (job,) = unit_jobs(timer, service, enabled=True)
    (line,) = find_jobs(example_lines()[task] + "\n")
    assert (job.times, job.user) == (line.times, "root")
    assert call(job.command).options == call(line.command).options
    assert call(job.command).program == call(line.command).program


def test_an_independent_reader_finds_the_same():
    (item,) = independent.CronTab(tab=LINE + "\n")
    assert item.comment == "alxreport sync"
    assert item.slices.render() == "17 * * * *"
    assert independent.CronTab(tab=LINE + "\n").render() == LINE + "\n"


# As they are found


def test_variables_users_comments_and_ends():
    text = (
        "# a comment about alxreport sync\n"
        'PATH = "/opt/bin:/bin"\n'
        "MAILTO=\n"
        f"#{LINE}\n"
        "## 5 * * * * /x/other\n"
        "@hourly\tALXREPORT_CONFIG=/b\talxreport sync 50\\% done % input\n"
        "LATER=1\n"
        "7 * * * *  alxreport sync"
    )
    off, hourly, last = find_jobs(text)
    assert (off.commented, off.number, off.marked) == (True, 4, "sync")
    assert hourly.variables == {"PATH": "/opt/bin:/bin", "MAILTO": ""}
    assert hourly.command == "ALXREPORT_CONFIG=/b\talxreport sync 50% done "
    assert (hourly.ended, last.ended) == (True, False)
    assert last.variables["LATER"] == "1"


def test_the_machines_crontab_names_a_user():
    for space in (" ", "\t", "   "):
        (job,) = find_jobs(f"7 * * * * ana{space}/x/alxreport sync\n", system=True)
        assert (job.user, job.command) == ("ana", "/x/alxreport sync")


@pytest.mark.parametrize(
    ("command", "program", "config", "inside"),
    [
        ("alxreport sync", "alxreport", None, ""),
        ("/x/alxreport --config /a sync --quiet", "/x/alxreport", "/a", ""),
        ("/x/alxreport --debug sync --config=/a", "/x/alxreport", "/a", ""),
        ("ALXREPORT_CONFIG=/b /x/alxreport sync", "/x/alxreport", "/b", ""),
        ("env ALXREPORT_CONFIG=/b /x/alxreport sync", "/x/alxreport", "/b", ""),
        ("/x/python3.11 -I -m alxreport sync", "/x/python3.11 -I -m alxreport", None, ""),
        ("cd /x && ./alxreport sync > /dev/null 2>&1; true", "./alxreport", None, ""),
        ("nice -n 19 flock -n /run/alxreport /x/alxreport sync", "/x/alxreport", None, ""),
        ("[ -x /x/alxreport ] && /x/alxreport sync", "/x/alxreport", None, ""),
        ("sh -c 'ALXREPORT_CONFIG=/b exec alxreport sync'", "alxreport", "/b", ""),
        ("su www-data -c 'alxreport sync'", "alxreport", None, "su"),
        ("sudo -u moodle /x/alxreport sync", "/x/alxreport", None, "sudo"),
        ("echo alxreport sync", "alxreport", None, "echo"),
        ("'/a b/alxreport' sync # alxreport alerts", "/a b/alxreport", None, ""),
    ],
)
def test_what_runs_the_sync(command, program, config, inside):
    found = call(command)
    assert (shlex.join(found.program), found.task) == (
        shlex.join(shlex.split(program) if " -m " in program else [program]), "sync",
    )  # fmt: skip
    assert (found.config, found.inside, found.fault()) == (config, inside, "")


@pytest.mark.parametrize(
    "command",
    [
        "alxreport sync-state show", "alxreport monitor; /bin/x sync", "alxreporter sync",
        "alxreport verify", "alxreport", "'alxreport sync", "true # alxreport sync",
        "alxreport alerts list", "x=alxreport sync",
    ],
)  # fmt: skip
def test_what_does_not_run_the_sync(command):
    assert not list(find_calls(command))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("--quite", "--quite"), ("--dry-run", "--dry-run"), ("--quiet extra", "extra"),
        ("--quiet\r", "Windows"), ("\r", "Windows"),
    ],
)  # fmt: skip
def test_options_that_undo_the_sync(options, word):
    command = f"alxreport sync {options}" if options != "\r" else "alxreport sync\r"
    assert word in call(command).fault()


def test_every_option_of_the_sync_is_known():
    command = typer.main.get_command(cli.app).commands["sync"]
    options = {option for param in command.params for option in param.opts}
    known = {*cron_command.OPTIONS["sync"], *cron_command.IDLE_OPTIONS}
    assert options | {"--help"} == known


@given(st.text(st.sampled_from("alxreport sync-m'\"\\$;&|<>()#=%\r\n\t 2/python3")))
def test_no_command_breaks_the_reader(command):
    for found in find_calls(f"alxreport {command}"):
        found.fault()
    list(find_calls(command))


# Put in and taken out

foreign = st.one_of(
    st.sampled_from([
        "", "  ", "# a comment", "MAILTO=", "MAILTO=''", "A = b ", "\t0 5 * * 7  x\ty ",
        "00 5 * * * a%b\\%c", "@daily x # y", "nonsense", "# alxreport sync", "x\r",
        "17 * * * * alxreport sync --quiet", "7 * * * * true\r", "# 7 * * * * true", "\udcff\udcfe",
        "Zoë", "\x0b\x0c\x85\u2028", "@reboot a",
    ]),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])),
)  # fmt: skip


def own(text):
    return {job.number: job.marked for job in find_jobs(text) if job.marked}


@given(st.lists(foreign), st.booleans())
def test_foreign_lines_stay_byte_for_byte(lines, ended):
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    if own(text):
        return
    new = all_lines(("/x/alxreport",), None, 5)
    first = with_lines(text, new, own(text))
    assert first.endswith("\n")
    whole = text if not text or text.endswith("\n") else text + "\n"
    assert first == whole + "".join(f"{line}\n" for line in new.values())
    assert with_lines(first, new, own(first)) == first, "twice is once"
    assert without_lines(first, own(first)) == whole


@given(st.lists(foreign, min_size=1), st.integers(0, 9), st.sampled_from(["", "#", "# "]))
def test_an_old_line_gives_way_in_its_place(lines, place, comment):
    old = sync_line(("/old/alxreport",), None, 1)
    before, after = lines[:place], lines[place:]
    text = "\n".join([*before, comment + old, *after, old, ""])
    if len(own(text)) != 2:
        return
    new = all_lines(("/x/alxreport",), None, 5)
    mended = "\n".join([*before, new["sync"], *after, new["alerts"], ""])
    assert with_lines(text, new, own(text)) == mended
    assert without_lines(text, own(text)) == "\n".join([*before, *after, ""])


# Times


@pytest.mark.parametrize(
    ("times", "hourly"),
    [
        ("17 * * * *", True), ("*/10 * * * *", True), ("@hourly", True), ("@HOURLY", True),
        ("0,30 0-23 1-31 1-12 0-7", True), ("5 */1 * * *", True), ("5 * * jan-dec *", True),
        ("5 * 1 * *", False), ("5 * * * 1-5", False), ("5 */2 * * *", False), ("@daily", False),
        ("@reboot", False), ("5 * 1 * 1", False), ("5 9-17 * * *", False), ("5 * * 6 *", False),
    ],
)  # fmt: skip
def test_every_hour_or_not(times, hourly):
    assert cron_times.is_hourly(times) == hourly
    assert cron_times.is_understood(times)


@pytest.mark.parametrize(
    "times", ["60 * * * *", "* * * *", "@hourlyy", "5 * L * *", "5/7 * * * *", "x * * * *",
              "5 * * * mon#1", "0 5 * * * *", "5-3 * * * *", "*/0 * * * *"]
)  # fmt: skip
def test_what_cron_does_not_take(times):
    assert not cron_times.is_understood(times)
    assert cron_times.next_run(times, 0, UTC) is None
    assert not cron_times.is_hourly(times)


def at(text, zone):
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


@pytest.mark.parametrize(
    ("times", "after", "expected", "zone"),
    [
        ("17 * * * *", "2026-11-22 17:16:59", "2026-11-22 17:17", "UTC"),
        ("17 * * * *", "2026-11-22 17:17:00", "2026-11-22 18:17", "UTC"),
        ("17 * * * *", "2026-12-31 23:17:01", "2027-01-01 00:17", "Asia/Kolkata"),
        ("@hourly", "2026-11-22 17:16", "2026-11-22 18:00", "Asia/Kolkata"),
        ("0 5 * * *", "2026-11-22 17:16", "2026-11-23 05:00", "America/New_York"),
        ("@daily", "2026-03-28 12:00", "2026-03-29 00:00", "Europe/Berlin"),
        ("17 * * * *", "2026-03-29 01:17", "2026-03-29 03:17", "Europe/Berlin"),
        ("0 0 29 2 *", "2026-11-22 17:16", "2028-02-29 00:00", "UTC"),
    ],
)
def test_the_next_time(times, after, expected, zone):
    found = cron_times.next_run(times, at(after, zone), ZoneInfo(zone))
    assert found == at(expected, zone)


@given(st.integers(0, 59), st.integers(0, 4_000_000_000))
def test_an_hourly_line_runs_within_the_hour(minute, after):
    for zone in (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")):
        found = cron_times.next_run(f"{minute} * * * *", after, zone)
        assert 0 < found - after <= 3600
        assert datetime.fromtimestamp(found, zone).minute == minute
        assert found % 60 == 0


def test_lord_howe_changes_by_half_an_hour():
    zone = ZoneInfo("Australia/Lord_Howe")
    moment = datetime(2026, 4, 4, 12, tzinfo=UTC)
    for _ in range(300):
        found = cron_times.next_run("17 * * * *", int(moment.timestamp()), zone)
        assert 0 < found - moment.timestamp() <= 5400
        moment += timedelta(minutes=7)


def test_calendars_of_timers():
    for calendar, times in {
        "hourly": "0 * * * *", "*:17": "17 * * * *", "*-*-* *:07:00": "7 * * * *",
        "*:0/10": "*/10 * * * *", "Mon *-*-* 05:00": "Mon *-*-* 05:00",
    }.items():  # fmt: skip
        assert cron_times.calendar_times(calendar) == times
