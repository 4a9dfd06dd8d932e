"""Bad input: one line on stderr, the contract's exit code, no traceback, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest
import sqlalchemy as sa

from .command_line import PYTHON, awkward_site, run, spawn, write_config
from .moodle_site import Site

SECRET = "s3cret-Pa55"
ONLY = ("query", "--company", "acme")
REFUSED = [
    (("query",), 2, "usage", "--company"),
    (("bogus",), 2, "usage", "bogus"),
    (("company", "bogus"), 2, "usage", "bogus"),
    (("query", "--bogus"), 2, "usage", "--bogus"),
    (("sync", "surplus"), 2, "usage", "surplus"),
    (("sync-state", "on"), 2, "usage", "'on'"),
    (("query", "--company", "nope"), 6, "not_found", "'nope'"),
    (("query", "--company", ""), 6, "not_found", "company"),
    (("query", "--company", "id:"), 6, "not_found", "id:"),
    (("query", "--company", "id:acme"), 6, "not_found", "id:acme"),
    (("query", "--company", "9" * 30), 6, "not_found", "9"),
    (("query", "--company", "²"), 6, "not_found", "²"),
    (("query", "--company", "x\ny"), 6, "not_found", "x"),
    (("query", "--company", "1"), 2, "usage", "'acme' (id:1)"),
    (("query", "--company", "1"), 2, "usage", "'1' (id:2)"),
    (("query", "--company", "TWIN"), 2, "usage", "'Twin' (id:4) and 'twin' (id:5)"),
    (("export", "--company", "nope"), 6, "not_found", "nope"),
    (("sync", "--company", "nope"), 6, "not_found", "nope"),
    (("sync", "--company", "nope", "--dry-run"), 6, "not_found", "nope"),
    (("verify", "--company", "nope"), 6, "not_found", "nope"),
    (("explain", "--company", "acme", "--user", "nope", "--course", "2"), 6, "not_found", "nope"),
    ((*ONLY, "--limit", "0"), 2, "usage", "1 to 1000"),
    ((*ONLY, "--limit", "-1"), 2, "usage", "1 to 1000"),
    ((*ONLY, "--limit", "1001"), 2, "usage", "1 to 1000"),
    ((*ONLY, "--limit", "9" * 40), 2, "usage", "1 to 1000"),
    ((*ONLY, "--limit", "x"), 2, "usage", "--limit"),
    ((*ONLY, "--offset", "-1"), 2, "usage", "offset"),
    ((*ONLY, "--offset", "9" * 40), 2, "usage", "offset"),
    ((*ONLY, "--format", "xml"), 2, "usage", "xml"),
    (("export", "--company", "acme", "--fields", "nope"), 2, "usage", "'nope'"),
    (("export", "--company", "acme", "--fields", ","), 2, "usage", "--fields"),
    (("export", "--company", "acme", "--status", "done"), 2, "usage", "'done'"),
    (("export", "--company", "acme", "--courses", "x"), 2, "usage", "--courses"),
    (("export", "--company", "acme", "--courses", ""), 2, "usage", "--courses"),
    (("export", "--company", "acme", "--courses", "9" * 30), 2, "usage", "--courses"),
    (("--config", "/nowhere/config.toml", "sync"), 3, "configuration", "/nowhere/config.toml"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    awkward_site(f"sqlite:///{folder}/moodle.db")
    config = write_config(folder, f"sqlite:///{folder}/moodle.db", f"sqlite:///{folder}/store.db")
    # In a process of its own: its end folds the write-ahead log into the file.
    assert spawn("sync", "--quiet", "--config", config).returncode == 0
    return folder


@pytest.fixture
def site(made, tmp_path, monkeypatch):
    """A synced site of this test's own, found by ALXREPORT_CONFIG."""
    for name in ("moodle.db", "store.db"):
        shutil.copy(made / name, tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    urls = [f"sqlite:///{tmp_path}/{name}" for name in ("moodle.db", "store.db")]
    monkeypatch.setenv("ALXREPORT_CONFIG", str(write_config(tmp_path, *urls)))
    return tmp_path


def refused(done, code, kind="", *parts):
    """Assert that a command was refused in one line that says all of ``parts``."""
    assert done.code == code, done
    assert done.out == b""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    assert SECRET not in done.err
    text = done.err
    if kind:
        told = json.loads(text)
        assert list(told) == ["error"]
        assert list(told["error"]) == ["code", "message", "hint"]
        assert told["error"]["code"] == kind
        assert told["error"]["hint"], "what to do is missing"
        text = told["error"]["message"] + told["error"]["hint"]
    for part in parts:
        assert part in text


def both(words, code, kind, *parts, **env):
    """Assert the refusal for people and, with --json, for scripts."""
    refused(run(*words, **env), code, "", *parts)
    refused(run(*words, "--json", **env), code, kind, *parts)


@pytest.mark.parametrize(("words", "code", "kind", "part"), REFUSED, ids=repr)
def test_refusals(site, words, code, kind, part):
    before = kept(site / "store.db")
    people = run(*words)
    refused(people, code, "", *([part] if "\\" not in part else []))
    refused(run(*words, "--json"), code, kind, part)
    assert kept(site / "store.db") == before or words[0] == "sync"


def kept(path):
    """Return every row of the store but the trace of requests."""
    with closing(sqlite3.connect(path)) as store:
        tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        trace = ("_logs", "_refusals", "sqlite_sequence")
        return {name: store.execute(f"SELECT * FROM {name}").fetchall()
                for (name,) in tables if not name.endswith(trace)}  # fmt: skip


def test_a_usage_message_reads_as_sentences(site):
    for words in (("query", "--bogus"), ("sync", "surplus"), ("query", "--limit", "x")):
        assert ". See '" in run(*words).err


def test_an_option_without_its_value(site):
    refused(run("query", "--company"), 2, "", "--company")


def test_words_after_the_double_dash_are_no_options(site):
    assert run("query", "--company", "nope", "--", "--json").err.startswith("alxreport:")


@pytest.mark.parametrize("words", [(), ("company",)])
def test_no_arguments_show_the_help_once_and_keep_stdout_clean(site, words):
    done = spawn(*words)
    assert done.returncode == 2
    assert done.stderr.count(b"Usage:") == 1
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("name", "number"), [("acme", 1), ("id:1", 1), ("id:01", 1), ("id:2", 2), ("2", 2),
                         ("ACME", 1), ("Twin", 4), ("twin", 5), ("id:5", 5)],
)  # fmt: skip
def test_company_names(site, name, number):
    assert run("query", "--company", name).json()["company"]["id"] == number


URLS = [
    ("nonsense", "not a database URL"),
    (f"oracle://u:{SECRET}@h/d", "oracle"),
    (f"mysql://u:{SECRET}@h", "names no database"),
    ("sqlite://", "names no file"),
    ("sqlite:///:memory:", "names no file"),
    (f"mysql://u:{SECRET}@h:port/d", "not a database URL"),
    (f"mysql://u:{SECRET}@127.0.0.1:1/d", "cannot be"),
    (f"postgresql://u:{SECRET}@127.0.0.1:1/d", "cannot be"),
    (f"mysql://u:{SECRET}@127.0.0.1:99999/d", ""),
    (f"postgresql://u:{SECRET}@127.0.0.1:99999/d", ""),
    (f"mysql://u:{SECRET}@no-such-host.invalid/d", "cannot be"),
    (f"mysql://u:{SECRET}@127.0.0.1:1/d?bogus=1", "bogus"),
    (f"postgresql://u:{SECRET}@127.0.0.1:1/d?bogus=1", "bogus"),
]


@pytest.mark.parametrize(("url", "part"), URLS)
@pytest.mark.parametrize("which", ["MOODLE", "STORE"])
def test_wrong_urls(site, which, url, part):
    for form in ((), ("--json",)):
        done = run("sync", *form, **{f"ALXREPORT_{which}_URL": url})
        kind = json.loads(done.err)["error"]["code"] if form else ""
        refused(done, 3, kind, part)
        assert kind in ("", "configuration", "source" if which == "MOODLE" else "store")


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
@pytest.mark.parametrize("which", ["MOODLE", "STORE"])
def test_wrong_password_and_wrong_database(site, make_backend, name, which):
    backend = make_backend(name)
    url = sa.make_url(backend.server.readonly_url(sa.make_url(backend.new_url()).database))
    kind = "source" if which == "MOODLE" else "store"
    for wrong in (url.set(password=SECRET), url.set(database="no_such_database")):
        text = wrong.render_as_string(hide_password=False)
        both(("sync",), 3, kind, **{f"ALXREPORT_{which}_URL": text})


def source_of(path, *without):
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    site = Site(engine).create()
    for name in without:
        site.tables.all()[name].drop(engine)


def test_sources_that_are_not_iomad(site, tmp_path):
    def moodle(name):
        return {"ALXREPORT_MOODLE_URL": f"sqlite:///{tmp_path / name}"}

    before = run("company", "list", "--json").out
    sqlite3.connect(tmp_path / "none.db").close()
    both(("sync",), 3, "source", "not a Moodle database", **moodle("none.db"))
    source_of(tmp_path / "plain.db", "company", "company_users", "company_course")
    both(("sync",), 3, "source", "no IOMAD", **moodle("plain.db"))
    both(("sync",), 3, "source", "'wrong_'", ALXREPORT_MOODLE_PREFIX="wrong_")
    both(("sync",), 3, "source", ALXREPORT_MOODLE_PREFIX="a'b\";--")
    (tmp_path / "text.db").write_text("not a database, but longer than its header would be\n" * 9)
    both(("sync",), 3, "source", "not a database", **moodle("text.db"))
    both(("sync",), 3, "source", "no Moodle database file", **moodle("absent.db"))
    assert run("company", "list", "--json").out == before
    (tmp_path / "store.db").write_bytes((tmp_path / "text.db").read_bytes())
    both(("sync",), 3, "store", "not a sound database")
    both(("query", "--company", "acme"), 3, "store", "not a sound database")


def test_reading_needs_a_store_and_makes_none(site):
    absent = {"ALXREPORT_STORE_URL": f"sqlite:///{site}/absent.db"}
    for words in (ONLY, ("export", "--company", "acme"), ("company", "list"), ("verify",)):
        both(words, 3, "store", "alxreport sync", **absent)
    assert not (site / "absent.db").exists()


CONFIGS = [
    ("[moodle\n", "not valid TOML"),
    ("[moodle]\nurll = 'x'\n", "moodle.url?"),
    ("[moodel]\nurl = 'x'\n", "[moodle]?"),
    ("[sync]\ntombstone_day = 3\n", "sync.tombstone_days?"),
    ("[sync]\ntombstone_days = '3'\n", "whole number"),
    ("[sync]\ntombstone_days = true\n", "whole number"),
    ("[sync]\ntombstone_days = -1\n", "negative"),
    ("[sync]\ninclude_untracked = 1\n", "true or false"),
    (f"[moodle]\nurl = ['{SECRET}']\n", "text in quotes"),
    ("[moodle]\ntls = 'maybe'\n", "'maybe'"),
    ("moodle = 3\n", "moodle"),
]


@pytest.mark.parametrize(("text", "part"), CONFIGS)
def test_wrong_configurations(site, text, part):
    path = site / "wrong.toml"
    path.touch(mode=0o600)
    path.write_text(text)
    both(("company", "list", "--config", path), 3, "configuration", part)


def test_a_configuration_with_a_password_is_not_for_everybody(site):
    path = write_config(site, f"mysql://u:{SECRET}@127.0.0.1:1/d", f"sqlite:///{site}/store.db")
    path.chmod(0o644)
    both(("company", "list"), 3, "configuration", "chmod 600")
    path.chmod(0o600)
    assert run("company", "list").code == 0


def test_a_configuration_that_is_no_text_or_no_file(site):
    path = site / "bytes.toml"
    path.write_bytes(b"\xff\xfe\x00")
    both(("company", "list", "--config", path), 3, "configuration", "UTF-8")
    both(("company", "list", "--config", site), 3, "configuration", str(site))


@pytest.mark.parametrize("target", ["absent/x.json", "folder", "folder/"])
def test_outputs_that_cannot_be(site, target):
    (site / "folder").mkdir()
    there = sorted(site.rglob("*"))
    output = f"{site}/{target}"
    both(("export", "--company", "acme", "--output", output), 2, "usage", "--output")
    assert [p for p in sorted(site.rglob("*")) if not p.name.startswith("store.db-")] == [
        p for p in there if not p.name.startswith("store.db-")
    ]


def test_an_output_that_is_no_file_is_not_replaced(site):
    """A FIFO stands for all: run by root, /dev/null itself would be lost."""
    pipe = site / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.DEVNULL) as reader:
        spawn("export", "--company", "acme", "--output", pipe)
        kept = pipe.is_fifo()
        reader.kill()
    assert kept


@pytest.mark.parametrize(
    "words", [("export", "--company", "acme"), ("export", "--company", "acme", "--format", "csv"),
              (*ONLY, "--format", "table"), ("company", "list"), ("company", "list", "--json")],
)  # fmt: skip
def test_a_closed_pipe_ends_quietly(site, words):
    """Closed before the first byte: the hardest case of ``| head``."""
    with subprocess.Popen([*PYTHON, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        p.stdout.close()
        told = p.stderr.read()
    assert (p.returncode, told) == (0, b"")


def test_demo_refuses_what_it_did_not_make(site):
    (site / "mine").mkdir()
    kept = site / "mine" / "letter.txt"
    kept.write_text("mine")
    refused(run("demo", site / "mine"), 2, "", "not empty")
    assert kept.read_text() == "mine"


def test_demo_refuses_a_file(site):
    kept = site / "letter.txt"
    kept.write_text("mine")
    refused(run("demo", kept), 2)
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(
    "names", [["config.toml"], ["alxreport.db"], ["config.toml", "alxreport.db"]]
)
def test_demo_takes_no_real_set_up_for_its_own(site, names):
    """/etc/alxreport holds just a config.toml, /var/lib/alxreport just an alxreport.db."""
    (site / "real").mkdir()
    for name in names:
        (site / "real" / name).write_text("real")
    refused(run("demo", site / "real"), 2)
    assert [(site / "real" / name).read_text() for name in names] == ["real"] * len(names)
