"""Private MariaDB and PostgreSQL servers for the tests, thrown away with their data.

Each server is the child of a small shell that reads a pipe from pytest: when the pipe closes,
because the session ended or because pytest was killed, the shell kills the server and removes
its files.
"""

from __future__ import annotations

import gzip
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any, ClassVar

import psycopg
import pymysql
import sqlalchemy as sa
from psycopg import sql as pgsql

BACKENDS = ("sqlite", "mariadb", "postgres")
# The same and, over HTTP, the real server with a store on SQLite.
OFFICES = (*BACKENDS, "http")
START_TIMEOUT_SECONDS = 60
START_ATTEMPTS = 3
GUARD = """
exec 3<&0
"$@" </dev/null & server=$!
{ cat <&3 >/dev/null; kill -"$STOP_SIGNAL" $server; } & watcher=$!
wait $server
kill $watcher 2>/dev/null
rm -rf "$STATE_DIR"
"""


class ServerMissing(Exception):
    """The server's programs are not installed."""


def program(name: str, *folders: str) -> str:
    """Return the path of an installed program; ``folders`` are globs, the newest version first."""
    for pattern in folders:
        found = sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"), key=_version)
        if found:
            return str(found[-1])
    if path := shutil.which(name):
        return path
    raise ServerMissing(f"{name} is not installed")


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _new_folder(owner: str | None) -> Path:
    """Return a new directory that the account ``owner`` can reach and write."""
    parent = Path(tempfile.gettempdir()).resolve()
    if owner and not all(p.stat().st_mode & 0o001 for p in (parent, *parent.parents)):
        parent = Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="alxreport-tests-", dir=parent))
    if owner:
        shutil.chown(folder, owner, owner)
    return folder


class Server(ABC):
    """One running server; its databases are made and dropped by name."""

    name: ClassVar[str]
    account: ClassVar[str]
    admin: ClassVar[str]
    drivername: ClassVar[str]
    query: ClassVar[dict[str, str]] = {}
    stop_signal: ClassVar[str] = "KILL"
    connect_errors: ClassVar[type[Exception]]
    shape_sql: ClassVar[tuple[str, ...]]  # all that DDL may change in the database {}

    def __init__(self) -> None:
        self._readers: dict[str, list[str]] = {}
        # The servers refuse to run as root, so there they run as their package's account.
        self._owner = self.account if os.geteuid() == 0 else None
        self._run_as: dict[str, Any] = (
            {"user": self._owner, "group": self._owner, "extra_groups": []} if self._owner else {}
        )
        self._start()

    @abstractmethod
    def _install(self) -> None:
        """Fill the data directory in ``self.folder``."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that serves on ``self.port`` in the foreground."""

    @abstractmethod
    def execute(self, sql: str, database: str | None = None) -> list[Any]:
        """Run one statement as the administrator and return its rows."""

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Make an empty database."""

    @abstractmethod
    def _drop(self, name: str) -> None:
        """Drop a database with everything in it."""

    @abstractmethod
    def _grant_select(self, database: str, user: str, password: str) -> None:
        """Make a user who may read ``database`` and nothing else."""

    @abstractmethod
    def _drop_user(self, user: str) -> None:
        """Drop a user made by ``_grant_select``."""

    @abstractmethod
    def _client(self, database: str) -> list[str]:
        """Return the command that runs SQL from its stdin in ``database``."""

    @abstractmethod
    def open_connections(self, database: str) -> int:
        """Return how many connections to ``database`` are open."""

    def drop_database(self, name: str) -> None:
        """Drop a database, if it is there, and the readers made for it."""
        self._drop(name)
        for user in self._readers.pop(name, []):
            self._drop_user(user)

    def shape(self, database: str) -> list[Any]:
        """Return the tables, columns, indexes and triggers of a database, and who may read it."""
        found = [self.execute(sql.format(database), database) for sql in self.shape_sql]
        return [*map(sorted, found), self._readers.get(database, [])]

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of ``database`` for a user with every right."""
        return self._url(database, self.admin, None)

    def readonly_url(self, database: str) -> str:
        """Return a URL of ``database`` for a new user with SELECT only, for later tables too."""
        user, password = f"reader_{secrets.token_hex(4)}", f"pw-{secrets.token_hex(8)}"
        self._grant_select(database, user, password)
        self._readers.setdefault(database, []).append(user)
        return self._url(database, user, password)

    def load_dump(self, database: str, path: Path | str) -> None:
        """Load a gzipped dump; tables that it holds and the database has are replaced."""
        with subprocess.Popen(["gzip", "-dc", str(path)], stdout=subprocess.PIPE) as unzip:
            done = subprocess.run(
                self._client(database),
                stdin=unzip.stdout,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode or unzip.returncode:
            raise RuntimeError(f"{path} could not be loaded: {done.stderr.strip()[-500:]}")

    def stop(self) -> None:
        """Kill the server and remove its files; what happens too when pytest dies."""
        self._guard.communicate()
        self._log.close()

    def _url(self, database: str, user: str, password: str | None) -> str:
        url = sa.URL.create(
            self.drivername, user, password, "127.0.0.1", self.port, database, query=self.query
        )
        return url.render_as_string(hide_password=False)

    def _start(self) -> None:
        for attempt in range(1, START_ATTEMPTS + 1):
            self.folder = _new_folder(self._owner)
            try:
                self._install()
                self.port = _free_port()
                command = self._command()
            except BaseException as error:
                shutil.rmtree(self.folder, ignore_errors=True)
                # Other servers that start now may hold what the system has of something.
                if not isinstance(error, RuntimeError) or attempt == START_ATTEMPTS:
                    raise
                time.sleep(attempt)
                continue
            self._launch(command)
            if self._answers():
                return
            self._guard.communicate()
            self._log.seek(0)
            text = self._log.read().decode(errors="replace")
            self._log.close()
            # Another process may take the port between the look and the start.
            if attempt == START_ATTEMPTS or "in use" not in text:
                raise RuntimeError(f"{self.name} did not start: {text[-2000:]}")

    def _launch(self, command: list[str]) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            env=os.environ | {"STOP_SIGNAL": self.stop_signal, "STATE_DIR": str(self.folder)},
            start_new_session=True,  # Ctrl-C in a terminal is pytest's to handle
            **self._run_as,
        )

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline and self._guard.poll() is None:
            try:
                self.execute("SELECT 1")
            except self.connect_errors:
                time.sleep(0.05)
            else:
                # The answer may come from another server that took the port first.
                return self._guard.poll() is None
        return False

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._run_as,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


class MariaDBServer(Server):
    """MariaDB; every database is utf8mb4, compared as on a Moodle site."""

    name = "mariadb"
    account = "mysql"
    admin = "root"
    drivername = "mysql+pymysql"
    query: ClassVar[dict[str, str]] = {"charset": "utf8mb4"}
    connect_errors = pymysql.Error
    shape_sql = (
        "SELECT table_name, column_name, column_type, is_nullable, ifnull(column_default, '-'),"
        " ifnull(collation_name, '-'), extra FROM information_schema.columns"
        " WHERE table_schema = '{}'",
        "SELECT table_name, index_name, seq_in_index, column_name FROM"
        " information_schema.statistics WHERE table_schema = '{}'",
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{}'",
    )

    def _install(self) -> None:
        self._run(
            [
                program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.folder}/data",
                f"--tmpdir={self.folder}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ]
        )

    def _command(self) -> list[str]:
        return [
            program("mariadbd", "/usr/sbin", "/usr/libexec"),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            # A server that starts clears away what others left in a folder that they share.
            f"--tmpdir={self.folder}",
            "--socket=server.sock",  # relative to the data directory: a path has 107 characters
            "--pid-file=server.pid",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_ci",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--loose-debug-no-sync",  # it waits for the disk at each CREATE and DROP otherwise
            "--innodb-buffer-pool-size=256M",
            "--max-connections=200",
        ]

    def execute(self, sql: str, database: str | None = None) -> list[Any]:
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.admin,
            database=database,
            charset="utf8mb4",
            autocommit=True,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def create_database(self, name: str) -> None:
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")

    def _drop(self, name: str) -> None:
        if self.execute(f"SHOW DATABASES WHERE `Database` = '{name}'"):
            self.execute(f"DROP DATABASE `{name}`")

    def _grant_select(self, database: str, user: str, password: str) -> None:
        pattern = database.replace("_", "\\_")  # in GRANT a bare _ stands for any character
        self.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
        self.execute(f"GRANT SELECT ON `{pattern}`.* TO '{user}'@'%'")

    def _drop_user(self, user: str) -> None:
        self.execute(f"DROP USER '{user}'@'%'")

    def _client(self, database: str) -> list[str]:
        return [
            program("mariadb"),
            "--no-defaults",
            "--host=127.0.0.1",
            f"--port={self.port}",
            f"--user={self.admin}",
            "--default-character-set=utf8mb4",
            database,
        ]

    def open_connections(self, database: str) -> int:
        sql = f"SELECT count(*) FROM information_schema.processlist WHERE db = '{database}'"
        return int(self.execute(sql)[0][0])


class PostgresServer(Server):
    """PostgreSQL; its administrator needs no password, every other user does."""

    name = "postgres"
    account = "postgres"
    admin = "postgres"
    drivername = "postgresql+psycopg"
    stop_signal = "QUIT"  # immediate shutdown; a KILL would leave shared memory behind
    connect_errors = psycopg.Error
    shape_sql = (
        "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,"
        " coalesce(pg_get_expr(adbin, adrelid), '-') FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = 'public'::regnamespace"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'v', 'S')",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    )
    programs = "/usr/lib/postgresql/*/bin"

    def _install(self) -> None:
        command = [program("initdb", self.programs), "-D", "data", "-U", self.admin]
        self._run([*command, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        rules = [("all", self.admin, "trust"), ("all", "all", "scram-sha-256")]
        text = "".join(f"host {db} {user} 127.0.0.1/32 {how}\n" for db, user, how in rules)
        (self.folder / "data" / "pg_hba.conf").write_text(text)

    def _command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum": "off",  # its workers hold up CREATE and DROP DATABASE
            "max_connections": 200,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [program("postgres", self.programs), "-D", f"{self.folder}/data", *options]

    def execute(self, sql: str, database: str | None = None) -> list[Any]:
        with psycopg.connect(self._dsn(database or "postgres"), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.admin} dbname={database}"

    def create_database(self, name: str) -> None:
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')

    def _drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _grant_select(self, database: str, user: str, password: str) -> None:
        self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        self.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}", database)
        default = f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {user}"
        self.execute(default, database)

    def _drop_user(self, user: str) -> None:
        self.execute(f"DROP ROLE {user}")

    def _client(self, database: str) -> list[str]:
        options = ["-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"]
        return [program("psql"), *options, "-d", self._dsn(database)]

    def load_dump(self, database: str, path: Path | str) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as dump:
            found = (re.match(r"CREATE TABLE (?:public\.)?(\w+) ", line) for line in dump)
            tables = [match[1] for match in found if match]
        with psycopg.connect(self._dsn(database)) as connection:
            for table in tables:
                name = pgsql.Identifier("public", table)
                connection.execute(pgsql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(name))
        super().load_dump(database, path)
        self.execute("ANALYZE", database)  # autovacuum, which would do it, is off

    def open_connections(self, database: str) -> int:
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
        return int(self.execute(sql)[0][0])
