"""What a soak checks at each quiet point, and the accounts that it opens for that."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from benchmarks.soak_clients import Clients, pairs
from benchmarks.soak_parts import Account, Ended, Ground, Pair, Programs, Row, must, shown
from tests.crowd import add_crowd
from tests.harness import difference, said
from tests.moodle_edits import restore_roles
from tests.moodle_site import Site
from tests.oracle import expected_rows

LEAST_ROWS, ACCOUNTS = 500, 4
# What is in memory when a worker is killed is lost from the log; this is far more than that.
LOST_SECONDS = 1.0
GUARDED = "--allow-mass-delete"
Key = tuple[int, int, int]


class Checks:
    """One backend's databases, server and accounts, and the promises that are kept for them."""

    def __init__(self, backend: str, folder: Path, seed: int) -> None:
        self.seed, self.backend = seed, backend
        self.rng, self.edit_rng = random.Random(seed), random.Random(seed + 1)
        self.counts = Counter[str]()
        self.ground = Ground(backend, folder)
        self.programs = Programs(self.ground)
        self.clients = Clients(self.ground, self.programs)
        self.known: set[Key] = set()
        self.kills: list[float] = []
        self.memory: dict[int, list[int]] = {}
        self.sync_seconds, self.crowds = 1.0, 0
        lock = {"connect_args": {"timeout": 60}} if backend == "sqlite" else {}
        engine = sa.create_engine(self.ground.source_url, poolclass=NullPool, **lock)
        self.site = Site(engine, now=int(time.time())).create().sample(seed, 4, 30, 6)

    def sync(self, *words: str, codes: tuple[int, ...] = (0,)) -> Ended:
        began = time.monotonic()
        done = self.programs.run("sync", "--json", *words)
        guarded = done.code in {3, 7} and GUARDED in done.out + done.err
        stormy = "busy" in self.clients.weather and done.code in {3, 7}
        must(done.code in codes or guarded or stormy, done, self.clients.weather)
        self.sync_seconds = max(0.4, time.monotonic() - began)
        self.counts["guarded syncs"] += guarded
        return done

    def revisions(self) -> dict[int, int]:
        table = self.ground.tables.sync_status
        rows = self.ground.rows(sa.select(table.c.companyid, table.c.revision))
        return {row["companyid"]: row["revision"] for row in rows}

    def quiet(self, number: int) -> None:
        """Check every promise while nothing else happens."""
        if self.live_count() < LEAST_ROWS:
            restore_roles(self.site, self.rng.choice, int(time.time()))
            self.crowds += 1
            add_crowd(self.site, f"crowd{self.crowds}", self.rng.randint(40, 110), 2)
        time.sleep(2)  # what begins or ends "in a second" has done so
        done = self.sync()
        if done.code:
            done = self.sync(GUARDED)
            must(done.code == 0, done)
        stored = self.check_rows(done, self.ground.store_url)
        if number % 4 == 0:
            self.check_rebuild(stored)
        verified = self.programs.run("verify", "--json")
        must(verified.code == 0, verified)
        self.remember()
        self.check_answers(stored)
        self.check_counts()
        self.programs.check_log()
        for pid, size in self.programs.memory().items():
            self.memory.setdefault(pid, [size, size])[1] = size
        self.settle()

    def check_rows(self, done: Ended, url: str) -> dict[Key, Row]:
        """Compare a store's rows with what the naive oracle says; return the live ones."""
        at = int(datetime.fromisoformat(done.json()["started_at"]).timestamp())
        with self.site.engine.connect() as connection:
            expected = expected_rows(connection, "mdl_", at)
        table = self.ground.tables.reporting
        rows = self.ground.rows(sa.select(table).where(table.c.is_deleted == 0), url)
        stored = {(row["companyid"], row["userid"], row["courseid"]): row for row in rows}
        live = {key: said(row) for key, row in stored.items()}
        must(live == expected, "not what a rebuild gives:", difference(live, expected))
        self.counts["rows compared"] += len(live)
        self.counts["checks"] += 1
        return stored

    def check_rebuild(self, stored: dict[Key, Row]) -> None:
        """Let another process build everything anew, into a store of its own."""
        url = self.ground.new_url("fresh")
        done = self.programs.run("sync", "--json", "--full", ALXREPORT_STORE_URL=url)
        must(done.code == 0, done)
        fresh = self.check_rows(done, url)
        same = {k: shown(v) for k, v in fresh.items()} == {k: shown(v) for k, v in stored.items()}
        must(same, "a rebuild differs")
        self.counts["rebuilds"] += 1

    def remember(self) -> None:
        """Look that nobody was told of what was never a row of his company."""
        table = self.ground.tables.reporting
        rows = self.ground.rows(sa.select(table.c.companyid, table.c.userid, table.c.courseid))
        self.known |= {(r["companyid"], r["userid"], r["courseid"]) for r in rows}
        for account in self.clients.accounts.values():
            told = {(account.company, *key) for key in account.told}
            must(told <= self.known, account.company, "was told", list(told - self.known)[:5])
            account.told = {key[1:] for key in told & {tuple(r.values()) for r in rows}}

    def check_answers(self, stored: dict[Key, Row]) -> None:
        """Look that pages, feed, export and every copy say what the table says."""
        clients, rng = self.clients, self.rng
        able = [a for a in clients.accounts.values() if not a.gone and not clients.is_gone(a)]
        chosen = rng.choice(able) if able else None
        for account in able:
            live = {k[1:]: shown(row) for k, row in stored.items() if k[0] == account.company}
            if account is chosen or "state" in account.stale:
                for _ in range(2 if "state" in account.stale else 1):
                    clients.kept_export(account, rng)
                must(account.copies["state"] == live, "a kept export differs", account.company,
                     different(account.copies["state"], live))  # fmt: skip
            if account.limited:
                continue
            for _ in range(2 if "http" in account.stale else 1):
                clients.delta(account, rng)
            must(account.copies.get("http") == live, "a copy differs", account.company,
                 different(account.copies.get("http", {}), live))  # fmt: skip
            paged = clients.series(account, rng.randint(len(live) // 5 + 1, 1000), lambda: None)
            must(paged and told(paged[0]) == live, "pages differ", account.company)
            exported = clients.export(account, rng)
            must(exported is not None and told(exported) == live, "an export differs")
            if account is chosen:
                self.check_other_ways(account, live)
            self.counts["rows compared"] += 4 * len(live)
            self.counts["checks"] += 5

    def check_other_ways(self, account: Account, live: dict[Pair, Row]) -> None:
        clients, rng = self.clients, self.rng
        if done := clients.command(account, "export", "--format", "json", operator=True):
            must(told(done.json()) == live, "an export differs", account.company)
        for way in (clients.feed, clients.dropin):
            found = way(account, rng)
            must(found is not None and pairs(found) == sorted(live), way.__name__, "differs")

    def check_counts(self) -> None:
        """Compare the budget and the log with what was answered, and begin anew."""
        for account in list(self.clients.accounts.values()):
            until = time.monotonic() + 10
            while complaint := self.complaint(account):
                must(time.monotonic() < until, complaint)
                time.sleep(0.2)
            self.counts["checks"] += 3
            self.begin(account)

    def complaint(self, account: Account) -> str:
        """Return what of an account does not add up, "" if everything does."""
        found, said_to = self.ground.counted(account.company), account.counts
        near = sum(any(abs(t - k) < LOST_SECONDS for k in self.kills) for t in account.moments)
        for name, lost in (("paid", 0), ("logged", near), ("refused", near + len(self.kills))):
            moved = found[name] - account.base[name]
            most = said_to[name] + said_to[f"maybe_{name}"]
            if not said_to[name] - lost <= moved <= most:
                return f"company {account.company}: {name} {moved}, {dict(said_to)}, lost {lost}"
            self.counts["log rows lost at kills"] += max(0, said_to[name] - moved)
        used, limit = found["paid"], account.base.get("limit", 0)
        if account.limited and (used > limit or (said_to["refused"] and used != limit)):
            return f"company {account.company}: {used} used of {limit}, {dict(said_to)}"
        return ""

    def begin(self, account: Account) -> None:
        """Count from here on."""
        account.base = self.ground.counted(account.company)
        account.counts.clear()
        account.moments.clear()
        if account.limited and not self.clients.is_gone(account):
            limit = account.base["paid"] + self.rng.randint(3, 15)
            done = self.programs.run("limit", "set", f"id:{account.company}", str(limit))
            must(done.code == 0, done)
            account.base["limit"] = limit

    def live_count(self) -> int:
        table = self.ground.tables.sync_status
        [found] = self.ground.rows(sa.select(sa.func.sum(table.c.live_rows).label("n")))
        return int(found["n"] or 0)

    def settle(self) -> None:
        """Give the companies with the most rows an account; the second one has a small budget."""
        table = self.ground.tables.sync_status
        rows = self.ground.rows(sa.select(table).where(table.c.gone == sa.false()))
        largest = sorted(rows, key=lambda row: -row["live_rows"])[:ACCOUNTS]
        accounts = self.clients.accounts
        here = {row["companyid"] for row in rows}
        for company in [number for number in accounts if number not in here]:
            self.forget(company)
        for place, row in enumerate(largest):
            company = row["companyid"]
            old = accounts.get(company)
            if old and not old.gone:
                continue
            named = ("--show", "companyid", "--show", "username")
            must(self.programs.run("company", "fields", f"id:{company}", *named).code == 0)
            made = self.programs.run("token", "create", "--company", f"id:{company}")
            must(made.code == 0, made)
            limited = old.limited if old else place == 1
            if not limited:  # it may have had a limit once, which a restored store remembers
                done = self.programs.run("limit", "set", f"id:{company}", "0")
                must(done.code == 0, done)
            accounts[company] = new = Account(company, made.out.strip(), limited)
            if old:
                new.copies, new.mark, new.stale = old.copies, old.mark, old.stale
                new.mark_revision, new.told = old.mark_revision, old.told
            self.begin(new)
        for company in [number for number, account in accounts.items() if account.gone]:
            self.forget(company)

    def forget(self, company: int) -> None:
        """Ask for a company no more, and keep nothing of what it was told."""
        del self.clients.accounts[company]
        (self.programs.folder / f"state-{company}").unlink(missing_ok=True)


def told(records: list[Row]) -> dict[Pair, Row]:
    return {(row["userid"], row["courseid"]): shown(row) for row in records}


def different(copy: dict[Pair, Row], live: dict[Pair, Row]) -> str:
    keys = [key for key in copy.keys() | live.keys() if copy.get(key) != live.get(key)]
    return "; ".join(f"{key}: {copy.get(key)}, not {live.get(key)}" for key in sorted(keys)[:3])
