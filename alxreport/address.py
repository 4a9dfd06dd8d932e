"""Database URLs as people see them: without a password, absolute, and compared with each other."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.engine import URL

from alxreport.failover import OTHERS, servers, with_hosts

PORTS = {"mysql": 3306, "postgresql": 5432}
LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})


def plain(url: URL) -> URL:
    """Return ``url`` as a person would write it: no driver, no character set, absolute paths."""
    url = url.set(drivername=url.get_backend_name())
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return url.set(database=str(Path(url.database).absolute()))
    return url.difference_update_query(["charset"]) if url.drivername == "mysql" else url


def sqlite_file(url: URL) -> Path | None:
    """Return the file behind a SQLite URL, None for any other."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return Path(url.database).absolute()


def is_local_mysql(url: URL) -> bool:
    """Tell whether PHP would reach this MySQL database through its usual socket."""
    named = url.get_backend_name() == "mysql" and url.host == "localhost"
    return named and "unix_socket" not in url.query


def shown(url: URL) -> str:
    """Return ``url`` for a screen: without password and options, but with a socket's path."""
    whole, url = url, plain(url)
    socket = url.query.get("unix_socket") or url.query.get("host")
    # URL.set() leaves what is set to None as it was.
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database)
    text = with_hosts(bare.render_as_string(), whole)
    if url.drivername == "sqlite" or not isinstance(socket, str):
        return text
    return f"{text} by {re.sub('[^ -~]', '?', socket)}"


def complete(url: URL) -> str:
    """Return ``url`` as a person would write it into the configuration, with its password."""
    bare = plain(url).difference_update_query([OTHERS])
    return with_hosts(bare.render_as_string(hide_password=False), url)


def same_database(one: URL, other: URL) -> bool:
    """Tell whether two URLs, as ``database_url`` returns them, mean the same database.

    With several hosts, one that both name is enough. Two names of one server besides the local ones
    are not recognised.
    """
    return not _identities(one).isdisjoint(_identities(other))


def _identities(url: URL) -> set[tuple[str, str, int, str]]:
    backend, database = url.get_backend_name(), url.database or ""
    if backend == "sqlite":
        return {(backend, "", 0, str(Path(database).resolve()))}
    socket = url.query.get("unix_socket") or url.query.get("host")
    found = set()
    for name, port in servers(url):
        host = name.lower()
        # A server's socket says nothing of its port: it counts as the usual one.
        local = host in LOCAL_HOSTS or (socket is not None and not host)
        found.add((backend, "" if local else host, port or PORTS[backend], database))
    return found
