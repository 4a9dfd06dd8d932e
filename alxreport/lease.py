"""The sync's lease: at most one run at a time, over processes and hosts."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, update

from alxreport.again import written
from alxreport.errors import AlreadyRunningError, StoreError
from alxreport.process_mark import LEASE_SECONDS, is_held, process_mark
from alxreport.schema import StoreTables

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


@contextmanager
def sync_lease(engine: Engine, tables: StoreTables, now: int) -> Iterator[Lease]:
    """Hold the sync's lease while the block runs.

    Raises AlreadyRunningError when another process holds it. A lease whose process is dead is
    taken over: at once when it ran on this host, else when it expires.
    """
    pid = os.getpid()
    owner = "|".join((socket.gethostname(), str(pid), process_mark(pid), uuid.uuid4().hex))
    leases = tables.leases

    def claim(connection: Connection) -> None:
        found = connection.execute(
            select(leases.c.owner, leases.c.expires_at).where(leases.c.name == NAME)
        ).one()
        if found.owner == owner:
            return  # claimed by an attempt whose end was not heard
        if is_held(found.owner, found.expires_at, now):
            host, other = [*str(found.owner).split("|"), "?"][:2]
            raise AlreadyRunningError(f"Another sync is running (process {other} on {host}).")
        taken = (
            update(leases)
            .where(leases.c.name == NAME, leases.c.owner == found.owner)
            .where(leases.c.expires_at == found.expires_at)
            .values(owner=owner, expires_at=now + LEASE_SECONDS)
        )
        if connection.execute(taken).rowcount != 1:
            raise AlreadyRunningError("Another sync began just now.")

    def release() -> None:
        statement = (
            update(leases)
            .where(leases.c.name == NAME, leases.c.owner == owner)
            .values(owner="", expires_at=0)
        )
        # The store may be what failed; the lease then frees itself, for this process ends.
        with contextlib.suppress(StoreError):
            written(engine, lambda connection: connection.execute(statement))

    try:
        written(engine, claim)
    except StoreError as error:
        if "is busy" in error.message:
            raise AlreadyRunningError("Another sync is writing to the store.") from error
        release()  # it may have been claimed, and only the answer was lost
        raise
    try:
        yield Lease(tables, owner)
    finally:
        release()
