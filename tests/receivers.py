"""Real receivers of mails, hooks and pings in the test's process, the well and the ill ones."""

from __future__ import annotations

import email
import email.policy
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

LOCAL = "127.0.0.1"
NAGIOS = re.compile(r"ALXREPORT (OK|WARNING|CRITICAL|UNKNOWN) - ([^|\n]*[^|\n ])(?: \| (.+))?\n")
RANGE = r"(?:@?(?:~|-?\d+(?:\.\d+)?)?:?(?:-?\d+(?:\.\d+)?)?)"
MEASURE = re.compile(
    rf"(?P<label>[A-Za-z_]\w*)=(?P<value>-?\d+(?:\.\d+)?)(?P<unit>us|ms|s|%|B|KB|MB|TB|c|)"
    rf"(?:;{RANGE}(?:;{RANGE}(?:;(?:-?\d+(?:\.\d+)?)?(?:;(?:-?\d+(?:\.\d+)?)?)?)?)?)?"
)


@dataclass
class Hook:
    """An HTTP receiver; ``status`` is what it answers."""

    url: str = ""  # without a scheme or a path
    status: int = 200
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)  # verb, path, body


@contextmanager
def http_receiver() -> Iterator[Hook]:
    """Yield an HTTP receiver that keeps what arrives."""
    hook = Hook()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hook.requests.append((self.command, self.path, body))
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer((LOCAL, 0), Answer)
    server.daemon_threads = True
    hook.url = f"{LOCAL}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Post:
    """A mail server's box: who it was sent to, and the mail as a reader sees it."""

    address: str = ""
    mails: list[tuple[list[str], EmailMessage]] = field(default_factory=list)

    def url(self, *, to: str = "ops@example.com", more: str = "") -> str:
        return f"mailto://{self.address}?from=monitor@example.com&to={to}{more}"


@contextmanager
def mail_receiver() -> Iterator[Post]:
    """Yield a mail server without encryption."""
    controller = pytest.importorskip("aiosmtpd.controller")
    post = Post()

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            post.mails.append((envelope.rcpt_tos, mail))
            return "250 OK"

    class Server(controller.Controller):  # type: ignore[misc,name-defined]
        def _trigger_server(self) -> None:
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    server = Server(Box(), hostname=LOCAL, port=0)
    server.start()
    post.address = f"{LOCAL}:{server.port}"
    try:
        yield post
    finally:
        server.stop()


@contextmanager
def _listening(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    over = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.create_server((LOCAL, 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"{LOCAL}:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join()


def hanging_receiver() -> Any:
    """Return a context with the address of one that takes a connection and never answers."""
    return _listening(lambda _connection, over: over.wait() and None)


def dripping_receiver(start: bytes = b"HTTP/1.1 200 OK\r\nX-Slow: ") -> Any:
    """Return a context with the address of one whose answer comes byte by byte and never ends."""

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(0.05):
            connection.sendall(b"x")

    return _listening(drip)


@contextmanager
def refusing_receiver() -> Iterator[str]:
    """Yield an address at which nobody listens, and nobody else will meanwhile."""
    with socket.socket() as taken:
        taken.bind((LOCAL, 0))
        yield f"{LOCAL}:{taken.getsockname()[1]}"


def nagios(out: bytes | str) -> tuple[str, str, dict[str, tuple[float, str]]]:
    """Return status, words and measures of a plugin's output, which must be one valid line."""
    text = out if isinstance(out, str) else out.decode()
    found = NAGIOS.fullmatch(text)
    assert found, text
    assert all(c.isprintable() for c in text[:-1]), text
    measures: dict[str, tuple[float, str]] = {}
    for word in (found[3] or "").split(" ") if found[3] else []:
        part = MEASURE.fullmatch(word)
        assert part, word
        assert part["label"] not in measures
        measures[part["label"]] = float(part["value"]), part["unit"]
    return found[1], found[2], measures
