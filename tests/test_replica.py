"""Read replicas: old data are refused, waited for, and told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from alxreport import alert_rules, monitor, watched_source
from alxreport.database import reading, writing
from alxreport.doctor_source import source_checks
from alxreport.errors import SourceError
from alxreport.monitor_screens import screen
from alxreport.replica import covers, standing
from alxreport.sessions import Store
from alxreport.settings import AlertSettings, MoodleSettings
from alxreport.snapshots import SourceReplica
from alxreport.store_names import SOURCE_POSITION
from alxreport.switch import read_long, write_long

from .conftest import _running
from .crowd import add_crowd
from .harness import Harness
from .replicas import Pair
from .runs import Program

numbers = count(1)


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    yield from _running(lambda: Pair(request.param))


class Followed(Harness):
    """A harness whose Moodle has a replica, and one company with six learners in two courses."""

    def __init__(self, pair: Pair, source_url: str, store_url: str) -> None:
        super().__init__(source_url, store_url)
        self.pair = pair
        self.site.create()
        self.crowd = add_crowd(self.site, "acme", 6, 2)
        pair.replica.wait()

    def from_primary(self) -> None:
        self._read(self.pair.primary.readonly_url(self.database))

    def from_replica(self) -> None:
        url = self.pair.at_replica(self.pair.primary.readonly_url(self.database))
        self.pair.replica.wait()  # for the user who reads, too
        self._read(url)

    def _read(self, url: str) -> None:
        self.settings = replace(self.settings, moodle=MoodleSettings(url=url))

    @property
    def database(self) -> str:
        return str(self.source.url.database)

    def from_itself(self) -> None:
        """Read as the administrator of the primary does."""
        self._read(self.pair.primary.url(self.database))

    def standing(self) -> watched_source.Standing:
        with watched_source.snapshot(
            watched_source.open_source(self.settings.moodle), self.settings.moodle
        ) as connection:
            return standing(connection)


@pytest.fixture
def followed(pair: Pair, tmp_path: Path) -> Iterator[Followed]:
    name = f"moodle_{next(numbers)}"
    pair.primary.create_database(name)
    harness = Followed(pair, pair.primary.url(name), f"sqlite:///{tmp_path}/store.db")
    yield harness
    harness.close()
    pair.primary.drop_database(name)


def test_a_replica_is_read_as_its_primary_is(followed: Followed) -> None:
    followed.from_replica()
    assert followed.sync().created == 12
    followed.check()
    person = {"userid": followed.crowd.users[0], "course": followed.crowd.courses[0]}
    followed.site.update("course_completions", person, timecompleted=followed.now - 60)
    followed.pair.replica.wait()
    assert followed.sync().updated == 1
    followed.check()
    assert followed.verify().wrong == 0


@pytest.mark.soak_on("mariadb")
def test_a_replica_that_lacks_what_was_seen_is_refused(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_source, "PATIENCE_SECONDS", 0.5)
    followed.from_replica()
    followed.sync()
    with followed.pair.replica.held():
        add_crowd(followed.site, "beta", 3)
        followed.settings = replace(
            followed.settings,
            moodle=MoodleSettings(url=followed.pair.primary.url(followed.database)),
        )
        assert followed.sync().created == 3
        told = followed.stored()
        on_replica = followed.pair.at_replica(followed.settings.moodle.url)
        followed.settings = replace(followed.settings, moodle=MoodleSettings(url=on_replica))
        for options in ({}, {"full": True}, {"dry_run": True}):
            with pytest.raises(SourceError, match="does not have yet what an earlier sync saw"):
                followed.sync(**options)
        with pytest.raises(SourceError, match="does not have yet"):
            followed.verify()
        assert followed.stored() == told
        # Whoever knows that Moodle was set back says so, and then this is what was seen.
        assert followed.sync(allow_mass_delete=True).deleted == 3
        assert followed.sync().status == "success"
    followed.pair.replica.wait()
    followed.sync()
    followed.check()


@pytest.mark.soak_on("postgres")
def test_a_replica_that_is_a_little_behind_is_waited_for(followed: Followed) -> None:
    followed.from_replica()
    followed.sync()
    on_replica = followed.settings
    over, held = threading.Event(), threading.Event()

    def hold() -> None:
        with followed.pair.replica.held():
            held.set()
            over.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    add_crowd(followed.site, "beta", 3)
    followed.from_itself()
    assert followed.sync().created == 3
    followed.settings = on_replica
    threading.Timer(2, over.set).start()
    assert followed.sync().deleted == 0
    holder.join()
    followed.check()


def test_what_a_primary_lacks_is_gone(followed: Followed) -> None:
    """A primary that was restored begins its log anew, and is believed."""
    followed.from_primary()
    followed.sync()
    with writing(followed.engine) as connection:
        kind, _space, at = read_long(connection, followed.tables, SOURCE_POSITION).partition(" ")
        ahead = "FFFF/0" if kind == "postgresql" else at.rpartition("-")[0] + "-999999999"
        write_long(connection, followed.tables, SOURCE_POSITION, f"{kind} {ahead}")
    assert followed.sync().status == "success"
    with reading(followed.engine) as connection:
        assert ahead not in read_long(connection, followed.tables, SOURCE_POSITION)


@pytest.mark.soak_on("mariadb")
def test_how_far_a_replica_is_behind_is_told(followed: Followed) -> None:
    followed.from_primary()
    assert not followed.standing().replica
    assert [c.name for c in source_checks(followed.settings.moodle, 0)].count("replica") == 0
    replica = followed.pair.replica
    url = replica.url(followed.database)
    followed.settings = replace(followed.settings, moodle=MoodleSettings(url=url))
    add_crowd(followed.site, "beta", 1)
    replica.wait()
    until = time.monotonic() + 20
    while followed.standing().lag != 0:  # MariaDB's knows of what was sent a moment later
        assert time.monotonic() < until, followed.standing()
        time.sleep(0.2)
    assert followed.standing() == replace(followed.standing(), replica=True, stopped=False)
    with replica.held():
        add_crowd(followed.site, "gamma", 1)
        time.sleep(2.5)
        behind = followed.standing()
        assert behind.lag is not None
        assert 1 <= behind.lag < 20
        assert not behind.stopped
    with replica.cut_off():
        assert followed.standing().stopped
        [check] = [c for c in source_checks(followed.settings.moodle, 0) if c.name == "replica"]
        assert check.verdict == "warning"
        assert "nothing comes from its primary" in check.finding


def test_a_user_who_may_only_read(followed: Followed) -> None:
    """He is told whether it is a replica, and where it stands; not always how far behind."""
    followed.from_replica()
    found = followed.standing()
    assert found.replica
    assert found.position
    [check] = [c for c in source_checks(followed.settings.moodle, 0) if c.name == "replica"]
    if found.lag is not None:
        assert check.verdict == "ok"
        return
    assert check.advice.startswith("Let it, on the primary: GRANT SLAVE MONITOR ON *.* TO 'reader_")
    followed.pair.primary.execute(check.advice.partition(": ")[2].rstrip(";"))
    followed.pair.replica.wait()
    checks = {c.name: c for c in source_checks(followed.settings.moodle, 0)}
    assert (checks["replica"].verdict, checks["rights"].verdict) == ("ok", "ok")


@pytest.mark.soak_on("mariadb")
@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_replica_takes_its_primarys_place(kind: str, tmp_path: Path) -> None:
    """Source and store name both servers; the standby stands first and is passed over."""
    for pair in _running(lambda: Pair(kind)):
        urls = {}
        for name in ("moodle", "store"):
            pair.primary.create_database(name)
            place = f"127.0.0.1:{pair.primary.port}"
            both = f"127.0.0.1:{pair.replica.port},{place}"
            urls[name] = pair.primary.url(name).replace(place, both)
        made = Harness(pair.primary.url("moodle"), pair.primary.url("store"))
        made.site.create()
        crowd = add_crowd(made.site, "acme", 6, 2)
        made.close()
        pair.replica.wait()
        program = Program(urls["moodle"], urls["store"], tmp_path)
        first = program.run("sync", "--json")
        assert (first.code, json.loads(first.out)["created"]) == (0, 12), first
        token = program.run("token", "create", "--company", "acme").out.strip()
        pair.replica.wait()
        pair.primary.stop()
        pair.replica.promote()
        engine = sa.create_engine(pair.replica.url("moodle"))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"UPDATE mdl_user SET lastname = 'Anew' WHERE id = {crowd.users[0]}"
            )
        engine.dispose()
        second = program.run("sync", "--json")
        assert (second.code, json.loads(second.out)["updated"]) == (0, 2), second
        program.environment["ALXREPORT_TOKEN"] = token
        asked = program.run("query", "--limit", "3")
        assert [row["lastname"] for row in json.loads(asked.out)["data"]][:2] == ["Anew", "Anew"]
        assert program.run("verify").code == 0


# What the monitor makes of it


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (SourceReplica(301.0, stopped=False), "was 5 min behind"),
        (SourceReplica(90_000.0, stopped=True), "was 1 day 1 h behind"),
        (SourceReplica(None, stopped=True), "received nothing"),
        (SourceReplica(0.0, stopped=True), "received nothing"),
        (SourceReplica(300.0, stopped=False), None),
        (SourceReplica(None, stopped=False), None),
        (None, None),
    ],
)
def test_when_a_replica_is_an_alert(found: SourceReplica | None, told: str | None) -> None:
    facts = alert_rules.Facts(now=0, replica=found)
    conditions = alert_rules.conditions(facts, AlertSettings())
    assert [c.kind for c in conditions] == (["replica_lag"] if told else [])
    assert all(str(told) in c.message and c.severity == "warning" for c in conditions)
    assert not alert_rules.conditions(facts, AlertSettings(replica_lag_minutes=0))


@pytest.mark.soak_on("postgres")
def test_the_monitor_tells_of_the_last_run(followed: Followed) -> None:
    def figures() -> tuple[SourceReplica | None, str, list[str]]:
        store = Store(followed.settings.store)
        taken = monitor.take(store, followed.settings, now=followed.now, next_sync_at=None)
        store.close()
        shown = screen(taken, followed.settings.alerts, UTC).views[0]
        card = next(card for card in shown.cards if card.label == "Last Sync")
        return taken.auto_sync.replica, card.note, [alert.kind for alert in taken.alerts]

    followed.from_primary()
    followed.sync()
    assert figures() == (None, "0 s ago", [])
    url = followed.pair.replica.url(followed.database)
    followed.settings = replace(followed.settings, moodle=MoodleSettings(url=url))
    followed.pair.replica.wait()
    with followed.pair.replica.held():
        add_crowd(followed.site, "beta", 1)
        time.sleep(2.5)
        followed.sync()
    found, note, alerts = figures()
    assert found is not None
    assert found.lag_seconds is not None
    assert note == f"0 s ago, data {int(found.lag_seconds)} s older"
    assert alerts == []
    followed.pair.replica.wait()
    with followed.pair.replica.cut_off():
        followed.sync()
    assert figures()[2] == ["replica_lag"]


# Positions

sequences = st.dictionaries(st.integers(0, 3), st.integers(0, 99), min_size=1)


@given(sequences, sequences)
def test_positions_of_mariadb(now: dict[int, int], seen: dict[int, int]) -> None:
    def written(position: dict[int, int], server: int) -> str:
        return "mariadb " + ",".join(f"{d}-{server}-{n}" for d, n in position.items())

    has = all(now.get(domain, -1) >= number for domain, number in seen.items())
    assert covers(written(now, 1), written(seen, 2)) == has


sets = st.dictionaries(st.sampled_from("ab"), st.sets(st.integers(1, 12), min_size=1), min_size=1)


@given(sets, sets)
def test_positions_of_mysql(now: dict[str, set[int]], seen: dict[str, set[int]]) -> None:
    def written(position: dict[str, set[int]]) -> str:
        parts = []
        for name, numbers in position.items():
            pieces, ordered = [], sorted(numbers)
            while ordered:
                first = last = ordered.pop(0)
                while ordered and ordered[0] == last + 1:
                    last = ordered.pop(0)
                pieces.append(f"{first}-{last}" if last > first else str(first))
            parts.append(":".join([f"3e11fa47-{name}", *pieces]))
        return "mysql " + ",".join(parts)

    has = all(numbers <= now.get(name, set()) for name, numbers in seen.items())
    assert covers(written(now), written(seen)) == has


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_positions_of_postgresql(now: int, seen: int) -> None:
    def written(at: int) -> str:
        return f"postgresql {at >> 32:X}/{at & 0xFFFFFFFF:X}"

    if covers(written(now), written(seen)) != (now >= seen):
        # Only what stands behind the header of an otherwise empty page is the same as before it.
        assert seen % 8192 in {24, 40}
        assert seen - seen % 8192 <= now < seen


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_cannot_be_compared_is_not_refused(now: str, seen: str) -> None:
    assert covers("", seen)
    assert covers(now, "")
    assert covers(f"mariadb {now}x", f"mariadb {seen}y")
    assert covers("mariadb 0-1-5", "postgresql 0/5")
