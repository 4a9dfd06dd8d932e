"""The first set-up: try Moodle's database and the store, then write the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import URL

from alxreport import probes
from alxreport.address import complete, is_local_mysql, same_database, shown
from alxreport.config_file import config_text, write_config
from alxreport.database import database_url, open_source, open_store, snapshot
from alxreport.error_codes import error_code
from alxreport.errors import ConfigError, SourceError, UsageError
from alxreport.moodle import inspect
from alxreport.moodle_config import (
    ATTRIBUTES,
    DEFAULT_SOCKET,
    MoodleConfig,
    read_moodle_config,
    source_url,
)
from alxreport.schema import prepare_store, store_tables
from alxreport.settings import (
    SYSTEM_CONFIG,
    TLS_MODES,
    MoodleSettings,
    StoreSettings,
    default_store_path,
    user_config_path,
)

Ask = Callable[[str, bool], str]  # a question, and whether the answer is a secret

ROOT_STORE = Path("/var/lib/alxreport/alxreport.db")
# Where PHP's driver looks for a local MySQL or MariaDB that config.php calls "localhost".
USUAL_SOCKETS = (
    Path("/run/mysqld/mysqld.sock"),
    Path("/var/run/mysqld/mysqld.sock"),
    Path("/tmp/mysql.sock"),  # noqa: S108  # MySQL's own default
)
NOBODY_THERE = frozenset({2002, 2003})
# A user of "localhost" may be let in by the socket only.
NOT_BY_TCP = NOBODY_THERE | {1044, 1045, 1130, 1698}
TLS_OF_SSL = {
    "": "off",
    "disable": "off",
    "prefer": "off",
    "require": "require",
    "verify-full": "verify",
}
QUESTIONS = {
    "dbtype": "Type of Moodle's database (mariadb, mysqli, auroramysql or pgsql)",
    "dbhost": "Host of Moodle's database",
    "dbname": "Name of Moodle's database",
    "dbuser": "User of Moodle's database",
    "dbpass": "Password of Moodle's database",
    "prefix": "Prefix of Moodle's tables ($CFG->prefix)",
    "dboptions.dbport": "Port of Moodle's database (empty for the usual one)",
    "dboptions.dbsocket": "Socket of Moodle's database (a path; empty for none)",
    "dboptions.ssl": "Encryption (disable, prefer, require or verify-full; empty for none)",
}


@dataclass(frozen=True)
class InitReport:
    """What was found and written. No part of it holds a password."""

    path: Path
    store: str
    source: str
    server: str
    companies: int
    users: int
    timezone: str
    notes: tuple[str, ...] = ()


def default_config_target(explicit: Path | None) -> Path:
    """Return the file to write: the one that is named, root's in /etc, or the user's own."""
    if explicit is not None:
        return explicit.absolute()
    return SYSTEM_CONFIG if _is_root() else user_config_path()


def default_store_url() -> str:
    """Return the URL of the store that is used when none is named: a file, absolute."""
    path = ROOT_STORE if _is_root() else default_store_path().absolute()
    return URL.create("sqlite", database=str(path)).render_as_string()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def initialise(
    *,
    target: Path,
    moodle_config: Path | None,
    moodle_url: str | None,
    store_url: str | None,
    prefix: str | None,
    tls: str | None,
    tls_ca: str | None,
    ask: Ask,
    force: bool,
) -> InitReport:
    """Find out how to reach both databases, try them, and write ``target``.

    Raises UsageError for flags that cannot be meant, ConfigError for a config.php that says too
    little, SourceError and StoreError when a database does not answer. Nothing is written then,
    but for the tables of a store that was made before ``target`` proved to be out of reach.
    """
    _check_flags(target, moodle_config, moodle_url, force)
    chosen_tls, authority = _chosen_tls(tls, tls_ca)
    draft = MoodleSettings(
        prefix="mdl_" if prefix is None else prefix, tls=chosen_tls or "off", tls_ca=authority
    )
    notes: list[str] = []
    if moodle_config is not None:
        known = {"prefix": prefix, "dboptions.ssl": chosen_tls}
        config = _complete(read_moodle_config(moodle_config), known, ask)
        choices = _from_config(config, draft, known, notes)
    else:
        choices = _from_url(moodle_url or "", draft, ask, notes)
    store = StoreSettings(url=_store_url(store_url, ask))
    moodle, server, facts = _first_that_answers(choices)
    _try_store(store)
    zone, note = probes.usable_zone(facts.timezone)
    write_config(target, config_text(moodle, store, zone))
    return InitReport(
        path=target,
        store=shown(database_url(store, "store.url")),
        source=shown(database_url(moodle, "moodle.url")),
        server=server.version,
        companies=facts.companies,
        users=facts.users,
        timezone=zone,
        notes=(*notes, *([note] if note else []), *_notes_on_place(target, moodle, store)),
    )


def _check_flags(
    target: Path, moodle_config: Path | None, moodle_url: str | None, force: bool
) -> None:
    hint = "--moodle-config /path/to/config.php, or --moodle-url mysql://user@host/database"
    if moodle_config is None and moodle_url is None:
        raise UsageError("Name Moodle's config.php or its database.", hint)
    if moodle_config is not None and moodle_url is not None:
        raise UsageError("Name Moodle's config.php or its database, not both.", hint)
    if not force and (target.exists() or target.is_symlink()):
        raise UsageError(f"{target} is there already.", "Replace it with --force.")


def _notes_on_place(target: Path, moodle: MoodleSettings, store: StoreSettings) -> list[str]:
    notes = []
    if same_database(database_url(moodle, "moodle.url"), database_url(store, "store.url")):
        notes.append("The store lies in Moodle's own database; better give it one of its own.")
    own = user_config_path()
    if target not in (own, SYSTEM_CONFIG):
        notes.append(f"Name the file in every call: --config {target}, or ALXREPORT_CONFIG.")
    elif target == SYSTEM_CONFIG and own.is_file():
        notes.append(f"{own} is there too and is read instead of {target}.")
    if _is_root():
        notes.append(f"Only root can read {target}: sync as root, or chown it to who syncs.")
    return notes


def _chosen_tls(tls: str | None, authority: str | None) -> tuple[str | None, str]:
    if tls is not None and tls not in TLS_MODES:
        raise UsageError(f"--tls {tls!r} is not one of {', '.join(TLS_MODES)}.")
    if authority is None:
        return tls, ""
    if tls not in (None, "verify"):
        raise UsageError("--tls-ca is only used with --tls verify.")
    return "verify", str(Path(authority).absolute())


def _complete(config: MoodleConfig, known: dict[str, str | None], ask: Ask) -> MoodleConfig:
    """Ask for what PHP computes, and for what no connection does without."""
    needed = {"dbname", "dbuser"} | ({"dbhost"} if config.socket is None else set())
    absent = {name for name in needed if getattr(config, ATTRIBUTES[name]) is None}
    values: dict[str, str | int | None] = {}
    for name, attribute in ATTRIBUTES.items():
        if name not in config.computed | absent or known.get(name) is not None:
            continue
        secret = name == "dbpass"
        answer = ask(QUESTIONS[name], secret)
        values[attribute] = _value_of(name, answer if secret else answer.strip())
    return replace(config, computed=frozenset(), **values)  # type: ignore[arg-type]


def _value_of(name: str, answer: str) -> str | int | None:
    if name == "dboptions.dbport" and answer:
        if not answer.isdecimal() or not 0 < int(answer) < 65536:
            raise UsageError(f"{answer!r} is not a port number.")
        return int(answer)
    if name == "dboptions.dbsocket" and answer and "/" not in answer:
        return DEFAULT_SOCKET
    return answer if name in ("dbtype", "dbpass", "dbhost") else answer or None


def _from_config(
    config: MoodleConfig, draft: MoodleSettings, known: dict[str, str | None], notes: list[str]
) -> list[MoodleSettings]:
    url = source_url(config)
    settings = replace(draft, url=_text(url))
    if known["prefix"] is None:
        settings = replace(settings, prefix=config.prefix or "")
    if known["dboptions.ssl"] is None:
        mode = config.ssl or ""
        if mode not in TLS_OF_SSL:
            raise ConfigError(f"Moodle's ssl {mode!r} is not known.", "Choose with --tls.")
        if mode == "prefer":
            notes.append("Moodle encrypts its connection if it can; --tls require insists on it.")
        settings = replace(settings, tls=TLS_OF_SSL[mode])
    return [settings, *_by_socket(settings, url)]


def _by_socket(settings: MoodleSettings, url: URL) -> list[MoodleSettings]:
    if not is_local_mysql(url):
        return []
    user, password, name = url.username, url.password, url.database
    made = [
        URL.create("mysql", user, password, url.host, None, name, {"unix_socket": str(path)})
        for path in USUAL_SOCKETS
        if path.exists()
    ]
    return [replace(settings, url=_text(found)) for found in made]


def _from_url(text: str, draft: MoodleSettings, ask: Ask, notes: list[str]) -> list[MoodleSettings]:
    url = database_url(replace(draft, url=text), "--moodle-url")
    if url.password:
        notes.append("A password in a flag stays in the shell's history; leave it out next time.")
    url = _with_password(url, QUESTIONS["dbpass"], ask)
    settings = replace(draft, url=_text(url))
    # A port that is named means TCP.
    return [settings, *([] if url.port else _by_socket(settings, url))]


def _store_url(given: str | None, ask: Ask) -> str:
    if given is None:
        return default_store_url()
    url = database_url(StoreSettings(url=given), "--store-url")
    return _text(_with_password(url, "Password of the store's database", ask))


def _with_password(url: URL, question: str, ask: Ask) -> URL:
    # "user:@host" says that there is no password; "user@host" leaves it to be asked.
    if url.username and url.password is None:
        return url.set(password=ask(question, True))
    return url


def _text(url: URL) -> str:
    return complete(url)


def _first_that_answers(
    choices: Sequence[MoodleSettings],
) -> tuple[MoodleSettings, probes.Server, probes.SiteFacts]:
    """Return the first settings that reach a server, with what it says of itself."""
    kept: SourceError | None = None
    for settings in choices:
        try:
            with snapshot(open_source(settings), settings) as connection:
                source = inspect(connection, settings.prefix)
                return (
                    settings,
                    probes.server(connection),
                    probes.site_facts(connection, source),
                )
        except SourceError as error:
            code = error_code(error.__cause__) if error.__cause__ else None
            if code not in NOT_BY_TCP:
                raise
            # A server that says no tells more than a place where there is none.
            if kept is None or error_code(kept.__cause__ or kept) in NOBODY_THERE:
                kept = error
    raise kept or ConfigError("There is no address to try.")


def _try_store(settings: StoreSettings) -> None:
    engine = open_store(settings)
    try:
        prepare_store(engine, store_tables(settings.table_prefix))
    finally:
        engine.dispose()
