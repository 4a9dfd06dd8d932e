"""What was just installed shows no data, and Prometheus reads the monitor's figures as they are."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from alxreport import alerts, monitor
from alxreport.cron import next_sync_run
from alxreport.metrics import text
from alxreport.sessions import Store
from alxreport.settings import Settings
from alxreport.snapshots import CompanySync, ErrorCount, OpenAlert, Snapshot

from .asking import lasting_desk
from .command_line import run, write_config
from .conftest import BACKENDS
from .moodle_site import DAY, NOW
from .watching import Watched

LATER = NOW + 3600
ODD = ('a "quoted" one', "back\\slash", "two\nlines", "ends in \\", "\\n", "Zoë 🎓 {x=1}", "", "#")


@pytest.fixture(scope="module", params=BACKENDS)
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("metrics")
    with lasting_desk(request.param, request, folder, Watched) as made:
        yield made


@pytest.fixture
def empty(lasting: Watched) -> Watched:
    """A store that was prepared, and nothing more."""
    lasting.renew()
    lasting.run_sql("DELETE FROM {meta} WHERE name IN ('verified', 'pruned_at', 'sync')")
    return lasting


@pytest.fixture(scope="module")
def troubled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    with lasting_desk("sqlite", request, tmp_path_factory.mktemp("troubled"), Watched) as made:
        trouble(made)
        yield made


def trouble(desk: Watched) -> None:
    """Let something of everything go wrong, two hours after a sync in which a company failed."""
    desk.furnish(acme=60)
    desk.lose_rows()
    desk.now += 60
    assert desk.harness.sync().status == "partial"
    desk.now += 2 * 3600
    desk.logged(20, at=desk.now - 2 * DAY)
    repeated = {"cache": "miss", "question": "q", "revision": 1, "cache_minutes": 60}
    desk.logged(61, at=desk.now - 5, ms=6_000, **repeated)
    desk.fail_requests(10)
    desk.intrude(5)
    desk.ask_beyond_limit()


def taken(store: Store, settings: Settings = Settings(), now: int = NOW) -> Snapshot:  # noqa: B008
    return monitor.take(store, settings, now=now, next_sync_at=LATER)


# No data yet

# Counts of what is there, which is nothing, and what says so by itself.
ZEROS = {
    "companies_synced", "companies_failed", "companies_all", "company_syncs", "runs_7d", "failures",
    "cache_hits", "cache_misses", "live_rows", "deleted_rows", "cache_entries", "cache_bytes",
    "active_tokens",
}  # fmt: skip
SAID = {"status", "error", "next_sync_at", "success_by_day", "by_hour", "bytes", "companies",
        "consumers", "violations", "recent_errors", "errors_by_type", "database"}  # fmt: skip


def says_nothing(found: dict[str, Any]) -> None:
    """Assert that a snapshot in JSON's form holds no figure where there is nothing to measure."""
    assert found["alerts"] == []
    assert found["auto_sync"]["status"] == "Never run"
    assert found["auto_sync"]["error"] == ""
    views = [dict(found[name]) for name in ("auto_sync", "performance", "security")]
    hours, days = views[1]["by_hour"], views[0]["success_by_day"]
    assert [len(hours), len(days)] == [24, 7]
    assert {(hour["calls"], hour["average_ms"], hour["p95_ms"]) for hour in hours} == {
        (0, None, None)
    }
    assert {(day["runs"], day["succeeded"], day["rate"]) for day in days} == {(0, 0, None)}
    lists = ("companies", "consumers", "violations", "recent_errors", "errors_by_type")
    assert [list(view[name]) for view in views for name in lists if name in view] == [[]] * 5
    for view in (*views, views[1]["database"]):
        for name, value in view.items():
            if name not in SAID:
                assert value == (0 if name in ZEROS else None), name
                assert (value is None) == (name not in ZEROS), name


def test_a_prepared_store_has_no_data_yet(empty: Watched) -> None:
    for now in (NOW, NOW + 365 * DAY):
        says_nothing(taken(empty.store, empty.settings, now).as_dict())
        checked = alerts.check(empty.store, empty.settings, now)
        assert (checked.open, checked.opened, checked.status) == ((), 0, "OK")
        assert "no data yet" in checked.line()
    assert empty.rows("alerts") == []


def test_what_stands_in_for_a_store_has_no_data_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monitor.stand_in() as store:
        assert list(tmp_path.iterdir())
        says_nothing(taken(store).as_dict())
        assert alerts.check(store, Settings(), NOW).status == "OK"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The configuration of a machine on which no sync ever ran."""
    moodle, store = f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/new/store.db"
    config = write_config(tmp_path, moodle, store)
    return config


def test_a_configured_machine_has_no_data_yet(fresh: Path) -> None:
    before = sorted(fresh.parent.rglob("*"))

    def said(*words: str | Path, code: int = 0) -> str:
        done = run(*words, "--config", fresh)
        assert done.code == code, (words, done)
        assert sorted(fresh.parent.rglob("*")) == before, words
        assert "Traceback" not in done.err
        return done.out.decode()

    says_nothing(json.loads(said("monitor", "--json")))
    assert said("alerts", "check").startswith("ALXREPORT OK - No sync has run yet, no data yet |")
    assert said("alerts", "list", "--json").strip() == "[]"
    said("alerts", "ack", "1", code=6)
    told = said("metrics")
    names = {family.name for family in text_string_to_metric_families(told)}
    assert "alxreport_sync_status" in names
    assert not names & {"alxreport_calls_24h", "alxreport_success_ratio", "alxreport_records_24h",
                        "alxreport_sync_created_24h", "alxreport_failed_authentications_24h",
                        "alxreport_response_p95_seconds", "alxreport_cache_hit_ratio"}  # fmt: skip
    shown = said("monitor").lower()
    assert "no data yet" in shown
    assert "critical" not in shown
    assert "overdue" not in shown
    page = fresh.parent / "monitor.html"
    assert run("monitor", "--html", page, "--config", fresh).code == 0
    assert "no data yet" in page.read_text().lower()


def test_an_empty_file_is_no_store_yet(fresh: Path) -> None:
    store = fresh.parent / "new" / "store.db"
    store.parent.mkdir()
    store.touch()
    says_nothing(run("monitor", "--json", "--config", fresh).json())
    assert run("alerts", "check", "--config", fresh).code == 0
    assert list(store.parent.iterdir()) == [store]


# Prometheus


def samples(told: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[Any, float] = {}
    for family in text_string_to_metric_families(told):
        assert family.type == "gauge", family
        assert family.documentation.strip()
        assert family.samples
        for sample in family.samples:
            assert sample.name == family.name
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


# The figures that have one value, by view.
SINGLE = {
    "auto_sync": {
        "sync_last_timestamp_seconds": "last_sync_at",
        "sync_last_success_timestamp_seconds": "last_success_at",
        "sync_next_timestamp_seconds": "next_sync_at",
        "sync_success_ratio_7d": "success_rate_7d",
        "companies": "companies_all",
        "companies_synced": "companies_synced",
        "companies_failed": "companies_failed",
        "sync_created_24h": "created",
        "sync_updated_24h": "updated",
        "sync_deleted_24h": "deleted",
        "sync_errors_24h": "errors",
    },
    "performance": {
        "calls_24h": "calls",
        "call_failures_24h": "failures",
        "success_ratio": "success_rate",
        "cache_hit_ratio": "cache_hit_rate",
        "cache_hits_24h": "cache_hits",
        "cache_misses_24h": "cache_misses",
        "records_24h": "records",
    },
    "database": {
        "store_bytes": "bytes",
        "live_rows": "live_rows",
        "deleted_rows": "deleted_rows",
        "verified_timestamp_seconds": "verified_at",
        "cache_entries": "cache_entries",
        "oldest_log_timestamp_seconds": "oldest_log_at",
    },
    "security": {
        "active_tokens": "active_tokens",
        "rate_limit_violations_24h": "rate_limit_violations",
        "failed_authentications_24h": "failed_authentications",
        "suspicious_callers_24h": "suspicious_callers",
    },
}
STATUSES = ("Active", "Disabled", "Running", "Failed", "Overdue", "Never run")


def expected(snapshot: Snapshot) -> dict[Any, float]:
    views = asdict(snapshot)
    views["database"] = views["performance"]["database"]
    found: dict[Any, Any] = {
        (f"alxreport_{metric}", ()): views[view][name]
        for view, metrics in SINGLE.items()
        for metric, name in metrics.items()
    }
    for metric, name in (("average", "average_ms"), ("p95", "p95_ms")):
        ms = views["performance"][name]
        found[f"alxreport_response_{metric}_seconds", ()] = None if ms is None else ms / 1000
    found["alxreport_snapshot_timestamp_seconds", ()] = snapshot.at
    for status in STATUSES:
        key = "alxreport_sync_status", (("status", status),)
        found[key] = int(status == snapshot.auto_sync.status)
    for company in snapshot.auto_sync.companies:
        shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in company.company)
        labels = (("company", shown), ("id", str(company.id)))
        found["alxreport_company_rows", labels] = company.rows
        found["alxreport_company_synced_timestamp_seconds", labels] = company.synced_at
        found["alxreport_company_failed", labels] = int(company.status == "failed")
    for error in snapshot.security.errors_by_type:
        found["alxreport_errors_24h", (("error", error.error),)] = error.count
    severities = [alert.severity for alert in snapshot.alerts]
    for severity in ("critical", "warning"):
        found["alxreport_alerts", (("severity", severity),)] = severities.count(severity)
    return {key: value for key, value in found.items() if value is not None}


def test_prometheus_reads_exactly_the_figures(empty: Watched) -> None:
    snapshot = taken(empty.store, empty.settings)
    assert samples(text(snapshot)) == expected(snapshot)
    trouble(empty)
    token = empty.token("beta")
    for _ in range(2):
        empty.ask(token)
    empty.harness.verify()
    snapshot = taken(empty.store, empty.settings, empty.now)
    found = samples(text(snapshot))
    assert found == expected(snapshot)
    assert len(found) >= 45
    assert found["alxreport_calls_24h", ()] == 61 + 10 + 2 + 2
    assert found["alxreport_alerts", (("severity", "critical"),)] == 4


def company(number: int, name: str) -> CompanySync:
    return CompanySync(number, name, name, "failed", NOW, 5, 1, 2, 3, 4, 0.5, "no luck")


def with_names(snapshot: Snapshot, names: list[str]) -> Snapshot:
    every = tuple(company(number, name) for number, name in enumerate(names))
    return replace(snapshot, auto_sync=replace(snapshot.auto_sync, companies=every))


@settings(max_examples=100)
@given(names=st.lists(st.text(max_size=12), max_size=4), figure=st.floats(0, 1e9))
def test_any_name_and_figure_is_read_back(names: list[str], figure: float) -> None:
    snapshot = with_names(NOTHING[0], [*ODD, *names])
    snapshot = replace(snapshot, performance=replace(snapshot.performance, average_ms=figure))
    assert samples(text(snapshot)) == expected(snapshot)


NOTHING: list[Snapshot] = []


@pytest.fixture(autouse=True, scope="module")
def nothing() -> None:
    with monitor.stand_in() as store:
        NOTHING.append(taken(store))


def test_companies_of_one_name_are_told_apart() -> None:
    snapshot = with_names(NOTHING[0], ["twin", "twin"])
    errors = (ErrorCount('odd "kind"\\', 3),)
    alert = OpenAlert(None, "cache", "", "", "warning", 'a "b"\n', "", NOW, None, "")
    snapshot = replace(
        snapshot, security=replace(snapshot.security, errors_by_type=errors), alerts=(alert,) * 3
    )
    assert samples(text(snapshot)) == expected(snapshot)


def test_a_store_with_odd_names(empty: Watched) -> None:
    for number, name in enumerate(ODD[:-2], 1):
        with empty.site.transaction():
            assert empty.site.add_company(f"Company {number}", name) == number
    empty.harness.sync()
    snapshot = taken(empty.store, empty.settings, empty.now)
    assert [one.company for one in snapshot.auto_sync.companies] == list(ODD[:-2])
    assert samples(text(snapshot)) == expected(snapshot)


# The file


@pytest.fixture
def config(troubled: Watched, tmp_path: Path) -> Path:
    settings = troubled.settings
    more = f"[requests]\nrate_limit = {settings.requests.rate_limit}\n"
    return write_config(tmp_path, settings.moodle.url, settings.store.url, more)


def test_the_command_prints_what_it_writes(
    troubled: Watched, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: float(troubled.now))
    path = tmp_path / "textfile" / "alxreport.prom"
    path.parent.mkdir()
    done = run("metrics", "--output", path, "--config", config)
    assert (done.code, done.out) == (0, b"")
    printed = run("metrics", "--config", config).out
    assert path.read_bytes() == printed
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]
    snapshot = monitor.take(
        troubled.store, troubled.settings, now=troubled.now,
        next_sync_at=next_sync_run(troubled.now, config),
    )  # fmt: skip
    found = samples(printed.decode())
    assert found == expected(snapshot)
    assert found["alxreport_failed_authentications_24h", ()] == 5


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_file_appears_complete_and_for_everybody(
    config: Path, tmp_path: Path, umask: int
) -> None:
    path = tmp_path / "alxreport.prom"
    path.write_text("old\n")
    path.chmod(0o600)
    before = os.umask(umask)
    try:
        with path.open() as old:
            assert run("metrics", "--output", path, "--config", config).code == 0
            # Who reads the old one reads it to its end: the new one is another file.
            assert old.read() == "old\n"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text().endswith("\n")
    assert samples(path.read_text())
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_what_fails_leaves_the_old_file(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "alxreport.prom"
    path.write_text("old\n")
    config.write_text(f'{config.read_text()}timezone = "Mars/Olympus"\n')
    assert run("metrics", "--output", path, "--config", config).code == 3
    assert path.read_text() == "old\n"
    assert run("metrics", "--output", tmp_path / "none" / "f", "--config", config).code == 3
    assert sorted(os.listdir(tmp_path)) == ["alxreport.prom", "config.toml"]
