"""The doctor's look at this machine: is there a cron line that runs the sync, and does it work?"""

from __future__ import annotations

from pathlib import Path

from alxreport.checks import Check
from alxreport.cron import cron_status


def cron_check(config: Path | None, now: int, *, any_config: bool = False) -> Check:
    """Look for a line or timer that runs the sync with this configuration, and at its worth.

    ``any_config`` says that the configuration is not known, so that any line's own will do. Only
    times and places are shown: a line may set a URL with a password.
    """
    status = cron_status(config, now, any_config=any_config)
    return Check("cron", status.verdict, status.finding, status.advice)
