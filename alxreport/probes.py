"""Single questions to Moodle's database: its version and clock, what is in it, its settings."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, ScalarSelect, func, select

from alxreport.dialects import flavour
from alxreport.moodle import Source

_SERVER_SQL = {
    "mysql": "SELECT version(), UNIX_TIMESTAMP()",
    "postgresql": "SELECT version(), extract(epoch FROM clock_timestamp())",
    # Without a look at its tables SQLite would not even open the file.
    "sqlite": (
        "SELECT sqlite_version(), strftime('%s', 'now') FROM (SELECT count(*) FROM sqlite_master)"
    ),
}
SERVER_ZONE = "99"  # Moodle's value for "the zone of the server"
DEFAULT_ZONE = "UTC"


@dataclass(frozen=True)
class Server:
    """A database server: its kind with its version, and its clock in unix seconds."""

    version: str
    time: int


@dataclass(frozen=True)
class SiteFacts:
    """What an IOMAD site holds, in numbers, and the settings that matter here."""

    companies: int
    users: int  # neither deleted nor the guest
    tracked_courses: int  # visible, with completion switched on
    completion: bool  # switched on for the site
    timezone: str


def server(connection: Connection) -> Server:
    """Ask the server who it is and what time it has."""
    name = flavour(connection.dialect).name
    version, time = connection.exec_driver_sql(_SERVER_SQL[name]).one()
    if name == "sqlite":
        return Server(f"SQLite {version}", int(time))
    if name == "postgresql":
        return Server(" ".join(version.split()[:2]), int(time))
    number, *_rest = version.removeprefix("5.5.5-").split("-")
    kind = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    return Server(f"{kind} {number}", int(time))


def site_facts(connection: Connection, source: Source) -> SiteFacts:
    """Count what is in the site, in one statement."""
    t = source.tables
    course, user = t.course.c, t.user.c

    def config(name: str) -> ScalarSelect[str]:
        return select(t.config.c.value).where(t.config.c.name == name).scalar_subquery()

    tracked = (course.visible == 1, course.enablecompletion == 1, course.category != 0)
    counted = (
        select(func.count()).select_from(t.company),
        select(func.count()).select_from(t.user).where(user.deleted == 0, user.username != "guest"),
        select(func.count()).select_from(t.course).where(*tracked),
    )
    columns = [count.scalar_subquery() for count in counted]
    row = connection.execute(select(*columns, config("enablecompletion"), config("timezone"))).one()
    return SiteFacts(row[0], row[1], row[2], row[3] not in (None, "", "0"), row[4] or "")


def is_zone(name: str) -> bool:
    """Tell whether this machine knows a time zone of this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def usable_zone(moodle: str) -> tuple[str, str]:
    """Return the zone to use for Moodle's ``timezone`` setting, and a note if it is not that."""
    if moodle in ("", SERVER_ZONE):
        return DEFAULT_ZONE, (
            f"Moodle names no time zone of its own, so {DEFAULT_ZONE} is used;"
            " set requests.timezone to another."
        )
    if not is_zone(moodle):
        return DEFAULT_ZONE, (
            f"Moodle's time zone {moodle!r} is not known here, so {DEFAULT_ZONE} is used;"
            " set requests.timezone to another."
        )
    return moodle, ""
