"""What a request costs over HTTP: 8 clients on loopback, beside a handler that returns bytes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from alxreport import limit_admin, token_admin
from alxreport.http_protocol import BoundedProtocol
from alxreport.sessions import open_requests
from alxreport.settings import Settings, StoreSettings

CLIENTS = 8
SECONDS = 6.0
WARM_SECONDS = 1.0
ROWS = 1_000
BUFFER = 1 << 20


def bare(port: str, size: str) -> None:
    """Serve that many bytes with the same server, and nothing else."""
    body = b"x" * int(size)
    head = [(b"content-type", b"application/json"), (b"content-length", size.encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    listener = socket.create_server(("127.0.0.1", int(port)))
    configured = uvicorn.Config(
        app, lifespan="on", ws="none", http=BoundedProtocol, log_config=None, access_log=False,
        server_header=False,
    )  # fmt: skip
    uvicorn.Server(configured).run([listener])


@contextmanager
def served(*words: str, port: int) -> Iterator[int]:
    """Run a server as a process of its own, and yield its pid once it listens."""
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


FORM = (
    "wstoken={token}&wsfunction=local_alx_report_api_get_course_progress"
    "&moodlewsrestformat=json&limit=1000&offset=0"
)
PLUGIN = (
    "POST /webservice/rest/server.php HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
)


class Caller(threading.Thread):
    """One client on one connection, who asks again as soon as he has the whole answer."""

    def __init__(self, port: int, requests: Callable[[int], bytes], begin: float, end: float):
        super().__init__()
        self.port, self.requests, self.begin, self.end = port, requests, begin, end
        self.taken: list[float] = []
        self.failed = 0

    def run(self) -> None:
        buffer = bytearray(BUFFER)
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = 0
            while (started := time.perf_counter()) < self.end:
                connection.sendall(self.requests(number))
                number += 1
                status = _answer(connection, buffer)
                if started >= self.begin:
                    self.taken.append(time.perf_counter() - started)
                    self.failed += status != 200


def _answer(connection: socket.socket, buffer: bytearray) -> int:
    got, end = 0, -1
    while end < 0:
        got += connection.recv_into(memoryview(buffer)[got:])
        end = buffer.find(b"\r\n\r\n", 0, got)
    head = bytes(buffer[:end]).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    left = end + 4 + length - got
    view = memoryview(buffer)
    while left > 0:
        count = connection.recv_into(view, min(left, BUFFER))
        assert count, "the server hung up"
        left -= count
    return int(head[9:12])


def press(port: str, path: str, token: str, varied: str) -> dict[str, Any]:
    """Ask with eight clients for some seconds; ``varied``: each request another offset."""
    begin = time.perf_counter() + WARM_SECONDS
    end = begin + SECONDS

    def requests(client: int) -> Callable[[int], bytes]:
        def make(number: int) -> bytes:
            if path == "plugin":
                form = FORM.format(token=token).encode()
                return PLUGIN.format(length=len(form)).encode() + form
            more = f"&offset={(number * CLIENTS + client) % 10_000}" if varied else ""
            return (
                f"GET {path}{more} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {token}\r\n\r\n"
            ).encode()

        return make

    callers = [Caller(int(port), requests(n), begin, end) for n in range(CLIENTS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    taken = sorted(second for caller in callers for second in caller.taken)
    return {
        "per_second": len(taken) / SECONDS,
        "p50_ms": statistics.median(taken) * 1000,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1000,
        "failed": sum(caller.failed for caller in callers),
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def size_of(port: int, path: str, token: str) -> int:
    """Return how many bytes an address answers, read without keeping them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer, size = connection.getresponse(), 0
    assert answer.status == 200, answer.read()
    while part := answer.read(BUFFER):
        size += len(part)
    connection.close()
    return size


def prepare(target: str, company: str) -> dict[str, Any]:
    """Make a token with a budget that is counted and not reached."""
    settings = Settings(store=StoreSettings(url=target))
    store = open_requests(settings.store)
    now = int(time.time())
    limit_admin.set_limit(store, settings, company, "100000000", now)
    _token, secret = token_admin.create_token(store, company=company, name="bench", now=now)
    store.close()
    return {"token": secret}


def logged(target: str) -> dict[str, Any]:
    """Count what was spent and what is in the log."""
    store = open_requests(StoreSettings(url=target))
    with store.reading() as session:
        spent = session.rows(f"SELECT sum(calls) FROM {session.names.usage}")[0][0]
        rows = session.rows(f"SELECT count(*) FROM {session.names.logs} WHERE error = ''")[0][0]
    store.close()
    return {"spent": int(spent or 0), "logged": int(rows or 0)}


def peak_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError


if __name__ == "__main__":
    step, *words = sys.argv[1:]
    if step == "bare":
        bare(*words)
    else:
        print(json.dumps({"press": press, "prepare": prepare, "logged": logged}[step](*words)))
