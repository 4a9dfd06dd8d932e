"""A store and a site on a Galera cluster whose nodes are killed, paused and cut off meanwhile."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import alxreport.database  # noqa: F401  (keeps SQLAlchemy's log of what it cleans up quiet)
from benchmarks.big_site import build_big_site
from tests.galera import Cluster, Node, galera

ALX = (sys.executable, "-m", "alxreport")
CLIENTS, LIMITED, LIMIT = 8, "co1", 300
TRANSIENT = {1047, 1053, 1180, 1205, 1213, 1927, 2003, 2006, 2013}
SETTLE_SECONDS = (3.0, 8.0)


class Run:
    """One run: its processes and threads, and what they counted."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int) -> None:
        self.cluster, self.folder = cluster, folder
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self.rows = 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.configs = [self._config(first) for first in range(3)]
        self.tokens: dict[str, str] = {}
        self.servers: list[tuple[subprocess.Popen[bytes], int]] = []

    def _config(self, first: int) -> Path:
        path = self.folder / f"config{first}.toml"
        path.write_text(
            f'[moodle]\nurl = "{self.cluster.url("moodle", first)}"\n'
            f'[store]\nurl = "{self.cluster.url("alx", first)}"\n'
            "[requests]\nrate_limit = 0\n[alerts]\noverdue_hours = 0\n"
        )
        path.chmod(0o600)
        return path

    def count(self, *names: str) -> None:
        with self._lock:
            self.counts.update(names)

    def fault(self, text: str) -> None:
        with self._lock:
            self.wrong.append(text)
        print(f"WRONG: {text}", flush=True)

    def alx(self, host: int, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*ALX, *words, "--config", str(self.configs[host])],
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        if "Traceback" in done.stderr or "Exception ignored" in done.stderr:
            self.fault(f"{words}: {done.stderr[-2000:]}")
        return done

    def must(self, host: int, *words: str) -> str:
        done = self.alx(host, *words)
        if done.returncode:
            raise SystemExit(f"{words}: {done.returncode} {done.stderr}")
        return done.stdout

    def sync(self, host: int) -> None:
        """Sync again and again, as cron does on one of two hosts."""
        while not self.over.wait(self.rng.uniform(0.2, 1.5)):
            full = ["--full"] if self.rng.random() < 0.1 else []
            done = self.alx(host, "sync", *full)
            self.count(f"sync ended {done.returncode}")
            if done.returncode not in {0, 75}:
                self.fault(f"sync on host {host}: {done.returncode} {done.stderr.strip()}")

    def check(self) -> None:
        """Look for alerts again and again."""
        while not self.over.wait(1.0):
            done = self.alx(2, "alerts", "check")
            self.count(f"alerts check ended {done.returncode}")
            if done.returncode == 3:
                self.fault(f"alerts check: {done.stdout.strip()} {done.stderr.strip()}")

    def ask(self, number: int) -> None:
        """Read pages of a company again and again, over one of the two servers."""
        rng = random.Random(number)
        names = [LIMITED, *list(self.tokens)[:6]]
        _process, port = self.servers[number % len(self.servers)]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while not self.over.is_set():
            company = rng.choice(names)
            limit = rng.choice((15, 30, 1000))
            path, began = f"/api/v1/progress?limit={limit}", time.monotonic()
            while path:
                path = self._page(connection, company, path)
            self.slowest = max(self.slowest, time.monotonic() - began)
            time.sleep(rng.uniform(0.0, 0.05))

    def _page(self, connection: http.client.HTTPConnection, company: str, path: str) -> str:
        try:
            connection.request("GET", path, headers={
                "Authorization": f"Bearer {self.tokens[company]}"})  # fmt: skip
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            self.fault(f"{path}: {error!r}")
            self.count("answers lost")
            return ""
        self.count(f"answer {answer.status}")
        if answer.status == 200:
            self.count("answered " + company, *([] if "cursor" in path else [f"paid {company}"]))
            self.rows += len(body["data"])
            if body["company"]["shortname"] != company:
                self.fault(f"{company} was shown {body['company']}")
            if any(row["coursename"] == "" for row in body["data"]):
                self.fault(f"{company}: a row without a course")
            return f"/api/v1/progress?cursor={quote(body['next'])}" if body["next"] else ""
        if answer.status not in {429, 503}:
            self.fault(f"{path}: {answer.status} {body}")
        if answer.status == 429 and company != LIMITED:
            self.fault(f"{company} has no limit: {body}")
        if answer.status == 503:
            self.count(f"sent away {company}")
            time.sleep(0.5)
        return ""

    def edit(self) -> None:
        """Change the site again and again: names, completions, enrolments."""
        engine = sa.create_engine("mysql+pymysql://", poolclass=NullPool, creator=self._connect)
        while not self.over.wait(0.3):
            try:
                with engine.begin() as connection:
                    for statement in self._edits():
                        connection.exec_driver_sql(statement)
                self.count("edits")
            except (sa.exc.DBAPIError, pymysql.Error) as error:
                code = (getattr(error, "orig", None) or error).args[0]
                if code not in TRANSIENT:
                    self.fault(f"edit: {error}")

    def _connect(self) -> Any:
        last: Exception | None = None
        for node in self.rng.sample(self.cluster.nodes, 3):
            try:
                return pymysql.connect(
                    host="127.0.0.1", port=node.port, user="root", database="moodle",
                    connect_timeout=3, read_timeout=10, write_timeout=10,
                )  # fmt: skip
            except pymysql.Error as error:
                last = error
        raise last or AssertionError

    def _edits(self) -> list[str]:
        now, user = int(time.time()), self.rng.randint(1001, 1390)
        return self.rng.choice((
            [f"UPDATE mdl_user SET lastname = 'Name {now}', timemodified = {now}"
             f" WHERE id BETWEEN {user} AND {user + 5}"],
            [f"UPDATE mdl_course_modules_completion SET completionstate = 1 - completionstate,"
             f" timemodified = {now} WHERE userid = {user} LIMIT 10"],
            [f"DELETE FROM mdl_user_enrolments WHERE userid = {user} ORDER BY id LIMIT 1"],
            [f"UPDATE mdl_course SET fullname = 'Course {now}' WHERE id = {101 + user % 200}"],
        ))  # fmt: skip

    def serve(self, host: int) -> None:
        port = 18_080 + host + self.rng.randint(0, 900)
        log = (self.folder / f"serve{host}.log").open("ab")
        process = subprocess.Popen(
            [*ALX, "serve", "--port", str(port), "--config", str(self.configs[host])],
            stdout=log, stderr=log,
        )  # fmt: skip
        self.servers.append((process, port))

    def harm(self, seconds: float) -> None:
        """Do one fault after another, each time waiting until the cluster is whole again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            node = self.rng.choice(self.cluster.nodes)
            kind = self.rng.choice(("killed", "stopped", "paused", "cut off"))
            began, before = time.monotonic(), Counter(self.counts)
            mend = FAULTS[kind](node)
            time.sleep(self.rng.uniform(*SETTLE_SECONDS))
            mend()
            self.cluster.wait()
            self.count(f"node {kind}")
            gained = Counter(self.counts) - before
            print(
                f"node {node.number} {kind}, all back after {time.monotonic() - began:4.1f} s:"
                f" {gained['sync ended 0']} syncs, {gained['answer 200']} answers,"
                f" {gained['answer 503']} asked to come back, {gained['edits']} edits",
                flush=True,
            )


def _killed(node: Node) -> Callable[[], None]:
    node.kill()
    return node.start


def _stopped(node: Node) -> Callable[[], None]:
    node.stop()
    return node.start


def _paused(node: Node) -> Callable[[], None]:
    node.pause()
    return node.resume


def _cut_off(node: Node) -> Callable[[], None]:
    node.isolate()
    return lambda: node.isolate(on=False)


FAULTS: dict[str, Callable[[Node], Callable[[], None]]] = {
    "killed": _killed, "stopped": _stopped, "paused": _paused, "cut off": _cut_off,
}  # fmt: skip


def set_up(run: Run) -> None:
    """Make the site, its store, tokens and servers."""
    cluster = run.cluster
    for name in ("moodle", "alx"):
        cluster.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    engine = sa.create_engine(cluster.nodes[0].url("moodle").replace("mysql:", "mysql+pymysql:"))
    build_big_site(engine, 0.02)
    engine.dispose()
    run.must(0, "sync")
    run.must(0, "limit", "set", LIMITED, str(LIMIT))
    for number in range(1, 8):
        made = run.must(number % 3, "token", "create", "--company", f"co{number}", "--json")
        run.tokens[f"co{number}"] = json.loads(made)["token"]
    for host in (0, 1):
        run.serve(host)
    time.sleep(3)


def check_end(run: Run) -> None:
    """Compare what is in the store with a rebuild, and what was counted with what was answered."""
    logged = run.cluster.query("SELECT count(*) FROM local_alx_api_logs WHERE error = ''", "alx")[
        0
    ][0]
    if logged != run.counts["answer 200"]:
        run.fault(f"{logged} in the log, {run.counts['answer 200']} answered")
    if run.alx(1, "sync").returncode:
        run.fault("the last sync failed")
    if run.alx(2, "verify").returncode:
        run.fault("verify found differences")
    fresh = run.folder / "fresh.toml"
    fresh.write_text(
        f'[moodle]\nurl = "{run.cluster.url("moodle")}"\n[store]\nurl = "sqlite:///{run.folder}/f.db"\n'
    )
    fresh.chmod(0o600)
    run.configs.append(fresh)
    run.must(3, "sync")
    compared = 0
    for company in (f"co{number}" for number in range(1, 51)):
        ours, rebuilt = (run.must(host, "export", "--company", company) for host in (0, 3))
        compared += len(json.loads(ours))
        if ours != rebuilt:
            run.fault(f"{company} differs from a rebuild")
    run.counts["rows compared with a rebuild"] = compared
    usage = run.cluster.query(
        "SELECT s.shortname, u.calls FROM local_alx_api_usage u"
        " JOIN local_alx_api_sync_status s USING (companyid)", "alx"
    )  # fmt: skip
    for company, calls in usage:
        # Who was sent away, since all nodes were, may have paid before.
        answered, away = run.counts[f"paid {company}"], run.counts[f"sent away {company}"]
        if not answered <= calls <= answered + away:
            run.fault(f"{company}: {calls} were paid, {answered} answered, {away} sent away")
    if run.counts[f"paid {LIMITED}"] > LIMIT:
        run.fault("more than the limit were let through")
    failed = run.cluster.query(
        "SELECT id, status, error FROM local_alx_api_sync_runs WHERE status <> 'success'", "alx"
    )
    for row in failed:
        run.fault(f"run {row}")
    for node in run.cluster.nodes:
        found = node.status()
        for name in ("wsrep_local_cert_failures", "wsrep_local_bf_aborts"):
            run.counts[f"{name} since its start"] += int(found[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="alxreport-cluster-"))
    print(f"seed {options.seed}; logs in {folder}", flush=True)
    with galera() as cluster:
        run = Run(cluster, folder, options.seed)
        set_up(run)
        work = [*(lambda n=n: run.sync(n) for n in (0, 1)), run.check, run.edit,
                *(lambda n=n: run.ask(n) for n in range(CLIENTS))]  # fmt: skip
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in threads:
            thread.start()
        run.harm(options.minutes * 60)
        run.over.set()
        for thread in threads:
            thread.join(300)
        for process, _port in run.servers:
            process.terminate()
            if process.wait(60):
                run.fault(f"serve ended {process.returncode}")
        for path in sorted(folder.glob("serve*.log")):
            said = path.read_text()
            print(said, end="")
            if "Traceback" in said:
                run.fault(f"{path.name} has a traceback")
        check_end(run)
    print(f"\n{options.minutes:g} minutes, {LIMIT} requests allowed to {LIMITED}")
    for name, count in sorted(run.counts.items()):
        print(f"{count:9,}  {name}")
    print(f"{run.rows:9,}  rows in the answers")
    print(f"{run.slowest:9.1f}  seconds of the slowest series of pages")
    print(f"{len(run.wrong):9,}  wrong")
    if run.wrong:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
