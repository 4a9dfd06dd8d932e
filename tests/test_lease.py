"""At most one sync at a time, over processes and hosts, and no lock that outlives its process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport import lease as leases
from alxreport.database import open_store, writing
from alxreport.errors import AlreadyRunningError
from alxreport.lease import sync_lease
from alxreport.process_mark import LEASE_SECONDS, SKEW_SECONDS, process_mark
from alxreport.settings import StoreSettings

from .conftest import Backend
from .crowd import add_crowd
from .cutting import held_connection, holding, kill
from .harness import Harness
from .moodle_site import Site
from .runs import ROOT, Program, ended, execute, rows_of

PROCESSES = 8
# One interpreter that becomes eight, so that all of them are ready within the same instant.
CLAIM = f"""
import os, sys, time
from alxreport.database import open_store
from alxreport.errors import AlreadyRunningError
from alxreport.lease import sync_lease
from alxreport.schema import store_tables
from alxreport.settings import StoreSettings
go, stay = os.pipe(), os.pipe()
for number in range({PROCESSES}):
    if os.fork() == 0:
        os.close(go[1]), os.close(stay[1])
        engine, tables = open_store(StoreSettings(url=sys.argv[1])), store_tables()
        engine.connect().close()
        os.write(1, b"ready\\n")
        os.read(go[0], 1)
        try:
            with sync_lease(engine, tables, int(time.time())):
                os.write(1, b"got it %d\\n" % os.getpid())
                os.read(stay[0], 1)
        except AlreadyRunningError:
            os.write(1, b"refused\\n")
        os._exit(0)
for pipe in (go, stay):
    sys.stdin.readline()
    os.close(pipe[1])
for number in range({PROCESSES}):
    os.wait()
"""


@pytest.fixture
def harness(backend: Backend, tmp_path: Path) -> Iterator[Harness]:
    made = Harness(f"sqlite:///{tmp_path}/moodle.db", backend.new_url())
    made.site.create()
    yield made
    made.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db")
    made.site.create()
    yield made
    made.close()


def set_lease(harness: Harness, owner: str, expires_at: int) -> None:
    with writing(harness.engine) as connection:
        values = {"owner": owner, "expires_at": expires_at}
        connection.execute(sa.update(harness.tables.leases).values(values))


def owner_of(pid: int, mark: str, host: str = "") -> str:
    return "|".join((host or socket.gethostname(), str(pid), mark, "0" * 32))


def is_free(harness: Harness, now: int) -> bool:
    try:
        with sync_lease(harness.engine, harness.tables, now):
            return True
    except AlreadyRunningError:
        return False


def current(harness: Harness) -> Any:
    with harness.engine.connect() as connection:
        return connection.execute(sa.select(harness.tables.leases)).one()


@pytest.mark.soak_on("mariadb")
def test_one_of_eight_processes_gets_it(harness: Harness) -> None:
    command = [sys.executable, "-c", CLAIM, harness.settings.store.url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert [process.stdout.readline() for _ in range(PROCESSES)] == ["ready\n"] * PROCESSES
        process.stdin.write("go\n")
        process.stdin.flush()
        said = sorted(process.stdout.readline().strip() for _ in range(PROCESSES))
        assert said[1:] == ["refused"] * (PROCESSES - 1)
        assert said[0] == f"got it {current(harness).owner.split('|')[1]}"
    assert current(harness).owner == ""


@pytest.mark.soak_on("sqlite", "postgres")
def test_first_runs_at_once_fill_one_store(backend: Backend, tmp_path: Path) -> None:
    """The store has no tables yet; each run ends well or finds another one at work."""
    url, source = backend.new_url(), f"sqlite:///{tmp_path}/moodle.db"
    engine = sa.create_engine(source)
    add_crowd(Site(engine).create(), "crowd", 5)
    engine.dispose()
    program = Program(source, url, tmp_path)
    ends = [ended(process) for process in [program.start("sync", "--quiet") for _ in range(3)]]
    assert {end.code for end in ends} <= {0, 75}, ends
    assert any(end.code == 0 for end in ends)
    assert all(not end.err and not end.out for end in ends), ends
    harness = Harness(source, url)
    assert harness.sync().created == 0
    harness.check()
    harness.close()


def test_a_lease_of_another_host_counts_until_it_expires(harness: Harness) -> None:
    now = 1_000_000
    foreign = owner_of(os.getpid(), process_mark(os.getpid()), host="elsewhere.example")
    set_lease(harness, foreign, now + 1)
    with (
        pytest.raises(AlreadyRunningError, match=r"on elsewhere\.example"),
        sync_lease(harness.engine, harness.tables, now),
    ):
        pytest.fail("two at once")
    assert current(harness).owner == foreign
    assert is_free(harness, now + 1)
    assert current(harness).owner == ""


def test_a_live_process_of_this_host_counts(local: Harness) -> None:
    now = int(time.time())
    set_lease(local, owner_of(os.getpid(), process_mark(os.getpid())), now + LEASE_SECONDS)
    assert not is_free(local, now)


def test_the_lease_of_a_dead_process_is_free_at_once(local: Harness) -> None:
    now = int(time.time())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        set_lease(local, owner_of(process.pid, process_mark(process.pid)), now + LEASE_SECONDS)
        assert not is_free(local, now)
        process.kill()
    assert is_free(local, now)


def test_a_killed_process_that_nobody_waited_for_is_dead(local: Harness) -> None:
    """A zombie, as cron's children may be for a while, still has its entry in /proc."""
    now = int(time.time())
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    set_lease(local, owner_of(process.pid, process_mark(process.pid)), now + LEASE_SECONDS)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert is_free(local, now)
    finally:
        process.communicate()


def test_a_pid_that_another_process_got_is_dead(local: Harness) -> None:
    now, mark = int(time.time()), process_mark(os.getpid())
    boot, namespace, pid, started = mark.split("/")
    for other in (f"{boot}/{namespace}/{pid}/{int(started) - 1}", f"gone/{namespace}/{pid}/1"):
        set_lease(local, owner_of(os.getpid(), other), now + LEASE_SECONDS)
        assert is_free(local, now)


def test_another_container_of_the_same_name_cannot_be_judged(local: Harness) -> None:
    now, mark = int(time.time()), process_mark(os.getpid())
    boot, _namespace, pid, started = mark.split("/")
    set_lease(local, owner_of(1, f"{boot}/pid:[1]/{pid}/{started}"), now + LEASE_SECONDS)
    assert not is_free(local, now)
    assert is_free(local, now + LEASE_SECONDS)


def test_marks_of_processes() -> None:
    assert process_mark(os.getpid()) == process_mark(os.getpid())
    assert process_mark(os.getpid()) != process_mark(os.getppid())
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert process_mark(process.pid) == ""


def test_a_clock_set_back_does_not_block_for_ever(harness: Harness) -> None:
    """A lease of another host that was taken when the clock was three days ahead."""
    now = 1_000_000
    set_lease(harness, owner_of(1, "x/y/1/1", host="elsewhere"), now + 3 * 86_400 + LEASE_SECONDS)
    assert is_free(harness, now)


@pytest.mark.parametrize("behind", [1, SKEW_SECONDS])
def test_a_host_whose_clock_is_a_little_behind_waits(harness: Harness, behind: int) -> None:
    """The other one has just renewed its lease: that ends later than this clock could say."""
    now = 1_000_000
    set_lease(harness, owner_of(1, "x/y/1/1", host="elsewhere"), now + LEASE_SECONDS)
    assert not is_free(harness, now - behind)


@pytest.mark.parametrize("owner", ["?", "|||", "a|b|c", "x" * 255, f"{socket.gethostname()}|1"])
def test_an_owner_in_no_known_form_counts_until_it_expires(local: Harness, owner: str) -> None:
    set_lease(local, owner, 1_000_001)
    assert not is_free(local, 1_000_000)
    assert is_free(local, 1_000_001)


def test_the_longest_host_name_fits(local: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names have at most 64 characters on Linux; every server must keep the whole owner."""
    monkeypatch.setattr(leases.socket, "gethostname", lambda: "h" * 64)
    with sync_lease(local.engine, local.tables, int(time.time())):
        assert len(current(local).owner) <= local.tables.leases.c.owner.type.length


def test_an_overtaken_run_stops_before_it_writes(
    harness: Harness,
) -> None:
    """Another host takes over between two companies, as after a long standstill of this one."""
    crowds = [add_crowd(harness.site, name, 3) for name in ("one", "two", "three")]
    overtaker = owner_of(1, "x/y/1/1", host="elsewhere")

    def overtake(done: int, _total: int) -> None:
        if done == 1:
            set_lease(harness, overtaker, int(time.time()) + LEASE_SECONDS)

    with pytest.raises(AlreadyRunningError, match="overtaken"):
        harness.sync(observer=overtake)
    assert {key[0] for key in harness.stored()} == {crowds[0].company}
    assert current(harness).owner == overtaker
    with pytest.raises(AlreadyRunningError):
        harness.sync()
    assert {key[0] for key in harness.stored()} == {crowds[0].company}
    set_lease(harness, "", 0)
    harness.sync()
    harness.check()


def test_an_overtaken_run_does_not_tidy_up_under_the_other(local: Harness) -> None:
    """The other one saved its position, at which no company stands so far."""
    add_crowd(local.site, "one", 3)
    positions = local.tables.positions

    def overtake(done: int, total: int) -> None:
        if done == total:
            set_lease(local, owner_of(1, "x/y/1/1", host="elsewhere"), int(time.time()) + 900)
            with writing(local.engine) as connection:
                values = {"version": 99, "part": 0, "data": b"its position"}
                connection.execute(sa.insert(positions).values(values))

    with pytest.raises(AlreadyRunningError, match="overtaken"):
        local.sync(observer=overtake)
    with local.engine.connect() as connection:
        assert 99 in connection.scalars(sa.select(positions.c.version)).all()


# Two hosts


class Hosts:
    """Two hosts whose cron runs the sync of one site into one store."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        assert backend.server
        self.server, self.source, self.store = backend.server, backend.new_url(), backend.new_url()
        engine = sa.create_engine(self.source)
        site = Site(engine).create()
        for number in range(5):
            add_crowd(site, f"crowd{number}", 4)
        engine.dispose()
        self.homes = folder

    def sync(self, host: str) -> subprocess.Popen[str]:
        """Begin a run on a host; where this is not root, only Python believes in the name."""
        program = Program(self.source, self.store, self.homes / host)
        command = [sys.executable, "-c", AS_HOST, host, "sync", "--json"]
        if os.geteuid() == 0:
            command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', host,
                       sys.executable, "-m", "alxreport", "sync", "--json"]  # fmt: skip
        return subprocess.Popen(
            command, env=program.environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip

    def held_in_the_middle(self, process: subprocess.Popen[str]) -> int:
        """Wait until a run waits for ``COMPANY``; return the number of its connection."""
        return held_connection(self.server, str(sa.make_url(self.store).database), process)

    def expire(self) -> None:
        """Let the quarter of an hour pass."""
        execute(self.store, "UPDATE local_alx_api_leases SET expires_at = 1 WHERE name = 'sync'")

    def check(self) -> None:
        harness = Harness(self.source, self.store)
        harness.now = int(time.time())
        harness.check()
        runs = rows_of(self.store, "SELECT status FROM local_alx_api_sync_runs ORDER BY id")
        assert [row[0] for row in runs] == ["failed", "success"]
        harness.close()


AS_HOST = """
import socket, sys
name = sys.argv.pop(1)
socket.gethostname = lambda: name
from alxreport.cli import main
main()
"""
COMPANY = "SELECT * FROM local_alx_api_sync_status WHERE companyid = 3 FOR UPDATE"


@pytest.fixture
def hosts(server: str, make_backend: Callable[[str], Backend], tmp_path: Path) -> Hosts:
    made = Hosts(make_backend(server), tmp_path)
    harness = Harness(made.source, made.store)
    harness.sync()
    harness.close()
    execute(made.store, "DELETE FROM local_alx_api_sync_runs")
    execute(made.source, "UPDATE mdl_user SET firstname = 'Another'")
    return made


@pytest.mark.soak_on("mariadb")
@pytest.mark.parametrize(("server", "comes_back"), [("mariadb", False), ("postgres", True)])
def test_a_standby_takes_over(hosts: Hosts, comes_back: bool) -> None:
    """The first host dies in the middle, or stands still for longer than its lease."""
    with holding(hosts.store, COMPANY):
        first = hosts.sync("host1")
        connection = hosts.held_in_the_middle(first)
        assert "on host1)" in ended(hosts.sync("host2")).in_one_line(75)
        first.send_signal(signal.SIGSTOP if comes_back else signal.SIGKILL)
        kill(hosts.server, connection)  # as the server does it once the host is silent
    if not comes_back:
        first.communicate()
    # Its lease counts for the other host until it expires.
    assert "on host1)" in ended(hosts.sync("host2")).in_one_line(75)
    hosts.expire()
    end = ended(hosts.sync("host2"))
    assert end.code == 0, end
    done = {company["company"]: company for company in json.loads(end.out)["companies"]}
    assert [done[f"crowd{number}"]["updated"] for number in range(5)] == [0, 0, 4, 4, 4]
    if comes_back:
        first.send_signal(signal.SIGCONT)
        assert "overtaken" in ended(first).in_one_line(75)
    hosts.check()


def test_a_host_that_died_holds_no_lock_for_long(backend: Backend, tmp_path: Path) -> None:
    """The server ends what a silent host left open, before its lease has expired."""
    if backend.server is None:
        pytest.skip("a file is of one host")
    engine = open_store(StoreSettings(url=backend.new_url()))
    asked = {
        "mysql": "SELECT @@session.idle_write_transaction_timeout",
        "postgresql": "SELECT current_setting('tcp_keepalives_idle')::int"
        " + current_setting('tcp_keepalives_interval')::int"
        " * current_setting('tcp_keepalives_count')::int",
    }[engine.dialect.name]
    with engine.connect() as connection:
        assert 0 < int(connection.exec_driver_sql(asked).scalar()) <= LEASE_SECONDS
    engine.dispose()
