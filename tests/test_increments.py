"""A reader who takes what changed, and only that, ends with what a full export says."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alxreport import whole_file
from alxreport.company_admin import company_fields, set_options
from alxreport.database import writing
from alxreport.errors import NotAuthorisedError, ResyncError, UsageError
from alxreport.export import export
from alxreport.listing import STATUSES, TEXTS

from .asking import Desk, caller, open_desk, people, question
from .command_line import Done, run, write_config
from .moodle_edits import random_edit
from .servers import OFFICES  # noqa: F401 - over HTTP, too

# Server databases are slower by a factor of ten; the SQL is the same in every example.
EXAMPLES = {"sqlite": 5, "mysql": 1, "postgresql": 1}
HOUR, DAY = 3600, 86_400
STEPS = (0, 1, 60, HOUR, HOUR, 25 * HOUR, 40 * DAY, 91 * DAY, -1, -HOUR)


def rename(desk: Desk, user: int, name: str, wait: int = 60) -> None:
    """Change one person's rows, with a sync."""
    desk.now += wait
    desk.site.change_user(user, desk.now, firstname=name)
    desk.harness.sync()


# Readers


class Reader:
    """A client with a copy of its own: rows by key, and the delta up to which it has read."""

    def __init__(self, desk: Desk, company: int, token: str, **asked: str) -> None:
        self.desk, self.company, self.token, self.asked = desk, company, token, asked
        self.rows: dict[tuple[int, int], Any] = {}
        self.delta: str | None = None

    def read(self, rng: random.Random, meanwhile: Callable[[], None], crash: float) -> None:
        """Read one series, of several pages or at once; it may break off before any step."""
        # Without a delta and without a mode, auto is full, and so a first series, too.
        mode = rng.choice(
            ("incremental", "auto") if self.delta else ("full", "incremental", "auto")
        )
        asked = {"mode": mode, "since": self.delta, **self.asked}
        try:
            series = self._export(asked) if rng.random() < 0.3 else self._pages(asked, rng)
            self._take(series, rng, meanwhile, crash)
        except ResyncError:
            self.delta = None  # as the hint says: all of it again

    def _export(self, asked: dict[str, Any]) -> Iterator[tuple[str, list[Any], str | None]]:
        data, done = self.desk.export(self.token, **asked)
        assert done.rows == len(json.loads(data))
        yield done.mode, json.loads(data), done.delta

    def _pages(
        self, asked: dict[str, Any], rng: random.Random
    ) -> Iterator[tuple[str, list[Any], str | None]]:
        page = self.desk.ask(self.token, limit=rng.randint(1, 8), **asked)
        while True:
            yield page["mode"], page["data"], page["delta"]
            if page["next"] is None:
                return
            page = self.desk.ask(self.token, limit=rng.randint(1, 8), cursor=page["next"])

    def _take(self, series: Any, rng: random.Random, meanwhile: Any, crash: float) -> None:
        # A first series replaces the copy at its end; an increment goes into it page by page.
        fresh = self.delta is None
        rows: dict[tuple[int, int], Any] = {}
        for number, (mode, records, following) in enumerate(series):
            if number == 0 and mode == "incremental" and not fresh:
                rows = self.rows
            if rng.random() < crash:
                return
            for record in records:
                gone = record.pop("is_deleted", False)
                key = record["userid"], record["courseid"]
                if gone:
                    rows.pop(key, None)
                    told = {name: value for name, value in record.items() if name in TEXTS}
                    assert not any(told.values()), record
                else:
                    rows[key] = record
            if rng.random() < crash:
                return
            if following is not None:
                self.rows, self.delta = rows, following
            else:
                meanwhile()

    def check(self) -> None:
        """Assert that the copy is what a full export gives now."""
        data, _done = self.desk.export(None, company=f"id:{self.company}", **self.asked)
        records = {(row["userid"], row["courseid"]): row for row in json.loads(data)}
        assert self.rows == records, {
            key: (self.rows.get(key), records.get(key))
            for key in self.rows.keys() | records.keys()
            if self.rows.get(key) != records.get(key)
        }


ASKED: tuple[dict[str, str], ...] = (
    {}, {}, {"fields": "status,courseid,userid,percentage"}, {"courses": "2,4"},
    {"status": "completed"}, {"status": "in_progress"},
    {"status": "not_started", "courses": "2,3,5", "fields": "userid,courseid,email"},
)  # fmt: skip


def run_history(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    desk.harness.renew()
    desk.site.sample(seed, companies=2, users=8, courses=4)
    desk.now = desk.site.now
    desk.harness.sync_whatever()
    company = max(desk.rows("sync_status"), key=lambda row: row["live_rows"])["companyid"]
    token = desk.token(f"id:{company}")
    readers = [Reader(desk, company, token, **rng.choice(ASKED)) for _ in range(2)]

    def go_on(often: float = 1.0) -> None:
        if rng.random() < often:
            for _ in range(rng.choice((1, 3, 8))):
                random_edit(desk.site, rng.choice, desk.now)
            desk.now += rng.choice(STEPS)
            desk.harness.sync_whatever()

    try:
        for _step in range(rng.randint(2, 5)):
            go_on()
            for reader in readers:
                reader.read(rng, lambda: go_on(0.4), crash=0.1)
        for reader in readers:
            for _try in range(2):  # the first may be told to begin again
                reader.read(rng, lambda: None, crash=0)
            reader.check()
    except NotAuthorisedError:
        [state] = [row for row in desk.rows("sync_status") if row["companyid"] == company]
        assert state["gone"]


@pytest.mark.soak_on("mariadb")
def test_a_reader_ends_with_what_a_full_export_says(desk: Desk) -> None:
    @settings(
        max_examples=EXAMPLES[desk.harness.engine.dialect.name.replace("mariadb", "mysql")],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(seed=st.integers(0, 2**32))
    def history(seed: int) -> None:
        run_history(desk, seed)

    history()


# What is told


def test_what_changed_is_told_once(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    delta = desk.ask(token)["delta"]
    for number in range(3):
        page = desk.ask(token, since=delta)
        assert (page["mode"], page["data"], page["total"]) == ("incremental", [], 0)
        rename(desk, crowd.users[number], f"New{number}")
        page = desk.ask(token, since=delta)
        assert {row["userid"] for row in page["data"]} == {crowd.users[number]}
        assert {row["firstname"] for row in page["data"]} == {f"New{number}"}
        assert [row["is_deleted"] for row in page["data"]] == [False] * 3
        assert desk.ask(token, since=delta)["delta"] == page["delta"] != delta
        delta = page["delta"]


def test_a_deletion_is_told_without_a_word_of_who_went(desk: Desk) -> None:
    crowd = people(desk, learners=2, courses=1)
    company_fields(desk.store, desk.settings, "acme", desk.now,
                   show=["username", "companyid", "last_updated"])  # fmt: skip
    token, user = desk.token("acme"), crowd.users[0]
    delta = desk.ask(token)["delta"]
    desk.now += 60
    desk.site.remove_from_company(crowd.company, user)
    desk.harness.sync()
    [gone] = desk.ask(token, since=delta)["data"]
    assert gone == {
        "userid": user, "firstname": "", "lastname": "", "email": "",
        "courseid": crowd.courses[0], "coursename": "", "timecompleted": None,
        "timecompleted_unix": 0, "timestarted": None, "timestarted_unix": 0, "percentage": 0.0,
        "status": "", "username": "", "companyid": crowd.company,
        "last_updated": gone["last_updated"], "is_deleted": True,
    }  # fmt: skip
    desk.now += 60
    desk.site.assign_user(crowd.company, user)
    desk.site.enrol(crowd.methods[0], user)
    desk.harness.sync()
    [back] = desk.ask(token, since=delta)["data"]
    assert (back["is_deleted"], back["firstname"]) == (False, "First0")


def test_a_row_that_leaves_the_filter_is_told_as_deleted(desk: Desk) -> None:
    crowd = people(desk, learners=2, courses=1)
    [course], user = crowd.courses, crowd.users[0]
    token = desk.token("acme")
    deltas = {status: desk.ask(token, status=status)["delta"] for status in STATUSES}
    desk.now += 60
    desk.site.set_course_completion(user, course, desk.now)
    desk.harness.sync()
    for status in STATUSES:
        [told] = desk.ask(token, status=status, since=deltas[status])["data"]
        assert (told["userid"], told["courseid"]) == (user, course)
        assert told["is_deleted"] == (status != "completed")
        assert told["firstname"] == ("First0" if status == "completed" else "")
        assert told["status"] == ("completed" if status == "completed" else "")
        assert told["timecompleted_unix"] == (desk.now if status == "completed" else 0)


def test_two_readers_do_not_disturb_each_other(desk: Desk) -> None:
    crowd = people(desk)
    one, other = desk.token("acme"), desk.token("acme")
    first = desk.ask(one)["delta"]
    rename(desk, crowd.users[0], "A")
    second = desk.ask(other)["delta"]
    rename(desk, crowd.users[1], "B")

    def told(token: str, since: str) -> set[str]:
        return {row["firstname"] for row in desk.ask(token, since=since)["data"]}

    for _ in range(2):
        assert told(one, first) == told(other, first) == {"A", "B"}
        assert told(one, second) == told(other, second) == {"B"}


def test_a_series_keeps_to_the_revision_of_its_first_page(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    delta = desk.ask(token)["delta"]
    rename(desk, crowd.users[0], "A")
    rename(desk, crowd.users[1], "B")
    page = desk.ask(token, since=delta, limit=4)
    assert (page["count"], page["total"], page["revision"]) == (4, 6, 3)
    rename(desk, crowd.users[1], "C")
    rename(desk, crowd.users[0], "D")
    last = desk.ask(token, cursor=page["next"])
    assert (last["data"], last["revision"]) == ([], 3)  # told with the next delta instead
    found = desk.ask(token, since=last["delta"])["data"]
    assert {row["firstname"] for row in found} == {"C", "D"}
    assert len(found) == 6


def test_a_deletion_purged_during_a_series_is_not_lost(desk: Desk) -> None:
    """The series began in time; before its last page the deletions of its range are forgotten."""
    desk.harness.settings = replace(
        desk.settings, sync=replace(desk.settings.sync, tombstone_days=1)
    )
    crowd = people(desk)
    token, began = desk.token("acme"), desk.now
    kept = {(row["userid"], row["courseid"]): row for row in desk.ask(token)["data"]}
    delta = desk.ask(token)["delta"]
    desk.now = began + 1
    desk.site.remove_from_company(crowd.company, crowd.users[-1])
    desk.site.change_user(crowd.users[0], desk.now, firstname="New")
    desk.harness.sync()
    desk.now = began + DAY  # as old as a delta may be
    desk.harness.sync()
    page = desk.ask(token, mode="incremental", since=delta, limit=2)
    desk.now = began + DAY + 2
    desk.run_sql("DELETE FROM {meta} WHERE name = 'pruned_at'")  # the day's clearing is due
    rename(desk, crowd.users[0], "Newer", wait=0)
    assert not any(row["is_deleted"] for row in desk.rows("reporting"))
    try:
        while True:
            for row in page["data"]:
                key = row["userid"], row["courseid"]
                kept.pop(key) if row["is_deleted"] else kept.update({key: row})
            if page["delta"]:
                break
            page = desk.ask(token, cursor=page["next"])
    except ResyncError:
        return  # to begin again is as good as to be told
    for row in desk.ask(token, since=page["delta"])["data"]:
        kept[row["userid"], row["courseid"]] = row
    live = {(row["userid"], row["courseid"]) for row in json.loads(desk.export(token)[0])}
    assert set(kept) == live


# Refused deltas


def refuse(desk: Desk, token: str, since: str, rows: int, **asked: Any) -> None:
    """Assert that a delta is refused by name, costs nothing then, and that auto answers in full."""
    before = desk.rows("usage")
    for ask in (desk.ask, desk.export):
        with pytest.raises(ResyncError) as caught:
            ask(token, mode="incremental", since=since, **asked)
        assert (caught.value.exit_code, caught.value.code) == (2, "resync_required")
        assert "resync with --mode full" in caught.value.hint.lower()
    with pytest.raises(ResyncError):
        desk.ask(token, since=since, **asked)
    assert [row["calls"] for row in desk.rows("usage")] == [row["calls"] for row in before]
    page = desk.ask(token, mode="auto", since=since, **asked)
    assert (page["mode"], page["total"]) == ("full", rows)
    assert "is_deleted" not in page["data"][0]
    data, done = desk.export(token, mode="auto", since=since, **asked)
    assert (done.mode, len(json.loads(data))) == ("full", rows)
    for new in (page["delta"], done.delta):
        assert desk.ask(token, mode="incremental", since=new, **asked)["data"] == []
    assert desk.ask(token, mode="full", since=since, **asked)["mode"] == "full"


def test_a_damaged_delta_is_refused(desk: Desk) -> None:
    people(desk)
    token = desk.token("acme")
    delta = desk.ask(token)["delta"]
    places = range(len(delta)) if desk.settings.store.url.startswith("sqlite") else (0, 1, 30, -1)
    for place in places:
        other = "A" if delta[place] != "A" else "B"
        damaged = delta[:place] + other + delta[place:][1:]
        with pytest.raises(ResyncError):
            desk.ask(token, mode="incremental", since=damaged)
    for damaged in ("T", delta[:-1], f"{delta}A", f" {delta}", delta.lower(), f"C{delta[1:]}"):
        refuse(desk, token, damaged, 12)
    assert desk.ask(token, mode="incremental", since=delta)["data"] == []


def test_an_empty_delta_is_none(local: Desk) -> None:
    """A script whose variable is empty must not take everything for what changed."""
    people(local)
    token = local.token("acme")
    refuse(local, token, "", 12)


def test_a_delta_of_another_company_or_store_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.site.add_company("Nobody here", "nobody")
    people(desk)
    token, foreign = desk.token("acme"), desk.token("beta")
    refuse(desk, token, desk.ask(foreign)["delta"], 12)
    refuse(desk, foreign, desk.ask(token)["delta"], 2)
    # Of one that never had a row: no mark tells its revision from the begin of the others.
    refuse(desk, token, desk.ask(None, company="nobody")["delta"], 12)
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/other.db") as other:
        people(other)
        refuse(desk, token, other.ask(None, company="acme")["delta"], 12)


Backup = dict[str, list[dict[str, Any]]]


def back_up(desk: Desk) -> Backup:
    return {name: desk.rows(name) for name in tables(desk)}


def tables(desk: Desk) -> list[str]:
    return [
        name for name, found in vars(desk.harness.tables).items() if isinstance(found, sa.Table)
    ]


def restore(desk: Desk, backup: Backup) -> None:
    with writing(desk.harness.engine) as connection:
        for name, rows in backup.items():
            found = getattr(desk.harness.tables, name)
            connection.execute(sa.delete(found))
            if rows:
                connection.execute(sa.insert(found), rows)


def test_deltas_of_a_store_that_was_restored_are_refused(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    yesterday = desk.ask(token)["delta"]
    backup, at = back_up(desk), desk.now
    lost = []
    for number, name in enumerate(("A", "B", "C")):
        rename(desk, crowd.users[number], name)
        lost.append(desk.ask(token)["delta"])
    cursor = desk.ask(token, limit=2)["next"]
    restore(desk, backup)
    desk.now = at + HOUR
    assert desk.ask(token, mode="incremental", since=yesterday)["data"] == []
    for delta in lost[:2]:
        refuse(desk, token, delta, 12)  # of revisions that are not there yet
    with pytest.raises(ResyncError):
        desk.ask(token, cursor=cursor)
    for number, name in enumerate("DEFG"):  # the same numbers, and one more
        rename(desk, crowd.users[3], name)
        refuse(desk, token, lost[number % 3], 12)
        with pytest.raises(ResyncError):
            desk.ask(token, cursor=cursor)
    # What was read before the backup was made goes on: this history is its own.
    told = desk.ask(token, mode="incremental", since=yesterday)["data"]
    assert {row["firstname"] for row in told} == {"A", "B", "C", "G"}


def test_deltas_of_a_file_that_was_copied_back_are_refused(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path}/store.db", tmp_path / "store.db"
    with open_desk(tmp_path, url) as desk:
        crowd = people(desk)
        token = desk.token("acme")
        with sqlite3.connect(file) as source, sqlite3.connect(tmp_path / "copy.db") as copy:
            source.backup(copy)
        source.close()
        copy.close()
        rename(desk, crowd.users[0], "A")
        lost = desk.ask(token)["delta"]
        for page in desk.pages(token, limit=5):
            assert page["revision"] == 2  # and kept in the cache of the file that goes
        now = desk.now
    for rest in tmp_path.glob("store.db-*"):
        rest.unlink()
    (tmp_path / "copy.db").replace(file)
    again = Desk(f"sqlite:///{tmp_path}/moodle.db", url)
    again.now = now
    try:
        refuse(again, token, lost, 12)
        rename(again, crowd.users[1], "B")
        refuse(again, token, lost, 12)
        names = {row["firstname"] for row in json.loads(again.export(token)[0])}
        assert names == {row["firstname"] for row in again.ask(token)["data"]} >= {"A", "B"}
    finally:
        again.close()


def test_a_delta_older_than_the_tombstones_is_refused(desk: Desk) -> None:
    crowd = people(desk)
    token, began = desk.token("acme"), desk.now
    delta = desk.ask(token)["delta"]
    desk.now = began + 90 * DAY
    rename(desk, crowd.users[0], "A", wait=0)
    assert desk.ask(token, mode="incremental", since=delta)["count"] == 3
    desk.now += 1
    refuse(desk, token, delta, 12)
    newer = desk.ask(token)["delta"]
    desk.harness.settings = replace(
        desk.settings, sync=replace(desk.settings.sync, tombstone_days=1)
    )
    desk.now += DAY - 1
    assert desk.ask(token, mode="incremental", since=newer)["data"] == []
    desk.now += 1
    desk.harness.sync()  # else a new delta would stand at a sync of that age, too
    refuse(desk, token, newer, 12)


def test_a_delta_from_before_a_purge_is_refused(desk: Desk) -> None:
    """Though the setting says by now that it is young enough."""
    crowd = people(desk)
    token, kept = desk.token("acme"), desk.settings
    before = desk.ask(token)["delta"]
    desk.now += 60
    desk.site.remove_from_company(crowd.company, crowd.users[-1])
    desk.harness.sync()
    after = desk.ask(token)["delta"]
    desk.harness.settings = replace(kept, sync=replace(kept.sync, tombstone_days=1))
    desk.now += DAY + 1
    desk.harness.sync()
    desk.harness.settings = kept
    refuse(desk, token, before, 9)
    assert desk.ask(token, mode="incremental", since=after)["data"] == []


def test_a_delta_with_fewer_fields_or_another_filter_is_refused(desk: Desk) -> None:
    crowd = people(desk)
    token = desk.token("acme")
    few = {"fields": "userid,courseid,status"}
    narrow = desk.ask(token, **few)["delta"]
    assert desk.ask(token, since=narrow, **few)["data"] == []
    refuse(desk, token, narrow, 12)
    refuse(desk, token, narrow, 12, fields="userid,courseid,status,email")
    assert desk.ask(token, since=narrow, fields="courseid,userid")["data"] == []
    some = {"courses": f"{crowd.courses[0]},{crowd.courses[1]}"}
    filtered = desk.ask(token, **some)["delta"]
    refuse(desk, token, filtered, 12)
    refuse(desk, token, filtered, 8, courses=f"{crowd.courses[1]},{crowd.courses[2]}")
    assert desk.ask(token, since=filtered, courses=str(crowd.courses[1]))["data"] == []
    begun = desk.ask(token, status="in_progress")["delta"]
    refuse(desk, token, begun, 12)
    assert desk.ask(token, since=begun, status="in_progress")["data"] == []
    with pytest.raises(ResyncError):
        desk.ask(token, since=begun, status="completed")
    # What is switched on later was not read before.
    plain = desk.ask(token)["delta"]
    company_fields(desk.store, desk.settings, "acme", desk.now, show=["username"])
    refuse(desk, token, plain, 12)
    company_fields(desk.store, desk.settings, "acme", desk.now, hide=["username", "email"])
    assert desk.ask(token, since=plain)["data"] == []


def test_an_increment_without_its_keys_is_no_increment(local: Desk) -> None:
    people(local)
    token = local.token("acme")
    delta = local.ask(token)["delta"]
    for fields in ("email", "userid,email", "courseid"):
        for since in (None, delta):
            with pytest.raises(UsageError, match="userid, courseid"):
                local.ask(token, mode="incremental", since=since, fields=fields)
        assert local.ask(token, mode="auto", since=delta, fields=fields)["mode"] == "full"


def test_auto_is_incremental_within_the_window(desk: Desk) -> None:
    crowd = people(desk)
    token, began = desk.token("acme"), desk.now
    delta = desk.ask(token, mode="auto")["delta"]
    rename(desk, crowd.users[0], "A")

    def mode(hours: int, seconds: int = 0, **asked: Any) -> str:
        asked = {"since": delta, "mode": "auto"} | asked
        return str(desk.ask(token, now=began + hours * HOUR + seconds, **asked)["mode"])

    assert mode(0, -10) == mode(1) == mode(24) == "incremental"
    assert mode(24, 1) == mode(25) == mode(91 * 24) == "full"
    assert mode(25, mode="incremental") == "incremental"
    set_options(desk.store, "acme", {"sync_window_hours": "1"}, desk.now)
    assert (mode(1), mode(1, 1), mode(24)) == ("incremental", "full", "full")
    # The mode of a request that names none.
    assert mode(2, mode=None) == "incremental"  # full by default: the delta says what is wanted
    set_options(desk.store, "acme", {"sync_mode": "auto"}, desk.now)
    assert (mode(1, mode=None), mode(2, mode=None)) == ("incremental", "full")
    assert mode(1, mode=None, since="T") == mode(1, mode=None, since=None) == "full"
    set_options(desk.store, "acme", {"sync_mode": "incremental"}, desk.now)
    assert mode(2, mode=None) == mode(2, mode=None, since=None) == "incremental"
    # A first series says of nothing that it was deleted, but how it would.
    first = desk.ask(token)
    assert (first["mode"], first["count"]) == ("incremental", 12)
    assert {row["is_deleted"] for row in first["data"]} == {False}


# export --state


@pytest.fixture
def shell(local: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command ``export`` for a company, with a state and an output file."""
    monkeypatch.delenv("ALXREPORT_TOKEN", raising=False)
    url = local.settings.store.url
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", url)
    monkeypatch.setattr(time, "time", lambda: float(local.now))
    return lambda *words: run(
        "export", "--config", config, "--company", "acme", "--state", tmp_path / "F", *words
    )


def records(done: Done) -> list[Any]:
    assert done.code == 0, done
    return list(json.loads(done.out))


def test_the_state_goes_from_run_to_run(local: Desk, shell: Any, tmp_path: Path) -> None:
    crowd, state = people(local), tmp_path / "F"
    first = shell()
    assert len(records(first)) == 12
    assert "is_deleted" not in records(first)[0]
    assert state.stat().st_mode & 0o777 == 0o600
    for mode in ("incremental", "auto"):
        state.unlink()
        assert len(records(shell("--mode", mode))) == 12
    assert records(shell()) == []
    rename(local, crowd.users[0], "A")
    before = state.read_text()
    assert [row["firstname"] for row in records(shell())] == ["A"] * 3
    assert state.read_text() != before
    assert records(shell()) == []
    state.write_text(f"  {before}\r\n")  # as an editor on Windows leaves it
    assert len(records(shell())) == 3
    assert len(records(shell("--mode", "full"))) == 12
    assert records(shell()) == []
    assert shell("--since", before).code == 2
    assert shell("--state", tmp_path).code == 2


@pytest.mark.parametrize("garbage", [b"T", b"nonsense", b"\xff\xfe\0", b"T" * 100_000, b"{}"])
def test_a_state_that_is_none_is_refused(
    local: Desk, shell: Any, tmp_path: Path, garbage: bytes
) -> None:
    people(local)
    state, output = tmp_path / "F", tmp_path / "out.json"
    state.write_bytes(garbage)
    for words in ((), ("--mode", "incremental"), ("--output", output)):
        done = shell(*words)
        assert (done.code, done.out) == (2, b"")
        assert "resync with --mode full" in done.err.lower()
        assert state.read_bytes() == garbage
    assert not output.exists()
    assert len(records(shell("--mode", "full"))) == 12
    assert records(shell()) == []
    state.write_bytes(garbage)
    assert len(records(shell("--mode", "auto"))) == 12
    assert records(shell()) == []


@pytest.mark.parametrize("left", [b"", b"\n", b"  \n"])
def test_a_state_that_lost_its_content_is_not_taken_for_an_increment(
    local: Desk, shell: Any, tmp_path: Path, left: bytes
) -> None:
    """What a full disk left behind: everything is told, as everything, or refused."""
    people(local)
    (tmp_path / "F").write_bytes(left)
    for mode in ((), ("--mode", "auto"), ("--mode", "incremental")):
        done = shell(*mode)
        if done.code == 0:
            assert "is_deleted" not in records(done)[0]
        else:
            assert "resync with --mode full" in done.err.lower()
        (tmp_path / "F").write_bytes(left)
    assert len(records(shell("--mode", "full"))) == 12


class Broken(io.RawIOBase):
    """An output that ends after some bytes."""

    def __init__(self, bytes_left: int) -> None:
        self.left = bytes_left

    def write(self, data: Any) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise BrokenPipeError
        return len(data)


@pytest.mark.parametrize("failure", ["rename", "fsync", "write", "log"])
def test_a_failed_export_leaves_state_and_output_as_they_were(
    local: Desk, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    crowd = people(local)
    state, output = tmp_path / "F", tmp_path / "out.json"
    assert shell("--output", output).code == 0
    rename(local, crowd.users[0], "A")
    before = {path.name: path.read_bytes() for path in (state, output)}
    files = sorted(path.name for path in tmp_path.iterdir())

    def fail(*_words: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if failure == "rename":
            patch.setattr(whole_file.os, "replace", fail)
        elif failure == "fsync":
            patch.setattr(whole_file.os, "fsync", fail)
        elif failure == "write":
            patch.setattr("alxreport.export._array", lambda _texts: iter([(0, b"["), fail()]))
        else:
            local.run_sql("CREATE TRIGGER no_log BEFORE INSERT ON {logs} BEGIN"
                          " SELECT RAISE(ABORT, 'full'); END")  # fmt: skip
        words = ["--output", output]
        if failure == "log":
            # The operator is answered all the same; nobody else is.
            secret = tmp_path / "token"
            secret.write_text(local.token("acme"))
            words += ["--token-file", secret]
        with suppress(OSError):
            assert shell(*words).code in {1, 3}
    assert {path.name: path.read_bytes() for path in (state, output)} == before
    if failure == "log":
        local.run_sql("DROP TRIGGER no_log")
        (tmp_path / "token").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    done = shell("--output", output)
    assert done.code == 0
    assert {row["firstname"] for row in json.loads(output.read_bytes())} == {"A"}


def test_a_state_is_replaced_after_the_output_is_complete(
    local: Desk, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two: what was told is told again, and nothing is lost."""
    crowd = people(local)
    state, output = tmp_path / "F", tmp_path / "out.json"
    assert shell("--output", output).code == 0
    rename(local, crowd.users[0], "A")
    before, seen = state.read_bytes(), list[Any]()

    def die(*_words: Any) -> None:
        seen.append(json.loads(output.read_bytes()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(whole_file, "write_state", die)
        with suppress(KeyboardInterrupt):
            shell("--output", output)
    assert [row["firstname"] for row in seen[0]] == ["A"] * 3
    assert state.read_bytes() == before
    rename(local, crowd.users[1], "B")
    assert shell("--output", output).code == 0
    assert {row["firstname"] for row in json.loads(output.read_bytes())} == {"A", "B"}


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "parquet"])
def test_an_output_that_breaks_off_gives_no_delta(local: Desk, form: str) -> None:
    people(local, learners=40)
    token = local.token("acme")
    size = len(local.export(token, form=form)[0])
    for room in (0, 1, size // 2, size - 1):
        with pytest.raises(BrokenPipeError):
            export(local.store, local.settings, caller(token, "export", {}),
                   question(everything=True), Broken(room), form=form, now=local.now)  # fmt: skip
    assert [row["error"] for row in local.log()] == ["", *["aborted"] * 4]


def test_random_exports_with_a_state_end_with_everything(
    local: Desk, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that applies each file it finds, and is killed at any place."""
    rng, crowd = random.Random(7), people(local, learners=6, courses=2)
    state, output = tmp_path / "F", tmp_path / "out.json"
    rows: dict[tuple[int, int], Any] = {}
    for step in range(20):
        for _edit in range(rng.choice((0, 1, 2))):
            user = rng.choice(crowd.users)
            if rng.random() < 0.5:
                local.site.change_user(user, local.now, firstname=f"N{step}")
            elif local.site.ids("company_users", companyid=crowd.company, userid=user):
                local.site.remove_from_company(crowd.company, user)
            else:
                local.site.assign_user(crowd.company, user)
                for method in crowd.methods:
                    local.site.enrol(method, user)
        local.now += rng.choice((1, 60, HOUR))
        local.harness.sync_whatever()
        if rng.random() < 0.1:
            state.write_text("garbage")
        kill = rng.choice((None, None, "state", "rename")) if step < 19 else None
        words = ["--mode", "full"] if rng.random() < 0.1 else []

        def die(*_words: Any) -> None:
            raise OSError(28, "No space left on device")

        output.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            if kill == "state":
                patch.setattr(whole_file, "write_state", die)
            if kill == "rename":
                patch.setattr(whole_file.os, "replace", die)
            with suppress(OSError):
                done = shell("--output", output, *words)
                if done.code == 2:
                    done = shell("--output", output, "--mode", "full")
        if output.exists():
            found = json.loads(output.read_bytes())
            if not found or "is_deleted" not in found[0]:
                rows = {} if found or "changed" not in done.err else rows
            for row in found:
                gone, key = row.pop("is_deleted", False), (row["userid"], row["courseid"])
                rows.pop(key, None) if gone else rows.update({key: row})
    everything = json.loads(local.export(None, company="acme")[0])
    assert rows == {(row["userid"], row["courseid"]): row for row in everything}
