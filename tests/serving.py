"""The real server, asked over a socket: in this process with the test's clock, or as a command."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from alxreport import http_app
from alxreport.http_call import Office
from alxreport.http_protocol import BoundedProtocol
from alxreport.settings import Settings

from .command_line import PYTHON

SERVER_PHP = "/webservice/rest/server.php"
FUNCTION = "local_alx_report_api_get_course_progress"


@dataclass(frozen=True)
class Got:
    """An answer: header names in lower case; of repeated headers a list is kept apart."""

    status: int
    headers: dict[str, str]
    body: bytes
    pairs: tuple[tuple[str, str], ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Asks a server at a port of this machine."""

    port: int

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Got:
        """Ask once on a connection of its own; ``_`` in a header's name stands for ``-``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            pairs = tuple((name.lower(), value) for name, value in answer.getheaders())
            return Got(answer.status, dict(pairs), answer.read(), pairs)
        finally:
            connection.close()

    def get(self, path: str, token: str | None = None, /, **more: Any) -> Got:
        """GET with a Bearer token; parameters are given by name, headers in ``headers``."""
        headers: dict[str, str] = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        query = urlencode({name: value for name, value in more.items() if value is not None})
        return self.ask("GET", path + ("?" + query if query else ""), **headers)

    def moodle(self, token: str | None, headers: Mapping[str, str] = {}, **given: Any) -> Got:
        """Call the plugin's function as Moodle's clients do."""
        form = {"wsfunction": FUNCTION, "moodlewsrestformat": "json"} | given
        if token is not None:
            form["wstoken"] = token
        body = urlencode({name: value for name, value in form.items() if value is not None})
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", SERVER_PHP, body.encode(), Content_Type=kind, **headers)


def basic(token: str, user: str = "alxreport") -> str:
    """Return the Authorization header of Basic."""
    return "Basic " + base64.b64encode(f"{user}:{token}".encode("utf-8", "surrogatepass")).decode()


class Serving(Client):
    """A server in a thread of this process, whose clock a test may set."""

    def __init__(self, settings: Settings) -> None:
        self.clock: int | None = None
        self.app = http_app.make_app(settings)
        self.socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(self.socket.getsockname()[1])
        configured = uvicorn.Config(
            self.app, lifespan="on", ws="none", http=BoundedProtocol, log_config=None,
            access_log=False, server_header=False, timeout_graceful_shutdown=5,
            proxy_headers=False,
        )  # fmt: skip
        self.server = uvicorn.Server(configured)
        self._thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        self.office.now = self._now  # type: ignore[method-assign]

    @property
    def office(self) -> Office:
        found: Office = self.app.state.office
        return found

    def _now(self) -> int:
        return int(time.time()) if self.clock is None else self.clock

    def configure(self, settings: Settings) -> None:
        """Let the next request find other settings."""
        self.office.settings = settings

    def settle(self) -> None:
        """Wait until everything that was answered is in the log."""
        assert self.office.store.flush(10)

    def close(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(settings: Settings) -> Iterator[Serving]:
    """Run a server for the block."""
    made = Serving(settings)
    try:
        yield made
    finally:
        made.close()


class Command(Client):
    """``alxreport serve`` as a process of its own."""

    def __init__(self, config: Path, *words: str, env: Mapping[str, str] | None = None) -> None:
        super().__init__(free_port())
        self.process = subprocess.Popen(
            [*PYTHON, "serve", "--config", str(config), "--port", str(self.port), *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | dict(env or {}), start_new_session=True,
        )  # fmt: skip

    def wait(self, seconds: float = 30) -> None:
        """Wait until it answers."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(self.process.communicate()[1].decode())
            try:
                self.ask("GET", "/")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("the server does not answer")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it; return its exit code and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            out, err = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        assert out == b""
        return self.process.returncode, err.decode()


@contextmanager
def command(config: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Command]:
    """Run ``alxreport serve`` for the block."""
    made = Command(config, *words, env=env)
    try:
        made.wait()
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
