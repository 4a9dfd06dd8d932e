"""What harms a run from outside: a wire that is cut, a lock that holds it, a server's KILL."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pymysql
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from .runs import wait_for
from .servers import Server

CHUNK = 4096
COMMITS = (b"\x03COMMIT", b"\x0bCOMMIT\0")  # as PyMySQL and psycopg send it


class Wire:
    """A relay to a server's port that dies once it has carried so many bytes of answers."""

    def __init__(self, port: int, limit: int | None = None) -> None:
        self.limit, self.carried = limit, 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """Return a database URL that goes over this wire."""
        return sa.make_url(url).set(port=self.port).render_as_string(hide_password=False)

    @property
    def is_cut(self) -> bool:
        return self.limit is not None and self.carried > self.limit

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if answers:
                    self.carried += len(data)
                    if self.is_cut:
                        break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if self.is_cut:
            self.close()

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class DeafWire(Wire):
    """A relay that carries a COMMIT to the server, and then ends before the client hears of it.

    It does so ``deaf`` times, to each ``every``-th.
    """

    def __init__(self, port: int, *, every: int = 2, deaf: int = 1_000) -> None:
        self.commits = self.unheard = 0
        self._every, self.deaf = every, deaf
        self._ending: set[int] = set()
        super().__init__(port)

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                if answers and id(target) in self._ending:
                    self._ending.discard(id(target))
                    self.unheard += 1
                    break
                if not answers and data.endswith(COMMITS):
                    self.commits += 1
                    if self.commits % self._every == 0 and self.unheard < self.deaf:
                        self._ending.add(id(source))
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def holding(url: str, *statements: str) -> Iterator[sa.Connection]:
    """Hold the locks that some statements take; ``commit`` on what this yields lets them go."""
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        yield connection
        if connection.dialect.name == "mysql":
            connection.exec_driver_sql("UNLOCK TABLES")
        connection.rollback()


def _waiting(server: Server, database: str) -> list[int]:
    if server.name == "mariadb":
        sql = (
            "SELECT p.id FROM information_schema.processlist p"
            " LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id"
            f" WHERE p.db = '{database}'"
            " AND (t.trx_state = 'LOCK WAIT' OR p.state LIKE 'Waiting for table%')"
        )
    else:
        sql = (
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'"
            " AND wait_event_type = 'Lock'"
        )
    return [int(row[0]) for row in server.execute(sql)]


def held_connection(server: Server, database: str, process: subprocess.Popen[str]) -> int:
    """Wait until a run waits for a lock in a database; return the number of its connection."""
    # MariaDB makes the table of waits anew only for those who let it rest for 0.1 s.
    return int(wait_for(lambda: _waiting(server, database), process, every=0.15)[0])


def kill(server: Server, connection: int) -> None:
    """Let the server end a connection, as its administrator can, and wait until it is gone."""
    mariadb = server.name == "mariadb"
    end = f"KILL {connection}" if mariadb else f"SELECT pg_terminate_backend({connection})"
    alive = (
        f"SELECT id FROM information_schema.processlist WHERE id = {connection}"
        if mariadb
        else f"SELECT pid FROM pg_stat_activity WHERE pid = {connection}"
    )
    if server.execute(alive):
        with suppress(pymysql.OperationalError):  # it may just have gone by itself
            server.execute(end)
    wait_for(lambda: not server.execute(alive))
