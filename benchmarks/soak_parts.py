"""What a soak stands on: databases that can be hurt, processes, and accounts of what was asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from alxreport.schema import store_tables
from tests.command_line import write_config
from tests.servers import MariaDBServer, program
from tests.serving import Client, free_port

ALX = str(Path(sys.executable).with_name("alxreport"))
CODES = {0, 2, 3, 4, 5, 6, 7, 8, 75}  # 1 is a fault, and nobody interrupts a soak's commands
GUARD = """
exec 3<&0
"$@" </dev/null & server=$!
{ cat <&3 >/dev/null; kill -KILL $server; } & watcher=$!
wait $server
kill $watcher 2>/dev/null
"""
HOLDER = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
held.execute("BEGIN EXCLUSIVE")
for statement in sys.argv[2:]:
    held.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""
PATIENCE_SECONDS = 120
SHOWN = ("firstname", "lastname", "email", "username", "coursename", "percentage", "status")
TIMES = ("timecompleted", "timestarted")
Pair = tuple[int, int]
Row = dict[str, Any]


class Violation(Exception):
    """Something that must never be."""


def must(holds: object, *what: object) -> None:
    """Raise a Violation that tells ``what``, unless it holds."""
    if not holds:
        raise Violation(" ".join(str(part)[:3000] for part in what))


class Durable(MariaDBServer):
    """A MariaDB that loses no commit when it is killed, and can be started again."""

    def _command(self) -> list[str]:
        kept = [word for word in super()._command() if "flush-log-at" not in word]
        # What the system was given outlives the process; the tests' servers give it once a second.
        return [*kept, "--innodb-flush-log-at-trx-commit=2"]

    def _launch(self, command: list[str]) -> None:
        self._words = command
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", *command], stdin=subprocess.PIPE, stdout=self._log,
            stderr=self._log, cwd=self.folder, start_new_session=True, **self._run_as,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "server.pid").read_text())

    def kill_and_restart(self, seconds: float) -> None:
        """Kill it as a power cut would, and start it again after a while."""
        os.kill(self.pid, signal.SIGKILL)
        self._guard.communicate()
        time.sleep(seconds)
        self._launch(self._words)
        must(self._answers(), "MariaDB does not start again")

    def run_client(self, name: str, database: str, file: Path, *words: str) -> None:
        """Run one of MariaDB's programs from a file or, for a dump, into it."""
        command = [program(name), *self._client(database)[1:-1], *words, database]
        mode = "wb" if "dump" in name else "rb"
        with file.open(mode) as opened:
            given: dict[str, Any] = {"stdout" if mode == "wb" else "stdin": opened}
            subprocess.run(command, check=True, **given)


class Ground:
    """Source and store of one backend, and what can happen to them."""

    def __init__(self, backend: str, folder: Path) -> None:
        self.backend, self.folder = backend, folder
        self.server = Durable() if backend == "mariadb" else None
        self.source_url, self.store_url = self.new_url("moodle"), self.new_url("store")
        self.reader_url = self.server.readonly_url("moodle") if self.server else self.source_url
        self.tables = store_tables()

    def new_url(self, name: str) -> str:
        """Return the URL of a database with nothing in it."""
        if self.server:
            self.server.drop_database(name)
            self.server.create_database(name)
            return self.server.url(name)
        for path in self.folder.glob(f"{name}.db*"):
            path.unlink()
        return f"sqlite:///{self.folder}/{name}.db"

    def rows(self, query: sa.Select[Any], url: str = "") -> list[Row]:
        engine = sa.create_engine(url or self.store_url, poolclass=NullPool)
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def reporting(self, company: int) -> dict[Pair, Row]:
        """Return all rows of a company, tombstones too."""
        table = self.tables.reporting
        found = self.rows(sa.select(table).where(table.c.companyid == company))
        return {(row["userid"], row["courseid"]): row for row in found}

    def standing(self, company: int) -> Row | None:
        table = self.tables.sync_status
        found = self.rows(sa.select(table).where(table.c.companyid == company))
        return found[0] if found else None

    def counted(self, company: int) -> dict[str, int]:
        """Return what the store has counted of a company's requests."""
        usage, logs = self.tables.usage, self.tables.logs
        spent = self.rows(sa.select(usage).where(usage.c.companyid == company))
        written = sa.select(sa.func.count().label("n")).select_from(logs)
        [log] = self.rows(written.where(logs.c.companyid == company, logs.c.error == ""))
        return {
            "paid": sum(row["calls"] for row in spent),
            "refused": sum(row["refused"] for row in spent),
            "logged": log["n"],
        }

    def back_up(self) -> None:
        """Copy the store as an administrator does, while it is in use."""
        if self.server:
            words = ("--single-transaction", "--skip-lock-tables")
            self.server.run_client("mariadb-dump", "store", self.folder / "backup.sql", *words)
            return
        kept = self.folder / "backup.db"
        kept.unlink(missing_ok=True)
        store = sqlite3.connect(self.folder / "store.db")
        with closing(store), closing(sqlite3.connect(kept)) as target:
            store.backup(target)

    def restore(self) -> None:
        """Put the copy back, while nothing has the store open."""
        self.new_url("store")
        if self.server:
            self.server.run_client("mariadb", "store", self.folder / "backup.sql")
        else:
            shutil.copy(self.folder / "backup.db", self.folder / "store.db")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the database server stand still for the block."""
        assert self.server
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.server.pid, signal.SIGCONT)

    @contextmanager
    def held(self, name: str, *statements: str) -> Iterator[subprocess.Popen[str]]:
        """Let another process hold a file, and what it has not committed, until it is killed."""
        command = [sys.executable, "-c", HOLDER, str(self.folder / f"{name}.db"), *statements]
        holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            assert holder.stdout
            must(holder.stdout.readline() == "held\n", "the soak's own process got no lock")
            yield holder
        finally:
            holder.kill()
            holder.communicate()

    def close(self) -> None:
        if self.server:
            self.server.stop()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Programs:
    """The installed command with this ground's configuration, and its server."""

    def __init__(self, ground: Ground) -> None:
        self.folder, self.counts = ground.folder, Counter[str]()
        more = "[requests]\nrate_limit = 0\n[alerts]\noverdue_hours = 0\n"
        self.config = write_config(ground.folder, ground.reader_url, ground.store_url, more)
        home = {f"XDG_{kind}_HOME": str(self.folder / kind) for kind in ("CONFIG", "DATA", "CACHE")}
        self._environment = home | {"HOME": str(self.folder), "PATH": os.environ["PATH"]}
        self.client = Client(free_port())
        self.log = self.folder / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [ALX, *words, "--config", str(self.config)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self._environment | env,
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[str], *words: str, killed: bool = False) -> Ended:
        """Wait for a command, and look at how it ended and what it said."""
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        done = Ended(words, process.returncode, out, err)
        self.counts[words[0]] += 1
        must("Traceback" not in err, done)
        must(done.code in CODES or (killed and done.code == -signal.SIGKILL), done)
        return done

    def run(self, *words: str, **env: str) -> Ended:
        return self.ended(self.start(*words, **env), *words)

    def serve(self) -> None:
        """Start the server, and wait until it answers."""
        command = [ALX, "serve", "--workers", "2", "--port", str(self.client.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(self.config)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self._environment, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + 60
        while True:
            must(self.process.poll() is None, "the server ended", self.log.read_text()[-2000:])
            must(time.monotonic() < until, "the server does not answer")
            with suppress(OSError):
                self.client.ask("GET", "/")
                return
            time.sleep(0.05)

    def stop(self) -> None:
        """Tell the server to end, and wait for it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(60)
            must(code == 0, "serve ended with", code, self.log.read_text()[-2000:])

    def kill_server(self) -> None:
        """Kill the process that looks after the workers, and wait until these noticed."""
        assert self.process
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 30
        while any(Path(f"/proc/{number}").exists() for number in workers):
            must(time.monotonic() < until, "workers outlive who looks after them:", workers)
            time.sleep(0.05)

    def renew(self) -> None:
        """Let the server renew its workers, and wait until it says that it did."""
        assert self.process
        before, until = self.log.read_text().count("were renewed"), time.monotonic() + 60
        self.process.send_signal(signal.SIGHUP)
        while self.log.read_text().count("were renewed") == before:
            must(time.monotonic() < until, "the workers were not renewed")
            time.sleep(0.1)

    def workers(self) -> list[int]:
        assert self.process
        number = self.process.pid
        found = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return [n for n in map(int, found) if b"spawn_main" in _command_line(n)]

    def memory(self) -> dict[int, int]:
        """Return the megabytes of each worker."""
        found = {}
        for number in self.workers():
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
            found[number] = next(int(x.split()[1]) // 1024 for x in lines if "VmRSS" in x)
        return found

    def check_log(self) -> None:
        """Look at all that the server said: lines of its own, and no traceback."""
        for line in self.log.read_text().splitlines():
            must(line.startswith("alxreport: ") and "Traceback" not in line, "serve says:", line)


def _command_line(number: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes()
    return b""


@dataclass
class Account:
    """One company whose rows are asked for, and what its answers since the last look add up to."""

    company: int
    token: str
    limited: bool = False
    gone: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    base: dict[str, int] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    told: set[Pair] = field(default_factory=set)
    turn: threading.Lock = field(default_factory=threading.Lock)  # of who works on the copies
    copies: dict[str, dict[Pair, Row]] = field(default_factory=dict)  # by "http" and "state"
    mark: str | None = None
    mark_revision: int = 0
    stale: set[str] = field(default_factory=set)  # copies whose mark a restored store must refuse

    def answered(self, cost: int) -> None:
        self.counts.update(logged=1, paid=cost)
        self.moments.append(time.monotonic())

    def unknown(self, cost: int) -> None:
        """Count a request that nobody heard an answer of."""
        self.counts.update(maybe_logged=1, maybe_paid=cost, maybe_refused=1)


def shown(row: Row) -> Row:
    """Return what a stored row or an answer's record says, in one form."""
    unix = "timecompleted_unix" in row
    content = {name: row[name] for name in SHOWN} | {"percentage": round(row["percentage"], 2)}
    return content | {name: row[f"{name}_unix" if unix else name] for name in TIMES}
