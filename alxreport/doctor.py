"""The doctor: everything that a sync needs, looked at in turn, each finding with what to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from alxreport.checks import SEVERITY, Check, Verdict, failed, worst
from alxreport.doctor_alerts import alerts_check
from alxreport.doctor_host import cron_check
from alxreport.doctor_source import source_checks
from alxreport.doctor_store import store_checks
from alxreport.errors import AlxError
from alxreport.probes import is_zone
from alxreport.settings import Settings, default_store_path, parse_settings, read_config

__all__ = ["SEVERITY", "Check", "Verdict", "diagnose", "worst"]

ORDER = (
    "configuration", "source", "replica", "rights", "tables", "companies", "clock", "completion",
    "store", "schema", "separation", "switch", "cron", "last sync", "company syncs",
    "alerts",
)  # fmt: skip


def diagnose(settings_loader: Callable[[], Settings], now: int) -> tuple[Check, ...]:
    """Look at everything and return what was found, in the order of ORDER.

    What cannot be looked at because something before it is broken is left out. Nothing is made
    or changed, neither in Moodle's database nor in the store.
    """
    try:
        settings = settings_loader()
        configuration = _configuration(settings)
    except AlxError as error:
        return failed("configuration", error), cron_check(None, now, any_config=True)
    checks = [configuration, cron_check(settings.path, now)]
    if settings.moodle.url:
        checks += source_checks(settings.moodle, now)
    checks += store_checks(settings, now)
    checks.append(alerts_check(settings, now))
    return tuple(sorted(checks, key=lambda check: ORDER.index(check.name)))


def _configuration(settings: Settings) -> Check:
    if not settings.moodle.url:
        where = f"{settings.path} names" if settings.path else "There is no file, and nothing names"
        return Check(
            "configuration", "problem", f"{where} no Moodle database.", "Run: alxreport init"
        )
    if not is_zone(settings.requests.timezone):
        return Check(
            "configuration",
            "problem",
            f"requests.timezone {settings.requests.timezone!r} is not a time zone known here.",
            "Write one like Europe/London: without it no request is answered.",
        )
    warnings = [*settings.warnings, *_lax_modes(settings)]
    if settings.sync.ping_url and not settings.sync.ping_url.startswith(("http://", "https://")):
        warnings.append("sync.ping_url is no address of the web; write one like https://host/path")
    finding = _origin(settings)
    if warnings:
        told = "; ".join(warnings)
        return Check("configuration", "warning", finding, told)
    return Check("configuration", "ok", finding)


def _origin(settings: Settings) -> str:
    overridden = ", ".join(_overridden(settings))
    if settings.path is None:
        return f"No file; the environment sets {overridden}."
    mode = ""
    if os.name == "posix":
        mode = f" (mode {stat.S_IMODE(settings.path.stat().st_mode):04o})"
    finding = f"{settings.path}{mode}."
    return f"{finding} The environment overrides {overridden}." if overridden else finding


def _overridden(settings: Settings) -> list[str]:
    path = settings.path
    own = parse_settings(read_config(path), path) if path else Settings()
    store = own.store.url or f"sqlite:///{default_store_path()}"
    pairs = {
        "moodle.url": (own.moodle.url, settings.moodle.url),
        "moodle.prefix": (own.moodle.prefix, settings.moodle.prefix),
        "store.url": (store, settings.store.url),
    }
    return [name for name, (before, after) in pairs.items() if before != after]


def _lax_modes(settings: Settings) -> list[str]:
    """Return a warning for each file with secrets that others can read or write."""
    if os.name != "posix":
        return []
    others = {
        **({settings.path: stat.S_IWOTH} if settings.path else {}),
        **{
            Path(section.password_file): stat.S_IROTH | stat.S_IWOTH
            for section in (settings.moodle, settings.store)
            if section.password_file
        },
    }
    found = []
    for path, refused in others.items():
        if not path.exists():
            continue  # said where the password is needed
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & refused:
            verb = "read" if mode & refused & stat.S_IROTH else "changed"
            found.append(f"{path} can be {verb} by everybody (mode {mode:04o});"
                         f" run: chmod 600 {path}")  # fmt: skip
    return found
