"""Tokens from their making to their end: what each opens, when, from where, and what is kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport import token_admin
from alxreport.errors import AlxError, NotAuthorisedError, NotFoundError, UsageError
from alxreport.token_form import is_possible, token_hash

from .asking import Desk
from .command_line import run, write_config
from .conftest import Backend
from .crowd import add_crowd
from .harness import Harness
from .moodle_site import DAY, NOW
from .test_service_tokens import Office

HOUR = 3_600


def furnish(desk: Desk) -> Desk:
    desk.renew()
    for name in ("acme", "beta"):
        add_crowd(desk.site, name, 3)
    desk.harness.sync()
    return desk


@pytest.fixture
def desk(office: Desk) -> Desk:
    """Two companies of a few people, synced at NOW."""
    return furnish(office)


@pytest.fixture
def local(local_office: Desk) -> Desk:
    """The same on SQLite alone, for what no database takes part in."""
    return furnish(local_office)


def reason(desk: Desk, token: str, **asked: Any) -> str:
    """Return why a token is refused, "" when it is not."""
    try:
        desk.ask(token, **asked)
    except NotAuthorisedError as error:
        return error.reason
    return ""


def rotate(desk: Desk, number: int, **options: Any) -> tuple[Any, Any, str]:
    given = {"grace": "24h", "expires": None, "now": desk.now} | options
    return token_admin.rotate_token(desk.store, number, **given)


# What is made and shown


def test_create_and_show(desk: Desk) -> None:
    view, secret = token_admin.create_token(
        desk.store, company="beta", name="Power BI", now=NOW, expires="90d",
        networks=["10.0.0.0/8", "2001:db8::1", "10.0.0.0/8"],
    )  # fmt: skip
    assert is_possible(secret)
    assert view == token_admin.TokenView(
        id=1, company="beta", company_id=2, name="Power BI", state="active", origin="alxreport",
        networks=("10.0.0.0/8", "2001:db8::1"), created_at="2026-11-23T02:13:20Z",
        expires_at="2027-02-21T02:13:20Z", last_used_at=None, last_ip="", replaced_by=None,
    )  # fmt: skip
    other = desk.token("acme")
    assert token_admin.show_token(desk.store, 1, NOW) == view
    listed = token_admin.list_tokens(desk.store, company=None, now=NOW)
    assert [(token.id, token.company) for token in listed] == [(1, "beta"), (2, "acme")]
    only = token_admin.list_tokens(desk.store, company="id:1", now=NOW)
    assert [token.id for token in only] == [2]
    later = token_admin.list_tokens(desk.store, company=None, now=NOW + 90 * DAY)
    assert [token.state for token in later] == ["expired", "active"]
    assert desk.ask(other)["company"]["shortname"] == "acme"


def test_only_the_hash_is_kept(desk: Desk) -> None:
    secrets = [desk.token("acme") for _ in range(3)]
    assert len(set(secrets)) == 3
    rows = desk.rows("tokens")
    assert [row["hash"] for row in rows] == [token_hash(secret) for secret in secrets]
    text = json.dumps(rows)
    for secret in secrets:
        assert secret not in text
        assert secret[4:24] not in text
        assert secret[-20:] not in text


def test_last_use(desk: Desk) -> None:
    token = desk.token("acme")
    assert desk.tokens()[0]["last_used_at"] is None
    desk.ask(token)
    used = desk.rows("tokens")[0]
    assert (used["last_used_at"], used["last_ip"]) == (NOW, "127.0.0.1")
    desk.ask(token, now=NOW + 59)
    assert desk.rows("tokens")[0]["last_used_at"] == NOW  # written once a minute at the most
    desk.ask(token, now=NOW + 59, ip="10.1.2.3")
    used = desk.rows("tokens")[0]
    assert (used["last_used_at"], used["last_ip"]) == (NOW + 59, "10.1.2.3")
    desk.ask(token, now=NOW + 200, ip="10.1.2.3")
    assert desk.rows("tokens")[0]["last_used_at"] == NOW + 200
    # A clock that was set back is believed; a refused request is no use.
    desk.ask(token, now=NOW - DAY, ip="10.1.2.3")
    assert desk.rows("tokens")[0]["last_used_at"] == NOW - DAY
    with pytest.raises(UsageError):
        desk.ask(token, now=NOW + DAY, limit=0)
    assert reason(desk, token, now=NOW + DAY, company="beta") == "company"
    assert desk.rows("tokens")[0]["last_used_at"] == NOW - DAY


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"company": "nope"}, "no company"),
        ({"expires": "0d"}, "--expires"),
        ({"expires": "90"}, "--expires"),
        ({"expires": "-1d"}, "--expires"),
        ({"expires": "1.5h"}, "--expires"),
        ({"expires": "١d"}, "--expires"),
        ({"expires": "999999999y"}, "--expires"),
        ({"expires": ""}, "--expires"),
        ({"networks": ["10.0.0.1/8"]}, "10.0.0.1/8"),
        ({"networks": ["office"]}, "office"),
        ({"networks": [""]}, "not an address"),
        ({"networks": [f"2001:db8:{n:x}:ffff:ffff:ffff:ffff:1" for n in range(99)]}, "--ip"),
        ({"name": "x" * 256}, "--name"),
        ({"name": "line\nbreak"}, "--name"),
        ({"name": "\udc80"}, "--name"),
    ],
)
def test_what_cannot_be_made(local: Desk, options: dict[str, Any], word: str) -> None:
    given = {"company": "acme", "name": "", "now": NOW} | options
    with pytest.raises(AlxError, match=word) as caught:
        token_admin.create_token(local.store, **given)
    assert caught.value.exit_code == (6 if options.get("company") else 2)
    assert caught.value.hint
    assert local.rows("tokens") == []


def test_numbers_that_no_token_has(desk: Desk) -> None:
    desk.token("acme")
    for number in (0, -1, 2, 2**63, 10**30):
        for use in (
            lambda n: token_admin.show_token(desk.store, n, NOW),
            lambda n: token_admin.revoke_token(desk.store, n, NOW),
            lambda n: rotate(desk, n),
        ):
            with pytest.raises(NotFoundError) as caught:
                use(number)
            assert caught.value.exit_code == 6
    assert [token["state"] for token in desk.tokens()] == ["active"]


# When a token ends


def test_a_token_ends_with_its_last_second(desk: Desk) -> None:
    token = desk.token("acme", expires="90d")
    end = NOW + 90 * DAY
    assert reason(desk, token, now=end - 1) == ""
    assert reason(desk, token, now=end) == "expired"
    assert reason(desk, token, now=end + 1) == "expired"


def test_revoking(desk: Desk) -> None:
    token, other = desk.token("acme"), desk.token("acme")
    desk.ask(token)
    view, done = token_admin.revoke_token(desk.store, 1, NOW)
    assert (view.state, done) == ("revoked", True)
    assert reason(desk, token) == "revoked"
    assert reason(desk, token, now=NOW - DAY) == "revoked"
    view, done = token_admin.revoke_token(desk.store, 1, NOW + 5)
    assert (view.state, done) == ("revoked", False)
    assert desk.rows("tokens")[0]["revoked_at"] == NOW
    assert reason(desk, other) == ""


@pytest.mark.parametrize(
    ("grace", "seconds"), [("24h", DAY), ("1m", 60), ("0", 0), ("0h", 0), ("2w", 14 * DAY)]
)
def test_the_grace_of_a_rotated_token(local: Desk, grace: str, seconds: int) -> None:
    old = local.token("acme", name="BI", networks=["127.0.0.0/8"])
    before, after, new = rotate(local, 1, grace=grace, now=NOW)
    assert new != old
    assert (after.id, before.replaced_by, after.replaced_by) == (2, 2, None)
    assert (after.name, after.networks, after.expires_at) == ("BI", ("127.0.0.0/8",), None)
    assert local.rows("tokens")[0]["expires_at"] == NOW + seconds
    if seconds:
        assert reason(local, old, now=NOW + seconds - 1) == ""
    assert reason(local, old, now=NOW + seconds) == "expired"
    assert reason(local, new, now=NOW + seconds) == ""
    assert reason(local, new, now=NOW + 10_000 * DAY) == ""
    assert reason(local, new, ip="10.0.0.1") == "network"


@pytest.mark.parametrize("grace", ["", "1", "-1h", "24", "h", "1000y", "0x", "00h"])
def test_graces_that_cannot_be(local: Desk, grace: str) -> None:
    token = local.token("acme")
    with pytest.raises(UsageError, match="--grace"):
        rotate(local, 1, grace=grace)
    assert len(local.tokens()) == 1
    assert reason(local, token, now=NOW + DAY) == ""


def test_rotating(desk: Desk) -> None:
    """The old one works on for its grace; the new one lives as long as the old one was made for."""
    old = desk.token("acme", expires="90d")
    _before, after, new = rotate(desk, 1, now=NOW + 10 * DAY)
    rows = desk.rows("tokens")
    assert [row["expires_at"] for row in rows] == [NOW + 11 * DAY, NOW + 100 * DAY]
    assert after.expires_at == "2027-03-03T02:13:20Z"
    assert rows[1]["hash"] == token_hash(new)
    for token in (old, new):
        assert reason(desk, token, now=NOW + 11 * DAY - 1) == ""
    assert reason(desk, old, now=NOW + 11 * DAY) == "expired"
    assert reason(desk, new, now=NOW + 100 * DAY - 1) == ""
    assert reason(desk, new, now=NOW + 100 * DAY) == "expired"


def test_a_grace_never_prolongs(desk: Desk) -> None:
    token = desk.token("acme", expires="2h")
    before, _after, _new = rotate(desk, 1, now=NOW + HOUR, grace="24h")
    assert before.expires_at == "2026-11-23T04:13:20Z"
    assert reason(desk, token, now=NOW + 2 * HOUR - 1) == ""
    assert reason(desk, token, now=NOW + 2 * HOUR) == "expired"


def test_what_cannot_be_rotated(desk: Desk) -> None:
    for expires in (None, None, "1h"):
        desk.token("acme", expires=expires)
    rotate(desk, 1)
    token_admin.revoke_token(desk.store, 2, NOW)
    for number, now, words in (
        (1, NOW + 5, "rotated to token 4"),
        (1, NOW + 9 * DAY, "rotated to token 4"),
        (2, NOW, "is revoked"),
        (3, NOW + HOUR, "is expired"),
    ):
        with pytest.raises(UsageError, match=words):
            rotate(desk, number, now=now)
    assert len(desk.tokens()) == 4
    assert [row["expires_at"] for row in desk.rows("tokens")] == [NOW + DAY, 0, NOW + HOUR, 0]


def test_two_who_rotate_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look before either writes; one of them makes the token, the other one is refused."""
    desk.token("acme")
    meeting = threading.Barrier(2)
    add = token_admin.tokens.add

    def late(*arguments: Any, **options: Any) -> Any:
        with suppress(threading.BrokenBarrierError):  # SQLite lets one in at a time
            meeting.wait(0.5)
        return add(*arguments, **options)

    monkeypatch.setattr(token_admin.tokens, "add", late)
    made: list[str] = []

    def one() -> None:
        with suppress(AlxError):
            made.append(rotate(desk, 1)[2])

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = desk.rows("tokens")
    assert len(made) == 1
    assert len(rows) == 2
    assert (rows[0]["replaced_by"], rows[1]["hash"]) == (rows[1]["id"], token_hash(made[0]))


# From where


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ([], "127.0.0.1", True),
        ([], "", True),
        (["10.0.0.0/8"], "127.0.0.1", False),
        (["10.0.0.0/8"], "10.255.255.255", True),
        (["10.0.0.0/8"], "11.0.0.0", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "", False),
        (["10.0.0.0/8"], "10.0.0.1.evil.example", False),
        (["10.0.0.0/8"], "10.0.0.1, 127.0.0.1", False),
        (["10.0.0.0/8", "127.0.0.1"], "127.0.0.1", True),
        (["10.0.0.0/8", "127.0.0.1"], "127.0.0.2", False),
        (["2001:db8::/32"], "2001:db8:ffff::1", True),
        (["2001:db8::/32"], "2001:db9::", False),
        (["::1"], "127.0.0.1", False),
    ],
)
def test_networks(local: Desk, networks: list[str], address: str, allowed: bool) -> None:
    token = local.token("acme", networks=networks)
    assert reason(local, token, ip=address) == ("" if allowed else "network")


def test_a_network_is_kept_by_the_store(desk: Desk) -> None:
    token = desk.token("acme", networks=["10.0.0.0/8", "2001:db8::/32"])
    assert reason(desk, token) == "network"
    assert reason(desk, token, ip="10.9.8.7") == reason(desk, token, ip="2001:db8::7") == ""
    _old, _new, secret = rotate(desk, 1)
    assert reason(desk, secret) == "network"
    assert reason(desk, secret, ip="10.9.8.7") == ""


# The company of a token


def test_the_tokens_of_a_deleted_company_are_revoked(desk: Desk) -> None:
    """Its id may come back as another company's, which they must not open."""
    old, kept = desk.token("acme"), desk.token("beta")
    sold = rotate(desk, 1)[2]
    desk.site.delete_company(1)
    desk.now += HOUR
    desk.harness.sync()
    for token in (old, sold):
        assert reason(desk, token) == "revoked"
    desk.site.insert("company", id=1, name="New Ltd", shortname="new", suspended=0)
    desk.site.assign_user(1, desk.site.add_user("New", "Person"))
    desk.now += HOUR
    desk.harness.sync()
    assert [row["shortname"] for row in desk.rows("sync_status")] == ["new", "beta"]
    for token in (old, sold):
        assert reason(desk, token) == reason(desk, token, company="new") == "revoked"
    assert reason(desk, kept) == ""
    assert [token["state"] for token in desk.tokens()] == ["revoked", "active", "revoked"]


def test_the_tokens_of_a_deleted_empty_company_are_revoked(desk: Desk) -> None:
    """Nothing of it is in the table, so that there is nothing to derive again either."""
    number = desk.site.add_company("Empty Ltd", "empty")
    desk.harness.sync()
    token = desk.token("empty")
    assert desk.ask(token)["total"] == 0
    desk.site.delete_company(number)
    desk.harness.sync()
    assert reason(desk, token) == "revoked"


def test_a_token_made_before_its_company_is_known(desk: Desk) -> None:
    desk.site.add_company("Later Ltd", "later")
    with pytest.raises(NotFoundError):
        desk.token("later")
    desk.harness.sync()
    assert desk.ask(desk.token("later"))["company"]["shortname"] == "later"


# From Moodle


def shop(backend: Backend, folder: Path) -> tuple[Office, Harness, Path]:
    """Return a site with the web service, a harness on it, and a configuration of both."""
    office = Office(f"sqlite:///{folder}/moodle.db")
    harness = Harness(f"sqlite:///{folder}/moodle.db", backend.new_url())
    return office, harness, write_config(folder, f"sqlite:///{folder}/moodle.db",
                                         harness.settings.store.url)  # fmt: skip


def query(config: Path, token: str, *words: str) -> Any:
    """Return how ``query`` ends with a token on stdin."""
    return run("query", "--config", config, "--token-file", "-", *words, stdin=token)


def test_import_moodle(backend: Backend, tmp_path: Path) -> None:
    """The whole way through the command line, twice, and then the tokens are used."""
    office, harness, config = shop(backend, tmp_path)
    beta, unsynced = office.site.add_company("Beta", "beta"), 0
    secrets = {name: f"{place:032x}" for place, name in enumerate(("a", "b", "far", "late", "two"))}
    office.token(office.user(office.company), secrets["a"])
    office.token(office.user(beta), secrets["b"], validuntil=4_000_000_000)
    office.token(office.user(beta), secrets["far"], iprestriction="10.0.0.0/8")
    office.token(office.user(office.company, beta), secrets["two"])
    assert run("sync", "--quiet", "--config", config).code == 0
    unsynced = office.site.add_company("Late", "late")
    office.token(office.user(unsynced), secrets["late"])
    done = run("token", "import-moodle", "--json", "--config", config)
    assert done.code == 0
    assert [(t["moodle_id"], t["company"], t["status"], t["token"]) for t in done.json()] == [
        (1, "acme", "imported", 1), (2, "beta", "imported", 2), (3, "beta", "imported", 3),
        (4, "", "refused", None), (5, "", "refused", None),
    ]  # fmt: skip
    assert "ambiguous" in done.json()[3]["reason"]
    assert "alxreport sync" in done.json()[4]["reason"]
    again = run("token", "import-moodle", "--json", "--config", config).json()
    assert [t["status"] for t in again] == ["present"] * 3 + ["refused"] * 2
    shown = run("token", "import-moodle", "--config", config)
    listed = run("token", "list", "--json", "--config", config)
    assert [(t["id"], t["origin"], t["expires_at"]) for t in listed.json()] == [
        (1, "moodle", None), (2, "moodle", "2096-10-02T07:06:40Z"), (3, "moodle", None),
    ]  # fmt: skip
    for secret in secrets.values():
        for output in (done, shown, listed):
            assert secret not in output.out.decode() + output.err
    assert query(config, secrets["a"]).json()["company"]["shortname"] == "acme"
    assert query(config, f"{secrets['b']}\r\n").json()["company"]["shortname"] == "beta"
    assert query(config, secrets["far"]).code == 4
    assert query(config, secrets["two"]).code == 4
    assert query(config, secrets["late"]).code == 4
    assert query(config, secrets["a"][:-1] + "f").code == 4
    assert run("token", "revoke", "1", "--config", config).code == 0
    assert run("token", "import-moodle", "--json", "--config", config).json()[0]["token"] == 1
    assert query(config, secrets["a"]).code == 4  # it does not come back to life
    harness.close()
    office.engine.dispose()


def test_a_moodle_user_who_moved_to_another_company(backend: Backend, tmp_path: Path) -> None:
    """Whatever the import says of such a token, it must not be what the token does not open."""
    office, harness, config = shop(backend, tmp_path)
    beta = office.site.add_company("Beta", "beta")
    user, secret = office.user(office.company), "0" * 31 + "1"
    office.token(user, secret)
    assert run("sync", "--quiet", "--config", config).code == 0
    assert run("token", "import-moodle", "--config", config).code == 0
    office.site.remove_from_company(office.company, user)
    office.site.assign_user(beta, user)
    assert run("sync", "--quiet", "--config", config).code == 0
    told = run("token", "import-moodle", "--json", "--config", config).json()[0]
    answer = query(config, secret)
    opened = answer.json()["company"]["shortname"] if answer.code == 0 else None
    assert told["status"] == "refused" or told["company"] == opened
    harness.close()
    office.engine.dispose()


@pytest.mark.parametrize(
    ("name", "dump"),
    [("mariadb", "iomad-T0.sql.gz"), ("postgres", "iomad-T0.postgresql.sql.gz")],
)
def test_the_tokens_of_the_sample_site(
    make_backend: Callable[[str], Backend],
    shared_data: Path,
    tmp_path: Path,
    name: str,
    dump: str,
) -> None:
    """The reports of the sample's companies go on with the tokens that they have."""
    backend = make_backend(name)
    moodle = backend.new_url()
    database = str(sa.make_url(moodle).database)
    assert backend.server
    backend.server.load_dump(database, shared_data / dump)
    found = backend.server.execute(
        "SELECT t.token, c.shortname, c.suspended FROM mdl_external_tokens t"
        " JOIN mdl_company_users u ON u.userid = t.userid JOIN mdl_company c ON c.id = u.companyid"
        " ORDER BY t.id", database,
    )  # fmt: skip
    assert len(found) == 5
    config = write_config(tmp_path, moodle, backend.new_url())
    assert run("sync", "--quiet", "--config", config).code == 0
    told = run("token", "import-moodle", "--json", "--config", config).json()
    assert [(t["company"], t["status"]) for t in told] == [(row[1], "imported") for row in found]
    rows = {c["shortname"]: c["rows"] for c in
            run("company", "list", "--json", "--config", config).json()}  # fmt: skip
    for secret, company, suspended in found:
        page = query(config, secret, "--limit", "1").json()
        assert (page["company"]["shortname"], page["total"]) == (company, rows[company])
        assert bool(page["total"]) is not bool(suspended)
