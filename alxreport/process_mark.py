"""Whether the process that holds a lease is still there."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

# A run renews its lease in every transaction; one that died on another host frees it after this.
LEASE_SECONDS = 900
# How far the clocks of two hosts may be apart.
SKEW_SECONDS = 300


def process_mark(pid: int) -> str:
    """Return a text that names a process of this machine for good, or "" if it is not running.

    A pid alone is used again; with the boot and the start of the process it is not.
    """
    boot = _read("/proc/sys/kernel/random/boot_id")
    started = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if started and started[0] in "ZX":
        return ""  # dead, only not yet waited for by its parent
    if boot and started:
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{pid}/{started[19]}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return f"{boot}/{pid}"


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return ""


def _dead(owner: str) -> bool:
    """Tell whether the lease's owner was a process of this host that is no more."""
    host, pid, mark, *_rest = [*owner.split("|"), "", "", ""]
    if host != socket.gethostname() or not pid.isdigit() or not mark:
        return False
    here = process_mark(os.getpid())
    if mark.split("/")[:-2] != here.split("/")[:-2]:
        # Another boot of this host: whatever ran then is gone. Another container: cannot be told.
        return mark.split("/", maxsplit=1)[0] != here.split("/")[0]
    return process_mark(int(pid)) != mark


def is_held(owner: str, expires_at: int, now: int) -> bool:
    """Tell whether a lease is held by a process that may still be running."""
    # An expiry further off than any claim reaches is from before the clock was set back; but the
    # clock of the host that claimed may be a little ahead of this one's.
    return (
        bool(owner) and now < expires_at <= now + LEASE_SECONDS + SKEW_SECONDS and not _dead(owner)
    )
