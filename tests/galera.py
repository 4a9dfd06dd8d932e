"""A Galera cluster of three nodes on this machine, to be harmed on purpose."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pymysql
import sqlalchemy as sa

from .servers import GUARD, ServerMissing, _free_port, _new_folder, program

NODES = 3
PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
PROVIDER_OPTIONS = (
    "gcache.size=64M", "evs.keepalive_period=PT0.3S", "evs.inactive_check_period=PT0.3S",
    "evs.suspect_timeout=PT1.5S", "evs.inactive_timeout=PT3S", "evs.install_timeout=PT3S",
    "repl.causal_read_timeout=PT10S",
)  # fmt: skip
USER, PASSWORD = "alx", "pw-alx"


class Node:
    """One server; ``group``, ``state`` and ``steps`` are its ports beside the one for SQL."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.number = cluster, number
        self.folder = cluster.folder / f"n{number}"
        self.port, self.group, self.state, self.steps = (_free_port() for _ in range(4))
        self._guard: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = (cluster.folder / f"n{number}.log").open("ab")

    def url(self, database: str) -> str:
        url = sa.URL.create("mysql", USER, PASSWORD, "127.0.0.1", self.port, database)
        return url.render_as_string(hide_password=False)

    @property
    def is_alive(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def start(self, *, first: bool = False) -> None:
        """Start the server; the first one of a cluster begins it, the others join."""
        others = ",".join(f"127.0.0.1:{node.group}" for node in self.cluster.nodes)
        options = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{self.group}",
            f"ist.recv_addr=127.0.0.1:{self.steps}", *PROVIDER_OPTIONS,
        )  # fmt: skip
        command = [
            program("mariadbd", "/usr/sbin", "/usr/libexec"), "--no-defaults",
            f"--datadir={self.folder}", "--socket=server.sock", "--pid-file=server.pid",
            f"--tmpdir={self.folder}", f"--port={self.port}", "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4", "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=128M", "--max-connections=200",
            "--wsrep-on=1", f"--wsrep-provider={PROVIDER}", "--wsrep-cluster-name=alxreport",
            f"--wsrep-node-name=n{self.number}", "--wsrep-node-address=127.0.0.1",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address=127.0.0.1:{self.state}",
            f"--wsrep-provider-options={';'.join(options)}",
            f"--wsrep-cluster-address=gcomm://{'' if first else others}",
            *(["--wsrep-new-cluster"] if first else []),
        ]  # fmt: skip
        owner: dict[str, Any] = (
            {"user": "mysql", "group": "mysql", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", *command],
            stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, cwd=self.folder,
            env=os.environ | {"STOP_SIGNAL": "KILL", "STATE_DIR": str(self.cluster.spare)},
            start_new_session=True, **owner,
        )  # fmt: skip

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, FileNotFoundError, ValueError):
            os.kill(int((self.folder / "server.pid").read_text()), number)

    def kill(self) -> None:
        """End the server as a power cut does."""
        self._signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """Let the server leave the cluster in order."""
        self._signal(signal.SIGTERM)
        self._ended()

    def _ended(self) -> None:
        if self._guard is not None:
            with suppress(subprocess.TimeoutExpired):
                self._guard.wait(30)
            if self._guard.stdin:
                self._guard.stdin.close()
            self._guard.wait(30)

    def pause(self) -> None:
        """Let the server stand still; the others take it for dead after a moment."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def isolate(self, *, on: bool = True) -> None:
        """Cut the node off from the others, or connect it again; its port for SQL stays open."""
        self.query(f"SET GLOBAL wsrep_provider_options = 'gmcast.isolate={int(on)}'")

    def query(self, sql: str, database: str | None = None, timeout: int = 10) -> list[Any]:
        """Run one statement as the administrator and return its rows."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True,
            connect_timeout=5, read_timeout=timeout,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def status(self) -> dict[str, str]:
        """Return what the node says of the cluster; nothing while it does not answer."""
        with suppress(pymysql.Error):
            return {row[0]: row[1] for row in self.query("SHOW STATUS LIKE 'wsrep%'", timeout=3)}
        return {}

    def is_ready(self, size: int = 0) -> bool:
        """Tell whether the node can be used, in a cluster of so many."""
        found = self.status()
        return (
            found.get("wsrep_ready") == "ON"
            and found.get("wsrep_local_state_comment") == "Synced"
            and (not size or found.get("wsrep_cluster_size") == str(size))
        )

    def wait(self, seconds: float = 60, size: int = 0) -> None:
        """Wait until the node can be used; one that ends meanwhile is started again."""
        until = time.monotonic() + seconds
        while not self.is_ready(size):
            if time.monotonic() > until:
                raise RuntimeError(f"node {self.number} is not ready: {self.status()}")
            if not self.is_alive:
                self.start()
            time.sleep(0.2)


class Cluster:
    """Three nodes with one data set."""

    def __init__(self) -> None:
        if not PROVIDER.exists() or not shutil.which("rsync"):
            raise ServerMissing("galera-4 or rsync is not installed")
        root = os.geteuid() == 0
        self.folder = _new_folder("mysql" if root else None)
        # What a guard removes when a node ends is not the node's data.
        self.spare = Path(tempfile.mkdtemp(prefix="alxreport-tests-"))
        self.nodes = [Node(self, number) for number in range(1, NODES + 1)]
        self._install()

    def _install(self) -> None:
        first = self.nodes[0].folder
        subprocess.run(
            [
                program("mariadb-install-db"), "--no-defaults", f"--datadir={first}",
                "--auth-root-authentication-method=normal", "--skip-test-db",
                *(["--user=mysql"] if os.geteuid() == 0 else []),
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        for node in self.nodes[1:]:
            shutil.copytree(first, node.folder)
            if os.geteuid() == 0:
                for path in (node.folder, *node.folder.rglob("*")):
                    shutil.chown(path, "mysql", "mysql")

    def start(self) -> None:
        """Start all nodes, and wait until they are one cluster."""
        self.nodes[0].start(first=True)
        self.nodes[0].wait(size=1)
        for node in self.nodes[1:]:
            node.start()
        self.wait()
        self.query(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'")
        self.query(f"GRANT ALL ON *.* TO '{USER}'@'%'")

    def wait(self, seconds: float = 90) -> None:
        """Wait until all nodes can be used, and are together; bring them together where needed."""
        until = time.monotonic() + seconds
        while not all(node.is_ready(NODES) for node in self.nodes):
            left = until - time.monotonic()
            if left < 0:
                raise RuntimeError(str([node.status().get("wsrep_cluster_status") for node in
                                        self.nodes]))  # fmt: skip
            for node in self.nodes:
                if not node.is_alive:
                    node.start()
            if left < seconds / 2:
                self._bootstrap()
            time.sleep(0.5)

    def _bootstrap(self) -> None:
        """Let the node that knows most begin the cluster anew, when no majority is left."""
        there = [node for node in self.nodes if (found := node.status()) and
                 found.get("wsrep_cluster_status") == "non-Primary"]  # fmt: skip
        if there and len(there) == sum(bool(node.status()) for node in self.nodes):
            furthest = max(there, key=lambda n: int(n.status().get("wsrep_last_committed", -1)))
            with suppress(pymysql.Error):
                furthest.query("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")

    def query(self, sql: str, database: str | None = None) -> list[Any]:
        """Run one statement as the administrator, on the first node that takes it."""
        for node in self.nodes:
            if node.is_ready():
                return node.query(sql, database, timeout=60)
        raise RuntimeError("no node is ready")

    def url(self, database: str, first: int = 0) -> str:
        """Return a URL with all nodes, beginning with one of them."""
        nodes = self.nodes[first:] + self.nodes[:first]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return f"mysql://{USER}:{PASSWORD}@{hosts}/{database}"

    def stop(self) -> None:
        """Kill all nodes and remove their files."""
        for node in self.nodes:
            node.resume()
            node.kill()
            node._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.spare, ignore_errors=True)


@contextmanager
def galera() -> Iterator[Cluster]:
    """Run a cluster for the block."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
