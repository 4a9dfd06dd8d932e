"""Who is told of alerts: the configured addresses, or whoever reads what cron mails."""

from __future__ import annotations

from collections.abc import Callable

from alxreport import notify as addresses
from alxreport.alerts import Checked, notify, target_name
from alxreport.errors import AlxError
from alxreport.sessions import Store
from alxreport.settings import Settings

# The target where no address is configured: cron mails what a job says on stderr.
BY_CRON = "stderr"


def tell(
    store: Store, settings: Settings, checked: Checked, now: int, say: Callable[[str], None]
) -> list[str]:
    """Tell everybody who is to know what is new; return a sentence for each that failed.

    Without any address it is said on stderr through ``say``, once as to an address.
    """
    urls = settings.alerts.urls
    if not urls:

        def said(title: str, text: str) -> bool:
            say(f"{title}\n\n{text}")
            return True

        notify(store, settings, checked, {BY_CRON: said}, now)
        return []
    places: dict[str, int] = {}
    for place, url in enumerate(urls, 1):
        places.setdefault(target_name(url), place)
    targets: dict[str, addresses.Send] = {}
    wrong: list[str] = []
    for target, place in places.items():
        try:
            targets[target] = addresses.sender(urls[place - 1], place)
        except AlxError as error:  # one that is wrong must not keep the others from being told
            wrong.append(f"Not told: {error.message} {error.hint}")
    failed = notify(store, settings, checked, targets, now)
    return [
        *dict.fromkeys(wrong),
        *(
            f"Address {places[target]} of alerts.urls was not reached; the next check tries again."
            for target in failed
        ),
    ]
