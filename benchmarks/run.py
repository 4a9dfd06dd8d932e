"""The costs that alxreport promises, as ratios against floors measured in the same run.

``python -m benchmarks.run`` starts a private MariaDB with its ordinary settings, builds a site of
50 companies, 20,000 users, 200 courses, 200,000 enrolments and 1,000,000 activity completions in
it, and prints each cost with its limit. ``--quick`` leaves out the large memory measurement.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import serving
from benchmarks.big_site import build_big_site, build_one_company, change_learners
from tests.servers import MariaDBServer

REPEATS = 3
EXPORTED_ROWS = 200_000
MANY_ROWS = 1_000_000
MEMORY_LIMIT_MB = 150
LOG_ROWS = 10_000_000
SAME_JSON = """
SELECT userid, firstname, lastname, email, courseid, coursename,
  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(timecompleted, 0), 'unixepoch') AS timecompleted,
  timecompleted AS timecompleted_unix,
  strftime('%Y-%m-%dT%H:%M:%SZ', nullif(timestarted, 0), 'unixepoch') AS timestarted,
  timestarted AS timestarted_unix, percentage, status
FROM local_alx_api_reporting WHERE companyid = {company} AND is_deleted = 0
ORDER BY userid, courseid;
"""
NOTHING = """
import typer
app = typer.Typer()
@app.callback(invoke_without_command=True)
def main(version: bool = typer.Option(False, "--version")):
    if version:
        typer.echo("nothing 1.0")
        raise typer.Exit()
@app.command()
def one():
    pass
@app.command()
def two():
    pass
app()
"""
UNSAFE = ("--innodb-flush", "--innodb-doublewrite", "--innodb-buffer-pool-size")

failures: list[str] = []


class OrdinaryMariaDB(MariaDBServer):
    """A server as it stands on a Moodle machine: durable, and with room for its tables."""

    def _command(self) -> list[str]:
        kept = [word for word in super()._command() if not word.startswith(UNSAFE)]
        return [*kept, "--innodb-buffer-pool-size=512M"]


def child(*words: str) -> dict[str, Any]:
    """Run one step in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{words[0]} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def median(found: list[dict[str, Any]]) -> float:
    return statistics.median(step["seconds"] for step in found)


def show(what: str, seconds: float, against: float, unit: str, limit: float) -> None:
    """Print one cost as a ratio, and note it when it is over its limit."""
    ratio = seconds / against
    verdict = "ok" if ratio <= limit else "OVER"
    print(f"{what:<52}{ratio:6.2f} {unit:<22} limit {limit:4.2f}  {verdict}", flush=True)
    if ratio > limit:
        failures.append(what)


def show_memory(what: str, megabytes: float) -> None:
    verdict = "ok" if megabytes <= MEMORY_LIMIT_MB else "OVER"
    print(f"{what:<52}{megabytes:6.0f} {'MB peak':<22} limit {MEMORY_LIMIT_MB:4d}  {verdict}")
    if megabytes > MEMORY_LIMIT_MB:
        failures.append(what)


def sync_costs(server: OrdinaryMariaDB, folder: Path) -> None:
    server.create_database("moodle")
    source = server.url("moodle")
    engine = sa.create_engine(source)
    build_big_site(engine)
    child("floor", source)  # warms the server
    floors = [child("floor", source) for _ in range(REPEATS)]
    floor = median(floors)
    print(f"F: {floors[0]['rows']:,} rows, {floor:.2f} s here\n", flush=True)

    full, none = [], []
    for number in range(REPEATS):
        target = f"sqlite:///{folder}/store{number}.db"
        full.append(child("sync", source, target))
        none.append(child("sync", source, target))
    show("full first run into SQLite", median(full), floor, "F", 1.6)
    mariadb = []
    for number in range(REPEATS):
        server.create_database(f"store{number}")
        mariadb.append(child("sync", source, server.url(f"store{number}")))
    show("full first run into the same MariaDB", median(mariadb), floor, "F", 2.0)
    page_costs(server.url("store0"), "id:1", "MariaDB, commits on disk")
    show("run with nothing changed", median(none), median(full), "of a full run", 0.3)
    again = [child("sync", source, target, "full") for _ in range(REPEATS)]
    show("full run with nothing changed", median(again), median(full), "of a full run", 1.2)
    verified = [child("verify", source, target) for _ in range(REPEATS)]
    show("verify", median(verified), median(full), "of a full run", 1.2)
    some = []
    for number in range(REPEATS):
        change_learners(engine, 0.01, seed=number)
        some.append(child("sync", source, target))
    show("run with 1 % of the learners changed", median(some), median(full), "of a full run", 0.5)
    print(
        f"statements to the source: full {full[0]['statements']}, none {none[0]['statements']},"
        f" 1 % {some[0]['statements']} ({some[0]['changed']} rows changed)"
    )
    show_memory(f"peak memory, full run of {full[0]['rows']:,} rows", full[0]["megabytes"])
    engine.dispose()


def large_memory(server: OrdinaryMariaDB, folder: Path) -> None:
    server.create_database("large")
    source = server.url("large")
    engine = sa.create_engine(source)
    build_one_company(engine, MANY_ROWS)
    engine.dispose()
    found = child("sync", source, f"sqlite:///{folder}/large.db")
    show_memory(f"peak memory, full run of {found['rows']:,} rows", found["megabytes"])
    print(f"statements to the source at {found['rows']:,} rows: {found['statements']}")
    server.drop_database("large")


def export_costs(folder: Path) -> None:
    source, target = f"sqlite:///{folder}/one.db", f"sqlite:///{folder}/export.db"
    engine = sa.create_engine(source)
    build_one_company(engine, EXPORTED_ROWS)
    with engine.connect() as connection:
        company = connection.scalar(sa.text("SELECT min(id) FROM mdl_company"))
    engine.dispose()
    child("sync", source, target)
    program = shutil.which("sqlite3")
    if program is None:
        print("export: sqlite3 is not installed, left out")
        return
    file = str(folder / "export.db")
    command = [program, "-json", file, SAME_JSON.format(company=company)]
    start_up = timed([program, file, "SELECT 1"])
    plain = min(timed(command) for _ in range(REPEATS)) - start_up
    written = [child("export", target, f"id:{company}", "json") for _ in range(REPEATS)]
    seconds = min(step["seconds"] for step in written)
    show(f"export of {written[0]['rows']:,} rows as JSON", seconds, plain, "sqlite3 -json", 2.5)
    show_memory("peak memory of that export", written[0]["megabytes"])
    for form in ("csv", "parquet"):
        other = [child("export", target, f"id:{company}", form) for _ in range(REPEATS)]
        took = min(step["seconds"] for step in other)
        show(f"the same as {form}", took, seconds, "the JSON's time", 2.0)
        show_memory("peak memory of that", other[0]["megabytes"])
    page_costs(target, f"id:{company}", "SQLite")
    serve_costs(target, f"id:{company}", folder)
    command_costs(file, f"id:{company}", folder)
    log_costs(file, target, f"id:{company}")


def page_costs(target: str, company: str, where: str) -> None:
    """Print what a page of 1,000 rows costs within a process, limit and log included."""
    found = child("pages", target, company)
    floor = found["floor"]
    print(
        f"\npages of 1,000 rows in {where}: cold {found['cold'] * 1000:.1f} ms,"
        f" cached {found['cached'] * 1000:.2f} ms; bare SELECT and JSON {floor * 1000:.1f} ms here"
    )
    show("the last page by cursor", found["last"], found["cold"], "the first page", 1.3)
    if where == "SQLite":  # a server's commits wait for its disk, which is not what is measured
        show("a page, cold", found["cold"], floor, "bare SELECT and JSON", 2.0)
        show("the same page, cached", found["cached"], floor, "bare SELECT and JSON", 0.5)


def serve_costs(target: str, company: str, folder: Path) -> None:
    """Print what a page costs over HTTP, and what memory all rows take there."""
    config = folder / "serve.toml"
    config.touch(mode=0o600)
    config.write_text(f'[store]\nurl = "{target}"\n')
    token = serving.prepare(target, company)["token"]
    before_all = serving.logged(target)
    ours, bare = serving.free_port(), serving.free_port()
    page = f"/api/v1/progress?limit={serving.ROWS}"
    with (
        serving.served("-m", "alxreport", "serve", "--config", str(config), "--port", str(ours),
                       port=ours) as pid,
    ):  # fmt: skip
        size = serving.size_of(ours, page, token)
        with serving.served("-m", "benchmarks.serving", "bare", str(bare), str(size), port=bare):
            floor = step("press", str(bare), "/x?", token, "")
        cached = step("press", str(ours), page, token, "")
        plugin = step("press", str(ours), "plugin", token, "")
        uncached = step("press", str(ours), page, token, "varied")
        before = serving.peak_megabytes(pid)
        whole = serving.size_of(ours, "/api/v1/export", token)
        peak = serving.peak_megabytes(pid)
    found = {name: count - before_all[name] for name, count in serving.logged(target).items()}
    print(
        f"\none page of {serving.ROWS:,} rows ({size:,} bytes) to {serving.CLIENTS} clients over"
        f" HTTP, one worker: bare {floor['per_second']:,.0f} a second, cached"
        f" {cached['per_second']:,.0f} (p99 {cached['p99_ms']:.0f} ms), the plugin's address"
        f" {plugin['per_second']:,.0f}, uncached {uncached['per_second']:,.0f}"
        f" (p99 {uncached['p99_ms']:.0f} ms)"
    )
    for what, one, least in (
        ("a cached page over HTTP", cached, 700), ("the same at the plugin's address", plugin, 700),
        ("an uncached page over HTTP", uncached, 100),
    ):  # fmt: skip
        against = floor["per_second"] / one["per_second"]
        print(f"{what:<52}{against:6.2f} returned bytes")
        show(f"  {least} a second", least / one["per_second"], 1.0, "of what it does", 1.0)
    show("  p99 of cached pages", cached["p99_ms"], 50, "of 50 ms", 1.0)
    lost = found["spent"] - found["logged"]
    print(f"{found['spent']:,} requests were paid, {found['logged']:,} are in the log: lost {lost}")
    if lost:
        failures.append("log rows were lost")
    print(f"export of {whole:,} bytes over HTTP: peak {before:.0f} MB before, {peak:.0f} MB after")
    show_memory("peak memory of the server with that", peak)


def step(*words: str) -> dict[str, Any]:
    """Run one step of benchmarks.serving in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", *words], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def command_costs(file: str, company: str, folder: Path) -> None:
    """Print what the whole command costs beside another program that reads the same rows."""
    config = folder / "query.toml"
    config.touch(mode=0o600)
    config.write_text(f'[store]\nurl = "sqlite:///{file}"\n')
    ours = [
        sys.executable,
        "-m",
        "alxreport",
        "--config",
        str(config),
        "query",
        "--company",
        company,
    ]
    other = [
        sys.executable, "-m", "sqlite_utils", "rows", file, "local_alx_api_reporting",
        "--where", "is_deleted = 0", "--order", "userid, courseid", "--limit", "100",
    ]  # fmt: skip
    mine, theirs = [], []
    for _ in range(15):  # in turns, so that both see the same machine
        theirs.append(timed(other))
        mine.append(timed(ours))
    show("alxreport query, 100 rows", min(mine), min(theirs), "sqlite-utils rows", 2.0)


def log_costs(file: str, target: str, company: str) -> None:
    """Print what a request costs when the log holds ten million others."""
    before = child("pages", target, company)
    with closing(sqlite3.connect(file)) as store:
        store.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO local_alx_api_logs (at, companyid, endpoint, cache, question)"
            " SELECT 1700000000 + i / 10, i % 1000, 'query', 'hit', hex(i) FROM n",
            (LOG_ROWS,),
        )
        store.commit()
    after = child("pages", target, company)
    show(f"a cached page with {LOG_ROWS:,} rows of log", after["cached"], before["cached"],
         "without them", 1.5)  # fmt: skip


def watch_costs(target: str, where: str, folder: Path, *, requests: int) -> float:
    """Print what the monitor and a check of the alerts cost; return the look's seconds."""
    now = str(int(time.time()))
    child("fill", target, str(requests), now)
    found = child("looks", target, now)
    print(
        f"\nmonitor in {where}, 1,000 companies, 1,000,000 rows, {requests:,} requests in the log,"
        f" {found['calls']:,} of 24 hours: figures {found['look'] * 1000:.0f} ms,"
        f" three plain queries {found['floor'] * 1000:.0f} ms"
    )
    show("the figures of all three views", found["look"], found["floor"], "three queries", 1.5)
    show("a check of the alerts", found["check"], found["floor"], "three queries", 1.5)
    config = folder / "watch.toml"
    config.touch(mode=0o600)
    config.write_text(f'[store]\nurl = "{target}"\n')
    ours = [sys.executable, "-m", "alxreport", "--config", str(config)]
    look = min(timed([*ours, "monitor"]) for _ in range(REPEATS))
    check = min(timed([*ours, "alerts", "check"], ends=(0, 1, 2)) for _ in range(REPEATS))
    show("'alxreport monitor' as a whole", look, 1.0, "of a second", 1.0)
    show("'alxreport alerts check' as a whole", check, 1.0, "of a second", 0.5)
    return float(found["look"])


def timed(command: list[str], ends: tuple[int, ...] = (0,)) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in ends:
        raise SystemExit(f"{command[3:]} ended with {done.returncode}")
    return time.perf_counter() - started


def start_up(folder: Path) -> None:
    nothing = folder / "nothing.py"
    nothing.write_text(NOTHING)
    for flag in ("--version", "--help"):
        bare, ours = [], []
        for _ in range(15):  # in turns, so that both see the same machine
            bare.append(timed([sys.executable, str(nothing), flag]))
            ours.append(timed([sys.executable, "-m", "alxreport", flag]))
        show(f"alxreport {flag}", min(ours), min(bare), "empty Typer program", 1.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the 1,000,000 rows")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="alxreport-bench-") as name:
        folder = Path(name)
        start_up(folder)
        export_costs(folder)
        short = watch_costs(f"sqlite:///{folder}/w1.db", "SQLite", folder, requests=LOG_ROWS // 10)
        if not quick:
            long = watch_costs(f"sqlite:///{folder}/w10.db", "SQLite", folder, requests=LOG_ROWS)
            show("the figures with ten times the log", long, short, "of that", 1.5)
        server = OrdinaryMariaDB()
        try:
            sync_costs(server, folder)
            if not quick:
                large_memory(server, folder)
                server.create_database("watch")
                watch_costs(server.url("watch"), "MariaDB", folder, requests=LOG_ROWS // 10)
        finally:
            server.stop()
    if failures:
        raise SystemExit(f"over the limit: {', '.join(failures)}")


if __name__ == "__main__":
    main()
