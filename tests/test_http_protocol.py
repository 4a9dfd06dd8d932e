"""What arrives on a connection: offers to speak otherwise, rubbish after a request, and crowds."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlencode

import pytest

from alxreport import http_protocol

from .asking import Desk, open_desk
from .crowd import add_crowd
from .moodle_site import NOW
from .serving import FUNCTION, SERVER_PHP, Serving, serving

OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Serving]]:
    folder = tmp_path_factory.mktemp("protocol")
    with open_desk(folder, f"sqlite:///{folder}/store.db") as desk:
        add_crowd(desk.site, "acme", 5, 4)
        desk.harness.sync()
        with serving(desk.settings) as server:
            server.clock = NOW
            yield desk, server


def talk(server: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def answers(connection: socket.socket, seconds: float = 5) -> bytes:
    """Return what comes until the server hangs up, or is silent for long."""
    connection.settimeout(seconds)
    got = b""
    try:
        while part := connection.recv(65_536):
            got += part
    except (TimeoutError, ConnectionError):
        pass
    return got


@pytest.mark.parametrize("apart", [False, True])
def test_an_offer_of_http_2_costs_no_body(opened: tuple[Desk, Serving], apart: bool) -> None:
    """Java's client and curl --http2 offer it with the first request of a connection."""
    desk, server = opened
    form = {"wstoken": desk.token("acme"), "wsfunction": FUNCTION, "moodlewsrestformat": "json"}
    body = urlencode(form).encode()
    head = (
        f"POST {SERVER_PHP} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n".encode()
        + OFFER
        + b"\r\n"
    )
    with closing(talk(server)) as connection:
        if apart:
            connection.sendall(head)
            time.sleep(0.1)
            connection.sendall(body)
        else:
            connection.sendall(head + body)
        first = http.client.HTTPResponse(connection)
        first.begin()
        assert first.status == 200
        assert first.read().startswith(b'[{"userid":')
        # The connection goes on in the same protocol, whether or not the offer comes again.
        for more in (OFFER, b""):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")
            again = http.client.HTTPResponse(connection)
            again.begin()
            assert (again.status, again.read()[:1]) == (200, b"{")


def test_chunks_after_an_offer(opened: tuple[Desk, Serving]) -> None:
    desk, server = opened
    form = {"wstoken": desk.token("acme"), "wsfunction": FUNCTION, "moodlewsrestformat": "json"}
    body = urlencode(form).encode()
    with closing(talk(server)) as connection:
        connection.sendall(
            f"POST {SERVER_PHP} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n".encode() + OFFER + b"\r\n"
            + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        )  # fmt: skip
        got = http.client.HTTPResponse(connection)
        got.begin()
        assert got.read().startswith(b'[{"userid":')


def test_a_tunnel_is_refused(opened: tuple[Desk, Serving]) -> None:
    with closing(talk(opened[1])) as connection:
        connection.sendall(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
        assert answers(connection).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "after",
    [
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /?" + b"x" * 65_200 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["rubbish", "headers", "url", "tunnel", "body"],
)
def test_what_is_refused_leaves_the_answer_before_it_whole(
    opened: tuple[Desk, Serving], monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    desk, server = opened
    asked = (
        "GET /api/v1/progress HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {desk.token('acme')}\r\n\r\n"
    ).encode()
    server.get("/api/v1/progress", desk.token("acme"))
    page = server.get("/api/v1/progress", desk.token("acme")).body  # as it is kept
    with closing(talk(server)) as connection:
        connection.sendall(asked + after)
        got = answers(connection)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.count(b"HTTP/1.1 ") == 1
    assert got.partition(b"\r\n\r\n")[2] == page


def test_who_comes_takes_the_place_of_who_is_silent(
    opened: tuple[Desk, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, server = opened
    monkeypatch.setattr(http_protocol, "MOST_CONNECTIONS", 10)
    with ExitStack() as stack:
        silent = [stack.enter_context(closing(talk(server))) for _ in range(30)]
        silent[0].sendall(b"GET / HT")
        assert all(
            server.get("/api/v1/progress", desk.token("acme"), limit=1).status == 200
            for _ in range(5)
        )
        assert answers(silent[3], 1) == b""  # hung up, without a word
        # Who was not silent for longest is still there.
        silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answers(silent[-1]).startswith(b"HTTP/1.1 200 ")


def test_a_house_full_of_busy_people_says_when_to_come_back(
    opened: tuple[Desk, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = opened[1]
    monkeypatch.setattr(http_protocol, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(http_protocol, "FULL_HOUSE", 4)
    hold = threading.Event()
    monkeypatch.setattr("alxreport.health.take", lambda *_a, **_n: hold.wait(20) and None)
    with ExitStack() as stack:
        for _ in range(4):
            busy = stack.enter_context(closing(talk(server)))
            busy.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        with closing(talk(server)) as late:
            got = answers(late, 2)
        hold.set()
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in got
