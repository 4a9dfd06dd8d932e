"""The text of config.toml, and writing it where nobody else can read it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

from alxreport.errors import ConfigError
from alxreport.settings import MoodleSettings, StoreSettings

SYSTEM_FOLDER = Path("/etc")

_TEXT = """\
# Configuration of alxreport, written by 'alxreport init'.
# It may hold passwords: keep its mode at 0600.

[moodle]
# Moodle's database, only ever read: a user with SELECT is enough. To keep the password apart,
# take it out of the URL and name a file that holds it: password_file = "/path/to/file"
url = {url}
# $CFG->prefix in Moodle's config.php.
prefix = {prefix}
# Encryption: "off", "require", or "verify", which checks the server's certificate too.
tls = {tls}
{tls_ca}
[store]
# alxreport's own database: SQLite, MariaDB, MySQL or PostgreSQL.
url = {store}

[requests]
# The time zone of the day that a company's request limit counts by.
timezone = {timezone}
"""


def config_text(moodle: MoodleSettings, store: StoreSettings, timezone: str) -> str:
    """Return a ``config.toml`` that says what is given, with a comment on each setting."""
    authority = f"tls_ca = {_quoted(moodle.tls_ca)}\n" if moodle.tls_ca else ""
    return _TEXT.format(
        url=_quoted(moodle.url),
        prefix=_quoted(moodle.prefix),
        tls=_quoted(moodle.tls),
        tls_ca=authority,
        store=_quoted(store.url),
        timezone=_quoted(timezone),
    )


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for the one control character that JSON leaves.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_config(target: Path, text: str) -> None:
    """Write a configuration file, mode 0600, whole or not at all; make its folders.

    Raises ConfigError when it cannot be written. A link is followed, and an owner is kept.
    """
    path = Path(os.path.realpath(target))
    try:
        _make_folders(path.parent)
        _replace(path, text.encode("utf-8"))
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or "a value is not UTF-8 text"
        raise ConfigError(
            f"The configuration {target} cannot be written: {reason}.",
            "Name another place with --config, or let this user write there.",
        ) from error


def _make_folders(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    mode = 0o755 if SYSTEM_FOLDER in folder.parents else 0o700
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(mode)  # whatever the umask says


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp made it with mode 0600
            file.write(content)
            file.flush()
            if path.exists() and hasattr(os, "fchown"):
                # Root may replace the file of the account that runs the sync.
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), path.stat().st_uid, path.stat().st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
