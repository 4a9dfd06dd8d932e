"""How the costs grow with the site: 20,000, 200,000 and 2,000,000 enrolments, and who waits."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.run import OrdinaryMariaDB, child
from tests.servers import PostgresServer, Server

SCALES = (0.1, 1.0, 10.0)
REPEATS = 3
HOUR = 3_600
WRITER_REST = 10.0  # seconds in which a writer is alone
COMPANY = "id:1"


class OrdinaryPostgres(PostgresServer):
    """A server that keeps what it commits, and vacuums."""

    def _command(self) -> list[str]:
        unsafe = ("fsync=", "synchronous_commit=", "full_page_writes=", "autovacuum=")
        words = super()._command()
        kept: list[str] = []
        for flag, value in zip(words[3::2], words[4::2], strict=True):
            kept += [] if value.startswith(unsafe) else [flag, value]
        return [*words[:3], *kept, "-c", "shared_buffers=512MB"]


class RoomyMariaDB(OrdinaryMariaDB):
    """A server whose memory holds its tables, as its administrator would see to."""

    pool = "4G"

    def _command(self) -> list[str]:
        return [*super()._command(), f"--innodb-buffer-pool-size={self.pool}"]


KINDS: dict[str, type[Server]] = {"mariadb": RoomyMariaDB, "postgres": OrdinaryPostgres}


class Writer:
    """Somebody who writes to Moodle's largest table, one commit after another, all the time."""

    def __init__(self, source: str) -> None:
        words = [sys.executable, "-m", "benchmarks.child", "writer", source]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def end(self) -> dict[str, Any]:
        """Stop; return how many writes there were, and how long they took, in milliseconds."""
        told, _error = self._process.communicate()
        found: dict[str, Any] = json.loads(told)
        return found


@contextmanager
def written_to(source: str, found: list[dict[str, Any]]) -> Iterator[None]:
    """Let somebody write for the block, and note what he saw."""
    writer = Writer(source)
    try:
        yield
    finally:
        found.append(writer.end())


def middle(steps: list[dict[str, Any]]) -> float:
    return statistics.median(step["seconds"] for step in steps)


def measure(server: Server, scale: float, folder: Path) -> dict[str, Any]:
    """Build a site of one size, and return what everything costs there."""
    server.create_database("moodle")
    source, target = server.url("moodle"), f"sqlite:///{folder}/store-{scale}.db"
    engine = sa.create_engine(source)
    say(f"scale {scale:g}: built in {child('site', source, str(scale))['seconds']:.0f} s")
    counted = "SELECT count(*) FROM mdl_{}"
    with engine.connect() as connection:
        enrolments, states = (
            connection.exec_driver_sql(counted.format(name)).scalar()
            for name in ("user_enrolments", "course_modules_completion")
        )
    first = child("sync", source, target)
    say(f"  full {first['seconds']:.1f} s, {first['rows']:,} rows")
    none = [child("sync", source, target) for _ in range(REPEATS)]
    full = child("sync", source, target, "full")
    verified = child("verify", source, target)
    some = []
    for number in range(REPEATS if scale <= 1 else 1):
        child("change", source, "0.01", str(number))
        some.append(child("sync", source, target))
    exported = child("export", target, COMPANY, "json")
    pages = child("pages", target, COMPANY)
    own = f"store_{scale:g}".replace(".", "_")
    server.create_database(own)
    inside = child("sync", source, server.url(own))
    server.drop_database(own)
    alone: list[dict[str, Any]] = []
    during: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    with written_to(source, alone):
        time.sleep(WRITER_REST)
    with written_to(source, during):
        for _ in range(max(REPEATS, round(5 / middle(none)))):
            child("sync", source, target)
    with written_to(source, whole):
        child("sync", source, target, "full")
    engine.dispose()
    server.drop_database("moodle")
    return {
        "enrolments": enrolments, "states": states, "rows": first["rows"],
        "first": first["seconds"], "inside": inside["seconds"], "none": middle(none),
        "full": full["seconds"], "some": middle(some), "verify": verified["seconds"],
        "page": pages["cold"], "last": pages["last"], "cached": pages["cached"],
        "export": exported["seconds"], "exported": exported["rows"],
        "first_mb": first["megabytes"], "none_mb": none[0]["megabytes"],
        "some_mb": some[0]["megabytes"], "verify_mb": verified["megabytes"],
        "export_mb": exported["megabytes"],
        "statements": first["statements"], "none_statements": none[0]["statements"],
        "some_statements": some[0]["statements"], "changed": some[0]["changed"],
        "alone": alone[0], "during": during[0], "whole": whole[0],
    }  # fmt: skip


def amount(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def say(text: str) -> None:
    print(text, flush=True)


def show(found: dict[float, dict[str, Any]]) -> None:
    """Print one line for each cost, with one column for each size."""
    columns = list(found.values())
    base = found.get(1.0, columns[0])

    def line(name: str, *texts: str) -> None:
        say(f"{name:<46}" + "".join(f"{text:>19}" for text in texts))

    def seconds(name: str, key: str) -> None:
        line(name, *(f"{amount(c[key])} {c[key] / base[key]:6.2f}" for c in columns))

    line("", *(f"scale {scale:g}" for scale in found))
    line("enrolments", *(f"{c['enrolments']:,}" for c in columns))
    line("activity completions", *(f"{c['states']:,}" for c in columns))
    line("reporting rows", *(f"{c['rows']:,}" for c in columns))
    say("seconds here, and as a share of what they are at scale 1:")
    seconds("first run into SQLite", "first")
    seconds("first run into the same server", "inside")
    seconds("run with nothing changed", "none")
    seconds("run with 1 % of the learners changed", "some")
    seconds("full run with nothing changed", "full")
    seconds("verify", "verify")
    seconds("export of one company", "export")
    seconds("first page of 1,000", "page")
    seconds("last page of 1,000", "last")
    seconds("the same page, cached", "cached")
    line("share of an hour, nothing changed", *(f"{c['none'] / HOUR:.3%}" for c in columns))
    line("nothing changed, of a first run", *(f"{c['none'] / c['first']:.2f}" for c in columns))
    line("exported rows", *(f"{c['exported']:,}" for c in columns))
    line("rows that the 1 % changed", *(f"{c['changed']:,}" for c in columns))
    say("peak memory, MB:")
    for name, key in (
        ("first run", "first_mb"), ("nothing changed", "none_mb"), ("1 % changed", "some_mb"),
        ("verify", "verify_mb"), ("export", "export_mb"),
    ):  # fmt: skip
        line(f"  {name}", *(f"{c[key]:.0f}" for c in columns))
    line(
        "statements to Moodle: first, none, 1 %",
        *(f"{c['statements']}, {c['none_statements']}, {c['some_statements']}" for c in columns),
    )
    say("somebody who writes to Moodle all the time; p50, p99 and longest in ms:")
    for name, key in (
        ("  alone", "alone"), ("  during runs with nothing changed", "during"),
        ("  during a full run", "whole"),
    ):  # fmt: skip
        line(name, *(
            f"{c[key]['p50']:.1f} {c[key]['p99']:.1f} {c[key]['longest']:.0f}" for c in columns
        ))  # fmt: skip
        failed = sum(c[key]["failed"] for c in columns)
        if failed:
            say(f"  {failed} of his writes failed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--server", choices=KINDS, default="mariadb")
    parser.add_argument("--pool", default=RoomyMariaDB.pool, help="MariaDB's buffer pool")
    given = parser.parse_args()
    RoomyMariaDB.pool = given.pool
    server = KINDS[given.server]()
    try:
        with tempfile.TemporaryDirectory(prefix="alxreport-scale-") as name:
            found = {scale: measure(server, scale, Path(name)) for scale in given.scales}
    finally:
        server.stop()
    show(found)


if __name__ == "__main__":
    main()
