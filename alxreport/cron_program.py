"""Whether what a cron line starts is there, can be run, and is alxreport; nothing is started."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

CRON_PATH = "/usr/bin:/bin"
HEAD_BYTES = 8192
_ELF = b"\x7fELF"


def own_program() -> tuple[str, ...]:
    """Return what starts this alxreport from any directory and without a PATH."""
    beside = Path(sys.executable).with_name("alxreport")
    if beside.exists():
        return (str(beside),)
    found = shutil.which("alxreport")
    return (os.path.abspath(found),) if found else (sys.executable, "-m", "alxreport")


def program_fault(program: Sequence[str], home: Path, path: str = CRON_PATH) -> str:
    """Return why a program does not start alxreport, "" when it does.

    ``program`` is ("/usr/bin/alxreport",) or ("python3", "-m", "alxreport"); ``home`` the
    directory in which cron runs it, ``path`` where cron looks for names.
    """
    name = program[0]
    if name.startswith("~/"):
        name = str(home / name[2:])
    if "/" not in name:
        found = shutil.which(name, path=path)
        if found is None:
            return f"Cron looks for {name} in {path} only, and it is not there."
        name = found
    file = home / name
    if _is_gone(file):
        return f"There is no {file}."
    if os.path.exists(file) and not (os.path.isfile(file) and os.access(file, os.X_OK)):
        return f"{file} is no program that can be run."
    return _module_fault(file, home) if len(program) > 1 else _script_fault(file)


def _is_gone(path: Path) -> bool:
    """Tell whether a file is not there; of what this user may not see it is not known."""
    try:
        os.stat(path)
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    return False


def _script_fault(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
    except OSError:
        return ""
    first = head.split(b"\n", 1)[0]
    if first.startswith(b"#!"):
        words = first[2:].split()
        interpreter = Path(os.fsdecode(words[0])) if words else Path()
        if _is_gone(interpreter):
            return f"{file} wants {interpreter}, which is not there any more."
    elif head.startswith(_ELF):
        return ""
    return "" if b"alxreport" in head else f"{file} is not alxreport."


def _module_fault(python: Path, home: Path) -> str:
    places = (
        (python.parent.parent, "lib/python3*/site-packages"),
        (python.parent.parent, "lib/python3*/dist-packages"),
        (Path("/usr/local"), "lib/python3*/dist-packages"),
        (home, ".local/lib/python3*/site-packages"),
    )
    for root, pattern in places:
        if any(root.glob(f"{pattern}/alxreport*")):
            return ""
    return f"No alxreport is installed for {python}."
