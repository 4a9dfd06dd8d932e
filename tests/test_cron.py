"""Cron on a real machine: the user's own crontab, the machine's, timers, daemons and programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from alxreport import cron, cron_host, cron_judge
from alxreport.cron import cron_lines, cron_status, install_lines, next_sync_run, remove_lines
from alxreport.cron_host import read_crontab, write_crontab
from alxreport.cron_program import program_fault
from alxreport.errors import ConfigError
from alxreport.settings import user_name

from .command_line import awkward_site, run, write_config

ROOT = hasattr(os, "getuid") and os.getuid() == 0
REQUIRED = os.environ.get("ALXREPORT_REQUIRE_SERVERS") == "1"
NOW = 1_795_000_000
SPOOL = Path("/var/spool/cron/crontabs/root")
as_root = pytest.mark.skipif(not (ROOT and SPOOL.parent.is_dir()), reason="only root may read it")
ODD = (
    b"# a comment\n#\n  # indented\n\nMAILTO=\"\"\nA = 'b'\n\t00 5 * * 7\t/bin/x  y\n"
    b"0 0 * * 0 a%b\\%c\n@daily x # y\n7 * * * * true\r\nZ=\xff\xfe\nB=\x08\n# last\n"
)


def give(data):
    """Make these bytes the user's crontab."""
    words = ["crontab", "-"] if data else ["crontab", "-r"]
    subprocess.run(words, input=data, check=bool(data), capture_output=True)


def listed():
    return subprocess.run(["crontab", "-l"], capture_output=True, check=False).stdout


@pytest.fixture
def crontab(machine):
    """Hand over the user's real crontab, empty; give it back as it was."""
    if shutil.which("crontab") is None:
        (pytest.fail if REQUIRED else pytest.skip)("there is no crontab command")
    before = listed()
    if before and not REQUIRED:
        pytest.skip("this user's crontab is in use")
    # One crontab, several test processes.
    with open(Path(tempfile.gettempdir()) / f"alxreport-tests-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = SPOOL.read_bytes() if ROOT and SPOOL.exists() else listed()
        give(b"")
        yield give
        give(before)
        if ROOT and before:
            SPOOL.write_bytes(before)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without cron lines of its own, on which a daemon runs."""
    folder = tmp_path / "machine"
    for name in ("cron.d", "spool", "units/timers.target.wants", "home"):
        (folder / name).mkdir(parents=True)
    monkeypatch.setattr(cron_host, "SYSTEM_CRONTAB", folder / "crontab")
    monkeypatch.setattr(cron_host, "CRON_FOLDER", folder / "cron.d")
    monkeypatch.setattr(cron_host, "UNIT_FOLDER", folder / "units")
    monkeypatch.setattr(cron_host, "cron_daemon", lambda: "cron")
    monkeypatch.setattr(cron_host, "can_mail", lambda: True)
    return folder


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path, f"sqlite:///{tmp_path}/m.db", f"sqlite:///{tmp_path}/s.db")


@pytest.fixture
def no_crontab(machine, monkeypatch):
    """A user without a crontab, and no real one touched; returns what gives him one."""
    texts = {"": ""}
    monkeypatch.setattr(cron_host, "SPOOLS", (machine / "spool",))
    monkeypatch.setattr(cron_host, "_listed", lambda: bytes(texts[""], "utf-8"))
    return lambda text: texts.update({"": text})


# The user's own crontab


def test_install_twice_then_remove(crontab, config):
    lines = tuple(cron_lines(config).values())
    done = install_lines(config, NOW)
    assert (done.changed, done.lines, done.notes) == (True, lines, ())
    assert listed() == "".join(f"{line}\n" for line in lines).encode()
    assert not install_lines(config, NOW).changed
    assert listed() == "".join(f"{line}\n" for line in lines).encode()
    status = cron_status(config, NOW)
    assert (status.verdict, status.advice) == ("ok", "")
    assert [found.task for found in status.lines] == ["sync", "alerts"]
    for found in status.lines:
        assert (found.state, found.mine, found.marked) == ("ok", True, True)
        assert found.user == user_name()
    assert 0 < status.next_run - NOW <= 3600
    assert next_sync_run(NOW, config) == status.next_run
    assert remove_lines(config, NOW).removed == 2
    assert subprocess.run(["crontab", "-l"], capture_output=True, check=False).returncode == 1
    assert not remove_lines(config, NOW).changed
    assert next_sync_run(NOW, config) is None


@as_root
def test_foreign_lines_stay_byte_for_byte(crontab, config):
    crontab(ODD)
    stored = SPOOL.read_bytes()
    assert stored.endswith(ODD), "crontab - keeps what it is given"
    assert read_crontab("root").encode("utf-8", "surrogateescape") == ODD
    lines = install_lines(config, NOW).lines
    assert SPOOL.read_bytes().endswith(ODD + "".join(f"{line}\n" for line in lines).encode())
    install_lines(config, NOW, minute=3, log="logger")
    assert SPOOL.read_bytes().count(b"# alxreport sync") == 1
    assert remove_lines(config, NOW).changed
    assert SPOOL.read_bytes().split(b"\n", 3)[3] == ODD


@as_root
def test_a_crontab_that_was_put_there_without_the_command(crontab, config):
    # Without Debian's header, three comments first, and no line feed at the end.
    text = b"# one\n# two\n# three\n# four\n7 * * * * true"
    SPOOL.write_bytes(text)
    SPOOL.chmod(0o600)
    line, alerts = install_lines(config, NOW).lines
    assert SPOOL.read_bytes().endswith(text + f"\n{line}\n{alerts}\n".encode())
    remove_lines(config, NOW)
    assert SPOOL.read_bytes().endswith(text + b"\n")


def test_what_the_listing_does_not_tell_is_left_alone(crontab, config, monkeypatch):
    # As any user but root sees it: not the file, but its listing.
    monkeypatch.setattr(cron_host, "SPOOLS", ())
    crontab(b"7 * * * * true\r\n")
    with pytest.raises(ConfigError, match="carriage return"):
        install_lines(config, NOW)
    crontab(b"# \xff\n7 * * * * true\n")
    install_lines(config, NOW)
    assert listed().startswith(b"# \xff\n7 * * * * true\n")


def test_a_crontab_that_cron_would_not_take(crontab, config):
    if not (ROOT and SPOOL.parent.is_dir()):
        pytest.skip("only root may write it")
    SPOOL.write_bytes(b"nonsense here\n")
    with pytest.raises(ConfigError, match="refused"):
        install_lines(config, NOW)
    assert SPOOL.read_bytes() == b"nonsense here\n"


def test_no_crontab_command(no_crontab, config, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(cron_host, "crontab_program", lambda: None)
    for command in ("install", "remove"):
        done = run("cron", command, "--config", config)
        assert (done.code, "no crontab command" in done.err) == (3, True)
    assert run("cron", "status", "--config", config).code == 0
    assert run("cron", "show", "--config", config).code == 0


def test_a_crontab_that_may_not_be_had(machine, config, monkeypatch):
    script = machine / "crontab-command"
    script.write_text(
        "#!/bin/sh\necho 'You (ana) are not allowed to use this program' >&2; exit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(cron_host, "crontab_program", lambda: str(script))
    with pytest.raises(ConfigError, match="not allowed"):
        install_lines(config, NOW)
    status = cron_status(config, NOW)
    assert (status.verdict, "not allowed" in status.finding) == ("warning", True)


# Which lines give way, and which stay


@pytest.fixture
def written(no_crontab, monkeypatch):
    """Whatever is written is the user's crontab; returns the giver, and a look at it."""
    texts = []

    def write(text, user):
        texts.append(text)
        no_crontab(text)

    monkeypatch.setattr(cron_host, "write_crontab", write)
    return texts


def test_a_line_commented_out_is_on_again(no_crontab, written, config):
    line, alerts = cron_lines(config).values()
    no_crontab(f"# before\n#{line}\n# after\n")
    assert cron_status(config, NOW).lines[0].state == "off"
    assert cron_status(config, NOW).advice.startswith("Run: alxreport cron install")
    done = install_lines(config, NOW)
    assert written == [f"# before\n{line}\n# after\n{alerts}\n"]
    assert "commented out; it is on again" in done.notes[0]


def test_a_line_by_hand_that_works_is_enough(no_crontab, written, config):
    line, alerts = cron_lines(config).values()
    by_hand = line.replace(" # alxreport sync", " >> /tmp/log")
    no_crontab(f"{by_hand}\n")
    done = install_lines(config, NOW)
    assert (written, done.lines) == ([f"{by_hand}\n{alerts}\n"], (alerts,))
    assert "does it already" in done.notes[0]
    no_crontab(f"{by_hand}\n")
    done = remove_lines(config, NOW)
    assert (done.changed, "not put in by alxreport" in done.notes[0]) == (False, True)


def test_a_line_by_hand_that_does_not_work_stays_and_is_told(no_crontab, written, config):
    no_crontab("7 2 * * * /nowhere/alxreport sync\n7 * * * * alxreport sync\n")
    done = install_lines(config, NOW)
    assert written[0].startswith("7 2 * * * /nowhere/alxreport sync\n7 * * * * alxreport sync\n")
    assert "There is no /nowhere/alxreport" in done.notes[0]
    assert "Cron looks for alxreport in /usr/bin:/bin only" in done.notes[1]
    assert cron_status(config, NOW).verdict == "ok"


def test_two_configurations_have_a_line_each(no_crontab, written, config, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(config.read_text())
    install_lines(config, NOW)
    install_lines(other, NOW)
    assert written[-1].count("# alxreport sync") == 2
    states = {line.state for line in cron_status(config, NOW).lines}
    assert states == {"ok", "other"}
    assert remove_lines(config, NOW).notes == tuple(
        f"Your crontab, line {number}, stays. It uses another configuration: {other}."
        for number in (3, 4)
    )
    assert written[-1].count("# alxreport sync") == 1
    assert str(other) in written[-1]


def test_an_old_path_is_replaced_in_its_place(no_crontab, written, config):
    line, alerts = cron_lines(config).values()
    old = line.replace(sys.executable.rpartition("/")[0], "/gone/bin")
    no_crontab(f"{old}\n# after\n{old}\n")
    assert cron_status(config, NOW).verdict == "warning"
    install_lines(config, NOW)
    assert written == [f"{line}\n# after\n{alerts}\n"]


def test_a_configuration_that_is_gone_can_be_removed(no_crontab, written, config):
    install_lines(config, NOW)
    config.unlink()
    assert run("cron", "remove", "--config", config).code == 0
    assert written[-1] == ""


def test_who_changes_the_crontab_meanwhile_is_waited_for(no_crontab, written, config):
    other = threading.Thread(target=install_lines, args=(config, NOW))
    with cron_host.one_at_a_time(user_name()):
        other.start()
        other.join(0.3)
        assert written == [], "it waits until we are done"
        no_crontab("1 * * * * ours\n")
    other.join()
    assert written[0].startswith("1 * * * * ours\n")


# Everything else that may run it


def test_lines_of_the_machine_and_of_others(no_crontab, machine, config, monkeypatch):
    line, _alerts = cron_lines(config).values()
    times, command = line[: line.index("*") + 7], line[line.index("*") + 8 :]
    (machine / "cron.d" / "alxreport").write_text(f"{times} nobody-here {command}\n")
    (machine / "cron.d" / "passed.over").write_text(f"{times} root {command}\n")
    (machine / "spool" / "ana").write_text(f"{line}\n")
    monkeypatch.setattr(cron_host, "_file_fault", lambda path: "")
    homes = {"ana": machine / "home", user_name(): machine / "home"}
    monkeypatch.setattr(cron_host, "home_of", homes.get)
    system, other = cron_status(config, NOW).lines
    assert (system.user, system.fault) == ("nobody-here", "There is no user nobody-here.")
    assert (other.place, other.user, other.mine) == ("the crontab of ana", "ana", False)
    assert other.state == "ok"
    monkeypatch.setattr(cron_host, "may_read", lambda path, user: False)
    assert cron_status(config, NOW).lines[1].fault == f"The user ana may not read {config}."


def test_files_that_cron_passes_over(tmp_path):
    path = tmp_path / "alxreport"
    path.touch(mode=0o644)
    if ROOT:
        assert not cron_host._file_fault(path)
        path.chmod(0o664)
        assert "can be changed by others" in cron_host._file_fault(path)
        os.chown(path, 65534, 65534)
    assert "does not belong to root" in cron_host._file_fault(path)


def test_a_line_without_an_end_and_one_with_a_file_fault(no_crontab, config):
    line, _alerts = cron_lines(config).values()
    no_crontab(line)
    assert "does not end" in cron_status(config, NOW).lines[0].fault


def test_timers(no_crontab, machine, config, monkeypatch):
    program = cron.own_program()[0]
    units = machine / "units"
    (units / "alxreport-sync.timer").write_text("[Timer]\nOnCalendar=*:23\n")
    (units / "alxreport-sync.service").write_text(
        f"[Service]\nUser={user_name()}\nEnvironment=ALXREPORT_CONFIG={config}\n"
        f"ExecStart={program} sync --quiet\n"
    )
    status = cron_status(config, NOW)
    assert (status.lines[0].state, status.next_run) == ("off", None)
    assert status.advice == "Enable it: systemctl enable --now alxreport-sync.timer"
    (units / "timers.target.wants" / "alxreport-sync.timer").symlink_to(
        units / "alxreport-sync.timer"
    )
    monkeypatch.setattr(cron_host, "systemd_runs", lambda: False)
    assert "systemd does not run this machine" in cron_status(config, NOW).finding
    monkeypatch.setattr(cron_host, "systemd_runs", lambda: True)
    monkeypatch.setattr(cron_host, "cron_daemon", lambda: "")
    status = cron_status(config, NOW)
    assert (status.verdict, "A timer runs the sync" in status.finding) == ("ok", True)
    assert time.localtime(status.next_run).tm_min == 23
    assert next_sync_run(NOW, config) == status.next_run


def test_which_daemon_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(cron_host, "PROCESSES", tmp_path)
    monkeypatch.setattr(cron_host, "SYSTEMD_CRON", tmp_path / "none")
    assert cron_host.cron_daemon() is None

    def process(number, name, words):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cmdline").write_bytes(words)

    (tmp_path / "self").touch()
    process(7, "bash", b"bash\0")
    assert cron_host.cron_daemon() is None, "others' processes are hidden"
    process(1, "init", b"init\0")
    assert cron_host.cron_daemon() == ""
    process(8, "cron", b"")
    assert cron_host.cron_daemon() == "", "it has ended"
    process(9, "busybox", b"busybox\0crond\0")
    assert cron_host.cron_daemon() == "crond"


def test_programs(tmp_path):
    def script(name, text, mode=0o755):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    good = script("alxreport", f"#!{sys.executable}\nfrom alxreport.cli import main\n")
    assert not program_fault((good,), tmp_path)
    assert not program_fault(("~/alxreport",), tmp_path)
    assert not program_fault(("alxreport",), tmp_path, str(tmp_path))
    assert not program_fault(cron.own_program(), tmp_path)
    for program, word in {
        "/nowhere/alxreport": "There is no",
        "no-such-name": "Cron looks for no-such-name in",
        script("a/alxreport", "#!/bin/sh\n# alxreport", 0o644): "is no program",
        script("b/alxreport", "#!/gone/python\nalxreport\n"): "which is not there any more",
        script("c/alxreport", "#!/bin/sh\nrm -rf /\n"): "is not alxreport",
        script("d/alxreport", ""): "is not alxreport",
        str(tmp_path): "is no program",
    }.items():
        assert word in program_fault((program,), tmp_path)
    python = script("venv/bin/python", "")
    assert "No alxreport is installed" in program_fault((python, "-m", "alxreport"), tmp_path)
    (tmp_path / "venv/lib/python3.12/site-packages/alxreport").mkdir(parents=True)
    assert not program_fault((python, "-m", "alxreport"), tmp_path)


def test_who_may_read(tmp_path):
    path = tmp_path / "config.toml"
    path.touch(mode=0o600)
    assert cron_host.may_read(path, user_name())
    assert cron_host.may_read(path, "root")
    assert cron_host.may_read(path, "no such user"), "not known is not refused"
    if ROOT:
        assert not cron_host.may_read(path, "nobody")
        path.chmod(0o644)
        assert cron_host.may_read(path, "nobody")


def test_the_machines_time_zone(tmp_path, monkeypatch):
    monkeypatch.setattr(cron_host, "LOCAL_TIME", Path("/usr/share/zoneinfo/Asia/Kathmandu"))
    if cron_host.LOCAL_TIME.exists():
        assert cron_judge.next_run("0 * * * *", 0, cron_host.local_zone()) == 1800
    monkeypatch.setattr(cron_host, "LOCAL_TIME", tmp_path / "none")
    assert cron_judge.next_run("0 * * * *", 0, cron_host.local_zone()) == 3600


# The commands


def test_show_status_and_usage(no_crontab, written, config, monkeypatch):
    done = run("cron", "show", "--minute", "5", "--log", "logger", "--config", config)
    lines = cron_lines(config, minute=5, log="logger").values()
    assert done.out.decode() == "".join(f"{line}\n" for line in lines)
    shown = run("cron", "show", "--json", "--config", config).json()
    assert shown == {
        "lines": [{"task": task, "line": line} for task, line in cron_lines(config).items()]
    }
    assert run("cron", "show", "--minute", "60", "--config", config).code == 2
    assert run("cron").code == 2
    assert run("cron", "status", "--config", "/nowhere.toml").code == 3
    done = run("cron", "install", "--config", config)
    assert (done.code, done.out, cron_lines(config)["sync"] in done.err) == (0, b"", True)
    assert run("cron", "install", "--json", "--config", config).json()["changed"] is False
    status = run("cron", "status", "--json", "--config", config).json()
    assert status["lines"][0]["state"] == "ok"
    assert status["next_run"] == status["lines"][0]["next_run"]
    shown = run("cron", "status", "--config", config).out.decode()
    assert "Cron ok: The sync runs at" in shown
    assert "Cron daemon: cron is running" in shown


def test_what_a_line_sets_is_not_shown(no_crontab, config):
    no_crontab("7 * * * * ALXREPORT_MOODLE_URL=mysql://u:s3cret@h/d /x/alxreport sync\n")
    for words in (("cron", "status"), ("cron", "status", "--json"), ("doctor",)):
        done = run(*words, "--config", config)
        assert "s3cret" not in done.out.decode() + done.err


def test_what_only_the_environment_says_is_told(no_crontab, written, config, monkeypatch):
    monkeypatch.setenv("ALXREPORT_STORE_URL", "mysql://u:s3cret@h/d")
    (note,) = install_lines(config, NOW).notes
    assert note.startswith("ALXREPORT_STORE_URL is set here, and will not be for cron")


def test_mail_that_would_be_lost_is_told(no_crontab, written, config, monkeypatch):
    monkeypatch.setattr(cron_host, "can_mail", lambda: False)
    assert cron.NO_MAIL in install_lines(config, NOW).notes
    assert cron.NO_MAIL in cron_status(config, NOW).notes
    assert cron.NO_MAIL not in install_lines(config, NOW, log="logger").notes


# Cron itself


@pytest.mark.soak
def test_cron_runs_the_line(crontab, tmp_path):
    """Up to a minute: the installed line, with only its times changed, run by a real cron."""
    if not ROOT:
        pytest.skip("only root may start cron")
    if shutil.which("cron") is None:
        (pytest.fail if REQUIRED else pytest.skip)("there is no cron")
    folder = tmp_path / "50% of 'it'"
    folder.mkdir()
    url = f"sqlite:///{tmp_path}/m.db"
    awkward_site(url)
    config = write_config(folder, url, f"sqlite:///{tmp_path}/s.db")
    line, alerts = install_lines(config, int(time.time())).lines
    assert alerts.startswith("*/10 * * * * ")
    # %-signs and quotes come through, and the marker is a comment to the shell.
    every_minute = ("* * * * *" + line[line.index(" * * * *") + 8 :],
                    "* * * * *" + alerts.removeprefix("*/10 * * * *"))  # fmt: skip
    write_crontab("".join(f"{line}\n" for line in every_minute), "root")
    daemon = subprocess.Popen(["cron", "-f"], stderr=subprocess.DEVNULL)
    try:
        end = time.time() + 100
        while not (tmp_path / "s.db").exists() and time.time() < end:
            time.sleep(1)
        time.sleep(3)
        companies = run("company", "list", "--json", "--config", config).json()
        assert [company["synced_at"] for company in companies if company["rows"]]
    finally:
        daemon.terminate()
        daemon.wait()
