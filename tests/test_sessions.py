"""Sessions with the store: a bound on what a statement may take, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy.engine import make_url

from alxreport.errors import StoreError, UsageError
from alxreport.sessions import Session, Store
from alxreport.settings import StoreSettings

from .conftest import Backend
from .harness import Harness

# Each takes minutes.
SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT count(*) FROM n WHERE i < 100000000000",
    "mysql": "SELECT count(*) FROM seq_1_to_100000000000 WHERE seq % 7 = 3",
    "postgresql": "SELECT count(*) FROM generate_series(1, 100000000000)",
}


@pytest.fixture
def store(backend: Backend) -> Store:
    url = backend.new_url()
    harness = Harness(backend.new_url(), url)
    harness.site.create()
    harness.sync()
    harness.close()
    return Store(StoreSettings(url=url))


def slowly(session: Session) -> None:
    with session.bounded(0.3):
        assert session.rows("SELECT 1")[0][0] == 1
        session.rows(SLOW[session.kind])


def test_a_statement_without_end_is_stopped(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match=r"longer than 0\.3 seconds"):
            store.read(slowly)
    # The connection that is used again has no bound any more.
    limits = {
        "sqlite": "SELECT 0", "mysql": "SELECT @@max_statement_time",
        "postgresql": "SELECT current_setting('statement_timeout')",
    }  # fmt: skip
    assert store.read(lambda s: str(s.rows(limits[s.kind])[0][0])) in {"0", "0.000000", "0.0"}
    store.close()


def test_another_fault_inside_a_bound_is_told_as_it_is(store: Store) -> None:
    def work(session: Session) -> None:
        with session.bounded(5):
            session.rows("SELECT one FROM nowhere")

    with pytest.raises(StoreError, match="nowhere"):
        store.read(work)
    assert store.read(lambda s: s.rows("SELECT 1")[0][0]) == 1
    store.close()


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_server_that_lets_nobody_in_is_no_fault_of_what_was_to_be_written(
    make_backend: Callable[[str], Backend], name: str
) -> None:
    """The log of requests is kept for later then, and not given up."""
    backend = make_backend(name)
    server = backend.server
    assert server is not None
    url = make_url(backend.new_url())
    database = url.database or ""
    user = f"crowded_{database}"
    whom = f"'{user}'@'localhost'" if name == "mariadb" else f'"{user}"'
    if name == "mariadb":
        server.execute(
            f"GRANT ALL ON `{database}`.* TO {whom} IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1"
        )
    else:
        server.execute(f"CREATE ROLE {whom} LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
    crowded = url.set(username=user, password="x").render_as_string(hide_password=False)
    gone = url.set(port=1, host="127.0.0.1", query={}).render_as_string(hide_password=False)
    try:
        with (
            closing(Store(StoreSettings(url=crowded))) as first,
            first.reading(),
            closing(Store(StoreSettings(url=crowded))) as second,
        ):
            assert is_fatal(second)
        with closing(Store(StoreSettings(url=gone))) as nowhere:
            assert is_fatal(nowhere)
    finally:
        server.execute(f"DROP USER {whom}")


def is_fatal(store: Store) -> bool:
    with pytest.raises(StoreError) as met:
        store.read(lambda session: session.rows("SELECT 1"))
    return met.value.fatal
