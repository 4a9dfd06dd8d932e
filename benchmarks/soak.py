"""A soak: random changes, syncs, requests and faults for a while, with the promises checked."""

from __future__ import annotations

import argparse
import itertools
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from benchmarks.soak_checks import GUARDED, Checks
from benchmarks.soak_clients import Caller
from benchmarks.soak_parts import Violation, must
from tests.crowd import add_crowd
from tests.cutting import holding
from tests.moodle_edits import random_edit
from tests.moodle_site import Site
from tests.runs import lease_owner

CALLERS = 3
LOCK = "LOCK TABLES mdl_role_assignments WRITE"


class Editor(threading.Thread):
    """Changes Moodle until it has made its edits."""

    def __init__(self, soak: Soak, edits: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self.soak, self.left, self.pause = soak, edits, seconds / max(1, edits)
        self.fault: BaseException | None = None

    def run(self) -> None:
        soak = self.soak
        try:
            while self.left:
                self.left -= 1
                try:
                    random_edit(soak.site, soak.edit_rng.choice, int(time.time()))
                    soak.counts["edits"] += 1
                except sa.exc.DBAPIError:
                    must("busy" in soak.clients.weather, "an edit failed in a quiet round")
                    soak.look_again()
                time.sleep(self.pause)
        except BaseException as error:
            self.fault = error


class Soak(Checks):
    """One backend's soak."""

    def __init__(self, backend: str, folder: Path, seed: int) -> None:
        super().__init__(backend, folder, seed)
        self.faults, self.backed_up = Counter[str](), False
        server = ("kill database", "stop database")
        file = ("lock store", "lock source", "kill writer")
        self.names = (
            *("calm", "calm", "two syncs", "kill sync", "kill sync", "kill worker", "renew"),
            *("restart", "kill server", "kill export", "backup", "restore"),
            *(server if self.ground.server else file),
        )
        self.cycle: list[str] = []

    def look_again(self) -> None:
        """See Moodle as it is after a transaction whose end is unknown; ids are not used again."""
        last, until = self.site._last, time.monotonic() + 60
        while True:
            time.sleep(0.5)
            try:
                self.site = Site(self.site.engine, now=int(time.time()))
                break
            except sa.exc.DBAPIError:
                must(time.monotonic() < until, "the database does not come back")
        self.site._last = last

    def wait(self, least: float, most: float) -> None:
        time.sleep(self.rng.uniform(least, most))

    def calm(self) -> None:
        for _ in range(2):
            self.sync(*self.rng.choice(((), (), ("--full",))))
            self.wait(0, 1)
        pair = [self.programs.start("sync", "--json", "--quiet") for _ in range(2)]
        done = [self.programs.ended(one, "sync") for one in pair]
        for one in done:
            fits = one.code in {0, 75} or GUARDED in one.out + one.err
            must(fits and any(d.code != 75 for d in done), done)

    def two_syncs(self) -> None:
        """Hold one in the middle, so that the other one certainly comes meanwhile."""
        held = (
            holding(self.ground.source_url, LOCK)
            if self.ground.server
            else self.ground.held("moodle")
        )
        with held:
            first = self.programs.start("sync", "--json")
            until = time.monotonic() + 30
            while str(first.pid) not in lease_owner(self.ground.store_url):
                must(time.monotonic() < until and first.poll() is None, "no first sync")
                time.sleep(0.02)
            second = self.programs.run("sync")
            must(second.code == 75 and second.err.count("\n") == 1, second)
        done = self.programs.ended(first, "sync")
        must(done.code == 0 or GUARDED in done.out + done.err, done)

    def kill_sync(self) -> None:
        for _ in range(3):
            process = self.programs.start("sync", *self.rng.choice(((), ("--full",))))
            self.wait(0.2, 1.2 * self.sync_seconds)
            process.kill()
            done = self.programs.ended(process, "sync", killed=True)
            self.counts["syncs killed at work"] += done.code < 0

    def with_sync(self, hurt: Callable[[], None]) -> None:
        """Do something while a sync runs."""
        process = self.programs.start("sync", "--json")
        self.wait(0, self.sync_seconds)
        hurt()
        done = self.programs.ended(process, "sync")
        fits = done.code == 0 or "busy" in self.clients.weather or GUARDED in done.out + done.err
        must(fits and done.code in {0, 3, 7}, done)
        self.wait(0.5, 1.5)

    def kill_worker(self) -> None:
        if workers := self.programs.workers():
            os.kill(self.rng.choice(workers), signal.SIGKILL)
            self.kills.append(time.monotonic())

    def restart(self) -> None:
        self.programs.stop()
        self.wait(0, 1)
        self.programs.serve()

    def kill_server(self) -> None:
        self.kills.append(time.monotonic())
        self.programs.kill_server()
        self.kills.append(time.monotonic())
        self.programs.serve()

    def kill_export(self) -> None:
        for account in list(self.clients.accounts.values()):
            self.clients.kept_export(account, self.rng, kill=True)

    def kill_database(self) -> None:
        assert self.ground.server
        self.ground.server.kill_and_restart(self.rng.uniform(0, 3))

    def stop_database(self) -> None:
        with self.ground.stopped():
            self.wait(1, 4)

    def lock(self, name: str) -> None:
        with self.ground.held(name):
            self.wait(1, 5)

    def kill_writer(self) -> None:
        """Kill a process in the middle of a transaction that wrote to the store."""
        spoil = "UPDATE local_alx_api_reporting SET lastname = 'spoilt', revision = revision + 1"
        with self.ground.held("store", spoil):
            self.wait(0.1, 2)

    FAULTS: dict[str, tuple[Callable[[Soak], None], str, bool]] = {  # noqa: RUF012
        "calm": (calm, "", False),
        "two syncs": (two_syncs, "", False),
        "kill sync": (kill_sync, "", False),
        "kill worker": (kill_worker, "cut", True),
        "renew": (lambda soak: soak.programs.renew(), "", True),
        "restart": (restart, "away cut", True),
        "kill server": (kill_server, "away cut", True),
        "kill export": (kill_export, "", False),
        "kill database": (kill_database, "busy", True),
        "stop database": (stop_database, "", True),
        "lock store": (lambda soak: soak.lock("store"), "", True),
        "lock source": (lambda soak: soak.lock("moodle"), "", True),
        "kill writer": (kill_writer, "", True),
        "backup": (lambda soak: soak.back_up(), "", True),
        "restore": (calm, "", False),
    }

    def back_up(self) -> None:
        self.ground.back_up()
        self.backed_up = True

    def restore(self) -> None:
        """Put the copy of the store back; marks of what it never saw must be refused."""
        accounts = self.clients.accounts.values()
        for account in accounts:
            if not account.gone and not self.clients.is_gone(account):
                self.clients.kept_export(account, self.rng)
        last = self.revisions()
        self.programs.stop()
        self.ground.restore()
        self.programs.serve()
        kept = self.revisions()
        for account in accounts:
            known = kept.get(account.company, -1)
            read = {"http": account.mark_revision, "state": last.get(account.company, 0)}
            account.stale |= {copy for copy in account.copies if read[copy] > known}
            account.gone = True  # its token may be younger than the copy
        self.counts["marks undone"] += sum(len(account.stale) for account in accounts)
        self.settle()

    def round(self, number: int) -> str:
        if not self.cycle:
            self.cycle = self.rng.sample(self.names, len(self.names))
        fault = self.cycle.pop()
        if fault == "restore" and not self.backed_up:
            fault = "backup"
        hurt, weather, during_sync = self.FAULTS[fault]
        self.clients.weather = set(weather.split())
        self.kills.clear()
        edits = self.rng.choice((5, 20, 60, 200))
        callers = [
            Caller(self.clients, random.Random(f"{self.seed}/{number}/{n}"), n < CALLERS)
            for n in range(CALLERS + 1)
        ]
        editor = Editor(self, edits, self.rng.uniform(1, 6))
        threads: list[Caller | Editor] = [editor, *callers]
        for thread in threads:
            thread.start()
        try:
            self.wait(0, 1)
            if during_sync:
                self.with_sync(lambda: hurt(self))
            else:
                hurt(self)
        finally:
            editor.join()
            for caller in callers:
                caller.over.set()
            for caller in callers:
                caller.join(180)
        for thread in threads:
            must(not thread.is_alive(), "a caller waits for ever", thread)
            if thread.fault:
                raise thread.fault
        self.faults[fault] += 1
        self.clients.weather = {"quiet"}
        self.quiet(number)
        if fault == "restore":
            self.restore()
            self.quiet(number)
        return fault

    # From beginning to end

    def run(self, seconds: float) -> None:
        for _ in range(3):
            self.crowds += 1
            add_crowd(self.site, f"crowd{self.crowds}", 80, 2)
        began = time.monotonic()
        must(self.sync().code == 0)
        self.programs.serve()
        self.settle()
        self.quiet(0)
        for number in itertools.count(1):
            edits = self.counts["edits"]
            fault = self.round(number)
            minutes = (time.monotonic() - began) / 60
            print(
                f"{self.backend} {minutes:5.1f} min, round {number}: {fault},"
                f" {self.counts['edits'] - edits} edits, {self.live_count()} rows;"
                f" so far {self.programs.counts['sync']} syncs,"
                f" {self.clients.counts['requests']} requests,"
                f" {self.counts['rows compared']} rows compared,"
                f" {max(self.programs.memory().values(), default=0)} MB",
                flush=True,
            )
            if time.monotonic() - began > seconds:
                break
        self.programs.stop()
        self.programs.check_log()

    def close(self) -> None:
        if self.programs.process and self.programs.process.poll() is None:
            os.killpg(self.programs.process.pid, signal.SIGKILL)
        self.site.engine.dispose()
        self.ground.close()

    def summary(self) -> str:
        def told_as(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))

        lived = list(self.memory.values())
        return "\n".join((
            f"{self.backend}:", f"  faults: {told_as(self.faults)}",
            f"  commands: {told_as(self.programs.counts)}",
            f"  over HTTP: {told_as(self.clients.counts)}", f"  {told_as(self.counts)}",
            f"  memory of workers, first to last MB: {lived}",
        ))  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="in all; both: half for each")
    parser.add_argument("--backend", choices=("mariadb", "sqlite", "both"), default="both")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given = parser.parse_args()
    backends = ("sqlite", "mariadb") if given.backend == "both" else (given.backend,)
    summaries, began = [], time.monotonic()
    for backend in backends:
        folder = Path(tempfile.mkdtemp(prefix=f"alxreport-soak-{backend}-"))
        folder.chmod(0o711)  # a server that runs as another user has to pass through
        tempfile.tempdir = str(folder)
        soak = Soak(backend, folder, given.seed)
        try:
            soak.run(given.minutes * 60 / len(backends))
        except (Violation, Exception) as error:
            print(soak.summary())
            print(f"VIOLATED: {type(error).__name__}: {error}")
            print(f"seed {given.seed}; databases and logs: {folder}")
            if not isinstance(error, Violation):
                raise
            return 1
        finally:
            soak.close()
            tempfile.tempdir = None
        summaries.append(soak.summary())
        shutil.rmtree(folder)
    print("\n".join(summaries))
    minutes = (time.monotonic() - began) / 60
    print(f"{minutes:.1f} minutes, seed {given.seed}, 0 promises violated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
