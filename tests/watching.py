"""A desk whose store is watched: facts of any time, checks, and what its watchers were told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from alxreport import alerts, request_log
from alxreport.alert_log import Alert
from alxreport.alerts import Checked
from alxreport.errors import AlxError, NotAuthorisedError, SourceError
from alxreport.request_log import Entry
from alxreport.sessions import Session
from alxreport.switch import set_switch
from alxreport.token_form import new_token

from .asking import Desk, lasting_desk
from .crowd import Crowd, add_crowd
from .moodle_site import DAY

MINUTE, HOUR = 60, 3_600
# A company that would lose this many rows at once, more than half of them, is not synced.
LOST, BIG = 50, 60
ACME, BETA = "company:1", "company:2"
Found = dict[tuple[str, str], str]


@dataclass
class Ear:
    """Somebody who is told; ``hears`` is whether it arrives."""

    hears: bool = True
    heard: list[tuple[str, str]] = field(default_factory=list)
    missed: int = 0

    def __call__(self, title: str, text: str) -> bool:
        if self.hears:
            self.heard.append((title, text))
        else:
            self.missed += 1
        return self.hears

    def take(self) -> str:
        """Return what was heard since the last time: titles and texts, "" for nothing."""
        said = "\n".join(f"{title}\n{text}" for title, text in self.heard)
        self.heard.clear()
        return said


class Watched(Desk):
    """A desk with acme (big) and beta (one learner), synced once."""

    crowds: dict[str, Crowd]

    def furnish(self, *, acme: int = 3) -> Watched:
        self.renew()
        set_switch(self.harness.engine, self.harness.tables, enabled=True)
        self.crowds = {"acme": add_crowd(self.site, "acme", acme)}
        self.crowds["beta"] = add_crowd(self.site, "beta", 1)
        assert [crowd.company for crowd in self.crowds.values()] == [1, 2]
        self.harness.sync()
        return self

    def limits(self, **values: Any) -> None:
        """Change what ``[alerts]`` of the configuration says."""
        changed = replace(self.settings.alerts, **values)
        self.harness.settings = replace(self.settings, alerts=changed)

    def check(self, now: int | None = None) -> Checked:
        return alerts.check(self.store, self.settings, self.now if now is None else now)

    def found(self, now: int | None = None) -> Found:
        """Check, and return what is open: severities by kind and subject, as recorded."""
        checked = self.check(now)
        there = {(a.kind, a.subject): a.severity for a in checked.open}
        recorded = self.rows("alerts")
        assert there == {
            (row["kind"], row["subject"]): row["severity"] for row in recorded if not row["ended"]
        }
        assert all(checked.advice[alert.id] and alert.message for alert in checked.open)
        return there

    def alert(self, kind: str, now: int | None = None) -> tuple[Alert, str]:
        """Check; return the only alert of a kind, and its advice."""
        checked = self.check(now)
        [alert] = [alert for alert in checked.open if alert.kind == kind]
        return alert, checked.advice[alert.id]

    def tell(self, *ears: Ear, now: int | None = None) -> list[str]:
        """Check and tell; return the targets that failed."""
        at = self.now if now is None else now
        targets: dict[str, Any] = {f"ear {place}": ear for place, ear in enumerate(ears, 1)}
        return alerts.notify(self.store, self.settings, self.check(at), targets, at)

    # Facts

    def lose_rows(self) -> None:
        """Take most of acme's learners away: its next sync fails."""
        self.site.delete("company_users", userid=self.crowds["acme"].users[:LOST])

    def sync_without_source(self) -> None:
        sound = self.settings
        moodle = replace(sound.moodle, url=f"{sound.moodle.url}.nowhere")
        self.harness.settings = replace(sound, moodle=moodle)
        with pytest.raises(SourceError):
            self.harness.sync()
        self.harness.settings = sound

    def logged(self, times: int, *, at: int, company: int = 2, ms: int = 5, **more: Any) -> None:
        """Log answered requests as if they had been at a moment, and lasted so long."""
        more = {"endpoint": "query", "ip": "192.0.2.1", "agent": "test"} | more
        entry = Entry(at=at, company=company, duration_us=ms * 1000, **more)

        def work(session: Session) -> None:
            for _ in range(times):
                request_log.write(session, entry)

        self.store.write(work)

    def fail_requests(self, times: int, now: int | None = None) -> None:
        """Make requests that fail through a fault of ours: of the configuration."""
        token = self.token("beta")
        sound = self.settings
        self.configure(timezone="Mars/Olympus")
        for _ in range(times):
            with pytest.raises(AlxError, match="time zone"):
                self.page(token, now=now)
        self.harness.settings = sound

    def intrude(self, times: int, now: int | None = None, **who: str) -> None:
        """Ask with a token that is none."""
        token = new_token()
        for _ in range(times):
            with pytest.raises(NotAuthorisedError):
                self.page(token, now=now, **{"ip": "192.0.2.7"} | who)

    def ask_beyond_limit(self, now: int | None = None) -> None:
        self.configure(rate_limit=2)
        token = self.token("acme")
        for _ in range(2):
            self.page(token, now=now)
        with pytest.raises(AlxError, match="used up"):
            self.page(token, now=now)


EVERYTHING: Found = {
    ("sync_failed", ""): "critical",
    ("sync_failed", ACME): "critical",
    ("sync_overdue", ""): "critical",
    ("sync_error_rate", ""): "warning",
    ("response_time", ""): "warning",
    ("success_rate", ""): "critical",
    ("cache_hit_rate", ""): "warning",
    ("rate_limit", ACME): "critical",
    ("failed_authentications", "caller:192.0.2.7"): "critical",
    ("unusual_activity", BETA): "warning",
}


def wreck(desk: Watched) -> None:
    """Make everything wrong at once, at the desk's new ``now``."""
    desk.furnish(acme=BIG)
    desk.lose_rows()
    for _ in range(9):
        desk.now += MINUTE
        desk.harness.sync()
    desk.sync_without_source()
    desk.now += 3 * HOUR
    desk.logged(20, at=desk.now - 2 * DAY)
    repeated = {"cache": "miss", "question": "q", "revision": 1, "cache_minutes": 60}
    desk.logged(61, at=desk.now - 5, ms=6_000, **repeated)
    desk.fail_requests(10)
    desk.intrude(5)
    desk.ask_beyond_limit()


@pytest.fixture(scope="module")
def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """A watched desk on SQLite for a whole module; each test furnishes it anew."""
    folder = tmp_path_factory.mktemp("watched")
    with lasting_desk("sqlite", request, folder, Watched) as opened:
        yield opened
