"""The store's schema over time, run by Alembic without any configuration file."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import ColumnClause, column, delete, inspect, select
from sqlalchemy import table as sql_table
from sqlalchemy.exc import DBAPIError

from alxreport.database_errors import store_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from alxreport.schema import StoreTables


ATTEMPTS = 8


def _keep_newest(engine: Engine, table: str) -> None:
    """Leave one version, the furthest, where two first runs at once recorded theirs."""
    with engine.connect() as raw:
        connection = raw.execution_options(alx_writing=True, alx_raw_errors=True)
        with connection.begin():
            if table not in inspect(connection).get_table_names():
                return
            number: ColumnClause[str] = column("version_num")
            there = connection.scalars(select(number).select_from(sql_table(table))).all()
            if len(there) > 1:
                connection.execute(delete(sql_table(table, number)).where(number != max(there)))


def upgrade(engine: Engine, tables: StoreTables, is_current: Callable[[], bool]) -> None:
    """Bring the store to the newest schema; run again, it goes on where it was interrupted.

    Another process may be doing the same: each step is safe to do twice, and who comes second
    looks again until ``is_current``. Raises StoreError.
    """
    config = Config()
    config.set_main_option("script_location", "alxreport:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    config.attributes["tables"] = tables
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _keep_newest(engine, tables.version)
            command.upgrade(config, "head")
        except (DBAPIError, CommandError) as error:
            # Alembic's own error: another process moved the version on at this moment.
            if attempt == ATTEMPTS:
                raise store_error(error) from error
            time.sleep(random.uniform(0.1, 0.3) * attempt)  # noqa: S311
            if is_current():
                return
        else:
            return
