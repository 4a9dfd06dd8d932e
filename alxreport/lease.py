"""The sync's lease: at most one run at a time, over processes and hosts."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, select, update

from alxreport.database import writing
from alxreport.errors import AlreadyRunningError, StoreError
from alxreport.schema import StoreTables

# A run renews its lease in every transaction; one that died on another host frees it after this.
LEASE_SECONDS = 900
NAME = "sync"


@dataclass(frozen=True)
class Lease:
    """A claim on the sync, by one process."""

    tables: StoreTables
    owner: str

    def renew(self, connection: Connection, now: int) -> None:
        """Extend the claim inside a transaction of the run.

        The row stays locked until that transaction ends, so nobody can take the lease over while
        it writes. Raises AlreadyRunningError if somebody did before.
        """
        leases = self.tables.leases
        statement = (
            update(leases)
            .where(leases.c.name == NAME, leases.c.owner == self.owner)
            .values(expires_at=now + LEASE_SECONDS)
        )
        if connection.execute(statement).rowcount != 1:
            raise AlreadyRunningError("This sync was overtaken by another one and stopped.")


def process_mark(pid: int) -> str:
    """Return a text that names a process of this machine for good, or "" if it is not running.

    A pid alone is used again; with the boot and the start of the process it is not.
    """
    boot = _read("/proc/sys/kernel/random/boot_id")
    started = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if started and started[0] in "ZX":
        return ""  # dead, only not yet waited for by its parent
    if boot and started:
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{pid}/{started[19]}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return f"{boot}/{pid}"


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return ""


def _dead(owner: str) -> bool:
    """Tell whether the lease's owner was a process of this host that is no more."""
    host, pid, mark, *_rest = [*owner.split("|"), "", "", ""]
    if host != socket.gethostname() or not pid.isdigit() or not mark:
        return False
    here = process_mark(os.getpid())
    if mark.split("/")[:-2] != here.split("/")[:-2]:
        # Another boot of this host: whatever ran then is gone. Another container: cannot be told.
        return mark.split("/", maxsplit=1)[0] != here.split("/")[0]
    return process_mark(int(pid)) != mark


@contextmanager
def sync_lease(engine: Engine, tables: StoreTables, now: int) -> Iterator[Lease]:
    """Hold the sync's lease while the block runs.

    Raises AlreadyRunningError when another process holds it. A lease whose process is dead is
    taken over: at once when it ran on this host, else when it expires.
    """
    pid = os.getpid()
    owner = "|".join((socket.gethostname(), str(pid), process_mark(pid), uuid.uuid4().hex))
    leases = tables.leases
    try:
        with writing(engine) as connection:
            found = connection.execute(
                select(leases.c.owner, leases.c.expires_at).where(leases.c.name == NAME)
            ).one()
            # An expiry further off than any claim reaches is from before the clock was set back.
            valid = now < found.expires_at <= now + LEASE_SECONDS
            if found.owner and valid and not _dead(found.owner):
                host, other = [*str(found.owner).split("|"), "?"][:2]
                raise AlreadyRunningError(f"Another sync is running (process {other} on {host}).")
            claim = (
                update(leases)
                .where(leases.c.name == NAME, leases.c.owner == found.owner)
                .where(leases.c.expires_at == found.expires_at)
                .values(owner=owner, expires_at=now + LEASE_SECONDS)
            )
            if connection.execute(claim).rowcount != 1:
                raise AlreadyRunningError("Another sync began just now.")
    except StoreError as error:
        if "is busy" in error.message:
            raise AlreadyRunningError("Another sync is writing to the store.") from error
        raise
    try:
        yield Lease(tables, owner)
    finally:
        release = (
            update(leases)
            .where(leases.c.name == NAME, leases.c.owner == owner)
            .values(owner="", expires_at=0)
        )
        # The store may be what failed; the lease then frees itself, for this process ends.
        with contextlib.suppress(StoreError), writing(engine) as connection:
            connection.execute(release)
