"""The doctor's look at who would be told if something went wrong."""

from __future__ import annotations

from pathlib import Path

from alxreport import cron_host, notify
from alxreport.checks import Check, failed
from alxreport.cron import cron_status, install_command
from alxreport.errors import AlxError
from alxreport.settings import Settings

NAME = "alerts"


def alerts_check(settings: Settings, now: int) -> Check:
    """Tell whether alerts are looked for, and whether anybody hears of them; nothing is sent."""
    urls = settings.alerts.urls
    try:
        if urls:
            notify.senders(urls)
    except AlxError as error:
        return failed(NAME, error)
    if not _are_looked_for(settings.path, now):
        return Check(
            NAME,
            "warning",
            "No cron line looks for what is wrong.",
            f"Run: {install_command(settings.path)}",
        )
    if urls:
        count = f"{len(urls)} addresses are" if len(urls) > 1 else "One address is"
        return Check(NAME, "ok", f"{count} told what is wrong.")
    if cron_host.can_mail():
        return Check(NAME, "ok", "No address is configured; cron mails what is wrong.")
    return Check(
        NAME,
        "warning",
        "Nobody is told what is wrong: no address in alerts.urls, and this machine sends no mail.",
        "Add one, see docs/monitor.md, or look each day: alxreport alerts list",
    )


def _are_looked_for(config: Path | None, now: int) -> bool:
    lines = cron_status(config, now, any_config=config is None).lines
    return any(line.task == "alerts" and line.runs for line in lines)
