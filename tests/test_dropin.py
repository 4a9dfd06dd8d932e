"""The plugin's address: what real Moodle answered, byte for byte, and where we differ."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree

import pytest

from alxreport.company_admin import company_fields, set_options
from alxreport.limit_admin import set_limit
from alxreport.plugin_records import local_time

from .asking import Desk, open_desk
from .crowd import add_crowd
from .moodle_site import NOW
from .serving import FUNCTION, SERVER_PHP, Got, Serving, serving

REST = Path(__file__).resolve().parents[2] / "shared" / "data" / "rest"
MOODLES_ZONE = "Europe/London"  # of the server that was asked
FORM = "application/x-www-form-urlencoded"
# Of the connection, not of the answer.
NOT_COMPARED = {"host", "date", "connection", "x-powered-by"}
INVALID = {
    "exception": "invalid_parameter_exception",
    "errorcode": "invalidparameter",
    "message": "Invalid parameter value detected",
}
CAPTURED = sorted(path.stem for path in REST.glob("*.request")) if REST.is_dir() else []
# What the plugin answers wrongly, and what we answer instead.
OURS: dict[str, Any] = {
    "02_ok_page2": "rows",  # it had moved its position: page 2 was empty
    "03_ok_limit1000": "rows",  # one odd e-mail failed the whole page
    "07_negative_offset": INVALID,  # taken for 0
    "08_negative_limit": INVALID,  # taken for "no limit"
    "09_limit_zero": INVALID,
}


class Place:
    """A desk with the rows that a captured answer shows, and a server."""

    def __init__(self, desk: Desk, server: Serving) -> None:
        self.desk, self.server = desk, server
        self.token = desk.token("acme")

    def fill(self, records: list[dict[str, Any]]) -> None:
        """Let the reporting table have these rows and no others."""
        self.desk.run_sql("DELETE FROM {reporting}")
        self.desk.run_sql("DELETE FROM {cache}")
        self.desk.run_sql("UPDATE {sync_status} SET revision = revision + 1")
        for record in records:
            self.desk.run_sql(
                "INSERT INTO {reporting} (userid, companyid, courseid, firstname, lastname, email,"
                " username, coursename, timecompleted, timestarted, percentage, status,"
                " last_updated, created_at, updated_at, revision) VALUES (:userid, 1, :courseid,"
                " :firstname, :lastname, :email, 'name', :coursename, :timecompleted_unix,"
                " :timestarted_unix, :percentage, :status, 1, 1, 1, 1)",
                **{name: value for name, value in record.items()
                   if name not in {"timecompleted", "timestarted"}},
            )  # fmt: skip

    def configure(self, **serve: Any) -> None:
        settings = self.desk.settings
        requests = replace(settings.requests, timezone=MOODLES_ZONE)
        serving = replace(settings.serve, **serve)
        self.server.configure(replace(settings, serve=serving, requests=requests))

    def call(self, *, zone: str = "UTC", **given: Any) -> Any:
        settings = self.desk.settings
        requests = replace(settings.requests, timezone=zone)
        self.server.configure(replace(settings, requests=requests))
        return self.server.moodle(self.token, **given).json()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Serving]]:
    folder = tmp_path_factory.mktemp("dropin")
    with open_desk(folder, f"sqlite:///{folder}/store.db") as desk:
        add_crowd(desk.site, "acme", 4, 3)
        add_crowd(desk.site, "beta", 2)
        desk.harness.sync()
        with serving(desk.settings) as server:
            server.office.brakes.count = lambda _a, _n: 0.0  # type: ignore[method-assign]
            yield desk, server


@pytest.fixture
def place(opened: tuple[Desk, Serving]) -> Iterator[Place]:
    desk, server = opened
    server.clock = NOW
    desk.configure(rate_limit=0)
    for name in ("settings", "usage", "cache", "logs", "refusals", "tokens"):
        desk.run_sql(f"DELETE FROM {{{name}}}")
    server.configure(desk.settings)
    yield Place(desk, server)
    server.settle()


def replay(place: Place, name: str) -> Got:
    """Send what the captured command sent, with our token."""
    words = shlex.split((REST / f"{name}.request").read_text(encoding="utf-8"))
    token = "0" * 32 if "bad_token" in name else place.token
    words = [word.replace("<token>", token) for word in words]
    url = urlsplit(next(word for word in words if word.startswith("http")))
    flags = list(pairwise(words))
    form = "&".join(value for flag, value in flags if flag == "-d")
    # The shell of the capture split a header's words; its parts are "Authorization:" and on.
    headers = {"Authorization": f"Bearer {token}"} if "Authorization:" in " ".join(words) else {}
    if "POST" in words:
        return place.server.ask(
            "POST", url.path, urlencode(parse_qsl(form)).encode(), Content_Type=FORM, **headers
        )
    return place.server.ask("GET", f"{url.path}?{url.query}", **headers)


def captured(name: str) -> tuple[dict[str, str], bytes]:
    lines = (REST / f"{name}.headers").read_text(encoding="utf-8").splitlines()[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)
    body = (REST / f"{name}.body").read_bytes()
    return {key.lower(): value for key, value in headers.items()}, body


def records_in(body: bytes) -> list[dict[str, Any]]:
    """Return the records of a captured answer, of its XML too; nothing for a refusal."""
    if body.startswith(b"<"):
        found = [
            {key.attrib["name"]: key[0].text or "" for key in single}
            for single in ElementTree.fromstring(body).iter("SINGLE")
        ]
        for record in found:
            for name in ("userid", "courseid", "timecompleted_unix", "timestarted_unix"):
                record[name] = int(record[name])  # type: ignore[assignment]
            record["percentage"] = float(record["percentage"])  # type: ignore[assignment]
        return found  # type: ignore[return-value]
    told = json.loads(body)
    return told if isinstance(told, list) else []


@pytest.mark.skipif(not CAPTURED, reason="the captured answers are not beside the checkout")
@pytest.mark.parametrize("name", CAPTURED)
def test_as_moodle_answered(place: Place, name: str) -> None:
    headers, body = captured(name)
    rows = records_in(body) or records_in(captured("01_ok_page1")[1])
    place.fill(rows if records_in(body) else rows if name in OURS else [])
    if "rate_limit" in name:
        set_limit(place.desk.store, place.desk.settings, "acme", "2", NOW)
        for earlier in ("21", "22", "23"):
            if name[:2] > earlier:
                replay(place, next(n for n in CAPTURED if n.startswith(earlier)))
    place.configure(allow_get=name.startswith("25"))
    got = replay(place, name)
    assert got.status == 200
    for key, value in headers.items():
        if key not in NOT_COMPARED:
            assert got.headers[key] == value, key
    wanted = OURS.get(name)
    if wanted is None:
        assert got.body == body
    elif wanted == "rows":
        assert [record["userid"] for record in got.json()] == [
            record["userid"] for record in (rows[5:] if "page2" in name else rows)
        ]
    else:
        assert got.json() == wanted


# What no captured answer shows


def test_pages_by_offset_are_the_whole_list(place: Place) -> None:
    place.desk.harness.sync(full=True)
    everything = place.call(limit=1000)
    paged = [place.call(limit=5, offset=offset) for offset in range(0, 20, 5)]
    assert [len(page) for page in paged] == [5, 5, 2, 0]
    assert list(chain.from_iterable(paged)) == everything
    assert len(everything) == 12


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid", "America/New_York", "Asia/Kathmandu"])
def test_times_are_the_servers(place: Place, zone: str) -> None:
    """As PHP's date() writes them, also in the hour that a clock goes through twice."""
    times = [0, 1, 1_792_972_799, 1_792_976_400, 1_792_980_000, NOW]
    record = records_in(captured("01_ok_page1")[1])[0] if CAPTURED else RECORD
    place.fill([
        record | {"userid": n, "timecompleted_unix": at, "timestarted_unix": at}
        for n, at in enumerate(times)
    ])  # fmt: skip
    told = place.call(zone=zone)
    assert [row["timecompleted_unix"] for row in told] == times
    for row in told:
        assert row["timestarted"] == row["timecompleted"]
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?", row["timecompleted"])
    assert [row["timecompleted"] == "" for row in told] == [at == 0 for at in times]
    # Another zone is another answer, not a kept one.
    assert place.call(zone="UTC")[1]["timecompleted"] == "1970-01-01 00:00:01"


RECORD = {
    "userid": 3, "courseid": 4, "firstname": "A", "lastname": "B", "email": "a@b.c",
    "coursename": "C", "timecompleted_unix": 0, "timestarted_unix": 0, "percentage": 0,
    "status": "not_started",
}  # fmt: skip


def test_percentages_are_written_as_php_writes_them(place: Place) -> None:
    values = {0: "0", 100: "100", 33.33: "33.33", 87.5: "87.5", 66.67: "66.67", 0.01: "0.01"}
    place.fill([RECORD | {"userid": n, "percentage": v} for n, v in enumerate(values)])
    body = place.server.moodle(place.token).body
    written = re.findall(r'"percentage":([^,}]+)', body.decode())
    assert written == list(values.values())


@pytest.mark.parametrize("text", ["Zoë <b>/&\"'", "</script>", "a\\b\t\x01", "\U0001f393", "=1+1"])
def test_awkward_texts(place: Place, text: str) -> None:
    place.fill([RECORD | {"firstname": text, "coursename": text}])
    got = place.server.moodle(place.token)
    assert got.body.isascii()
    assert got.json()[0]["firstname"] == got.json()[0]["coursename"] == text
    if "/" in text:
        assert b"\\/" in got.body
    xml = place.server.moodle(place.token, moodlewsrestformat=None)
    root = ElementTree.fromstring(xml.body)
    told = {key.attrib["name"]: key[0].text for key in root.iter("KEY")}
    assert told["firstname"] == text.replace("\x01", "")


@pytest.mark.parametrize(
    "given",
    [{"limit": text} for text in ("", " 5", "05", "5.0", "+5", "1e3", "-0", "9" * 30, "٣", "0x10")]
    + [{"offset": text} for text in ("-1", "a", "", "9" * 30)]
    + [{"limit[]": "5"}, {"limit[0]": "5"}, {"foo": "1"}, {"": "1"}, {"LIMIT": "5"}],
)
def test_parameters_that_moodle_refuses(place: Place, given: dict[str, str]) -> None:
    assert place.call(**given) == INVALID
    place.server.settle()
    assert place.desk.log()[-1]["error"] == "usage"
    assert place.desk.rows("usage") == []  # nothing was spent


def test_a_limit_beyond_the_companys(place: Place) -> None:
    set_options(place.desk.store, "acme", {"max_limit": "50"}, NOW)
    told = place.call(limit=51)
    assert told["errorcode"] == "limittoolarge"
    assert "is 50." in told["message"]
    assert len(place.call(limit=50)) > 0
    assert len(place.call()) > 0  # without a limit: 100, or what the company may


def test_what_moodle_takes_for_itself_is_no_parameter(place: Place) -> None:
    assert isinstance(place.call(moodlewssettinglang="de", moodlewssettingraw="1"), list)


def test_the_query_string_of_a_post_counts_as_with_php(place: Place) -> None:
    place.fill([RECORD | {"userid": number} for number in range(3)])
    query = urlencode({"wstoken": place.token, "wsfunction": FUNCTION, "limit": 1})
    form = urlencode({"moodlewsrestformat": "json", "limit": 2}).encode()
    got = place.server.ask("POST", f"{SERVER_PHP}?{query}", form, Content_Type=FORM)
    assert len(got.json()) == 2  # the form goes before
    got = place.server.ask("POST", f"{SERVER_PHP}?{query}&moodlewsrestformat=json", b"")
    assert len(got.json()) == 1


def test_a_multipart_form(place: Place) -> None:
    place.fill([RECORD | {"userid": number} for number in range(3)])
    parts = {"wstoken": place.token, "wsfunction": FUNCTION, "moodlewsrestformat": "json",
             "limit": "2"}  # fmt: skip
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    kind = "multipart/form-data; boundary=x"
    got = place.server.ask("POST", SERVER_PHP, f"{body}--x--\r\n".encode(), Content_Type=kind)
    assert len(got.json()) == 2


def test_a_json_body_is_no_form(place: Place) -> None:
    body = json.dumps({"wstoken": place.token, "wsfunction": FUNCTION}).encode()
    got = place.server.ask("POST", SERVER_PHP, body, Content_Type="application/json")
    assert b"<ERRORCODE>invalidtoken</ERRORCODE>" in got.body


def test_hidden_fields_are_absent_and_others_never_come(place: Place) -> None:
    store, settings = place.desk.store, place.desk.settings
    shown = ["username", "last_updated"]
    company_fields(store, settings, "acme", NOW, show=shown, hide=["email"])
    for row in place.call():
        assert "email" not in row
        assert not {"username", "last_updated", "companyid"} & set(row)
    assert list(row) == [
        "userid", "firstname", "lastname", "courseid", "coursename", "timecompleted",
        "timecompleted_unix", "timestarted", "timestarted_unix", "percentage", "status",
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["full", "incremental", "auto"])
def test_live_rows_in_full_whatever_the_companys_mode(place: Place, mode: str) -> None:
    place.desk.harness.sync(full=True)
    set_options(place.desk.store, "acme", {"sync_mode": mode}, NOW)
    assert len(place.call(limit=1000)) == len(place.call(limit=1000)) == 12
    assert "is_deleted" not in place.call()[0]


REFUSED = {
    "expired": ("webservice_access_exception", "accessexception", "Access control exception"),
    "network": ("webservice_access_exception", "accessexception", "Access control exception"),
    "disabled": ("webservice_access_exception", "accessexception", "Access control exception"),
    "unknown": ("moodle_exception", "invalidtoken", "Invalid token - token not found"),
    "none": ("moodle_exception", "invalidtoken", "Invalid token - token not found"),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("function", [FUNCTION, "core_webservice_get_site_info", "nothing", None])
def test_who_may_not_ask(place: Place, why: str, function: str | None) -> None:
    token: str | None = place.token
    if why == "expired":
        token = place.desk.token("acme", expires="1d", now=NOW - 2 * 86_400)
    elif why == "network":
        token = place.desk.token("acme", networks=["10.0.0.0/8"])
    elif why == "disabled":
        set_options(place.desk.store, "acme", {"sync_mode": "disabled"}, NOW)
    elif why == "unknown":
        token = "0" * 32
    elif why == "none":
        token = None
    got = place.server.moodle(token, wsfunction=function)
    assert got.status == 200
    assert tuple(got.json().values()) == REFUSED[why]
    assert "www-authenticate" not in got.headers
    assert place.desk.rows("usage") == []


def test_a_company_that_was_never_synced_is_no_empty_answer(place: Place) -> None:
    place.desk.run_sql("UPDATE {sync_status} SET synced_at = NULL")
    try:
        got = place.server.moodle(place.token)
        assert got.status == 503
        assert got.json()["errorcode"] == "never_synced"
        assert int(got.headers["retry-after"]) > 0
    finally:
        place.desk.run_sql("UPDATE {sync_status} SET synced_at = :now", now=NOW)


def test_site_info(place: Place) -> None:
    told = place.call(wsfunction="core_webservice_get_site_info")
    assert told["sitename"] == "acme Ltd"
    assert [each["name"] for each in told["functions"]] == [
        FUNCTION, "core_webservice_get_site_info"
    ]  # fmt: skip
    assert told["siteurl"] == f"http://127.0.0.1:{place.server.port}"
    assert place.desk.rows("usage") == []
    place.server.settle()
    assert place.desk.log()[-1]["endpoint"] == "site-info"


def test_a_token_of_the_other_company_shows_the_others_rows_only(place: Place) -> None:
    place.desk.harness.sync(full=True)
    beta = place.desk.token("beta")
    mine = {row["userid"] for row in place.call(limit=1000)}
    theirs = {row["userid"] for row in place.server.moodle(beta, limit=1000).json()}
    assert mine
    assert theirs
    assert not mine & theirs


def test_the_log_and_the_cache(place: Place) -> None:
    place.call(limit=2)
    place.call(limit=2)
    place.server.moodle(place.token, limit=2, moodlewsrestformat=None)
    place.server.settle()
    rows = place.desk.log()
    assert [(row["endpoint"], row["cache"], row["page_limit"]) for row in rows] == [
        ("plugin", "miss", 2), ("plugin", "hit", 2), ("plugin", "hit", 2)
    ]  # fmt: skip
    assert {row["companyid"] for row in rows} == {1}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_local_time_beyond_the_calendar(zone: str) -> None:
    from zoneinfo import ZoneInfo

    where = ZoneInfo(zone)
    for seconds in (0, 2**60, -(2**60), 253_402_300_799):
        assert local_time(seconds, where) == ""
    assert local_time(253_402_200_000, where).startswith("9999-12-3")


def test_too_large_a_body_and_other_methods(place: Place) -> None:
    got = place.server.ask("POST", SERVER_PHP, b"x" * 70_000, Content_Type=FORM)
    assert got.status == 413
    assert got.headers["connection"] == "close"
    assert place.server.ask("PUT", SERVER_PHP).status == 405
    assert place.server.ask("DELETE", SERVER_PHP).status == 405
