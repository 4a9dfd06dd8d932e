"""Where alerts are sent: Apprise's addresses, none of which is ever shown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from alxreport.errors import ConfigError
from alxreport.extras import install_hint

# Its libraries wait for each part of an answer anew; this bounds the whole, and is well below the
# time after which another check takes the telling over (alert_log.CLAIM_SECONDS).
LONGEST_SEND_SECONDS = 60
LONGEST_TITLE = 250
MORE = "\n\nAnd more: alxreport alerts list"
Send = Callable[[str, str], bool]


def senders(urls: Sequence[str]) -> list[Send]:
    """Return what sends a title and a text to each address, in their order.

    Raises ConfigError where Apprise is missing or does not know an address.
    """
    return [sender(url, place) for place, url in enumerate(urls, 1)]


def sender(url: str, place: int) -> Send:
    """Return what sends to one address, the ``place``-th of the list; see senders."""
    try:
        import apprise
    except ImportError as error:
        raise ConfigError("alerts.urls needs a further package.", install_hint("notify")) from error
    # It logs addresses, which hold passwords; what failed is told by its place in the list.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise ConfigError(
            f"The {_nth(place)} of alerts.urls is no address that Apprise knows.",
            "See docs/monitor.md for examples.",
        )
    told = apprise.Apprise()
    told.add(service)

    # What is longer some services refuse as a whole, and the next check would send it again.
    room = service.body_maxlen - (0 if service.title_maxlen else LONGEST_TITLE)
    most = service.title_maxlen or LONGEST_TITLE

    def send(title: str, text: str) -> bool:
        title, text = shortened(title, most), shortened(text, room)
        try:
            # Named as text, or what is sent as HTML loses its lines and takes names for markup.
            return bool(
                told.notify(
                    body=text, title=title, notify_type=_colour(title),
                    body_format=apprise.NotifyFormat.TEXT,
                )
            )  # fmt: skip
        except Exception:  # a receiver's fault must not stop the others
            return False

    return _bounded(send)


def _colour(title: str) -> str:
    """Return Apprise's word for how a message is to look, by the gravity that its title names."""
    for word, colour in ((": CRITICAL: ", "failure"), (": Warning: ", "warning")):
        if word in title:
            return colour
    return "success" if ": Resolved: " in title else "info"


def shortened(text: str, most: int) -> str:
    """Return a text in at most so many characters; one that is cut says where the rest is."""
    if len(text) <= most:
        return text
    whole, _line, _rest = text[: most - len(MORE)].rpartition("\n\n")
    return whole + MORE if whole else f"{text[: max(0, most - 1)]}…"


def _bounded(send: Send) -> Send:
    def within(title: str, text: str) -> bool:
        arrived: list[bool] = []
        worker = threading.Thread(target=lambda: arrived.append(send(title, text)), daemon=True)
        worker.start()
        worker.join(LONGEST_SEND_SECONDS)
        return any(arrived)

    return within


def _nth(number: int) -> str:
    words = {1: "first", 2: "second", 3: "third"}
    return words.get(number, f"{number}th")
