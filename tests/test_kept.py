"""Databases that tests hand on to each other: as new ones are, or not handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from .conftest import Backend, Kept
from .harness import Harness
from .templates import DRAWN

SERVERS = ("mariadb", "postgres")


def content(harness: Harness) -> dict[str, Any]:
    """Return every row of site and store, but what a store draws for itself."""
    found: dict[str, Any] = {}
    for engine in (harness.source, harness.engine):
        meta = sa.MetaData()
        meta.reflect(engine)
        with engine.connect() as connection:
            for name, table in meta.tables.items():
                rows = connection.execute(sa.select(table)).all()
                found[name] = sorted(map(repr, rows))
    name = harness.tables.meta.name
    found[name] = [row for row in found[name] if not any(word in row for word in DRAWN)]
    return found


def drawn(harness: Harness) -> set[str]:
    meta = harness.tables.meta
    with harness.engine.connect() as connection:
        found = set(connection.scalars(sa.select(meta.c.value).where(meta.c.name.in_(DRAWN))))
    assert len(found) == len(DRAWN)
    return found


@pytest.mark.soak_on("postgres")
@pytest.mark.parametrize("name", ["sqlite", *SERVERS])
def test_what_was_renewed_is_as_new(
    make_backend: Callable[[str], Backend], make_harness: Callable[[str], Harness], name: str
) -> None:
    backend, used = make_backend(name), make_harness(name)
    new = Harness(backend.new_url(), backend.new_url())
    new.site.create()
    began = content(new)
    assert content(used) == began
    before = drawn(used)
    used.site.sample(1)
    used.sync()
    assert content(used) != began
    used.renew()
    assert content(used) == began
    assert not drawn(used) & (before | drawn(new))
    for harness in (used, new):
        harness.site.sample(2)
        harness.sync()
    numbers = [
        [(row["id"], key) for key, row in sorted(harness.stored().items())]
        for harness in (used, new)
    ]
    assert numbers[0] == numbers[1]
    new.close()


@pytest.mark.parametrize("name", SERVERS)
def test_what_a_test_altered_is_not_handed_on(
    make_backend: Callable[[str], Backend], name: str
) -> None:
    server = make_backend(name).server
    assert server
    kept = Kept.new(server)
    of_table = " ON mdl_user" if name == "mariadb" else ""
    for change, back in (
        ("ALTER TABLE mdl_user ADD COLUMN more integer", "ALTER TABLE mdl_user DROP COLUMN more"),
        ("CREATE TABLE more (id integer)", "DROP TABLE more"),
        ("CREATE INDEX more ON mdl_user (lastname)", f"DROP INDEX more{of_table}"),
        (
            "ALTER TABLE mdl_user ALTER COLUMN firstname SET DEFAULT 'x'",
            "ALTER TABLE mdl_user ALTER COLUMN firstname SET DEFAULT ''",
        ),
    ):
        assert kept.is_sound(), change
        server.execute(change, kept.databases[0])
        assert not kept.is_sound(), change
        server.execute(back, kept.databases[0])
    assert kept.is_sound()
    server.execute("UPDATE local_alx_api_schema SET version_num = '0001'", kept.databases[1])
    assert not kept.is_sound()
    server.execute("DROP TABLE local_alx_api_schema", kept.databases[1])
    assert not kept.is_sound()
    kept.drop()
    kept = Kept.new(server)
    server.readonly_url(kept.databases[0])
    assert not kept.is_sound()
    kept.drop()
