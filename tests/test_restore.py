"""A store that is put back from yesterday's copy, with the tools that people use for it."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.errors import ResyncError

from .asking import Desk
from .conftest import Backend
from .crowd import add_crowd
from .moodle_edits import random_edit
from .servers import MariaDBServer, PostgresServer, Server, program

EDITS = 60


class Copies:
    """Copies of a store's database, made and put back from outside."""

    def __init__(self, store_url: str, server: Server | None, folder: Path) -> None:
        self.url, self.server = sa.make_url(store_url), server
        self.file = folder / "yesterday"

    def make(self) -> None:
        if self.server is None:
            with sqlite3.connect(str(self.url.database)) as source:
                source.execute("VACUUM INTO ?", (str(self.file),))
            source.close()
            return
        with self.file.open("wb") as out:
            subprocess.run(self._command("dump"), stdout=out, check=True)

    def put_back(self) -> None:
        """Replace the database; nobody has it open."""
        name = str(self.url.database)
        if self.server is None:
            for rest in Path(name).parent.glob(f"{Path(name).name}*"):
                rest.unlink()
            shutil.copy(self.file, name)
            return
        self.server.drop_database(name)
        self.server.create_database(name)
        with self.file.open("rb") as given:
            subprocess.run(
                self._command("load"), stdin=given, stdout=subprocess.DEVNULL, check=True
            )

    def _command(self, what: str) -> list[str]:
        assert self.server
        name, at = str(self.url.database), ["--host=127.0.0.1", f"--port={self.server.port}"]
        if isinstance(self.server, MariaDBServer):
            tool = {"dump": "mariadb-dump", "load": "mariadb"}[what]
            rest = ["--single-transaction"] if what == "dump" else []
            return [program(tool), "--no-defaults", *at, "--user=root", *rest, name]
        tool = {"dump": "pg_dump", "load": "psql"}[what]
        rest = [] if what == "dump" else ["-X", "-q", "-v", "ON_ERROR_STOP=1"]
        folder = PostgresServer.programs
        return [program(tool, folder), *at, "--username=postgres", *rest, name]


@pytest.fixture
def desk_of(backend: Backend, tmp_path: Path) -> Callable[[], Desk]:
    url, folder = backend.new_url(), tmp_path

    def open_desk() -> Desk:
        return Desk(f"sqlite:///{folder}/moodle.db", url)

    return open_desk


def copy_of(told: list[dict[str, Any]], copy: dict[Any, Any]) -> dict[Any, Any]:
    """Return what a client's copy is after an increment."""
    for row in told:
        key = row["userid"], row["courseid"]
        if row.get("is_deleted"):
            copy.pop(key, None)
        else:
            copy[key] = {name: value for name, value in row.items() if name in SHOWN}
    return copy


SHOWN = ("firstname", "lastname", "email", "coursename", "percentage", "status")


def test_a_store_of_yesterday_is_healed_by_one_sync(
    desk_of: Callable[[], Desk], backend: Backend, tmp_path: Path
) -> None:
    rng = random.Random("restore")  # of edits that leave the company there
    desk = desk_of()
    desk.site.create().sample(7, 3, 20, 6)
    crowd = add_crowd(desk.site, "acme", 8, 2)
    desk.harness.sync()
    token = desk.token("acme")
    page = desk.ask(token)
    yesterday, copy = page["delta"], copy_of(page["data"], {})
    copies = Copies(desk.settings.store.url, backend.server, tmp_path)
    copies.make()
    marks, at = [], desk.now
    for step in range(1, 4):
        desk.now = at + step * 3600
        for _ in range(EDITS // 3):
            random_edit(desk.site, rng.choice, desk.now)
        desk.site.change_user(crowd.users[step], desk.now, lastname=f"Day{step}")
        desk.harness.sync_whatever(allow_mass_delete=True)
        marks.append(desk.ask(token)["delta"])
    assert len({*marks, yesterday}) == 4
    now = desk.now
    desk.close()

    copies.put_back()
    desk = desk_of()
    desk.now = now + 60
    desk.harness.sync_whatever()
    desk.harness.check()
    assert desk.harness.verify().wrong == 0
    for mark in marks:
        with pytest.raises(ResyncError):
            desk.ask(token, mode="incremental", since=mark)
    # A client that last read before the copy was made goes on from there.
    told = desk.ask(token, mode="incremental", since=yesterday)["data"]
    assert copy_of(told, copy) == copy_of(desk.ask(token)["data"], {})
    desk.close()
