"""Fixtures that every test may use: databases on three backends and the shared sample data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from alxreport.schema import store_tables

from .asking import desk, local, local_office, office
from .harness import Harness
from .servers import BACKENDS, MariaDBServer, PostgresServer, Server, ServerMissing
from .sharing import share_certificates, share_statements, wait_for_no_disk
from .watching import watched

# Fixtures that are everybody's
__all__ = ["desk", "local", "local_office", "office", "watched"]

REQUIRE_SERVERS = "ALXREPORT_REQUIRE_SERVERS"

_numbers = count(1)

# A real database server on a busy machine has no steady pace.
settings.register_profile("alxreport", deadline=None, print_blob=True)
settings.load_profile("alxreport")

# A session that was started in the background, by nohup for one, ignores it; and so would every
# program that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

share_statements()
share_certificates()
wait_for_no_disk()


@dataclass(frozen=True)
class Backend:
    """One kind of database; ``new_url()`` makes an empty database and returns its URL."""

    name: str
    new_url: Callable[[], str]
    server: Server | None  # None for SQLite


def _running(kind: type[Server]) -> Iterator[Server]:
    try:
        server = kind()
    except ServerMissing as error:
        if os.environ.get(REQUIRE_SERVERS) == "1":
            pytest.fail(f"{error}, and {REQUIRE_SERVERS} is 1")
        pytest.skip(str(error))
    yield server
    server.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that wants an office one on each backend, and one over HTTP where that fits."""
    ways = getattr(metafunc.module, "OFFICES", None)
    if ways is None and hasattr(metafunc.module, "office"):
        return  # of the module's own
    ways = ways or BACKENDS
    named = ("office", "lasting", "lasting_other") if "http" in ways else ("office",)
    if metafunc.definition.get_closest_marker("not_over_http"):
        ways = [way for way in ways if way != "http"]
    for name in set(named) & set(metafunc.fixturenames):
        metafunc.parametrize(name, ways, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)  # before the marks are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what ``soak_on`` names to the soak: make test sees a long case on one backend."""
    for item in items:
        marker = item.get_closest_marker("soak_on")
        if isinstance(item, pytest.Function) and marker:
            ways = set(item.callspec.id.split("-"))
            if ways & set(marker.args):
                item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    yield from _running(MariaDBServer)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    yield from _running(PostgresServer)


@pytest.fixture
def make_backend(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], Backend]]:
    """Return a function from a name of BACKENDS to its Backend, for tests that need several."""
    made: list[tuple[Server, str]] = []

    def make(name: str) -> Backend:
        if name == "sqlite":
            return Backend(name, lambda: f"sqlite:///{tmp_path}/db{next(_numbers)}.db", None)
        server: Server = request.getfixturevalue(f"{name}_server")

        def new_url() -> str:
            database = f"test_{next(_numbers)}"
            server.create_database(database)
            made.append((server, database))
            return server.url(database)

        return Backend(name, new_url, server)

    yield make
    for server, database in made:
        server.drop_database(database)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    return make_backend(request.param)


@dataclass(frozen=True)
class Kept:
    """A site's and a store's database on a server that outlive a test which leaves them sound."""

    server: Server
    databases: tuple[str, str]
    shapes: tuple[Any, ...]

    @classmethod
    def new(cls, server: Server) -> Kept:
        number = next(_numbers)
        names = (f"site_{number}", f"store_{number}")
        for name in names:
            server.create_database(name)
        kept = cls(server, names, ())
        harness = kept.harness()
        harness.site.create()
        harness.close()
        return replace(kept, shapes=kept.shapes_now())

    def harness(self) -> Harness:
        source, store = map(self.server.url, self.databases)
        return Harness(source, store)

    def shapes_now(self) -> tuple[Any, ...]:
        version = f"SELECT version_num FROM {store_tables().version}"
        return (
            *map(self.server.shape, self.databases),
            self.server.execute(version, self.databases[1]),
        )

    def is_sound(self) -> bool:
        try:
            return self.shapes_now() == self.shapes
        except self.server.connect_errors:
            return False

    def drop(self) -> None:
        for name in self.databases:
            self.server.drop_database(name)


@pytest.fixture(scope="session")
def idle() -> dict[str, list[Kept]]:
    """Return the databases that wait for the next test, by backend."""
    return {name: [] for name in BACKENDS}


@pytest.fixture
def make_harness(
    request: pytest.FixtureRequest,
    make_backend: Callable[[str], Backend],
    idle: dict[str, list[Kept]],
) -> Iterator[Callable[[str], Harness]]:
    """Return a function from a name of BACKENDS to a Harness: a new site, nothing synced yet."""
    made: list[Harness] = []
    taken: list[tuple[str, Kept]] = []

    def make(name: str) -> Harness:
        backend = make_backend(name)
        if backend.server is None:
            made.append(Harness(backend.new_url(), backend.new_url()))
            made[-1].site.create()
            return made[-1]
        kept = idle[name].pop() if idle[name] else Kept.new(backend.server)
        taken.append((name, kept))
        made.append(kept.harness())
        made[-1].renew()
        return made[-1]

    yield make
    for harness in made:
        harness.close()
    for name, kept in taken:
        if kept.is_sound():
            idle[name].append(kept)
        else:
            kept.drop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of the sample site's dumps, which lies beside the repository."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared sample data is not beside this repository")
    return folder
