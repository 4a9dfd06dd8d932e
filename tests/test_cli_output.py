"""What sync, company list, query and export print: keys, order, forms, and stdout for data only."""

from __future__ import annotations

import csv
import io
import json
import stat
from itertools import pairwise

import pytest
import sqlalchemy as sa

from alxreport.listing import DEFAULT_FIELDS, MORE_FIELDS

from .command_line import LONG_NAME, awkward_site, run, spawn, write_config
from .moodle_site import Site

SYNC = ["run", "mode", "status", "started_at", "finished_at", "duration_seconds", "created",
        "updated", "deleted", "errors", "companies"]  # fmt: skip
SYNCED = ["id", "company", "status", "rows", "created", "updated", "deleted", "error"]
PAGE = ["company", "mode", "limit", "offset", "count", "total", "next", "delta", "revision",
        "synced_at", "cached", "data"]  # fmt: skip
RECORD = ["userid", "firstname", "lastname", "email", "courseid", "coursename", "timecompleted",
          "timecompleted_unix", "timestarted", "timestarted_unix", "percentage",
          "status"]  # fmt: skip
MARK = b"\xef\xbb\xbf"
EXPORT = ("export", "--company", "acme")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    awkward_site(f"sqlite:///{folder}/moodle.db")
    config = write_config(folder, f"sqlite:///{folder}/moodle.db", f"sqlite:///{folder}/store.db")
    assert spawn("sync", "--config", config).returncode == 0
    return config


@pytest.fixture(autouse=True)
def found(config, monkeypatch):
    monkeypatch.setenv("ALXREPORT_CONFIG", str(config))


def text(*words):
    done = run(*words)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def records(*more):
    return json.loads(text(*EXPORT, *more))


def table(*more):
    raw = text(*EXPORT, "--format", "csv", *more).decode()
    return list(csv.DictReader(io.StringIO(raw, newline=""), strict=True))


def test_sync_json():
    done = run("sync", "--full", "--json")
    report = done.json()
    assert list(report) == SYNC
    assert [list(company) for company in report["companies"]] == [SYNCED] * 5
    assert (report["mode"], report["status"], report["errors"]) == ("full", "success", 0)
    assert (report["created"], report["updated"], report["deleted"]) == (0, 0, 0)
    assert done.err == ""
    assert [line for line in done.out.splitlines() if line] == [done.out.strip()]


def test_sync_tells_people_on_stderr_and_nothing_when_quiet():
    done = run("sync")
    assert (done.code, done.out) == (0, b"")
    assert done.err.startswith("Sync success (incremental): 5 companies, 0 created")
    assert text("sync", "--quiet") == b""


def test_the_switch():
    assert run("sync-state").out == b"Status: Active\n"
    assert run("sync-state", "disable").out == b"Status: Disabled\n"
    try:
        assert run("sync-state", "--json").json() == {"status": "Disabled"}
        before = text("company", "list", "--json")
        done = run("sync")
        assert (done.code, done.out) == (0, b"")
        assert "disabled" in done.err
        assert text("sync", "--quiet") == b""
        assert run("sync", "--json").json()["companies"] == []
        assert text("company", "list", "--json") == before
    finally:
        assert run("sync-state", "enable").code == 0
    assert run("sync-state", "show").out == b"Status: Active\n"


def test_company_list():
    found = json.loads(text("company", "list", "--json"))
    keys = ["id", "shortname", "name", "suspended", "rows", "synced_at"]
    assert all(list(company) == keys for company in found)
    by_id = {company["id"]: company for company in found}
    assert by_id[1]["name"] == 'Acme "Ltd" 🎓 شركة'
    assert (by_id[1]["rows"], by_id[3]["rows"]) == (14, 0)
    assert by_id[1]["suspended"] is False
    assert 'Acme "Ltd" 🎓 شركة' in text("company", "list").decode()


def test_a_page():
    page = json.loads(text("query", "--company", "acme", "--limit", "5"))
    assert list(page) == PAGE
    assert page["company"] == {"id": 1, "shortname": "acme", "name": 'Acme "Ltd" 🎓 شركة'}
    assert (page["mode"], page["limit"], page["offset"]) == ("full", 5, 0)
    assert (page["count"], page["total"], page["cached"]) == (5, 14, False)
    assert page["synced_at"].endswith("Z")
    assert [list(row) for row in page["data"]] == [RECORD] * 5
    assert list(DEFAULT_FIELDS) == RECORD


def test_offset_pages_joined_are_the_export_in_its_order():
    joined = []
    for offset in range(0, 16, 4):
        page = run("query", "--company", "acme", "--limit", "4", "--offset", offset).json()
        joined += page["data"]
    assert joined == records()
    keys = [(row["userid"], row["courseid"]) for row in joined]
    assert all(one < other for one, other in pairwise(keys))
    beyond = run("query", "--company", "acme", "--offset", str(2**63 - 1)).json()
    assert (beyond["count"], beyond["total"], beyond["data"]) == (0, 14, [])


def test_numbers_and_times():
    raw = text(*EXPORT, "--format", "ndjson").decode()
    assert '"percentage":100.0,' in raw
    rows = records()
    assert all(type(row["percentage"]) is float for row in rows)
    for row in rows:
        for name in ("timecompleted", "timestarted"):
            assert (row[name] is None) == (row[f"{name}_unix"] == 0)
    assert {row["status"] for row in rows} == {"completed", "in_progress", "not_started"}
    assert any(row["timecompleted"] is None for row in rows)
    assert any(row["timestarted"] is None for row in rows)


def test_awkward_names_arrive_as_they_are():
    names = {(row["firstname"], row["lastname"]) for row in records()}
    assert {("Zoë 🎓", 'O\'Brien "x"'), ("شركة", "עברית"), (LONG_NAME, "a\\b%_c")} <= names
    assert {row["coursename"] for row in records()} == {'Line\nbreak, "quoted"', "=SUM(A1)"}


def test_every_form_says_the_same():
    rows = records()
    lines = text(*EXPORT, "--format", "ndjson").splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert text(*EXPORT, "--json") == text(*EXPORT)
    assert text(*EXPORT, "--json", "--format", "csv") == text(*EXPORT, "--format", "csv")
    cells = table()
    assert list(cells[0]) == RECORD
    for row, line in zip(rows, cells, strict=True):
        for name, value in row.items():
            shown = "" if value is None else str(value)
            assert line[name] in (shown, f"'{shown}")


def test_no_cell_of_a_csv_is_a_formula():
    raw = text(*EXPORT, "--format", "csv")
    assert not raw.startswith(MARK)
    assert raw.endswith(b"\r\n")
    for line in table("--fields", "firstname,lastname,coursename,email"):
        for shown in line.values():
            assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), shown
    assert "'=1+1" in {line["firstname"] for line in table()}
    page = text("query", "--company", "acme", "--format", "csv")
    assert page == raw, "one page of everything is the export"


def test_the_table_is_for_people():
    done = run("query", "--company", "acme", "--format", "table", "--limit", "3")
    assert done.code == 0
    assert b"percentage" in done.out
    assert b"unix" not in done.out
    assert done.err.startswith("3 of 14 rows, synced 20")


def test_fields_in_the_order_asked_for():
    assert list(records("--fields", "status, userid,status")[0]) == ["status", "userid"]
    wanted = ",".join(reversed((*RECORD, *MORE_FIELDS)))
    row = records("--fields", wanted)[0]
    assert ",".join(row) == wanted
    assert row["companyid"] == 1
    assert row["last_updated"].endswith("Z")
    assert table("--fields", "username,userid")[0].keys() == {"username", "userid"}


def test_filters():
    everything = records()
    course = everything[0]["courseid"]
    assert records("--courses", f"{course},999999") == [
        row for row in everything if row["courseid"] == course
    ]
    assert records("--courses", "999999") == []
    for status in ("completed", "in_progress", "not_started"):
        assert records("--status", status) == [r for r in everything if r["status"] == status]


def test_a_company_without_learners():
    assert text("export", "--company", "empty") == b"[]\n"
    assert text("export", "--company", "empty", "--format", "ndjson") == b""
    header = ",".join(RECORD).encode() + b"\r\n"
    assert text("export", "--company", "empty", "--format", "csv") == header
    page = run("query", "--company", "empty").json()
    assert (page["count"], page["total"], page["data"]) == (0, 0, [])
    for form in ("csv", "table"):
        assert run("query", "--company", "empty", "--format", form).code == 0


def test_a_site_without_companies(tmp_path, monkeypatch):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/moodle.db", poolclass=sa.NullPool)
    Site(engine).create()
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("moodle", "store")]
    monkeypatch.setenv("ALXREPORT_CONFIG", str(write_config(tmp_path, *urls)))
    report = run("sync", "--json").json()
    assert (report["status"], report["companies"]) == ("success", [])
    assert run("company", "list", "--json").out == b"[]\n"
    assert run("company", "list").code == 0
    assert run("verify").code == 0


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
def test_an_output_file_is_the_export_for_its_owner_alone(tmp_path, form):
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(0o644)
    done = run(*EXPORT, "--format", form, "--output", path)
    assert (done.code, done.out, done.err) == (0, b"", f"14 rows written to {path}\n")
    mark = MARK if form == "csv" else b""
    assert path.read_bytes() == mark + text(*EXPORT, "--format", form)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_when_the_export_fails(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    path.write_bytes(b"old")
    assert run("export", "--company", "nope", "--output", path).code == 6

    def broken(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alxreport.whole_file.os.fsync", broken)
    done = run(*EXPORT, "--output", path)
    assert (done.code, done.out) == (1, b"")
    assert "No space left" in done.err
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_may_lie_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*EXPORT, "--output", "acme.json").code == 0
    assert (tmp_path / "acme.json").stat().st_size
