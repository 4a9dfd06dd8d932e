"""A site, a store and a clock, with the questions that tests ask of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from alxreport.database import open_store, reading, writing
from alxreport.errors import SourceError
from alxreport.records import RunReport
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import MoodleSettings, Settings, StoreSettings, SyncSettings
from alxreport.sync import run_sync
from alxreport.verify import VerifyReport, run_verify

from .moodle_site import NOW, Site
from .oracle import expected_rows
from .templates import copy_store, name_anew

NAMES = ("firstname", "lastname", "email", "username", "coursename")
FIGURES = ("timecompleted", "timestarted", "percentage", "status")
Key = tuple[int, int, int]


class Harness:
    """Moodle at ``source_url``, the store at ``store_url``."""

    def __init__(self, source_url: str, store_url: str, prefix: str = "mdl_") -> None:
        self.settings = Settings(
            moodle=MoodleSettings(url=source_url, prefix=prefix),
            store=StoreSettings(url=store_url),
        )
        self.source = sa.create_engine(source_url, poolclass=NullPool)
        self.site = Site(self.source, prefix)
        self.tables = store_tables()
        copy_store(store_url)
        self.engine = open_store(self.settings.store)
        prepare_store(self.engine, self.tables)
        self.now = NOW

    def close(self) -> None:
        self.engine.dispose()
        self.source.dispose()

    def empty_store(self) -> None:
        keep = (self.tables.leases.name, self.tables.meta.name)
        with writing(self.engine) as connection:
            for table in self.tables.metadata.sorted_tables:
                if table.name not in keep:
                    connection.execute(sa.delete(table))

    def renew(self) -> None:
        """Leave site and store as new ones are: cheaper than new databases, on a server."""
        self.empty_store()
        tables, server = self.tables, self.engine.dialect.name
        with writing(self.engine) as connection:
            connection.execute(sa.update(tables.leases).values(owner="", expires_at=0))
            name_anew(connection)
            for table in tables.metadata.sorted_tables:
                if table.autoincrement_column is not None and server == "postgresql":
                    connection.exec_driver_sql(f"ALTER SEQUENCE {table.name}_id_seq RESTART")
                elif table.autoincrement_column is not None and server != "sqlite":
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} AUTO_INCREMENT = 1")
        self.site.reset()

    def include_untracked(self) -> None:
        self.settings = replace(self.settings, sync=SyncSettings(include_untracked=True))

    def sync(self, **options: Any) -> RunReport:
        return run_sync(self.settings, self.engine, self.tables, now=self.now, **options)

    def sync_whatever(self, **options: Any) -> RunReport:
        """Sync as an administrator would who knows that an emptied table is meant to be empty."""
        try:
            report = self.sync(**options)
        except SourceError as error:
            if "is empty" not in error.message:
                raise
            report = self.sync(allow_mass_delete=True, **options)
        assert report.status == "success", report
        return report

    def verify(self, **options: Any) -> VerifyReport:
        return run_verify(self.settings, self.engine, self.tables, now=self.now, **options)

    def stored(self) -> dict[Key, dict[str, Any]]:
        """Return every row of the reporting table, tombstones included."""
        with reading(self.engine) as connection:
            rows = connection.execute(sa.select(self.tables.reporting)).mappings().all()
        return {(r["companyid"], r["userid"], r["courseid"]): dict(r) for r in rows}

    def live(self) -> dict[Key, dict[str, Any]]:
        return {key: said(row) for key, row in self.stored().items() if not row["is_deleted"]}

    def expected(self) -> dict[Key, dict[str, Any]]:
        """Return what the oracle says must be live."""
        with self.source.connect() as connection:
            return expected_rows(
                connection,
                self.settings.moodle.prefix,
                self.now,
                include_untracked=self.settings.sync.include_untracked or frozenset(),
            )

    def check(self) -> None:
        """Assert that the table says exactly what it must, and that tombstones say nothing."""
        expected = self.expected()
        live = self.live()
        assert live == expected, difference(live, expected)
        for row in self.stored().values():
            if row["is_deleted"]:
                assert [row[name] for name in NAMES] == [""] * len(NAMES)
                assert row["status"] == ""


def said(row: dict[str, Any]) -> dict[str, Any]:
    """Return a stored row's content in the oracle's form."""
    content = {name: row[name] for name in (*NAMES, *FIGURES)}
    content["percentage"] = Decimal(str(round(row["percentage"], 2))).quantize(Decimal("0.01"))
    return content


def difference(live: dict[Key, Any], expected: dict[Key, Any]) -> str:
    """Return the first rows in which two tables differ, for a failing test."""
    keys = sorted(
        key for key in live.keys() | expected.keys() if live.get(key) != expected.get(key)
    )
    return "\n".join(
        f"{key}: stored {live.get(key)}, expected {expected.get(key)}" for key in keys[:5]
    )
