"""The program as its users run it: a process of its own, with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from alxreport.schema import store_tables

PATIENCE_SECONDS = 60
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str

    def in_one_line(self, code: int) -> str:
        """Assert the exit code and one line on stderr without a traceback; return the line."""
        assert self.code == code, self
        assert self.err.count("\n") == 1, self
        assert self.err.strip(), self
        assert "Traceback" not in self.err
        return self.err


class Program:
    """``python -m alxreport`` with these databases."""

    def __init__(self, source_url: str, store_url: str, home: Path, prefix: str = "mdl_") -> None:
        folders = {f"XDG_{kind}_HOME": str(home / kind) for kind in ("CONFIG", "DATA", "CACHE")}
        self.store_url = store_url
        self.environment = folders | {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "ALXREPORT_MOODLE_URL": source_url,
            "ALXREPORT_MOODLE_PREFIX": prefix,
            "ALXREPORT_STORE_URL": store_url,
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "alxreport", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            cwd=ROOT,
            **options,
        )

    def run(self, *words: str, **options: Any) -> Ended:
        return ended(self.start(*words, **options))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait until a run ends."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, out, err)


def wait_for(
    what: Callable[[], Any], process: subprocess.Popen[str] | None = None, every: float = 0.01
) -> Any:
    """Wait until ``what()`` is true, at most a minute and only while ``process`` runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came to that"
        assert process is None or process.poll() is None, ended(process)
        time.sleep(every)
    return found


def rows_of(url: str, sql: str) -> list[Any]:
    """Return the rows of one statement, on a connection of its own."""
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return list(connection.execute(sa.text(sql)))


def execute(url: str, *statements: str) -> None:
    """Run statements in one transaction, on a connection of its own."""
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def lease_owner(store_url: str) -> str:
    """Return who holds the sync's lease, "" for nobody or for no store yet."""
    leases = store_tables().leases.name
    try:
        found = rows_of(store_url, f"SELECT owner FROM {leases}")
    except sa.exc.DBAPIError:
        return ""
    return str(found[0][0]) if found else ""


def content_by_company(stored: dict[Any, Any], columns: Sequence[str]) -> dict[int, Any]:
    """Return the content of live rows, by company."""
    found: dict[int, Any] = {}
    for (company, user, course), row in stored.items():
        if not row["is_deleted"]:
            found.setdefault(company, {})[user, course] = tuple(row[name] for name in columns)
    return found
