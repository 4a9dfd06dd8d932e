"""Servers that go away: others stand in, a run goes on, and a lost answer doubles nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from alxreport.address import complete, same_database, shown
from alxreport.again import until_done
from alxreport.database import connecting, database_url, open_store, reading
from alxreport.errors import ConfigError, RateLimitError, StoreError
from alxreport.failover import servers, split_hosts
from alxreport.schema import prepare_store
from alxreport.sessions import Store
from alxreport.settings import StoreSettings
from alxreport.sync import run_sync

from .asking import Desk
from .command_line import run
from .conftest import Backend
from .crowd import add_crowd
from .cutting import DeafWire, Wire
from .harness import Harness
from .runs import Program

PASSWORD = "p,w@/:x"
QUOTED = "p%2Cw%40%2F%3Ax"
LIMIT = 12


def url_of(text: str) -> sa.URL:
    return database_url(StoreSettings(url=text), "store.url")


def test_several_hosts_in_one_url() -> None:
    url = url_of(f"mysql://alx:{QUOTED}@db1.example.org,db2:3307,[fd00::3]:3308/alxreport")
    assert servers(url) == [("db1.example.org", None), ("db2", 3307), ("fd00::3", 3308)]
    assert (url.username, url.password, url.database) == ("alx", PASSWORD, "alxreport")
    assert shown(url) == "mysql://alx@db1.example.org,db2:3307,[fd00::3]:3308/alxreport"
    again = url_of(complete(url))
    assert again == url
    assert servers(url_of("postgresql://db1/x")) == [("db1", None)]


name = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?", fullmatch=True)
host = st.tuples(name, st.none() | st.integers(1, 65535))


@given(st.lists(host, min_size=1, max_size=4), st.text(min_size=1, max_size=8))
def test_hosts_and_any_password_survive(hosts: list[Any], password: str) -> None:
    first = sa.URL.create("mysql", "u", password, *hosts[0], "d").render_as_string(False)
    rest = "".join(f",{h}" + (f":{p}" if p else "") for h, p in hosts[1:])
    head, tail = first.rsplit("/", 1)
    url = url_of(f"{head}{rest}/{tail}")
    assert servers(url) == hosts
    assert url.password == password
    assert url_of(complete(url)) == url
    assert password not in shown(url) or password in shown(url.set(password="-"))


@pytest.mark.parametrize(
    "hosts", ["db1,", ",db2", "db1,,db2", "db1,db2:x", "db1,:3306", "db1,db2:"]
)
def test_hosts_that_are_none(hosts: str) -> None:
    with pytest.raises(ConfigError, match="part between commas"):
        url_of(f"mysql://u:p@{hosts}/d")


def test_a_comma_elsewhere_is_no_host() -> None:
    for text in ("sqlite:////a,b/c.db", "mysql://u:p@h/d?x=a,b", "mysql://u,v:p,q@h/d"):
        assert split_hosts(text) == (text, "")


def test_one_common_host_is_the_same_database() -> None:
    one, other = url_of("mysql://u@a,b:3307/d"), url_of("mysql://v@c,b:3307/d")
    assert same_database(one, other)
    assert not same_database(one, url_of("mysql://v@c,b/d"))


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Backend:
    return make_backend(request.param)


def rows(harness: Harness, table: str) -> list[Any]:
    found: sa.Table = getattr(harness.tables, table)
    with reading(harness.engine) as connection:
        query = sa.select(found).order_by(*found.primary_key.columns)
        return [dict(row) for row in connection.execute(query).mappings()]


def states(harness: Harness) -> dict[str, Any]:
    return {row["shortname"]: row for row in rows(harness, "sync_status")}


def over(url: str, *wires: Wire | int) -> str:
    """Return a URL with the ports of some relays, or that nobody listens on, one after another."""
    hosts = [f"127.0.0.1:{getattr(wire, 'port', wire)}" for wire in wires]
    u = sa.make_url(url)
    text = sa.URL.create(u.drivername, u.username, u.password, "HOSTS", None, u.database)
    return text.render_as_string(hide_password=False).replace("HOSTS", ",".join(hosts))


def test_the_next_server_stands_in(server: Backend) -> None:
    assert server.server
    wires = [Wire(server.server.port) for _ in range(2)]
    url = server.new_url()
    store = Store(StoreSettings(url=over(url, 1, *wires)))
    sql = "SELECT 1"
    assert [tuple(row) for row in store.read(lambda session: session.rows(sql))] == [(1,)]
    wires[0].close()
    for _ in range(3):
        assert [tuple(row) for row in store.read(lambda session: session.rows(sql))] == [(1,)]
    wires[1].close()
    with pytest.raises(StoreError, match="none of 3 servers can be used") as caught:
        store.read(lambda session: session.rows(sql))
    assert caught.value.fatal
    store.close()


def test_a_wrong_password_is_told_at_once(server: Backend) -> None:
    assert server.server
    url = sa.make_url(over(server.new_url(), 1)).set(username="nobody", password="wrong")
    text = url.render_as_string(hide_password=False)
    engine = open_store(StoreSettings(url=over(text, server.server.port, 1)))
    with pytest.raises(StoreError) as caught, connecting(engine):
        pass
    assert "none of" not in caught.value.message
    engine.dispose()


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("cut", ["source", "store"])
def test_a_run_goes_on_with_the_next_server(server: Backend, cut: str, tmp_path: Path) -> None:
    assert server.server
    harness = Harness(server.new_url(), server.new_url())
    harness.site.create()
    for number in range(3):
        add_crowd(harness.site, f"c{number}", 150, courses=2)
    urls = {"source": harness.settings.moodle.url, "store": harness.settings.store.url}
    harness.sync()
    harness.site.update("user", {"id": harness.site.ids("user")[2:]}, lastname="Changed")
    wire = Wire(server.server.port, 40_000 if cut == "source" else 60_000)
    two = urls | {cut: over(urls[cut], wire, server.server.port)}
    done = Program(*two.values(), tmp_path).run("sync", "--full", "--json")
    assert wire.is_cut
    assert (done.code, json.loads(done.out)["status"]) == (0, "success"), done
    assert harness.sync().created == 0
    harness.check()
    run = rows(harness, "runs")[-2]
    told = json.loads(done.out)
    assert (run["updated"], run["errors"]) == (told["updated"], 0) == (900, 0)
    harness.close()


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("every", [1, pytest.param(2, marks=pytest.mark.soak), 3])
def test_a_sync_that_does_not_hear_of_its_commits(
    server: Backend, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alxreport.again.wait", lambda _seconds: None)
    assert server.server
    harness = Harness(server.new_url(), server.new_url())
    harness.site.create()
    for number in range(3):
        add_crowd(harness.site, f"c{number}", 30, courses=2)
    wire = DeafWire(server.server.port, every=every, deaf=0)
    harness.sync(companies=["c0"])
    store = replace(harness.settings.store, url=wire.url(harness.settings.store.url))
    settings = replace(harness.settings, store=store)
    before = states(harness)
    engine = open_store(store)
    with connecting(engine):  # what SQLAlchemy asks a server at first it does not ask again
        wire.deaf = 1_000
    harness.site.update("user", {"id": harness.site.ids("user")[2:]}, lastname="Changed")
    if every == 1:
        with pytest.raises(StoreError):
            run_sync(settings, engine, harness.tables, now=harness.now)
        wire.deaf = 0
    report = run_sync(settings, engine, harness.tables, now=harness.now)
    engine.dispose()
    assert wire.unheard > 3
    assert report.status == "success"
    harness.check()
    after = states(harness)
    assert after["c0"]["revision"] == before["c0"]["revision"] + 1
    assert after["c1"]["revision"] == 1
    if every > 1:
        assert (report.created, report.updated) == (120, 60)
        runs = rows(harness, "runs")
        assert [(run["status"], run["created"], run["updated"]) for run in runs] == [
            ("success", 60, 0), ("success", 120, 60),
        ]  # fmt: skip
    assert harness.sync().updated == 0
    harness.close()


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("every", [4, pytest.param(7, marks=pytest.mark.soak)])
def test_requests_that_do_not_hear_of_their_commits(server: Backend, every: int) -> None:
    """Each is paid once, answered once and logged once, and none too many is let through."""
    assert server.server
    desk = Desk(server.new_url(), server.new_url())
    add_crowd(desk.site.create(), "acme", 25)
    desk.harness.sync()
    desk.configure(rate_limit=LIMIT, cache_minutes=0)
    token = desk.token("acme")
    wire = DeafWire(server.server.port, every=every, deaf=0)
    desk.store.close()
    desk.store = Store(StoreSettings(url=wire.url(desk.harness.settings.store.url)))
    desk.store.read(
        lambda session: session.rows("SELECT 1")
    )  # SQLAlchemy looks at the server first
    wire.deaf = 1_000
    answered: list[int] = []
    refused: list[Exception] = []

    def ask() -> None:
        for _ in range(4):
            try:
                pages = list(desk.pages(token, limit=10))
            except RateLimitError as error:
                refused.append(error)
            else:
                answered.append(sum(len(page["data"]) for page in pages))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wire.unheard > 10
    assert (answered, len(refused)) == ([25] * LIMIT, 16 - LIMIT)
    (usage,) = desk.rows("usage")
    assert (usage["calls"], usage["companyid"]) == (LIMIT, desk.rows("tokens")[0]["companyid"])
    assert len([row for row in desk.log() if not row["error"]]) == 3 * LIMIT
    assert sum(row["calls"] for row in desk.rows("activity")) == 3 * LIMIT
    assert all(row["credits"] == 0 for row in desk.rows("series"))
    desk.close()


# What a node says that leaves its cluster; that it cannot keep up with it; a lost certification.
GIVING_WAY = {"left": (1047, 1047, 1), "late and left": (1205, 1047, 3), "lost": (1213, 1213, 1)}


class Faults:
    """Lets one statement of PyMySQL's connections fail, and some after it, commits among them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, then: int, count: int) -> None:
        self.at, self.done, self.failed = 0, 0, b""
        execute = pymysql.connections.Connection._execute_command

        def execute_command(connection: Any, command: int, sql: Any) -> Any:
            self.done += 1
            if self.at and 0 <= self.done - self.at < count:
                code = then if self.failed else first
                self.failed = self.failed or sql
                raise pymysql.err.OperationalError(code, "fault on purpose")
            return execute(connection, command, sql)

        monkeypatch.setattr(pymysql.connections.Connection, "_execute_command", execute_command)

    def begin(self, at: int) -> None:
        self.at, self.done, self.failed = at, 0, b""


@pytest.mark.soak_on("every")
@pytest.mark.parametrize("step", [pytest.param(1, id="every"), pytest.param(9, id="some")])
@pytest.mark.parametrize("name", GIVING_WAY)
def test_any_statement_of_a_run_may_fail_once(
    make_backend: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch, name: str, step: int
) -> None:
    monkeypatch.setattr("alxreport.again.wait", lambda _seconds: None)
    server = make_backend("mariadb")
    harness = Harness(server.new_url(), server.new_url())
    harness.site.create()
    for number in range(2):
        add_crowd(harness.site, f"c{number}", 5, courses=2)
    harness.sync()
    faults = Faults(monkeypatch, *GIVING_WAY[name])
    failed, at = [], 1
    while True:
        harness.site.update("user", {"id": harness.site.ids("user")[2:]}, lastname=f"Name {at}")
        engine = open_store(harness.settings.store)
        faults.begin(at)
        until_done(lambda _attempt: prepare_store(engine, harness.tables), lambda _error: False)  # noqa: B023
        report = run_sync(harness.settings, engine, harness.tables, now=harness.now)
        faults.at = 0
        engine.dispose()
        if not faults.failed:
            break
        failed.append(faults.failed)
        assert report.status == "success", (at, faults.failed)
        harness.check()
        at += step
    assert len(failed) > 80 / step
    harness.close()


@pytest.mark.soak_on("late and left")
@pytest.mark.parametrize("name", GIVING_WAY)
def test_any_statement_of_a_request_may_fail_once(
    make_backend: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server = make_backend("mariadb")
    desk = Desk(server.new_url(), server.new_url())
    add_crowd(desk.site.create(), "acme", 5)
    desk.harness.sync()
    desk.configure(rate_limit=1_000, cache_minutes=0)
    token = desk.token("acme")
    desk.store.close()
    faults = Faults(monkeypatch, *GIVING_WAY[name])
    asked = 0
    while True:
        store = Store(desk.harness.settings.store)  # what is asked of a new server may fail, too
        desk.store = store
        faults.begin(asked + 1)
        assert len(desk.ask(token, limit=10)["data"]) == 5, faults.failed
        faults.at = 0
        store.close()
        asked += 1
        if not faults.failed:
            break
    assert asked > 20
    assert desk.rows("usage")[0]["calls"] == asked
    assert len([row for row in desk.log() if not row["error"]]) == asked == len(desk.log())
    desk.close()


def test_alerts_are_looked_for_again_where_all_servers_were_away(
    make_backend: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("alxreport.again.wait", lambda _seconds: None)
    monkeypatch.setattr("alxreport.sessions.time.sleep", lambda _seconds: None)
    server = make_backend("mariadb")
    harness = Harness(server.new_url(), server.new_url())
    add_crowd(harness.site.create(), "acme", 5)
    harness.sync()
    config = tmp_path / "config.toml"
    config.write_text(
        f'[moodle]\nurl = "{harness.settings.moodle.url}"\n'
        f'[store]\nurl = "{harness.settings.store.url}"\n[alerts]\noverdue_hours = 0\n'
    )
    config.chmod(0o600)
    sound = run("alerts", "check", "--config", config)
    assert sound.code == 0, sound
    faults = Faults(monkeypatch, 1047, 1047, 25)
    for at in (1, 20, 25, 30):
        faults.begin(at)
        assert run("alerts", "check", "--config", config) == sound, at
        assert faults.failed
    faults.at = 0
    monkeypatch.setattr("alxreport.again.RUN_ATTEMPTS", 1)
    faults.begin(1)
    assert run("alerts", "check", "--config", config).code == 3
    faults.at = 0
    harness.close()
