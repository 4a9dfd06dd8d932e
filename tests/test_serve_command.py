"""``alxreport serve`` as a process: how it starts, what it says, and how it stops under load."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from alxreport import cli_serve
from alxreport.extras import install_hint
from alxreport.limit_admin import set_limit

from .asking import Desk, open_desk
from .command_line import PYTHON, run, spawn, write_config
from .conftest import Backend
from .crowd import add_crowd
from .serving import Client, Command, basic, command, free_port


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/store.db") as made:
        made.now = int(time.time())
        add_crowd(made.site, "acme", 20, 5)
        made.harness.sync()
        yield made


@pytest.fixture
def config(desk: Desk, tmp_path: Path) -> Path:
    return write_config(
        tmp_path, f"sqlite:///{tmp_path}/moodle.db", f"sqlite:///{tmp_path}/store.db"
    )


def test_it_says_where_and_stops_when_told(config: Path, desk: Desk) -> None:
    with command(config) as server:
        got = server.get("/api/v1/progress", desk.token("acme"), limit=2)
        assert got.json()["count"] == 2
        code, said = server.stop()
    assert code == 0
    assert said.splitlines() == [
        f"alxreport: serving on http://127.0.0.1:{server.port}, 1 worker", "alxreport: stopped"
    ]  # fmt: skip
    assert [row["endpoint"] for row in desk.log()] == ["api"]


def test_one_worker_is_not_renewed_and_not_ended(config: Path) -> None:
    with command(config) as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert server.get("/").status == 200
        assert server.stop()[0] == 0


def test_ctrl_c_ends_it_with_130(config: Path) -> None:
    with command(config) as server:
        code, said = server.stop(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said


def test_a_port_that_is_taken(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--config", config, "--port", port)
    assert (done.code, done.out) == (3, b"")
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use." in done.err


@pytest.mark.parametrize("host", ["203.0.113.1", "no such host", "x" * 300, "", "300.1.1.1"])
def test_an_address_that_is_not_ours(config: Path, host: str) -> None:
    done = run("serve", "--config", config, "--host", host, "--port", str(free_port()))
    assert done.code in {2, 3}
    assert len(done.err.strip().splitlines()) <= 2


def test_without_a_store_it_does_not_begin(tmp_path: Path) -> None:
    config = write_config(tmp_path, "sqlite:///nothing.db", f"sqlite:///{tmp_path}/none.db")
    done = run("serve", "--config", config)
    assert done.code == 3
    assert "alxreport sync" in done.err
    assert not (tmp_path / "none.db").exists()


def test_without_its_packages_it_says_what_to_install(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_serve, "find_spec", lambda name: None if name == "uvicorn" else name)
    done = run("serve", "--config", config)
    assert done.code == 3
    assert "Serving needs the package uvicorn." in done.err
    assert install_hint("serve") in done.err
    assert done.err.rstrip().endswith("[serve]'")


def test_a_broken_configuration_and_wrong_options(config: Path) -> None:
    for words in (["--port", "0"], ["--port", "70000"], ["--workers", "0"], ["--nothing"]):
        assert spawn("serve", "--config", config, *words).returncode == 2
    config.write_text(config.read_text() + "[serve]\nworker = 2\n")
    done = spawn("serve", "--config", config)
    assert done.returncode == 3
    assert b"Did you mean serve.workers?" in done.stderr


@pytest.mark.parametrize("key", ["trusted_proxies", "metrics_from"])
@pytest.mark.parametrize("item", ["proxy.example.org", "*", "10.0.0.300", "10.0.0.1/8", ""])
def test_who_is_trusted_is_an_address_or_a_network(config: Path, key: str, item: str) -> None:
    good = config.read_text()
    config.write_text(f'{good}[serve]\n{key} = ["10.0.0.5", "::1", "fd00::/8", "{item}"]\n')
    for words in (["serve"], ["doctor", "--json"]):
        done = run(*words, "--config", config)
        assert done.code == 3
        told = done.err + done.out.decode()
        assert f"serve.{key} has {item!r}, which is no address and no network." in told


def test_an_address_that_this_machine_does_not_have(config: Path) -> None:
    done = run("serve", "--config", config, "--host", "192.0.2.1", "--port", "8080")
    assert done.code == 3
    assert "Cannot listen on 192.0.2.1 port 8080" in done.err
    assert "Give --host an address of this machine" in done.err


def test_tls_files_that_cannot_be_read(config: Path) -> None:
    config.write_text(config.read_text() + '[serve]\ntls_cert = "/nothing.pem"\n')
    done = spawn("serve", "--config", config, "--port", str(free_port()))
    assert done.returncode == 3
    assert b"The TLS file /nothing.pem cannot be read" in done.stderr
    assert b"Traceback" not in done.stderr


def test_several_workers_and_their_renewal(config: Path, desk: Desk) -> None:
    token = desk.token("acme")
    with command(config, "--workers", "2") as server:
        old = set(children(server))
        for _ in range(20):
            assert server.get("/api/v1/progress", token, limit=1).status == 200
        config.write_text(config.read_text() + "[requests]\nmax_limit = 7\n")
        server.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 30
        refused = 0
        while time.monotonic() < until and refused < 20:
            # Whoever answers, somebody does, and at the end with the new settings.
            refused = refused + 1 if over(server, token) == 400 else 0
        assert refused == 20
        while time.monotonic() < until and old.intersection(children(server)):
            time.sleep(0.05)
        code, said = server.stop()
    assert code == 0
    assert "2 workers" in said
    assert said.count("the workers were renewed") == 1
    assert "Traceback" not in said
    rows = [row for row in desk.log() if row["error"] == ""]
    assert len(rows) == sum(row["calls"] for row in desk.rows("usage"))


def test_a_renewal_with_a_broken_configuration_changes_nothing(config: Path, desk: Desk) -> None:
    token = desk.token("acme")
    good = config.read_text()
    with command(config, "--workers", "2") as server:
        config.write_text(good + "[requests]\nmax_limit = 'many'\n")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert all(over(server, token) == 200 for _ in range(10))
        code, said = server.stop()
    assert code == 0
    told = [line for line in said.splitlines() if "keep their settings" in line]
    assert len(told) == 1
    assert "requests.max_limit" in told[0]
    assert "Traceback" not in said


def children(server: Command) -> list[int]:
    """Return the processes of the workers."""
    found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
    return [
        int(number)
        for number in found.split()
        if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()
    ]


@pytest.mark.soak_on("sqlite")
@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_workers_come_and_go_while_the_store_is_away(
    make_backend: Callable[[str], Backend], tmp_path: Path, name: str
) -> None:
    backend = make_backend(name)
    url = backend.new_url()
    with open_desk(tmp_path, url) as desk:
        desk.now = int(time.time())
        add_crowd(desk.site, "acme", 4)
        desk.harness.sync()
        token = desk.token("acme")
        config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", url)
        with command(config, "--workers", "2") as server:
            take_away(backend, url)
            try:
                for worker in children(server):
                    os.kill(worker, signal.SIGKILL)
                seen = {state(server, token) for _ in range(10) if not time.sleep(0.1)}
                assert 503 in seen
                assert seen <= {503, 0}
                assert server.process.poll() is None
            finally:
                bring_back(backend, url)
            until = time.monotonic() + 40
            while state(server, token) != 200 and time.monotonic() < until:
                time.sleep(0.2)
            assert [state(server, token) for _ in range(6)] == [200] * 6
            code, said = server.stop()
    assert code == 0
    assert "Traceback" not in said
    assert said.count("a worker ended by itself") >= 1
    assert all(line.startswith("alxreport: ") for line in said.splitlines()), said


def state(server: Command, token: str) -> int:
    """Return the status of a page, 0 for a connection that a worker's end has cut."""
    try:
        return server.get("/api/v1/progress", token, limit=1).status
    except (http.client.HTTPException, ConnectionError):
        return 0


def take_away(backend: Backend, url: str) -> None:
    if backend.server is None:
        path = Path(url.removeprefix("sqlite:///"))
        path.rename(path.with_suffix(".away"))
        return
    name = url.rpartition("/")[2].partition("?")[0]
    backend.server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "postgres")
    backend.server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        "postgres",
    )


def bring_back(backend: Backend, url: str) -> None:
    if backend.server is None:
        path = Path(url.removeprefix("sqlite:///"))
        path.with_suffix(".away").rename(path)
        return
    name = url.rpartition("/")[2].partition("?")[0]
    backend.server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true", "postgres")


def test_workers_end_with_who_looks_after_them(config: Path) -> None:
    with command(config, "--workers", "2") as server:
        workers = children(server)
        assert len(workers) == 2
        server.stop(signal.SIGKILL)
    until = time.monotonic() + 20
    while any(Path(f"/proc/{number}").exists() for number in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_calls_during_a_stop_is_answered_or_refused_at_once(
    config: Path, desk: Desk, workers: str
) -> None:
    """Nobody is left on a connection that the system took in, and no one answers."""
    token = desk.token("acme")
    set_limit(desk.store, desk.settings, "acme", "1000000", int(time.time()))
    results: list[tuple[str, float]] = []

    def call() -> None:
        while True:
            began = time.monotonic()
            try:
                status = server.get("/api/v1/progress", token, limit=1).status
                results.append((str(status), time.monotonic() - began))
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException) as error:
                results.append((type(error).__name__, time.monotonic() - began))

    with command(config, "--workers", workers) as server:
        threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        code, said = server.stop()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert code == 0, said
    assert {word for word, _took in results} <= {"200", *CUT}
    assert sum(word in CUT for word, _took in results) <= 1, results
    assert max(took for _word, took in results) < 10


# Of a listener that closes, the system may have taken in one more call at that very moment.
CUT = {"ConnectionResetError", "RemoteDisconnected"}


def test_it_serves_without_anybody_to_talk_to(config: Path, desk: Desk) -> None:
    port = free_port()
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [*PYTHON, "serve", "--config", str(config), "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=full,
        )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while True:
            try:
                assert Client(port).get("/api/v1/progress", desk.token("acme")).status == 200
                break
            except OSError:
                assert time.monotonic() < until
                assert process.poll() is None
                time.sleep(0.05)
    finally:
        process.terminate()
    assert process.wait(30) == 0


def test_a_stop_in_the_very_beginning_is_heard(config: Path) -> None:
    for workers in ("1", "2"):
        server = Command(config, "--workers", workers)
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < until
        code, said = server.stop()
        assert code in {0, -signal.SIGTERM}, said
        assert "Traceback" not in said


def over(server: Command, token: str) -> int:
    """Ask for more than the new settings allow; a worker that ends may close an idle connection."""
    try:
        return server.get("/api/v1/progress", token, limit=8).status
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return 0


class Caller(threading.Thread):
    """Asks on one connection until the server is gone; counts what was answered whole."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(daemon=True)
        self.port, self.authorization = port, basic(token)
        self.answered = self.broken = 0

    def run(self) -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                with closing(connection):
                    while True:
                        self.ask(connection)
            except http.client.IncompleteRead:
                self.broken += 1
                return
            except ConnectionRefusedError:
                return
            except (http.client.RemoteDisconnected, ConnectionError):
                continue  # closed before the answer began: not in flight

    def ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request(
            "GET", "/api/v1/progress?limit=100", headers={"Authorization": self.authorization}
        )
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        self.answered += 1


def test_a_key_that_does_not_fit_the_certificate(config: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    config.write_text(config.read_text() + f'[serve]\ntls_cert = "{tmp_path}/x.pem"\n')
    done = run("serve", "--config", config, "--port", str(free_port()), "--workers", "2")
    assert done.code == 3
    assert "are no certificate with its key" in done.err


@pytest.mark.soak_on("sqlite")
@pytest.mark.parametrize(
    ("name", "workers"), [("sqlite", "1"), ("sqlite", "2"), ("mariadb", "2"), ("postgres", "1")]
)
def test_a_stop_under_load_loses_no_answer_and_no_row_of_the_log(
    make_backend: Callable[[str], Backend], tmp_path: Path, name: str, workers: str
) -> None:
    url = make_backend(name).new_url()
    with open_desk(tmp_path, url) as desk:
        desk.now = int(time.time())
        add_crowd(desk.site, "acme", 20, 5)
        desk.harness.sync()
        set_limit(desk.store, desk.settings, "acme", "1000000", desk.now)
        config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", url)
        token = desk.token("acme")
        with command(config, "--workers", workers) as server:
            callers = [Caller(server.port, token) for _ in range(8)]
            for caller in callers:
                caller.start()
            until = time.monotonic() + 30
            while sum(caller.answered for caller in callers) < 50 and time.monotonic() < until:
                time.sleep(0.05)
            code, said = server.stop()
            for caller in callers:
                caller.join(30)
        answered = sum(caller.answered for caller in callers)
        assert (code, sum(caller.broken for caller in callers)) == (0, 0), said
        assert answered > 10
        logged = [row for row in desk.log() if row["error"] == ""]
        spent = sum(row["calls"] for row in desk.rows("usage"))
        # What was taken in was answered, logged and paid; at most one more for each caller, whose
        # connection ended before he could read.
        assert answered <= len(logged) == spent <= answered + len(callers)
        sums = sum(row["calls"] for row in desk.rows("activity"))
        assert sums == len(logged)


@pytest.mark.soak_on("sqlite")
@pytest.mark.parametrize("name", ["sqlite", "mariadb"])
def test_the_limit_is_exact_over_workers(
    make_backend: Callable[[str], Backend], tmp_path: Path, name: str
) -> None:
    url = make_backend(name).new_url()
    with open_desk(tmp_path, url) as desk:
        desk.now = int(time.time())
        add_crowd(desk.site, "acme", 4)
        desk.harness.sync()
        set_limit(desk.store, desk.settings, "acme", "37", desk.now)
        config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", url)
        token = desk.token("acme")
        ways = ("/api/v1/progress", "/odata/v4/Progress", "/api/v1/export", "plugin")
        with command(config, "--workers", "2") as server:

            def ask(number: int) -> bool:
                way = ways[number % 4]
                got = server.moodle(token) if way == "plugin" else server.get(way, token)
                assert got.status in {200, 429}, (way, got.body, server.process)
                return got.status == 200 and b"exception" not in got.body[:20]

            with ThreadPoolExecutor(12) as threads:
                granted = sum(threads.map(ask, range(100)))
        assert granted == 37
        assert [(row["calls"], row["refused"]) for row in desk.rows("usage")] == [(37, 63)]


def test_killed_it_has_lost_nothing_but_the_last_moment_of_the_log(
    config: Path, desk: Desk
) -> None:
    token = desk.token("acme")
    set_limit(desk.store, desk.settings, "acme", "1000000", int(time.time()))
    with command(config) as server:
        callers = [Caller(server.port, token) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(0.7)
        server.stop(signal.SIGKILL)
        for caller in callers:
            caller.join(30)
    answered = sum(caller.answered for caller in callers)
    spent = sum(row["calls"] for row in desk.rows("usage"))
    logged = len(desk.log())
    assert answered <= spent
    assert logged <= spent
    assert logged >= answered - 200, "a group of the log is small"
    with command(config) as server:
        assert server.get("/api/v1/progress", token, limit=1).status == 200


def test_curl_and_requests(config: Path, desk: Desk) -> None:
    token = desk.token("acme")
    whole: list[Any] = []
    with command(config) as server:
        base = f"http://127.0.0.1:{server.port}"
        position: str | None = None
        while True:
            asked = {"limit": "30"} | ({"cursor": position} if position else {})
            page = requests.get(
                f"{base}/api/v1/progress", asked, auth=("alxreport", token), timeout=20
            ).json()
            whole += page["data"]
            position = page["next"]
            if position is None:
                break
        assert len(whole) == 100
        curl = shutil.which("curl")
        if curl is None:
            pytest.skip("curl is not installed")
        said = subprocess.run(
            [curl, "-sS", "--compressed", "-u", f"alxreport:{token}", f"{base}/api/v1/export"],
            capture_output=True, check=True, timeout=30,
        )  # fmt: skip
        assert said.stderr == b""
        assert json.loads(said.stdout) == whole
