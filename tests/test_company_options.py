"""Every setting of a company: its effect on the next request or sync, and how unset undoes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alxreport import company_admin, limit_admin
from alxreport.company_options import OPTIONS, company_options, default_options, parse_option
from alxreport.errors import (
    AlxError,
    NotAuthorisedError,
    NotFoundError,
    RateLimitError,
    ResyncError,
    UsageError,
)
from alxreport.listing import DEFAULT_FIELDS, FIELDS
from alxreport.settings import RequestSettings, Settings, SyncSettings, parse_settings

from .asking import Desk, lasting_desk
from .command_line import run, write_config
from .conftest import Backend
from .crowd import Crowd, add_crowd
from .moodle_site import DAY, NOW, TEACHER
from .servers import BACKENDS
from .test_plugin_settings import Plugin

HOUR = 3_600


class Office(Desk):
    """A desk of acme, with 4 learners in 2 courses, and a token of it; beta is beside it."""

    acme: Crowd
    key: str

    def set(self, **values: Any) -> None:
        texts = {name: str(value) for name, value in values.items()}
        company_admin.set_options(self.store, "acme", texts, self.now)

    def unset(self, name: str) -> None:
        assert company_admin.unset_option(self.store, "acme", name)
        assert not company_admin.unset_option(self.store, "acme", name)

    def fields(self, **change: list[str]) -> dict[str, bool]:
        return company_admin.company_fields(self.store, self.settings, "acme", self.now, **change)

    def own(self) -> dict[str, str]:
        return {r["name"]: r["value"] for r in self.rows("settings") if r["companyid"] == 1}

    def read(self, **asked: Any) -> dict[str, Any]:
        return self.ask(self.key, **asked)


def furnish(office: Office) -> Office:
    office.renew()
    office.acme = add_crowd(office.site, "acme", 4, 2)
    add_crowd(office.site, "beta", 4, 2)
    office.harness.sync()
    office.key = office.token("acme")
    return office


@pytest.fixture(scope="module", params=BACKENDS)
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("desk")
    with lasting_desk(request.param, request, folder, Office) as opened:
        yield opened


@pytest.fixture(scope="module")
def lasting_local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    with lasting_desk("sqlite", request, tmp_path_factory.mktemp("local"), Office) as opened:
        yield opened


@pytest.fixture
def office(lasting: Office) -> Office:
    return furnish(lasting)


@pytest.fixture
def local(lasting_local: Office) -> Office:
    return furnish(lasting_local)


# One after another


def test_max_limit(office: Office) -> None:
    other = office.token("beta")
    assert office.read(limit=1000)["count"] == 8
    office.set(max_limit=3)
    for limit in (4, 1000):
        with pytest.raises(UsageError, match="1 to 3"):
            office.read(limit=limit)
    page = office.read()  # the default of 100 would be more than is allowed
    assert (page["limit"], page["count"]) == (3, 3)
    with pytest.raises(UsageError, match="1 to 3"):
        office.read(cursor=page["next"], limit=4)
    assert office.read(cursor=page["next"], limit=2)["count"] == 2
    assert office.ask(other, limit=1000)["count"] == 8
    assert len(json.loads(office.export(office.key)[0])) == 8  # no page
    office.unset("max_limit")
    assert office.read(limit=1000)["count"] == 8
    with pytest.raises(UsageError, match="1 to 1000"):
        office.read(limit=1001)
    office.configure(max_limit=5)
    with pytest.raises(UsageError, match="1 to 5"):
        office.read(limit=6)


def test_sync_mode(office: Office) -> None:
    delta = office.read()["delta"]
    assert office.read()["mode"] == "full"
    office.set(sync_mode="incremental")
    page = office.read()
    assert page["mode"] == "incremental"
    assert "is_deleted" in page["data"][0]
    assert office.read(since=delta)["data"] == []
    assert office.read(mode="full")["mode"] == "full"  # what a request says goes before
    office.set(sync_mode="auto")
    assert office.read()["mode"] == "full"
    assert office.read(since=delta)["mode"] == "incremental"
    assert office.read(since="nonsense")["mode"] == "full"
    office.set(sync_mode="FULL ")
    assert office.own()["sync_mode"] == "full"
    office.unset("sync_mode")
    assert office.read()["mode"] == "full"
    office.configure(sync_mode="incremental")
    assert office.read()["mode"] == "incremental"


def test_sync_mode_disabled(office: Office) -> None:
    other = office.token("beta")
    page = office.read(limit=2)
    office.set(sync_mode="disabled")
    for asked in ({}, {"limit": 2}, {"mode": "full"}, {"cursor": page["next"]}):
        with pytest.raises(NotAuthorisedError) as caught:
            office.read(**asked)
        assert (caught.value.exit_code, caught.value.reason) == (4, "disabled")
    with pytest.raises(NotAuthorisedError):
        office.export(office.key)
    with pytest.raises(NotAuthorisedError):
        office.ask(None, company="acme")
    assert limit_admin.limits(office.store, office.settings, "acme", NOW)[0].budget.used == 1
    assert office.ask(other)["count"] == 8
    office.now += HOUR
    office.site.change_user(office.acme.users[0], office.now, firstname="Renamed")
    office.harness.sync()  # it is still synced
    office.unset("sync_mode")
    assert office.read()["data"][0]["firstname"] == "Renamed"


def test_sync_window_hours(office: Office) -> None:
    delta = office.read()["delta"]
    late = NOW + DAY
    asked = {"mode": "auto", "since": delta}
    assert office.read(now=late, **asked)["mode"] == "incremental"
    assert office.read(now=late + 1, **asked)["mode"] == "full"
    office.set(sync_window_hours=1)
    assert office.read(now=NOW + HOUR, **asked)["mode"] == "incremental"
    assert office.read(now=NOW + HOUR + 1, **asked)["mode"] == "full"
    assert office.read(now=late, mode="incremental", since=delta)["mode"] == "incremental"
    office.set(sync_window_hours=48)
    assert office.read(now=NOW + 2 * DAY, **asked)["mode"] == "incremental"
    office.unset("sync_window_hours")
    assert office.read(now=late, **asked)["mode"] == "incremental"
    assert office.read(now=late + 1, **asked)["mode"] == "full"
    office.configure(sync_window_hours=1)
    assert office.read(now=late, **asked)["mode"] == "full"


def test_cache_minutes(office: Office) -> None:
    def cached(later: int) -> bool:
        return bool(office.read(now=NOW + later)["cached"])

    assert not cached(0)
    assert cached(59 * 60)
    office.set(cache_minutes=0)
    assert not cached(0)
    assert not cached(0)
    assert office.rows("cache") == []
    assert [row["cache"] for row in office.log()] == ["miss", "hit", "", ""]
    office.set(cache_minutes=2)
    assert not cached(0)
    assert cached(119)
    assert not cached(120)
    office.unset("cache_minutes")
    assert not cached(0)
    assert cached(60 * 60 - 1)
    assert not cached(60 * 60)
    office.configure(cache_minutes=0)
    assert not cached(0)


def test_cache_minutes_that_were_shortened(office: Office) -> None:
    """A page kept under the longer time is not answered beyond the shorter one."""
    office.read()
    office.set(cache_minutes=1)
    assert not office.read(now=NOW + 61)["cached"]


def test_include_untracked(office: Office) -> None:
    course, method = office.acme.courses[0], office.acme.methods[0]
    teacher = office.site.add_user("Tess", "Teacher")
    office.site.assign_user(office.acme.company, teacher)
    office.site.enrol(method, teacher, role=TEACHER)
    office.harness.sync()
    assert office.read()["total"] == 8
    office.set(include_untracked=1)
    assert office.read()["total"] == 8  # from the next sync on
    office.now += HOUR
    office.harness.sync()
    page = office.read()
    assert page["total"] == 9
    assert (teacher, course) in {(row["userid"], row["courseid"]) for row in page["data"]}
    office.unset("include_untracked")
    office.now += HOUR
    office.harness.sync()
    assert office.read()["total"] == 8
    office.harness.include_untracked()
    office.now += HOUR
    office.harness.sync()
    assert office.read()["total"] == 9
    office.set(include_untracked="no")
    assert office.own()["include_untracked"] == "0"
    office.now += HOUR
    office.harness.sync()
    assert office.read()["total"] == 8


def test_rate_limit(office: Office) -> None:
    other = office.token("beta")
    limit_admin.set_limit(office.store, office.settings, "acme", "2", NOW)
    office.read()
    office.read()
    with pytest.raises(RateLimitError) as caught:
        office.read()
    assert (caught.value.exit_code, caught.value.limit) == (5, 2)
    assert office.ask(other)["count"] == 8
    assert office.ask(None, company="acme")["count"] == 8
    limit_admin.set_limit(office.store, office.settings, "acme", "0", NOW)
    for _ in range(3):
        office.read()
    limit_admin.set_limit(office.store, office.settings, "acme", "default", NOW)
    assert office.own() == {}
    shown = limit_admin.limits(office.store, office.settings, "acme", NOW)[0].as_dict(NOW)
    assert (shown["limit"], shown["default"]) == (100, True)
    office.configure(rate_limit=5)
    with pytest.raises(RateLimitError):
        office.read()


def test_courses(office: Office) -> None:
    first, second = office.acme.courses

    def switch(**change: list[int]) -> list[bool]:
        listed = company_admin.company_courses(
            office.store, office.settings, "acme", office.now, **change
        )
        assert [course.id for course in listed] == [first, second]
        office.now += HOUR
        office.harness.sync()
        return [course.enabled for course in listed]

    def told() -> set[int]:
        return {row["courseid"] for row in office.read(limit=1000)["data"]}

    assert told() == {first, second}
    assert switch(disable=[first]) == [False, True]
    assert told() == {second}
    shown = company_admin.show_company(office.store, office.settings, "acme", office.now)
    assert shown["courses_off"] == [first]
    assert switch(disable=[second]) == [False, False]
    assert told() == set()
    assert switch(enable=[first, second]) == [True, True]
    assert told() == {first, second}
    assert office.own() == {}
    other = office.token("beta")
    strange = {row["courseid"] for row in office.ask(other)["data"]}.pop()
    for change in ({"enable": [strange]}, {"disable": [strange]}, {"disable": [first, 10**6]}):
        with pytest.raises(NotFoundError):
            switch(**change)
    with pytest.raises(UsageError, match="on and off"):
        switch(enable=[first], disable=[first])
    assert office.own() == {}


# Fields


def test_a_hidden_field_is_gone_at_once(office: Office) -> None:
    """Also from the pages that are kept, from cursors that are out, and from exports."""
    first = office.read(limit=3)
    office.read(limit=3)
    for _ in range(2):
        office.read(limit=1000)
    assert "@example.com" in json.dumps(office.read(limit=1000))
    office.fields(hide=["email"])
    for asked in ({"limit": 3}, {"limit": 1000}, {"limit": 1000, "offset": 1}):
        page = office.read(**asked)
        assert "@example.com" not in json.dumps(page)
        assert all("email" not in row for row in page["data"])
    assert tuple(page["data"][0]) == tuple(name for name in DEFAULT_FIELDS if name != "email")
    with pytest.raises(UsageError, match="fields were changed"):
        office.read(cursor=first["next"])
    for form in ("json", "ndjson", "csv"):
        assert b"email" not in office.export(office.key, form=form)[0]
        assert b"@example.com" not in office.export(office.key, form=form)[0]
    for token in (office.key, None):
        with pytest.raises(UsageError, match="'email' is hidden"):
            office.ask(token, company="acme", fields="userid,email")
        with pytest.raises(UsageError, match="'email' is hidden"):
            office.export(token, company="acme", fields="email")
    assert "@example.com" in json.dumps(office.ask(office.token("beta")))
    office.fields(show=["email"])
    assert tuple(office.read()["data"][0]) == DEFAULT_FIELDS


def test_a_field_that_is_switched_on(office: Office) -> None:
    with pytest.raises(UsageError, match="'username' is hidden"):
        office.read(fields="username")
    assert office.ask(None, company="acme", fields="username")["data"][0]  # the operator may
    shown = office.fields(show=["username", "companyid", "last_updated", "created_at"])
    assert shown == dict.fromkeys(FIELDS, True)
    row = office.read()["data"][0]
    assert tuple(row) == FIELDS
    assert (row["username"], row["companyid"], row["last_updated"]) == (
        f"user{row['userid']}", 1, "2026-11-23T02:13:20Z"
    )  # fmt: skip
    office.fields(hide=["username"])
    assert "username" not in office.read()["data"][0]


def test_a_delta_that_lacks_a_field_is_refused(office: Office) -> None:
    """Who goes on from it would keep old rows without the field for ever."""
    old = office.export(office.key, mode="incremental")[1].delta
    office.fields(hide=["email"])
    without = office.export(office.key, since=old)[1].delta  # fewer fields are no harm
    office.fields(show=["email"])
    for attempt in (
        lambda: office.read(since=without),
        lambda: office.read(since=without, mode="incremental"),
        lambda: office.export(office.key, since=without),
    ):
        with pytest.raises(ResyncError) as caught:
            attempt()
        assert (caught.value.code, caught.value.exit_code) == ("resync_required", 2)
    assert office.read(since=without, mode="auto")["mode"] == "full"
    assert office.read(since=old)["mode"] == "incremental"
    office.fields(show=["username"])
    with pytest.raises(ResyncError):
        office.read(since=old)


def test_fields_that_cannot_be(local: Office) -> None:
    for change in (
        {"hide": ["nope"]}, {"show": ["Email"]}, {"show": [""]}, {"hide": ["email", "nope"]},
        {"show": ["email"], "hide": ["email"]},
    ):  # fmt: skip
        with pytest.raises(UsageError) as caught:
            local.fields(**change)
        assert caught.value.exit_code == 2
    assert local.own() == {}


def test_when_every_field_is_hidden(local: Office) -> None:
    local.fields(hide=list(FIELDS))
    with pytest.raises(UsageError, match="Every field"):
        local.read()
    local.fields(show=["status"])
    assert [tuple(row) for row in local.read()["data"]] == [("status",)] * 8
    with pytest.raises(UsageError, match="userid, courseid"):
        local.read(mode="incremental")


# Names and values

WRONG = [
    ("max_limit", ["0", "-1", "100001", "", " ", "x", "1.0", "1e3", "+5", "0x10", "١٢", "9" * 30]),
    ("sync_mode", ["", "none", "fulll", "0", "off"]),
    ("sync_window_hours", ["0", "-1", "8761", "24h", ""]),
    ("cache_minutes", ["-1", "1441", "60m", ""]),
    ("include_untracked", ["2", "-1", "", "maybe", "null"]),
]


@pytest.mark.parametrize(("name", "values"), WRONG)
def test_bad_values_are_refused_and_nothing_is_stored(
    local: Office, name: str, values: list[str]
) -> None:
    for value in values:
        with pytest.raises(UsageError, match=name) as caught:
            local.set(**{name: value})
        assert caught.value.exit_code == 2
        assert OPTIONS[name].allowed in caught.value.hint
    assert local.own() == {}


@pytest.mark.parametrize(
    ("name", "hint"),
    [("max_limits", "max_limit"), ("MAX_LIMIT", ""), ("", ""), ("rate_limit", "limit --help"),
     ("field_email", ""), ("course_7", ""), ("mark_key", ""), ("sync-mode", "sync_mode")],
)  # fmt: skip
def test_bad_names_are_refused_and_nothing_is_stored(local: Office, name: str, hint: str) -> None:
    for attempt in (
        lambda: local.set(**{name: "1"}),
        lambda: local.set(cache_minutes=5, **{name: "1"}),  # all or none
        lambda: company_admin.unset_option(local.store, "acme", name),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.exit_code == 2
        assert hint in caught.value.hint
    assert local.own() == {}


@pytest.mark.parametrize(
    ("name", "text", "stored"),
    [("max_limit", " 007 ", "7"), ("max_limit", "100000", "100000"), ("sync_mode", "AUTO", "auto"),
     ("include_untracked", "TRUE", "1"), ("include_untracked", "off", "0"),
     ("cache_minutes", "0", "0"), ("sync_window_hours", "8760", "8760")],
)  # fmt: skip
def test_what_is_stored(name: str, text: str, stored: str) -> None:
    assert parse_option(name, text) == stored


def test_every_default_can_be_configured_and_every_setting_has_one() -> None:
    requests = {"max_limit": 7, "sync_mode": "auto", "sync_window_hours": 8, "cache_minutes": 9,
                "rate_limit": 10}  # fmt: skip
    settings = Settings(
        requests=RequestSettings(**requests),  # type: ignore[arg-type]
        sync=SyncSettings(include_untracked=True),
    )
    options = company_options(settings, {})
    for name, value in (requests | {"include_untracked": True}).items():
        assert getattr(options, name) == value
    assert set(OPTIONS) | {"rate_limit"} == set(requests) | {"include_untracked"}
    named = {name for name in default_options(Settings()) if not name.startswith("field_")}
    assert named == set(OPTIONS) | {"rate_limit"}


def test_a_stored_value_of_no_meaning_counts_as_not_there() -> None:
    own = {"max_limit": "many", "sync_mode": "weekly", "rate_limit": "-5", "field_email": "perhaps",
           "unknown": "1", "cache_minutes": "99999", "field_nope": "1"}  # fmt: skip
    assert company_options(Settings(), own) == company_options(Settings(), {})


@pytest.mark.parametrize(
    "text",
    ["sync_mode = 'weekly'", "max_limit = 0", "cache_minutes = -1", "rate_limit = '5'",
     "max_limits = 5"],
)  # fmt: skip
def test_bad_defaults_in_the_configuration(text: str) -> None:
    with pytest.raises(AlxError) as caught:
        parse_settings(f"[requests]\n{text}\n")
    assert caught.value.exit_code == 3


def test_several_who_set_at_once(office: Office) -> None:
    """One after the other, each of them succeeds, and one value is left."""
    start, told = threading.Barrier(6), list[str]()

    def one(number: int) -> None:
        start.wait()
        try:
            office.set(max_limit=500 + number)
            office.fields(hide=["email"])
            limit_admin.set_limit(office.store, office.settings, "acme", str(number), NOW)
        except AlxError as error:
            told.append(error.message)

    for _round in range(3):
        office.run_sql("DELETE FROM {settings}")
        threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == []
        assert office.own().keys() == {"max_limit", "field_email", "rate_limit"}


# The commands


def test_the_commands(office: Office, tmp_path: Path) -> None:
    config = write_config(
        tmp_path, str(office.harness.source.url), office.settings.store.url
    )  # fmt: skip

    def company(*words: str, code: int = 0) -> Any:
        done = run("company", *words, "--config", config, "--json")
        assert done.code == code, done.err
        return done.json() if code == 0 else json.loads(done.err)["error"]["code"]

    assert company("set", "acme", "max_limit", "3") == {"max_limit": "3"}
    assert company("set", "id:1", "max_limit=4", "sync_mode=auto") == {
        "max_limit": "4", "sync_mode": "auto"
    }  # fmt: skip
    shown = company("show", "ACME")
    assert (shown["settings"]["max_limit"]["value"], shown["settings"]["max_limit"]["default"]) == (
        4, False
    )  # fmt: skip
    assert shown["settings"]["cache_minutes"]["default"] is True
    assert company("unset", "acme", "max_limit") == {"name": "max_limit", "changed": True}
    assert company("unset", "acme", "max_limit") == {"name": "max_limit", "changed": False}
    assert company("fields", "acme", "--hide", "email", "--show", "username")["email"] is False
    assert company("show", "acme")["fields"] == [
        *(name for name in DEFAULT_FIELDS if name != "email"), "username"
    ]  # fmt: skip
    course = str(office.acme.courses[0])
    assert company("courses", "acme", "--disable", course)[0]["enabled"] is False
    for words, code, kind in (
        (("set", "acme", "max_limit", "0"), 2, "usage"),
        (("set", "acme", "bogus", "1"), 2, "usage"),
        (("set", "acme", "max_limit=5", "bogus=1"), 2, "usage"),
        (("set", "acme", "max_limit"), 2, "usage"),
        (("set", "acme", "max_limit", "5", "6"), 2, "usage"),
        (("set", "nope", "max_limit", "5"), 6, "not_found"),
        (("unset", "acme", "bogus"), 2, "usage"),
        (("unset", "nope", "max_limit"), 6, "not_found"),
        (("show", "nope"), 6, "not_found"),
        (("fields", "acme", "--hide", "bogus"), 2, "usage"),
        (("fields", "nope"), 6, "not_found"),
        (("courses", "acme", "--disable", "999"), 6, "not_found"),
        (("courses", "acme", "--disable", "x"), 2, "usage"),
    ):
        assert company(*words, code=code) == kind, words
    assert office.own() == {
        "sync_mode": "auto", "field_email": "0", "field_username": "1", f"course_{course}": "0"
    }  # fmt: skip


def test_import_moodle(backend: Backend, tmp_path: Path) -> None:
    """The plugin's settings of each company, through the command line, to the next request."""
    plugin = Plugin(f"sqlite:///{tmp_path}/moodle.db")
    acme, beta, gamma = plugin.companies
    plugin.site.rename_company(acme, "Acme", "acme")
    plugin.set(acme, sync_mode=0, cache_enabled=0, rate_limit=7, field_email=0, course_5=0,
               sync_window_hours=48)  # fmt: skip
    plugin.set(beta, sync_mode=3, cache_ttl_minutes=5)
    plugin.set(99, field_email=0)
    plugin.set_site(max_records="50")
    store = backend.new_url()
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", store)
    words = ("--config", config, "--json")
    assert run("sync", "--quiet", *words[:2]).code == 0
    late = plugin.site.add_company("Late", "late")
    found = {item["id"]: item for item in run("company", "import-moodle", *words).json()}
    assert found[acme]["settings"] == {
        "sync_mode": "auto", "cache_minutes": "0", "rate_limit": "7", "field_email": "0",
        "course_5": "0", "sync_window_hours": "48", "max_limit": "50",
    }  # fmt: skip
    assert found[beta]["settings"] == {
        "sync_mode": "disabled", "cache_minutes": "5", "max_limit": "50"
    }  # fmt: skip
    assert found[gamma]["settings"] == {"max_limit": "50"}
    for missing in (99, late):
        assert found[missing]["settings"] == {}
        assert found[missing]["notes"]
    shown = run("company", "show", "acme", *words).json()
    values = {name: option["value"] for name, option in shown["settings"].items()}
    assert values == {
        "max_limit": 50, "sync_mode": "auto", "sync_window_hours": 48, "cache_minutes": 0,
        "include_untracked": 0,
    }  # fmt: skip
    assert (shown["limit"]["limit"], shown["courses_off"]) == (7, [5])
    assert "email" not in shown["fields"]
    assert run("query", "--company", "acme", "--limit", "51", *words).code == 2
    assert run("query", "--company", "acme", *words).json()["limit"] == 50
    assert run("query", "--company", f"id:{beta}", *words).code == 4
    again = {item["id"]: item for item in run("company", "import-moodle", *words).json()}
    assert again == found
    plugin.engine.dispose()


def test_import_moodle_again_after_a_change_there(
    make_backend: Callable[[str], Backend], tmp_path: Path
) -> None:
    """A copy is a copy: what was put back to the default in the plugin is the default here."""
    plugin = Plugin(f"sqlite:///{tmp_path}/moodle.db")
    acme = plugin.companies[0]
    plugin.set(acme, sync_mode=3, field_email=0, course_5=0, cache_ttl_minutes=60)
    config = write_config(
        tmp_path, f"sqlite:///{tmp_path}/moodle.db", make_backend("sqlite").new_url()
    )
    words = ("--config", config, "--json")
    assert run("sync", "--quiet", *words[:2]).code == 0
    assert run("company", "import-moodle", *words).code == 0
    table = "{}local_alx_api_settings"
    for name, value in (("sync_mode", 2), ("field_email", 1), ("course_5", 1)):
        plugin.change(f"UPDATE {table} SET setting_value = {value} WHERE setting_name = '{name}'")
    assert run("company", "import-moodle", *words).code == 0
    shown = run("company", "show", f"id:{acme}", *words).json()
    plugin.engine.dispose()
    assert shown["settings"]["sync_mode"]["value"] == "full"
    assert "email" in shown["fields"]
    assert shown["courses_off"] == []
