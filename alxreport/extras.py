"""What to run where a package is missing that only some installations have."""

from __future__ import annotations

import json
import shlex
import sys
from urllib.parse import unquote, urlsplit


def install_hint(extra: str) -> str:
    """Return the command that adds an extra to this installation, from where it was installed."""
    wanted = f"{_origin()}[{extra}]"
    return f"Run: {shlex.quote(sys.executable)} -m pip install {_quoted(wanted)}"


def _origin() -> str:
    """Return the directory that pip installed from (PEP 610), or the name of the project."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        told = distribution("alxreport").read_text("direct_url.json")
        url = urlsplit(json.loads(told or "{}").get("url", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
        return "alxreport"
    return unquote(url.path) if url.scheme == "file" else "alxreport"


def _quoted(text: str) -> str:
    return shlex.quote(text) if "'" in text else f"'{text}'"  # brackets mean something to zsh
