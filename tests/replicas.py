"""A primary and its read replica on this machine, of each kind of server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pymysql

from .servers import MariaDBServer, PostgresServer, Server, program

PATIENCE_SECONDS = 30


class MariaDBPrimary(MariaDBServer):
    """MariaDB that writes a binary log."""

    def _command(self) -> list[str]:
        log = ["--server-id=1", "--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=0"]
        return [*super()._command(), *log]


class MariaDBReplica(MariaDBServer):
    """MariaDB that follows a primary by GTID."""

    def __init__(self, primary: MariaDBPrimary) -> None:
        self.primary = primary
        super().__init__()
        self.execute(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={primary.port},"
            " MASTER_USER='root', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
        )
        self.execute("START SLAVE")

    def _command(self) -> list[str]:
        return [*super()._command(), "--server-id=2", "--read-only=ON"]

    def promote(self) -> None:
        """Become the primary."""
        self.execute("STOP SLAVE")
        self.execute("RESET SLAVE ALL")
        self.execute("SET GLOBAL read_only = OFF")

    def wait(self) -> None:
        """Wait until the replica has all that the primary has committed."""
        at = self.primary.execute("SELECT @@global.gtid_current_pos")[0][0]
        [[done]] = self.execute(f"SELECT MASTER_GTID_WAIT('{at}', {PATIENCE_SECONDS})")
        assert done == 0, self.execute("SHOW SLAVE STATUS")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing be applied for the block; what the primary sends still arrives."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user=self.admin)
        with connection, connection.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            yield

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let nothing arrive for the block."""
        self.execute("STOP SLAVE IO_THREAD")
        yield
        self.execute("START SLAVE")


class PostgresPrimary(PostgresServer):
    """PostgreSQL that others may copy."""

    def _install(self) -> None:
        super()._install()
        with (self.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host replication postgres 127.0.0.1/32 trust\n")


class PostgresReplica(PostgresServer):
    """PostgreSQL that is a hot standby of a primary."""

    def __init__(self, primary: PostgresPrimary) -> None:
        self.primary = primary
        super().__init__()

    def _install(self) -> None:
        made = [program("pg_basebackup", self.programs), "-h", "127.0.0.1", "-U", self.admin]
        place = ["-p", str(self.primary.port), "-D", "data", "-R", "-c", "fast", "--no-sync"]
        self._run([*made, *place])

    def promote(self) -> None:
        """Become the primary."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def wait(self) -> None:
        """Wait until the replica has all that the primary has committed."""
        self.primary.execute("SELECT txid_current()")  # its commit is what there is to wait for
        [[at]] = self.primary.execute("SELECT pg_current_wal_insert_lsn()::text")
        until = time.monotonic() + PATIENCE_SECONDS
        while not self.execute(f"SELECT pg_last_wal_replay_lsn() >= '{at}'::pg_lsn")[0][0]:
            assert time.monotonic() < until, self.execute("SELECT pg_last_wal_replay_lsn()")
            time.sleep(0.05)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing be applied for the block; what the primary sends still arrives."""
        self.execute("SELECT pg_wal_replay_pause()")
        yield
        self.execute("SELECT pg_wal_replay_resume()")

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let nothing arrive for the block."""
        [[info]] = self.execute("SELECT current_setting('primary_conninfo')")
        self._follow("host=127.0.0.1 port=1")
        until = time.monotonic() + PATIENCE_SECONDS
        while self.execute("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"):
            assert time.monotonic() < until
            time.sleep(0.05)
        yield
        self._follow(info)

    def _follow(self, info: str) -> None:
        quoted = info.replace("'", "''")
        self.execute(f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
        self.execute("SELECT pg_reload_conf()")


class Pair:
    """A primary and its replica."""

    kinds: ClassVar = {
        "mariadb": (MariaDBPrimary, MariaDBReplica),
        "postgres": (PostgresPrimary, PostgresReplica),
    }

    def __init__(self, kind: str) -> None:
        first, second = self.kinds[kind]
        self.primary: Server = first()
        self.replica: MariaDBReplica | PostgresReplica = second(self.primary)

    def at_replica(self, url: str) -> str:
        """Return the URL of the same database on the replica."""
        return url.replace(f":{self.primary.port}/", f":{self.replica.port}/")

    def stop(self) -> None:
        self.replica.stop()
        self.primary.stop()
