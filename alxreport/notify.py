"""Where alerts are sent: Apprise's addresses, none of which is ever shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from alxreport.errors import ConfigError

Send = Callable[[str, str], bool]


def senders(urls: Sequence[str]) -> list[Send]:
    """Return what sends a title and a text to each address, in their order.

    Raises ConfigError where Apprise is missing or does not know an address.
    """
    try:
        import apprise
    except ImportError as error:
        raise ConfigError(
            "alerts.urls needs a further package.", "Run: pip install 'alxreport[notify]'"
        ) from error
    # It logs addresses, which hold passwords; what failed is told by its place in the list.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    found: list[Send] = []
    for place, url in enumerate(urls, 1):
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            raise ConfigError(
                f"The {_nth(place)} of alerts.urls is no address that Apprise knows.",
                "See docs/alerts.md for examples.",
            )
        found.append(_sender(service))
    return found


def _sender(service: object) -> Send:
    def send(title: str, text: str) -> bool:
        try:
            return bool(service.notify(body=text, title=title))  # type: ignore[attr-defined]
        except Exception:  # a receiver's fault must not stop the others
            return False

    return send


def _nth(number: int) -> str:
    words = {1: "first", 2: "second", 3: "third"}
    return words.get(number, f"{number}th")
