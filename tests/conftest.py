"""Fixtures that every test may use: databases on three backends and the shared sample data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from .servers import MariaDBServer, PostgresServer, Server, ServerMissing
from .sharing import share_certificates, share_statements, wait_for_no_disk

BACKENDS = ("sqlite", "mariadb", "postgres")
REQUIRE_SERVERS = "ALXREPORT_REQUIRE_SERVERS"

_numbers = count(1)

# A real database server on a busy machine has no steady pace.
settings.register_profile("alxreport", deadline=None, print_blob=True)
settings.load_profile("alxreport")

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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of the sample site's dumps, which lies beside the repository."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared sample data is not beside this repository")
    return folder
