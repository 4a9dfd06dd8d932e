"""Where alxreport finds its configuration, and what it makes of it."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from alxreport.errors import ConfigError

SYSTEM_CONFIG = Path("/etc/alxreport/config.toml")
TLS_MODES = ("off", "require", "verify")
SYNC_MODES = ("full", "incremental", "auto", "disabled")
LARGEST = 10**9
KINDS: Mapping[Any, str] = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list of texts in quotes",
}


@dataclass(frozen=True)
class DatabaseSettings:
    """How to reach one database. The password may sit in a file of its own."""

    url: str = field(default="", repr=False)
    password_file: str = ""
    tls: str = "off"
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(frozen=True)
class MoodleSettings(DatabaseSettings):
    """The source: Moodle's database, only ever read."""

    prefix: str = "mdl_"


@dataclass(frozen=True)
class StoreSettings(DatabaseSettings):
    """The store: alxreport's own database."""

    table_prefix: str = ""


@dataclass(frozen=True)
class SyncSettings:
    """What a sync does beyond the rules of the contract."""

    include_untracked: bool = False
    tombstone_days: int = 90
    history_days: int = 90
    ping_url: str = field(default="", repr=False)  # told of each run's start and end


@dataclass(frozen=True)
class RequestSettings:
    """How requests are answered, where a company has no setting of its own."""

    timezone: str = "UTC"  # in which the day of the rate limit begins
    rate_limit: int = 100  # requests of a company a day, 0 = unlimited
    max_limit: int = 1000  # rows a page
    sync_mode: str = "full"  # of a request that names none
    sync_window_hours: int = 24
    cache_minutes: int = 60  # 0 = off
    cache_megabytes: int = 256
    log_retention_days: int = 90


@dataclass(frozen=True)
class AlertSettings:
    """From where on a figure is an alert, and who is told; a limit of 0 switches its alert off."""

    urls: list[str] = field(default_factory=list, repr=False)  # in Apprise's form
    remind_hours: int = 24  # 0 = told once
    overdue_hours: int = 2
    replica_lag_minutes: float = 5.0
    sync_error_percent: float = 5.0
    p95_seconds: float = 5.0
    success_percent: float = 95.0
    cache_hit_percent: float = 70.0
    limit_warning_percent: float = 80.0
    failed_authentications: int = 5
    failed_authentication_minutes: int = 10
    unusual_factor: float = 3.0
    least_events: int = 20  # before a rate is judged
    least_cache_events: int = 50


@dataclass(frozen=True)
class ServeSettings:
    """How requests are answered over HTTP."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    trusted_proxies: list[str] = field(default_factory=list)  # whose X-Forwarded-For is believed
    allow_get: bool = False  # the plugin's address: parameters, the token too, in the URL
    metrics_from: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(frozen=True)
class Settings:
    """All of ``config.toml``; a section of the file is an attribute here."""

    moodle: MoodleSettings = MoodleSettings()
    store: StoreSettings = StoreSettings()
    sync: SyncSettings = SyncSettings()
    requests: RequestSettings = RequestSettings()
    alerts: AlertSettings = AlertSettings()
    serve: ServeSettings = ServeSettings()
    path: Path | None = None
    warnings: tuple[str, ...] = ()


def user_config_path() -> Path:
    """Return where a user's own ``config.toml`` lies."""
    from platformdirs import user_config_path  # start-up: not for --help

    return Path(user_config_path("alxreport")) / "config.toml"


def default_store_path() -> Path:
    """Return where the store lies when none is named."""
    from platformdirs import user_data_path

    return Path(user_data_path("alxreport")) / "alxreport.db"


def find_config(explicit: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the configuration file to use, or None when there is none.

    The order is ``--config``, ``ALXREPORT_CONFIG``, the user's directory, ``/etc``; the current
    directory is never searched, so that a stranger's folder cannot redirect a sync.
    """
    named = explicit or environment_config(environ)
    if named is not None:
        if not named.is_file():
            raise ConfigError(
                f"No configuration file at {named}.",
                "Check --config or ALXREPORT_CONFIG, or write one with 'alxreport init'.",
            )
        return named
    for candidate in (user_config_path(), SYSTEM_CONFIG):
        if candidate.is_file():
            return candidate
    return None


def load_settings(
    explicit: Path | None = None, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Read the configuration file, then let the environment override it.

    Raises ConfigError for a file that cannot be read, is not TOML, holds an unknown key, a value
    of the wrong kind, or a password that everybody on this machine can read.
    """
    path = find_config(explicit, environ)
    settings = parse_settings(read_config(path), path) if path else Settings()
    moodle, store = settings.moodle, settings.store
    if url := environ.get("ALXREPORT_MOODLE_URL"):
        moodle = replace(moodle, url=url, password_file="")
    if "ALXREPORT_MOODLE_PREFIX" in environ:
        moodle = replace(moodle, prefix=environ["ALXREPORT_MOODLE_PREFIX"])
    if url := environ.get("ALXREPORT_STORE_URL"):
        store = replace(store, url=url, password_file="")
    if not store.url:
        store = replace(store, url=f"sqlite:///{default_store_path()}")
    return replace(settings, moodle=moodle, store=store)


def environment_config(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the configuration that ``ALXREPORT_CONFIG`` names, None when it names none."""
    return Path(value) if (value := environ.get("ALXREPORT_CONFIG")) else None


def environment_overrides(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the variables that override the configuration file."""
    names = ("ALXREPORT_MOODLE_URL", "ALXREPORT_MOODLE_PREFIX", "ALXREPORT_STORE_URL")
    return [name for name in names if environ.get(name)]


def environment_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the token in ``ALXREPORT_TOKEN``, None when it is not set; it may be empty."""
    return environ.get("ALXREPORT_TOKEN")


def user_name() -> str:
    """Return the name of the user that runs this process, or his number."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError, AttributeError):
        return str(os.getuid()) if hasattr(os, "getuid") else "user"


def read_config(path: Path) -> str:
    """Return the text of the configuration file at ``path``."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"The configuration {path} cannot be read: {reason}.",
            "Check who owns the file, or name another with --config.",
        ) from error


def parse_settings(text: str, path: Path | None = None) -> Settings:
    """Turn the text of a ``config.toml`` into settings; see load_settings for what is refused."""
    where = str(path or "the configuration")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.", "Correct that line.") from error
    sections: dict[str, type[Any]] = {
        "moodle": MoodleSettings,
        "store": StoreSettings,
        "sync": SyncSettings,
        "requests": RequestSettings,
        "alerts": AlertSettings,
        "serve": ServeSettings,
    }
    values: dict[str, Any] = {}
    for name, table in document.items():
        if name not in sections or not isinstance(table, dict):
            raise _unknown(where, f"[{name}]", [f"[{known}]" for known in sections])
        values[name] = _section(where, name, sections[name], table)
    settings = Settings(path=path, **values)
    for section in (settings.moodle, settings.store):
        if section.tls not in TLS_MODES:
            raise ConfigError(
                f"{where}: tls = {section.tls!r} is not one of {', '.join(TLS_MODES)}.",
                "Use 'require' for encryption, 'verify' to check the server's certificate too.",
            )
    if settings.requests.sync_mode not in SYNC_MODES:
        raise ConfigError(
            f"{where}: requests.sync_mode = {settings.requests.sync_mode!r} is not one of"
            f" {', '.join(SYNC_MODES)}.",
            "Correct that line.",
        )
    if settings.requests.max_limit < 1:
        raise ConfigError(f"{where}: requests.max_limit must be 1 or more.", "Correct that line.")
    _check_addresses(where, "trusted_proxies", settings.serve.trusted_proxies)
    _check_addresses(where, "metrics_from", settings.serve.metrics_from)
    return _check_mode(settings)


def _check_addresses(where: str, key: str, items: list[str]) -> None:
    from ipaddress import ip_network  # start-up: only for what is set

    for item in items:
        try:
            ip_network(item)
        except ValueError as error:
            raise ConfigError(
                f"{where}: serve.{key} has {item[:50]!r}, which is no address and no network.",
                'Write addresses such as "10.0.0.5" and networks such as "10.0.0.0/8".',
            ) from error


def _section(where: str, name: str, kind: type[Any], table: dict[str, Any]) -> Any:
    known = {item.name: item for item in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise _unknown(where, f"{name}.{key}", [f"{name}.{other}" for other in known])
        expected = list if known[key].default is MISSING else type(known[key].default)
        fits = type(value) is expected or (expected is float and type(value) is int)
        if not fits or (expected is list and not all(isinstance(item, str) for item in value)):
            raise ConfigError(
                f"{where}: {name}.{key} must be {KINDS[expected]}, not {_shown(key, value)}.",
                "Correct that line.",
            )
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            raise ConfigError(f"{where}: {name}.{key} cannot be negative.", "Correct that line.")
        if isinstance(value, int | float) and value > LARGEST:
            raise ConfigError(f"{where}: {name}.{key} is too large.", "Correct that line.")
    return kind(**table)


def _shown(key: str, value: Any) -> str:
    return "what it is" if "url" in key else repr(value)


def _unknown(where: str, name: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
    return ConfigError(f"{where}: unknown setting {name}.", hint)


def _check_mode(settings: Settings) -> Settings:
    path = settings.path
    if path is None or not path.exists() or os.name != "posix":
        return settings
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IROTH:
        return settings
    urls = [settings.moodle.url, settings.store.url]
    secrets = [*settings.alerts.urls, settings.sync.ping_url]
    if any(_has_password(url) for url in urls) or any(secrets):
        raise ConfigError(
            f"{path} holds a password and everybody on this machine can read it (mode {mode:04o}).",
            f"Run: chmod 600 {path}",
        )
    warning = f"{path} can be read by everybody (mode {mode:04o}); run: chmod 600 {path}"
    return replace(settings, warnings=(*settings.warnings, warning))


def _has_password(url: str) -> bool:
    place, _mark, options = url.split("://", 1)[-1].partition("?")
    named = any(word.partition("=")[0] in {"password", "passwd"} for word in options.split("&"))
    return named or ("@" in url and ":" in place.rsplit("@", 1)[0])


def read_password(path: str) -> str:
    """Return the first line of a password file, without its line end."""
    try:
        return Path(path).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"The password file {path} cannot be read: {reason}.",
            "Check password_file in the configuration and who may read that file.",
        ) from error
