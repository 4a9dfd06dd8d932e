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
    urls = list(dict.fromkeys(settings.alerts.urls))
    if not urls:

        def said(title: str, text: str) -> bool:
            say(f"{title}\n\n{text}")
            return True

        notify(store, settings, checked, {BY_CRON: said}, now)
        return []
    try:
        senders = addresses.senders(urls)
    except AlxError as error:
        return [f"Nobody was told: {error.message} {error.hint}"]
    targets = dict(zip(map(target_name, urls), senders, strict=True))
    failed = notify(store, settings, checked, targets, now)
    places = {target: place for place, target in enumerate(targets, 1)}
    return [
        f"Address {places[target]} of alerts.urls was not reached; the next check tries again."
        for target in failed
    ]
