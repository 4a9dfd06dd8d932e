"""Who guesses tokens waits longer and longer for the answer; everybody else does not notice."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict

# After so many failures the next ones are answered late: a person who mistypes does not notice.
FREE_FAILURES = 5
FIRST_SECONDS, LONGEST_SECONDS = 0.25, 5.0
FORGOTTEN_SECONDS = 600.0
MOST_ADDRESSES = 10_000


class Brakes:
    """The failures of each address, and how long the next one waits.

    Only refusals wait: behind one address may be many people, and a valid token is not held up
    by what others do.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def hold(self, address: str) -> None:
        """Count a failure of an address, and wait as long as it has earned."""
        seconds = self.count(address, time.monotonic())
        if seconds:
            await asyncio.sleep(seconds)

    def count(self, address: str, now: float) -> float:
        """Count a failure at ``now`` (seconds of a clock that never goes back).

        Returns the seconds to wait: none for the first five, then twice as long each time.
        """
        key = block(address)
        failures, last = self._failures.pop(key, (0, now))
        failures = failures + 1 if now - last < FORGOTTEN_SECONDS else 1
        self._failures[key] = failures, now
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        over = failures - FREE_FAILURES
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(over - 1, 20)) if over > 0 else 0.0


def block(address: str) -> str:
    """Return under what an address is counted: for IPv6 the /64 that one customer has."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped:
        return str(found.ipv4_mapped if found.version == 6 else found)
    return str(ipaddress.ip_network((found, 64), strict=False))
