"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from alxreport.errors import AlxError, UsageError

# Bytes: longer than any delta, short enough for a wrong file.
LONGEST_STATE = 200_000


@contextmanager
def whole_file(
    path: Path, *, mark: bytes = b"", option: str = "--output", mode: int = 0o600
) -> Iterator[BinaryIO]:
    """Yield a file that appears as ``path`` when the block succeeds, or not at all.

    ``mark`` is written first, such as a byte order mark; ``option`` is named in errors. Raises
    UsageError when the folder cannot be written to.
    """
    try:
        # Before links are followed: /dev/stdout leads to what has no name in any folder.
        is_device = path.exists() and not path.is_file() and not path.is_dir()
        path = path if is_device else Path(os.path.realpath(path))
        is_folder = path.is_dir()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", f"Name another file in {option}."
        ) from error
    if is_folder:
        raise UsageError(f"{path} is a directory.", f"Name a file in {option}.")
    if is_device:
        # A device or a pipe: it is written to, not replaced.
        with path.open("wb") as file:
            file.write(mark)
            yield file
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", f"Name another file in {option}."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(mark)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        os.replace(name, path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise AlxError(
                f"{path} cannot be written: {error.strerror}.",
                "Nothing was left behind; make room, or name another file.",
            ) from error
        raise


def file_of(path: Path) -> tuple[int, int] | None:
    """Return which file has a name at this moment, None for none; a new one differs."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read_state(path: Path, since: str | None) -> str | None:
    """Return the delta that an export kept in a file, None when there is no file yet.

    Raises UsageError for one that cannot be read, or when ``since`` was given too.
    """
    if since is not None:
        raise UsageError("--state and --since exclude each other.", "Leave --since out.")
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(
            f"The state {path} cannot be written there.", "Name another file in --state."
        )
    try:
        return path.read_bytes()[:LONGEST_STATE].decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"The state {path} cannot be read: {error.strerror}.", "Name another file in --state."
        ) from error


def write_state(path: Path, delta: str) -> None:
    """Keep a delta in a file, which is replaced as a whole."""
    with whole_file(path, option="--state") as file:
        file.write(delta.encode() + b"\n")


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write some texts as files of a directory, made when missing; return their paths."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}.", "Name another directory in --output."
        ) from error
    paths = []
    for name, text in texts.items():
        with whole_file(folder / name) as file:
            file.write(text.encode())
        paths.append(folder / name)
    return paths
