"""What the store's tables are called, and which version of its schema this program works with."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA_VERSION = "0003"
PLUGIN_PREFIX = "local_alx_api_"
# Facts about Moodle's database: what the last run saw of it, how far it was behind its primary.
SOURCE_POSITION, SOURCE_LAG = "source_position", "source_lag"


@dataclass(frozen=True)
class StoreNames:
    """The store's tables as SQL text: behind ``store.table_prefix``, in the server's quotes."""

    prefix: str = ""
    quote: str = '"'

    @property
    def pattern(self) -> str:
        """Return a LIKE pattern for the names of the store's tables, escaped with ``!``."""
        name = f"{self.prefix}{PLUGIN_PREFIX}".replace("!", "!!")
        return name.replace("_", "!_").replace("%", "!%") + "%"

    def __getattr__(self, table: str) -> str:
        """Return the quoted name of a table, such as ``names.reporting``."""
        if table.startswith("_"):
            raise AttributeError(table)
        mark = self.quote
        name = f"{self.prefix}{PLUGIN_PREFIX}{table}".replace(mark, mark * 2)
        return f"{mark}{name}{mark}"
