"""The doctor's look at this machine: is there a cron line that runs the sync?"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from alxreport.checks import Check
from alxreport.settings import SYSTEM_CONFIG, user_config_path

SYSTEM_CRONTAB = Path("/etc/crontab")
CRON_FOLDER = Path("/etc/cron.d")
CRONTAB_SECONDS = 10

# "sync" as a word of its own behind the command's name: not sync-state, nor another command.
_SYNC = re.compile(r"\balxreport\b[^;&|#]*\ssync(?=[\s;&|>]|$)")
_SCHEDULE = re.compile(r"\s*(@\w+|\S+(?:\s+\S+){4})\s")
_READ_FILE = re.compile(r"[A-Za-z0-9_-]+")  # cron passes over files of other names


def cron_check(config: Path | None) -> Check:
    """Look for a line that runs the sync, for this user or for the whole machine."""
    crontab = shutil.which("crontab")
    for place, text in _crontabs(crontab):
        for line in text.splitlines():
            schedule = _SCHEDULE.match(line)
            if schedule and not line.lstrip().startswith("#") and _SYNC.search(line):
                # Only the times are shown: a line may set a URL with a password.
                return Check("cron", "ok", f"The sync runs at '{schedule[1]}' ({place}).")
    finding = "No cron line runs the sync."
    if crontab is None:
        finding = "There is no crontab command here, and no cron line in /etc runs the sync."
    return Check("cron", "warning", finding, f"Add with crontab -e: {sync_line(config)}")


def sync_line(config: Path | None) -> str:
    """Return the cron line that runs the sync every hour with this configuration."""
    beside = Path(sys.executable).with_name("alxreport")
    program = str(beside) if beside.exists() else shutil.which("alxreport") or "alxreport"
    command = f"{shlex.quote(program)} sync --quiet"
    if config is not None and config not in (SYSTEM_CONFIG, user_config_path()):
        command = f"ALXREPORT_CONFIG={shlex.quote(str(config.absolute()))} {command}"
    return "7 * * * * " + command.replace("%", r"\%")


def _crontabs(crontab: str | None) -> Iterator[tuple[str, str]]:
    if crontab is not None:
        yield "this user's crontab", _listed(crontab)
    files = [SYSTEM_CRONTAB]
    if CRON_FOLDER.is_dir():
        files += sorted(p for p in CRON_FOLDER.iterdir() if _READ_FILE.fullmatch(p.name))
    for path in files:
        try:
            yield str(path), path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _listed(crontab: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # found in PATH by its name
            [crontab, "-l"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CRONTAB_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
