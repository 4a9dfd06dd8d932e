"""The commands that watch: their words, their files, and what a broken sync leaves behind."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from alxreport.cli_monitor import VIEWS
from alxreport.database import open_store
from alxreport.errors import StoreError
from alxreport.monitor import take
from alxreport.schema import prepare_store, store_tables
from alxreport.sessions import open_requests
from alxreport.settings import StoreSettings, load_settings

from .command_line import PYTHON, awkward_site, run, write_config

FIGURES = ["at", "timezone", "auto_sync", "performance", "security", "alerts"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    awkward_site(f"sqlite:///{folder}/moodle.db")
    config = write_config(folder, f"sqlite:///{folder}/moodle.db", f"sqlite:///{folder}/store.db")
    assert run("sync", "--quiet", "--config", config).code == 0
    return folder


@pytest.fixture(autouse=True)
def config(site, monkeypatch):
    monkeypatch.setenv("ALXREPORT_CONFIG", str(site / "config.toml"))
    return site / "config.toml"


def refused(*words, code=2, says=""):
    done = run(*words)
    assert (done.code, done.out) == (code, b""), done
    assert done.err.startswith("alxreport: ")
    assert len(done.err.splitlines()) == 1
    assert says in done.err


def test_the_figures_as_json():
    found = run("monitor", "--json").json()
    assert list(found) == FIGURES
    assert found["auto_sync"]["status"] == "Active"
    assert found["auto_sync"]["companies"][0]["company"] == "acme"
    assert found["alerts"] == []
    only = run("monitor", "security", "--json").json()
    assert list(only) == ["at", "timezone", "security", "alerts"]


def test_the_three_views_and_one_of_them():
    whole = run("monitor").out.decode()
    places = [whole.index(f" {title} ") for title in ("Auto-Sync", "Performance", "Security")]
    assert places == sorted(places)
    for key, title in zip(VIEWS, ("Auto-Sync", "Performance", "Security"), strict=True):
        shown = run("monitor", key).out.decode()
        others = {"Auto-Sync", "Performance", "Security"} - {title}
        assert f" {title} " in shown
        assert not [other for other in others if f" {other} " in shown]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cake",), "no view 'cake'"),
        (("auto-sync", "security"), "no view 'security'"),
        (("5",), "seconds go with --watch"),
        (("--watch", "0"), "1 to 86400"),
        (("--watch=0.5",), "1 to 86400"),
        (("--watch", "nan"), "1 to 86400"),
        (("--watch", "soon"), "no view 'soon'"),
        (("--watch", "--json"), "exclude each other"),
        (("--json", "--html", "x.html"), "exclude each other"),
        (("--html", "/nowhere/x.html"), "--html"),
        (("--html", "."), "directory"),
        (("--html", "x" * 300), "too long"),
    ],
)
def test_usage(words, says):
    if "--json" in words:
        done = run("monitor", *words)
        assert (done.code, done.out) == (2, b"")
        assert says in json.loads(done.err)["error"]["message"]
        return
    refused("monitor", *words, says=says)


def test_the_page(tmp_path):
    path = tmp_path / "page.html"
    done = run("monitor", "--html", path)
    assert (done.code, done.out) == (0, b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    for company in run("company", "list", "--json").json():
        assert company["shortname"] in page
    before = path.read_bytes()
    moved = os.environ["ALXREPORT_CONFIG"]
    assert run("monitor", "--html", path, ALXREPORT_CONFIG=f"{moved}.away").code == 3
    assert path.read_bytes() == before, "a page that fails leaves the former one"


@pytest.mark.parametrize(
    "how", [("--watch=1",), pytest.param(("security", "--watch", "1"), marks=pytest.mark.soak)]
)
def test_watching_ends_with_130(how):
    with subprocess.Popen(
        [*PYTHON, "monitor", *how], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert first.startswith(b"alxreport monitor")
    assert b"\x1b" not in first + rest
    assert told.strip() in (b"", b"alxreport: Interrupted.")
    assert b"Traceback" not in told


def test_a_source_that_is_gone_is_a_failed_run(site, config):
    moodle, away = site / "moodle.db", site / "away.db"
    moodle.rename(away)
    try:
        assert run("sync", "--quiet").code == 3
        found = run("monitor", "--json").json()["auto_sync"]
        assert (found["status"], found["last_sync_status"]) == ("Failed", "failed")
        assert "no Moodle database file" in found["error"]
        assert found["last_success_at"] <= found["last_sync_at"]
        line = run("alerts", "check")
        assert line.code == 2
        assert line.out.startswith(b"ALXREPORT CRITICAL - The last sync failed: There is no Moodle")
        (alert,) = run("alerts", "list", "--json").json()
        assert run("alerts", "ack", str(alert["id"])).code == 0
        assert run("monitor", "--json").json()["alerts"][0]["acknowledged_by"]
        assert "acknowledged" in run("monitor").out.decode()
    finally:
        away.rename(moodle)
    assert run("sync", "--quiet").code == 0
    assert run("alerts", "check").code == 0
    assert "Closed within seven days" in run("alerts", "list").out.decode()
    assert run("alerts", "ack", str(alert["id"])).code == 2
    assert run("alerts", "ack", "999").code == 6


def test_a_first_sync_without_a_source_makes_no_store(tmp_path):
    store = tmp_path / "none.db"
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/no.db", f"sqlite:///{store}")
    assert run("sync", "--config", config).code == 3
    assert not store.exists()


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    store = tmp_path / "none.db"
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/no.db", f"sqlite:///{store}")
    found = run("monitor", "--json", "--config", config).json()
    assert found["auto_sync"]["status"] == "Never run"
    assert found["alerts"] == []
    shown = run("monitor", "--config", config).out.decode()
    assert "no data yet" in shown
    assert "Critical" not in shown
    done = run("alerts", "check", "--config", config)
    assert (done.code, b"no data yet" in done.out) == (0, True)
    assert run("alerts", "list", "--json", "--config", config).json() == []
    assert run("metrics", "--config", config).code == 0
    assert not store.exists()


def test_a_store_that_should_be_there_is_missed(tmp_path, monkeypatch):
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/no.db", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.setattr("alxreport.cron.next_sync_run", lambda now, config: now + 60)
    done = run("alerts", "check", "--config", config)
    assert (done.code, done.out.startswith(b"ALXREPORT UNKNOWN - There is no store")) == (3, True)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_watching_gives_the_terminal_back(name, code):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PYTHON, "monitor", "--watch", "1"], stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"Auto-Sync" not in shown:
            shown += os.read(ours, 65536)
        process.send_signal(getattr(signal, name))
        with suppress(OSError):  # the terminal's end on Linux
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
    assert process.returncode == code
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1
    assert b"Traceback" not in shown


def test_another_store_under_the_same_name_is_seen(site, tmp_path):
    settings = load_settings(
        write_config(tmp_path, "sqlite:////m.db", f"sqlite:///{tmp_path}/s.db")
    )
    shutil.copy(site / "store.db", tmp_path / "s.db")
    store = open_requests(settings.store)
    now = int(time.time())
    assert take(store, settings, now=now, next_sync_at=None).auto_sync.companies_all > 0
    engine = open_store(StoreSettings(url=f"sqlite:///{tmp_path}/new.db"))
    prepare_store(engine, store_tables())
    engine.dispose()
    for left in tmp_path.glob("s.db*"):
        left.unlink()
    with pytest.raises(StoreError):
        take(store, settings, now=now, next_sync_at=None)
    (tmp_path / "new.db").rename(tmp_path / "s.db")
    assert take(store, settings, now=now, next_sync_at=None).auto_sync.companies_all == 0
    store.close()


def test_a_store_that_appears_while_watching(tmp_path, site):
    source = f"sqlite:///{site}/moodle.db"
    config = write_config(tmp_path, source, f"sqlite:///{tmp_path}/later.db")
    with subprocess.Popen(
        [*PYTHON, "monitor", "auto-sync", "--watch", "1", "--config", config],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        shown = b""
        while b"Never run" not in shown:
            shown += process.stdout.readline()
        assert run("sync", "--quiet", "--config", config).code == 0
        while b"Active" not in shown:
            shown += process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130


@pytest.mark.parametrize("words", ["monitor", "alerts list", "metrics"])
def test_a_stdout_that_was_closed(words):
    command = f"{shlex.join(PYTHON)} {words} >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_doctor_and_monitor_mean_the_same_run(site, tmp_path):
    shutil.copy(site / "store.db", tmp_path / "store.db")
    with closing(sqlite3.connect(tmp_path / "store.db")) as store:
        later = int(time.time()) + 7 * 86_400
        store.execute("INSERT INTO local_alx_api_sync_runs (started_at, finished_at, mode, status)"
                      " VALUES (?, ?, 'full', 'failed')", (later, later))  # fmt: skip
        store.commit()
    config = write_config(tmp_path, f"sqlite:///{site}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    checks = {c["name"]: c for c in run("doctor", "--json", "--config", config).json()["checks"]}
    assert checks["last sync"]["verdict"] == "ok"
    found = run("monitor", "--json", "--config", config).json()["auto_sync"]
    assert (found["status"], found["last_sync_status"]) == ("Active", "success")


def test_metrics(tmp_path):
    path = tmp_path / "alx.prom"
    assert run("metrics", "--output", path).out == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    told = run("metrics").out.decode()
    assert 'alxreport_company_rows{company="acme",id="1"}' in told
    assert Path(path).read_text().count("# TYPE") == told.count("# TYPE")
    refused("metrics", "--output", "/nowhere/x.prom", says="/nowhere")
