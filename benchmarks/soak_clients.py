"""Who asks during a soak: over HTTP and on the command line, with a look at every answer."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from benchmarks.soak_parts import Account, Ended, Ground, Pair, Programs, Row, must, shown
from tests.serving import Got

FEED = "/odata/v4/"
PAGES = "/api/v1/progress"


class Clients:
    """Asks for accounts' rows; ``weather`` is what a caller has to expect in this round."""

    def __init__(self, ground: Ground, programs: Programs) -> None:
        self.ground, self.programs = ground, programs
        self.counts = Counter[str]()
        self.weather: set[str] = set()
        self.accounts: dict[int, Account] = {}

    # Over HTTP

    def ask(self, account: Account, path: str, cost: int, **given: Any) -> Got | None:
        """Ask once; None for what was not answered, as far as the weather allows that."""
        client, form = self.programs.client, given.pop("form", None)
        expected = given.pop("expected", (200,))
        self.counts["requests"] += 1
        try:
            if form is not None:
                got = client.moodle(account.token, **form)
            else:
                got = client.get(path, account.token, **given)
        except ConnectionRefusedError as error:
            must("away" in self.weather, "nobody listens", path, error, self.weather)
            time.sleep(0.05)
            return None
        except (OSError, http.client.HTTPException) as error:
            must("cut" in self.weather, "an answer was cut off", path, repr(error), self.weather)
            account.unknown(cost)
            return None
        code = got.json().get("errorcode", "") if form and got.body.startswith(b"{") else ""
        if got.status in expected and not code:
            if got.status == 200:
                account.answered(cost)
            return got
        self._refused(account, got, cost, code)
        return None

    def _refused(self, account: Account, got: Got, cost: int, code: str) -> None:
        status = {"invalidtoken": 401, "accessexception": 403}.get(code, got.status)
        if status == 429 or "limit" in code:
            must(account.limited, "refused within the budget", got)
            account.counts["refused"] += 1
        elif status == 503:
            must("busy" in self.weather, "the server cannot", got, self.weather)
            account.unknown(cost)
        elif status in {401, 403} and self.is_gone(account):
            account.gone = True
        else:
            must(False, f"company {account.company}", got)

    def is_gone(self, account: Account) -> bool:
        try:
            found = self.ground.standing(account.company)
        except sa.exc.DBAPIError:
            must("busy" in self.weather, "the store cannot be read")
            return True
        return found is None or bool(found["gone"])

    def series(
        self, account: Account, limit: int, rest: Callable[[], None], **asked: Any
    ) -> tuple[list[Row], Row] | None:
        """Read a series to its end; return its records and its last page."""
        records: list[Row] = []
        cost, cursor, revision = 1, None, None
        while True:
            got = self.ask(account, PAGES, cost, limit=limit, cursor=cursor, **asked)
            if got is None:
                return None
            if got.status != 200:
                return [], {"status": got.status}
            page = got.json()
            must(page["company"]["id"] == account.company, "another company's page", page)
            revision = page["revision"] if revision is None else revision
            must(page["revision"] == revision, "a series changed its revision", page)
            records += page["data"]
            cursor, cost, asked = page["next"], 0, {}
            if cursor is None:
                break
            rest()
        # While syncs go on, rows come and go behind the first page's count.
        if "quiet" in self.weather:
            must(page["total"] == len(records), "total", page["total"], "told", len(records))
        self.look(account, records)
        return records, page

    def look(self, account: Account, records: list[Row]) -> None:
        """Look at records that came in the order of their keys: each once, and the company's."""
        keys = [(row["userid"], row["courseid"]) for row in records]
        must(all(a < b for a, b in pairwise(keys)), "twice or unsorted", keys)
        for row in records:
            mine = row.get("is_deleted") or row.get("companyid", account.company)
            must(mine is True or mine == account.company, account.company, "was told", row)
        account.told.update(keys)
        self.counts["records"] += len(records)

    def complete(self, account: Account, records: list[Row], revision: int) -> None:
        """Look that all rows were told that stood unchanged since ``revision``."""
        try:
            now = self.ground.reporting(account.company)
        except sa.exc.DBAPIError:
            must("busy" in self.weather, "the store cannot be read")
            return
        told = {(row["userid"], row["courseid"]): shown(row) for row in records}
        for key, row in now.items():
            if not row["is_deleted"] and row["revision"] <= revision:
                told_as = told.get(key)
                must(told_as == shown(row), "unchanged", shown(row), key, "but told", told_as)
        self.counts["series checked"] += 1

    def pages(self, account: Account, rng: random.Random) -> None:
        size = max(3, len(account.told))
        found = self.series(account, rng.randint(size // 6 + 1, size), lambda: rests(rng))
        if found:
            self.complete(account, found[0], found[1]["revision"])

    def feed(self, account: Account, rng: random.Random, whole: bool = False) -> list[Row] | None:
        before = None
        try:
            before = self.ground.standing(account.company)
        except sa.exc.DBAPIError:
            must("busy" in self.weather, "the store cannot be read")
        size = 1000 if whole else rng.randint(max(3, len(account.told)) // 5 + 1, 300)
        link, cost, records = "Progress", 1, list[Row]()
        while link:
            prefer = {"Prefer": f"odata.maxpagesize={size}"}
            got = self.ask(account, FEED + link, cost, headers=prefer)
            if got is None:
                return None
            told = got.json()
            records += told["value"]
            link, cost = told.get("@odata.nextLink", ""), 0
            if link:
                rests(rng)
        self.look(account, records)
        if before is not None:
            plain = [row | {"timecompleted": 0, "timestarted": 0} for row in records]
            self._feed_complete(account, plain, before["revision"])
        return records

    def _feed_complete(self, account: Account, records: list[Row], revision: int) -> None:
        table = self.ground.tables.reporting
        try:
            live = self.ground.rows(
                sa.select(table.c.userid, table.c.courseid, table.c.lastname).where(
                    table.c.companyid == account.company, table.c.is_deleted == 0,
                    table.c.revision <= revision,
                )
            )  # fmt: skip
        except sa.exc.DBAPIError:
            must("busy" in self.weather, "the store cannot be read")
            return
        told = {(row["userid"], row["courseid"]): row["lastname"] for row in records}
        for row in live:
            key = row["userid"], row["courseid"]
            must(told.get(key) == row["lastname"], "unchanged", row, "but told", told.get(key))
        self.counts["series checked"] += 1

    def dropin(self, account: Account, rng: random.Random) -> list[Row] | None:
        limit, records = rng.randint(max(3, len(account.told)) // 4 + 1, 400), list[Row]()
        while True:
            form = {"limit": limit, "offset": len(records)}
            got = self.ask(account, "", 1, form=form)
            if got is None:
                return None
            page = got.json()
            must(isinstance(page, list) and len(page) <= limit, "the plugin's address", page)
            self.look(account, page)
            records += page
            if len(page) < limit:
                return records

    def delta(self, account: Account, rng: random.Random) -> None:
        """Ask what changed since the mark that was kept, and apply it to the copy."""
        with account.turn:
            since, stale = account.mark, "http" in account.stale
            asked = {"mode": "incremental", "since": since}
            expected = (410,) if stale else (200,)
            first = rng.randint(max(3, len(account.told)) // 4 + 1, 1000)
            found = self.series(account, first, lambda: rests(rng), expected=expected, **asked)
            if found is None:
                return
            records, last = found
            if stale:
                self.counts["old marks refused"] += 1
                account.mark, account.stale = None, account.stale - {"http"}
                return
            apply(account, "http", records, whole=since is None)
            account.mark, account.mark_revision = last["delta"], last["revision"]
            must(account.mark, "a last page without a mark", last)
            self.counts["increments"] += since is not None

    def export(self, account: Account, _rng: random.Random) -> list[Row] | None:
        got = self.ask(account, "/api/v1/export", 1)
        if got is None:
            return None
        records: list[Row] = got.json()
        self.look(account, records)
        return records

    def stranger(self, account: Account, rng: random.Random) -> None:
        """Ask with this account's token at another company's address."""
        other = rng.choice([number for number in self.accounts if number != account.company] or [0])
        path = f"/company/id:{other}" + rng.choice((PAGES, "/api/v1/export", FEED + "Progress"))
        if self.ask(account, path, 0, expected=(403,)):
            self.counts["strangers refused"] += 1

    # On the command line

    def command(self, account: Account, *words: str, operator: bool, cost: int = 1) -> Ended | None:
        """Run a command that reads rows; None when it could not, as far as that is allowed."""
        who = ("--company", f"id:{account.company}") if operator else ()
        env = {} if operator else {"ALXREPORT_TOKEN": account.token}
        done = self.programs.run(*words, *who, **env)
        if done.code == 0:
            if operator and "was not logged" in done.err:
                must("busy" in self.weather, done, self.weather)
                account.unknown(0)
            else:
                account.answered(0 if operator else cost)
            return done
        if done.code == 3:
            must("busy" in self.weather, done, self.weather)
            account.unknown(cost)
        elif done.code == 5:
            must(account.limited and not operator, done)
            account.counts["refused"] += 1
        else:
            must(done.code in {4, 6} and self.is_gone(account), done)
            account.gone = True
        return None

    def query(self, account: Account, rng: random.Random) -> None:
        words = ("query", "--limit", str(rng.randint(1, 300)))
        if done := self.command(account, *words, operator=rng.random() < 0.5):
            page = done.json()
            must(page["company"]["id"] == account.company, "another company's page", done)
            self.look(account, page["data"])

    def kept_export(self, account: Account, rng: random.Random, kill: bool = False) -> None:
        """Export what changed since the mark in a file, and apply it to a copy; or die at it."""
        state, output = (
            self.programs.folder / f"{kind}-{account.company}" for kind in ("state", "rows")
        )
        words = ("export", "--state", str(state), "--format", "ndjson", "--output", str(output))
        with account.turn:
            stale, whole = "state" in account.stale, not state.exists()
            output.unlink(missing_ok=True)
            if stale:
                who = ("--company", f"id:{account.company}")
                done = self.programs.run(*words, *who)
                must(done.code == 2 and "--mode full" in done.err, "an old mark", done)
                must(not output.exists(), "an output of a refused export")
                self.counts["old marks refused"] += 1
                state.unlink()
                account.stale -= {"state"}
                return
            if kill:
                process = self.programs.start(*words, "--company", f"id:{account.company}")
                time.sleep(rng.uniform(0.1, 1.2))
                process.kill()
                done = self.programs.ended(process, *words, killed=True)
                self.counts["killed exports"] += done.code != 0
                account.unknown(0)
            elif self.command(account, *words, operator=True) is None:
                return
            if output.exists():
                records = [json.loads(line) for line in output.read_text().splitlines()]
                self.look(account, records)
                apply(account, "state", records, whole=whole)


def rests(rng: random.Random) -> None:
    time.sleep(rng.uniform(0, 0.25))


class Caller(threading.Thread):
    """Asks one thing after another until it is told to stop; keeps the fault that ended it."""

    def __init__(self, clients: Clients, rng: random.Random, over_http: bool) -> None:
        super().__init__(daemon=True)
        self.clients, self.rng = clients, rng
        self.fault: BaseException | None = None
        self.over = threading.Event()
        all_ways: tuple[Callable[[Account, random.Random], object], ...] = (
            (clients.pages, clients.pages, clients.feed, clients.feed, clients.dropin,
             clients.delta, clients.delta, clients.export, clients.stranger)
            if over_http
            else (clients.query, clients.kept_export)
        )  # fmt: skip
        self.ways = all_ways

    def run(self) -> None:
        try:
            while not self.over.is_set():
                able = [a for a in self.clients.accounts.values() if not a.gone]
                way = self.rng.choice(self.ways)
                if able:
                    way(self.rng.choice(able), self.rng)
                time.sleep(self.rng.uniform(0, 0.1))
        except BaseException as error:
            self.fault = error


def apply(account: Account, copy: str, records: list[Row], whole: bool) -> None:
    """Bring a client's copy up to date with what changed."""
    rows = {} if whole else account.copies.get(copy, {})
    for record in records:
        key = record["userid"], record["courseid"]
        if record.get("is_deleted"):
            rows.pop(key, None)
        else:
            rows[key] = shown(record)
    account.copies[copy] = rows


def pairs(records: list[Row]) -> list[Pair]:
    return [(row["userid"], row["courseid"]) for row in records]
