"""Sessions with the store: a bound on what a statement may take, on every backend."""

from __future__ import annotations

import pytest

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
