"""Runs that are killed, interrupted, cut off or out of disk: nothing lost, nothing half-visible."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.database import writing
from alxreport.errors import SourceError, StoreError
from benchmarks.big_site import build_big_site, change_learners

from .conftest import Backend
from .crowd import add_crowd
from .cutting import Wire, held_connection, holding, kill
from .harness import FIGURES, NAMES, Harness
from .runs import Program, content_by_company, ended, lease_owner, wait_for

SHOWN = (*NAMES, *FIGURES)
# Kills of a first run and of later ones: where nothing is shared with a server, they cost least.
KILLS = {"sqlite": (1, 2), "mariadb": (1, 1), "postgres": (1, 1)}
COMPANIES = 50
BUILT = 1_700_000_000


@dataclass(frozen=True)
class Sites:
    """One site at two moments, and the rows that each gives, by company."""

    urls: tuple[str, str]
    rows: tuple[Any, Any]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: Any) -> Sites:
    folder: Path = tmp_path_factory.mktemp("sites")
    urls = (f"sqlite:///{folder}/old.db", f"sqlite:///{folder}/new.db")
    build_big_site(sa.create_engine(urls[0]), 0.01, now=BUILT)
    shutil.copy(folder / "old.db", folder / "new.db")
    change_learners(sa.create_engine(urls[1]), 1.0, now=BUILT)
    rows = []
    for number, url in enumerate(urls):
        harness = Harness(url, f"sqlite:///{folder}/rows{number}.db")
        harness.sync()
        rows.append(content_by_company(harness.stored(), SHOWN))
        harness.close()
    assert all(rows[0][company] != rows[1][company] for company in rows[0])
    return Sites(urls, (rows[0], rows[1]))


class Bench:
    """One store that is brought from one moment of the site to the other, and back."""

    def __init__(self, sites: Sites, store_url: str, home: Path) -> None:
        self.sites, self.store_url, self.home = sites, store_url, home

    def program(self, moment: int) -> Program:
        return Program(self.sites.urls[moment], self.store_url, self.home)

    def rows(self) -> Any:
        harness = Harness(self.sites.urls[0], self.store_url)
        found = content_by_company(harness.stored(), SHOWN)
        harness.close()
        return found

    def check_half_way(self, before: int | None, after: int, what: str = "") -> set[int]:
        """Assert that each company is as before or as after; return those as after."""
        found = self.rows()
        old = self.sites.rows[before] if before is not None else {}
        new = self.sites.rows[after]
        done = {company for company in new if found.get(company) == new[company]}
        rest = {company: found.get(company) for company in new if company not in done}
        assert rest == {company: old.get(company) for company in rest}, what
        return done

    def check_next_run(self, moment: int) -> None:
        """Assert that the very next run ends well and leaves what a full rebuild would."""
        harness = Harness(self.sites.urls[moment], self.store_url)
        assert harness.sync().status == "success"
        harness.close()
        assert self.rows() == self.sites.rows[moment]
        assert lease_owner(self.store_url) == ""


@pytest.fixture
def bench(sites: Sites, backend: Backend, tmp_path: Path) -> Bench:
    return Bench(sites, backend.new_url(), tmp_path / "home")


def slots(count: int, seconds: float, start: float = 0.0) -> Iterator[float]:
    """Draw one moment out of each of ``count`` equal parts of a run."""
    width = (seconds - start) / count
    for number in range(count):
        yield start + width * (number + random.random())


@pytest.mark.soak_on("sqlite", "postgres")
def test_killed_at_any_moment(bench: Bench, backend: Backend) -> None:
    first_kills, later_kills = KILLS[backend.name]
    began = time.monotonic()
    assert bench.program(0).run("sync", "--quiet").code == 0
    whole = time.monotonic() - began
    before = 0
    for delay in slots(later_kills, whole, start=0.3 * whole):
        after = 1 - before
        process = bench.program(after).start("sync")
        time.sleep(delay)
        process.kill()
        process.communicate()
        bench.check_half_way(before, after, f"killed after {delay} s")
        bench.check_next_run(after)
        before = after
    assert len(json.loads(bench.program(before).run("company", "list", "--json").out)) == COMPANIES
    for delay in slots(first_kills, whole, start=0.3 * whole):
        bench.store_url = backend.new_url()
        process = bench.program(0).start("sync")
        time.sleep(delay)
        process.kill()
        process.communicate()
        listed = bench.program(0).run("company", "list")
        assert listed.code in {0, 3}, listed
        assert "Traceback" not in listed.err
        end = bench.program(0).run("sync", "--quiet")
        assert (end.code, end.out, end.err) == (0, "", "")
        assert bench.rows() == bench.sites.rows[0]


def test_killed_between_two_tables_of_a_new_store(
    sites: Sites, make_backend: Callable[[str], Backend], tmp_path: Path
) -> None:
    """MariaDB commits each CREATE TABLE by itself; the others make all of them or none."""
    backend = make_backend("mariadb")
    assert backend.server
    for tables in (1, 4):
        bench = Bench(sites, backend.new_url(), tmp_path)
        database = sa.make_url(bench.store_url).database
        count = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{database}'"
        process = bench.program(0).start("sync")
        deadline = time.monotonic() + 30
        while backend.server.execute(count, database)[0][0] < tables:
            assert time.monotonic() < deadline
        process.kill()
        process.communicate()
        bench.check_next_run(0)


class Held:
    """A run to the new moment that a lock in the store holds in the middle of a company."""

    def __init__(self, bench: Bench, backend: Backend, company: int) -> None:
        assert backend.server
        self.bench, self.server, self.company = bench, backend.server, company
        self.database = str(sa.make_url(bench.store_url).database)
        self.lock = (
            f"SELECT * FROM local_alx_api_sync_status WHERE companyid = {company} FOR UPDATE"
        )

    def connection(self, process: subprocess.Popen[str]) -> int:
        """Wait until the run is held; return the number of its connection to the store."""
        return held_connection(self.server, self.database, process)


@pytest.fixture(params=["mariadb", "postgres"])
def held(
    request: pytest.FixtureRequest,
    sites: Sites,
    make_backend: Callable[[str], Backend],
    tmp_path: Path,
) -> Held:
    backend = make_backend(request.param)
    bench = Bench(sites, backend.new_url(), tmp_path / "home")
    harness = Harness(sites.urls[0], bench.store_url)
    harness.sync()
    harness.close()
    return Held(bench, backend, company=20)


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_stopped_with_half_a_company_written(held: Held, number: int) -> None:
    with holding(held.bench.store_url, held.lock):
        process = held.bench.program(1).start("sync")
        connection = held.connection(process)
        process.send_signal(number)
        # A server that waits itself notices late that the other end is gone; until then it
        # would keep the lease locked.
        time.sleep(0.2)
        kill(held.server, connection)
        if number == signal.SIGINT:
            assert "nterrupted" in ended(process).in_one_line(130)
        process.communicate()
    done = held.bench.check_half_way(0, 1)
    assert done == set(range(1, held.company))
    held.bench.check_next_run(1)


@pytest.mark.soak_on("mariadb")
def test_the_stores_connection_ended_with_half_a_company_written(held: Held) -> None:
    """The company is tried again on a new connection, or fails; the others go on."""
    with holding(held.bench.store_url, held.lock):
        process = held.bench.program(1).start("sync", "--quiet")
        kill(held.server, held.connection(process))
    end = ended(process)
    assert end.code in {0, 3, 7}
    if end.code == 0:
        assert not end.err
        assert held.bench.rows() == held.bench.sites.rows[1]
    elif end.code == 3:
        end.in_one_line(3)
    assert "Traceback" not in end.err
    held.bench.check_half_way(0, 1)
    held.bench.check_next_run(1)


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_company_tried_again_is_guarded_still(
    make_backend: Callable[[str], Backend], name: str, tmp_path: Path
) -> None:
    """Its rows in Moodle are missing, and its first transaction is lost to the server."""
    backend = make_backend(name)
    assert backend.server
    harness = Harness(f"sqlite:///{tmp_path}/moodle.db", backend.new_url())
    crowd = add_crowd(harness.site.create(), "crowd", 100)
    harness.sync()
    harness.site.delete("user_enrolments", userid=crowd.users[:60])
    before = harness.live()
    url = harness.settings.store.url
    database = str(sa.make_url(url).database)
    lock = f"SELECT * FROM local_alx_api_reporting WHERE userid = {crowd.users[3]} FOR UPDATE"
    program = Program(harness.settings.moodle.url, url, tmp_path / "home")
    with holding(url, lock):
        process = program.start("sync", "--quiet")
        kill(backend.server, held_connection(backend.server, database, process))
    assert ended(process).code in {3, 7}
    assert harness.live() == before
    assert harness.sync().status == "failed"
    assert harness.live() == before
    harness.close()


@pytest.fixture(params=["mariadb", "postgres"])
def remote(
    request: pytest.FixtureRequest,
    make_backend: Callable[[str], Backend],
    make_harness: Callable[[str], Harness],
) -> tuple[Backend, Harness]:
    """Source and store on the same server, with more learners than are fetched at once."""
    backend, harness = make_backend(request.param), make_harness(request.param)
    for number in range(3):
        add_crowd(harness.site, f"c{number}", 300, courses=2)
    return backend, harness


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("cut", ["source", "store"])
def test_a_wire_cut_in_the_middle(
    remote: tuple[Backend, Harness], cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("alxreport.again.wait", waited.append)
    backend, harness = remote
    assert backend.server
    urls = {"source": harness.settings.moodle.url, "store": harness.settings.store.url}
    harness.sync()
    expected = harness.live()
    site = harness.site

    wire = Wire(backend.server.port)
    over = Harness(*(wire.url(url) if name == cut else url for name, url in urls.items()))
    wire.carried = 0
    over.sync(full=True)
    over.close()
    wire.close()
    (limit,) = slots(1, wire.carried * 0.9, start=wire.carried * 0.3)
    site.update("user", {"id": site.ids("user")[2:]}, lastname="Changed")
    wire = Wire(backend.server.port)
    over = Harness(*(wire.url(url) if name == cut else url for name, url in urls.items()))
    wire.limit = wire.carried + int(limit)
    error: type[Exception] = SourceError if cut == "source" else StoreError
    with pytest.raises(error):
        over.sync(full=True)
    over.close()
    # The lease could not be given back, and this process, which held it, lives on.
    leases = harness.tables.leases
    with writing(harness.engine) as connection:
        connection.execute(sa.update(leases).values(owner="", expires_at=0))
    assert wire.is_cut
    assert len(waited) >= 4  # the server might have come back
    for company in {key[0] for key in expected}:
        names = {row["lastname"] for key, row in harness.live().items() if key[0] == company}
        assert names == {"Changed"} or "Changed" not in names
    assert harness.sync().status == "success"
    assert {row["lastname"] for row in harness.live().values()} == {"Changed"}
    assert harness.live().keys() == expected.keys()


LOCKS = {
    "mariadb": "LOCK TABLES mdl_role_assignments WRITE",
    "postgres": "LOCK TABLE mdl_role_assignments IN ACCESS EXCLUSIVE MODE",
}


@pytest.mark.soak_on("postgres")
def test_the_sources_connection_ended_by_its_server(
    remote: tuple[Backend, Harness], tmp_path: Path
) -> None:
    backend, harness = remote
    assert backend.server
    url = harness.settings.moodle.url
    program = Program(url, harness.settings.store.url, tmp_path)
    with holding(url, LOCKS[backend.name]):
        process = program.start("sync", "--json")
        database = str(sa.make_url(url).database)
        connection = held_connection(backend.server, database, process)
        kill(backend.server, connection)
        # It is begun again, with a connection of its own.
        wait_for(lambda: held_connection(backend.server, database, process) != connection, process)
        assert harness.stored() == {}
    end = ended(process)
    assert end.code == 0
    assert json.loads(end.out)["created"] == 1800
    assert harness.sync().created == 0


@pytest.mark.soak_on("sqlite", "mariadb")
@pytest.mark.parametrize("name", ["sqlite", "mariadb", "postgres"])
def test_a_second_run_meanwhile(
    make_backend: Callable[[str], Backend], name: str, tmp_path: Path
) -> None:
    """A lock in Moodle's database holds the first run; the second one comes and goes."""
    source = make_backend("mariadb")
    harness = Harness(source.new_url(), make_backend(name).new_url())
    add_crowd(harness.site.create(), "crowd", 5)
    url, store = harness.settings.moodle.url, harness.settings.store.url
    program = Program(url, store, tmp_path)
    with holding(url, LOCKS["mariadb"]):
        first = program.start("sync", "--quiet")
        wait_for(lambda: lease_owner(store), first)
        line = program.run("sync").in_one_line(75)
        assert str(first.pid) in line
        quiet = program.run("sync", "--quiet")
        assert (quiet.code, quiet.out, quiet.err) == (75, "", "")
        assert first.poll() is None
        assert str(first.pid) in lease_owner(store)
    end = ended(first)
    assert (end.code, end.out, end.err) == (0, "", "")
    assert len(harness.live()) == 5
    assert harness.sync().status == "success"
    harness.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.call(mount, stderr=subprocess.DEVNULL):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def check_full(bench: Bench, end: Any) -> None:
    """Assert that a run said what the matter is, and that readers go on undisturbed."""
    assert "disk is full" in end.in_one_line(3)
    bench.check_half_way(0, 1)
    asked = bench.program(1).run("query", "--company", "co50", "--limit", "5")
    assert asked.code == 0, asked
    assert not asked.err or "was not logged: The store's disk is full" in asked.err
    assert len(json.loads(asked.out)["data"]) == 5


@pytest.mark.parametrize("left", [0, 100_000])
def test_the_stores_disk_is_full(sites: Sites, small_disk: Path, tmp_path: Path, left: int) -> None:
    bench = Bench(sites, f"sqlite:///{small_disk}/store.db", tmp_path)
    harness = Harness(sites.urls[0], bench.store_url)
    harness.sync()
    harness.close()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        file.truncate(max(0, file.tell() - left))
    end = bench.program(1).run("sync")
    if left:
        check_full(bench, end)
    else:  # not even the 32 KB that SQLite needs to open a store
        assert "disk is full" in end.in_one_line(3)
    ballast.unlink()
    bench.check_next_run(1)


@pytest.mark.soak
@pytest.mark.parametrize("limit", [8_192, 60_000])
def test_files_that_may_not_grow(sites: Sites, tmp_path: Path, limit: int) -> None:
    """A quota, from the first table on: the store's write is refused by the system."""
    bench = Bench(sites, f"sqlite:///{tmp_path}/store.db", tmp_path / "home")

    def confine() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    end = bench.program(0).run("sync", preexec_fn=confine)
    assert "disk is full" in end.in_one_line(3)
    bench.check_next_run(0)
    end = bench.program(1).run("sync", preexec_fn=confine)
    check_full(bench, end)
    bench.check_next_run(1)
