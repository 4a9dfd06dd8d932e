"""The log that is written in groups: all of it, in order, and nothing twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alxreport import group_commit
from alxreport.errors import StoreError
from alxreport.group_commit import GroupStore
from alxreport.sessions import Session, Store

from .asking import Desk

Work = Callable[[Session], None]


@pytest.fixture
def store(desk: Desk) -> Iterator[GroupStore]:
    made = GroupStore(desk.settings.store)
    yield made
    made.close()


def note(text: str) -> Work:
    """Return work that adds a row with this text to the log."""

    def work(session: Session) -> None:
        session.change(
            f"INSERT INTO {session.names.logs} (at, endpoint) VALUES (1, :text)", text=text
        )

    return work


def noted(desk: Desk) -> list[str]:
    return [row["endpoint"] for row in desk.rows("logs")]


def test_everything_comes_in_its_order_and_together(
    desk: Desk, store: GroupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions = []
    write = Store.write

    def counted(self: Store, work: Any, attempts: int = 8) -> Any:
        transactions.append(work)
        return write(self, work, attempts)

    monkeypatch.setattr(GroupStore, "write", counted)
    for number in range(500):
        store.write_later(note(str(number)))
    assert store.flush()
    assert noted(desk) == [str(number) for number in range(500)]
    assert len(transactions) < 20


def test_it_returns_before_the_disk(desk: Desk, store: GroupStore) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        del session
        begun.set()
        assert go.wait(10)

    store.write_later(slow)
    assert begun.wait(5)
    started = time.perf_counter()
    for number in range(100):
        store.write_later(note(str(number)))
    assert time.perf_counter() - started < 1
    go.set()
    assert store.flush()
    assert len(noted(desk)) == 100


def test_closing_writes_what_waits(desk: Desk) -> None:
    for _ in range(5):
        store = GroupStore(desk.settings.store)
        for number in range(50):
            store.write_later(note(str(number)))
        store.close()
    assert noted(desk) == [str(number) for number in range(50)] * 5


def test_after_closing_begins_it_is_written_at_once(desk: Desk) -> None:
    store = GroupStore(desk.settings.store)
    store.close()
    store.write_later(note("late"))
    Store.close(store)
    assert noted(desk) == ["late"]


def test_what_the_store_refuses_takes_nothing_else_with_it(desk: Desk, store: GroupStore) -> None:
    tried = []

    def bad(session: Session) -> None:
        tried.append(1)
        session.change(f"INSERT INTO {session.names.logs} (nothing) VALUES (1)")

    def worse(_session: Session) -> None:
        raise ZeroDivisionError

    for work in (note("a"), bad, note("b"), worse, note("c")):
        store.write_later(work)
    until = time.monotonic() + 10
    while store.given_up < 2 and time.monotonic() < until:
        store.write_later(note("d"))  # the store works all the while
        time.sleep(0.05)
    assert store.flush()
    assert sorted(set(noted(desk))) == ["a", "b", "c", "d"]
    assert store.given_up == 2
    assert len(tried) <= 2 * group_commit.TRIES + 2


def test_while_the_store_fails_who_asks_is_told_and_nothing_waiting_is_lost(
    desk: Desk, store: GroupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "RETRY_SECONDS", 0.05)
    broken = threading.Event()
    broken.set()
    write = Store.write

    def failing(self: Store, work: Any, attempts: int = 8) -> Any:
        if broken.is_set():
            raise StoreError("The store's disk is full", fatal=True)
        return write(self, work, attempts)

    monkeypatch.setattr(GroupStore, "write", failing)
    store.write_later(note("waiting"))
    until = time.monotonic() + 5
    while not store._in_trouble and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(StoreError):
        store.write_later(note("told"))
    assert not store.flush(0.2)
    broken.clear()
    assert store.flush(5)
    store.write_later(note("after"))
    assert store.flush(5)
    assert noted(desk) == ["waiting", "after"]


def test_more_than_may_wait_is_written_at_once(
    desk: Desk, store: GroupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING", 3)
    go = threading.Event()
    begun = threading.Event()

    def slow(session: Session) -> None:
        del session
        begun.set()
        assert go.wait(10)

    store.write_later(slow)
    assert begun.wait(5)
    for number in range(2):
        store.write_later(note(str(number)))
    fourth = threading.Thread(target=store.write_later, args=(note("at once"),))
    fourth.start()
    fourth.join(0.2)
    go.set()
    fourth.join(10)
    assert store.flush()
    assert sorted(noted(desk)) == ["0", "1", "at once"]


def test_many_threads(desk: Desk, store: GroupStore) -> None:
    """Each thread's rows come in its order, all of them once, however writes are mixed."""

    def run(name: int) -> None:
        rng = random.Random(name)
        for number in range(60):
            text = f"{name}:{number}"
            (store.write if rng.random() < 0.1 else store.write_later)(note(text))
            if rng.random() < 0.05:
                time.sleep(0.01)

    threads = [threading.Thread(target=run, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.flush()
    found = noted(desk)
    assert len(found) == len(set(found)) == 480
