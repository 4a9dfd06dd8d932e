"""The store's schema over time, run by Alembic without any configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from alxreport.database import store_error

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alxreport.schema import StoreTables


def upgrade(engine: Engine, tables: StoreTables) -> None:
    """Bring the store to the newest schema; run again, it goes on where it was interrupted."""
    config = Config()
    config.set_main_option("script_location", "alxreport:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    config.attributes["tables"] = tables
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise store_error(error) from error
