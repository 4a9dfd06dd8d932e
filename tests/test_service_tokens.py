"""Which tokens of the plugin's web service can be taken over, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.errors import SourceError
from alxreport.service_tokens import ServiceToken, service_tokens

from .conftest import Backend
from .moodle_site import DAY, NOW, Site

OURS, OTHER = 4, 9  # services


def web_services(prefix: str = "mdl_") -> sa.MetaData:
    """Return Moodle's tables of web services, as in lib/db/install.xml."""
    meta = sa.MetaData()

    def number(name: str, **options: Any) -> sa.Column[int]:
        return sa.Column(name, sa.BigInteger, **options)

    sa.Table(
        f"{prefix}external_services",
        meta,
        number("id", primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        number("enabled", nullable=False),
        number("restrictedusers", nullable=False),
        sa.Column("shortname", sa.String(255)),
    )
    sa.Table(
        f"{prefix}external_tokens",
        meta,
        number("id", primary_key=True),
        sa.Column("token", sa.String(128), nullable=False),
        number("tokentype", nullable=False),
        number("userid", nullable=False),
        number("externalserviceid", nullable=False),
        sa.Column("sid", sa.String(128)),
        sa.Column("iprestriction", sa.String(255)),
        number("validuntil"),
    )
    sa.Table(
        f"{prefix}external_services_users",
        meta,
        number("id", primary_key=True),
        number("externalserviceid", nullable=False),
        number("userid", nullable=False),
        sa.Column("iprestriction", sa.String(255)),
        number("validuntil"),
    )
    return meta


class Office:
    """A small site with the plugin's service, and the tokens that a test makes in it."""

    def __init__(self, url: str, prefix: str = "mdl_", authorised: bool = True) -> None:
        self.engine = sa.create_engine(url)
        self.prefix = prefix
        self.site = Site(self.engine, prefix).create()
        self.meta = web_services(prefix)
        self.authorised = f"{prefix}external_services_users"
        wanted = [t for t in self.meta.sorted_tables if authorised or t.name != self.authorised]
        self.meta.create_all(self.engine, tables=wanted)
        self.company = self.site.add_company("Acme", "acme")
        self.service(OURS, "alx_report_api_custom")
        self.service(OTHER, "moodle_mobile_app")
        self.ids: dict[str, int] = {}

    def insert(self, name: str, /, **values: Any) -> int:
        table = self.meta.tables[self.prefix + name]
        with self.engine.begin() as connection:
            newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
            values.setdefault("id", newest + 1)
            connection.execute(table.insert().values(values))
        return int(values["id"])

    def service(self, number: int, shortname: str, **values: int) -> int:
        flags = {"enabled": 1, "restrictedusers": 0} | values
        return self.insert(
            "external_services", id=number, name=shortname, shortname=shortname, **flags
        )

    def user(self, *companies: int, suspended: int = 0, **flags: int) -> int:
        user = self.site.add_user("Report", "Reader", **flags)
        for company in companies or (self.company,):
            self.site.assign_user(company, user, suspended=suspended)
        return user

    def token(self, user: int | None = None, secret: str | None = None, **values: Any) -> int:
        user = self.user() if user is None else user
        given = {"tokentype": 0, "externalserviceid": OURS, "validuntil": 0} | values
        secret = f"secret{user:026d}" if secret is None else secret
        return self.insert("external_tokens", token=secret, userid=user, **given)

    def permit(self, user: int, **values: Any) -> None:
        given = {"externalserviceid": OURS, "validuntil": None} | values
        self.insert("external_services_users", userid=user, **given)

    def change(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(sql.replace("{}", self.prefix))

    def read(self, now: int = NOW) -> dict[int, ServiceToken]:
        with self.engine.connect() as connection:
            tokens = service_tokens(connection, self.prefix, now)
        assert [token.id for token in tokens] == sorted(token.id for token in tokens)
        return {token.id: token for token in tokens}

    def refusals(self, now: int = NOW) -> dict[int, str]:
        return {number: token.refusal for number, token in self.read(now).items()}


@pytest.fixture
def open_office() -> Iterator[Callable[..., Office]]:
    """Return what makes an Office; its connections are closed when the test ends."""
    made: list[Office] = []

    def make(*arguments: Any, **options: Any) -> Office:
        made.append(Office(*arguments, **options))
        return made[-1]

    yield make
    for office in made:
        office.engine.dispose()


@pytest.fixture
def office(backend: Backend, open_office: Callable[..., Office]) -> Office:
    return open_office(backend.new_url())


@pytest.fixture
def local(make_backend: Callable[[str], Backend], open_office: Callable[..., Office]) -> Office:
    return open_office(make_backend("sqlite").new_url())


def test_a_good_token(office: Office) -> None:
    user = office.user()
    number = office.token(user, "5f2b", iprestriction="10.0.0.0/8, fe80:", validuntil=NOW + DAY)
    assert list(office.read().values()) == [
        ServiceToken(
            number, "5f2b", user, f"user{user}", (office.company,), NOW + DAY,
            ("10.0.0.0/8", "fe80::/16"), "",
        )
    ]  # fmt: skip


def test_both_names_of_the_service_and_no_other(office: Office) -> None:
    office.service(5, "alx_report_api")
    user = office.user()
    first = office.token(user, "one")
    office.token(user, "two", externalserviceid=OTHER)
    third = office.token(user, "three", externalserviceid=5)
    office.token(user, "four", externalserviceid=77)
    assert office.refusals() == {first: "", third: ""}


def test_no_tokens(office: Office) -> None:
    assert office.read() == {}


def test_no_secret_in_a_repr(local: Office) -> None:
    number = local.token(secret="verysecret")
    token = local.read()[number]
    assert token.secret == "verysecret"
    assert "verysecret" not in repr(token)


def test_what_is_wrong_with_a_token(office: Office) -> None:
    user = office.user()
    office.service(5, "alx_report_api", enabled=0)
    expected = {
        office.token(user, ""): "its text is empty",
        office.token(user, "twice"): "another token has the same text",
        office.token(user, "embedded", tokentype=1): "it is not a permanent token (type 1)",
        office.token(user, "off", externalserviceid=5): "its web service is disabled in Moodle",
        office.token(user, "sid", sid="0123"): "it belongs to a login session",
        office.token(user, "old", validuntil=NOW - 1): "it expired at 2026-11-23T02:13:19Z",
        office.token(user, "just", validuntil=NOW): "it expired at 2026-11-23T02:13:20Z",
        office.token(user, "soon", validuntil=NOW + 1): "",
        office.token(user, "null", validuntil=None): "",
        office.token(user, "Soon"): "",  # the text is case-sensitive here, whatever the database
        office.token(user, "bad ip", iprestriction="office"):
            "its IP restriction cannot be carried over: Moodle admits nobody by it",
        office.token(user, "dots", iprestriction="10.0.0.1,2001:db8:"):
            "its IP restriction cannot be carried over: Moodle misreads '2001:db8:';"
            " it would have to end without a colon",
        office.token(user, "twice"): "another token has the same text",
    }  # fmt: skip
    found = office.read()
    assert {number: token.refusal for number, token in found.items()} == expected
    assert all(token.secret not in token.refusal for token in found.values() if token.secret)
    by_secret = {token.secret: token for token in found.values()}
    assert by_secret["old"].expires_at == NOW - 1
    assert by_secret["null"].expires_at == 0


def test_what_is_wrong_with_its_user(office: Office) -> None:
    for column in ("confirmed INTEGER DEFAULT 1 NOT NULL", "auth VARCHAR(20) DEFAULT 'manual'"):
        office.change(f"ALTER TABLE {{}}user ADD COLUMN {column}")
    deleted, suspended = office.user(deleted=1), office.user(suspended=0)
    office.site.update("user", {"id": suspended}, suspended=1)
    unconfirmed, nologin, fine = office.user(), office.user(), office.user()
    office.change(f"UPDATE {{}}user SET confirmed = 0 WHERE id = {unconfirmed}")
    office.change(f"UPDATE {{}}user SET auth = 'nologin' WHERE id = {nologin}")
    expected = {
        office.token(deleted): "its user is deleted",
        office.token(suspended): "its user is suspended",
        office.token(unconfirmed): "its user is not confirmed",
        office.token(nologin): "its user may not sign in (authentication nologin)",
        office.token(4321): "its user 4321 does not exist",
        office.token(fine): "",
    }
    found = office.read()
    assert {number: token.refusal for number, token in found.items()} == expected
    assert [token.username for token in found.values()][-2:] == ["", f"user{fine}"]


def test_its_company(office: Office) -> None:
    site = office.site
    second, third = site.add_company("Beta", "beta"), site.add_company("Gamma", "gamma")
    gone = site.add_company("Gone", "gone")
    one = office.company
    departments = office.user()
    site.assign_user(one, departments, department=2)
    half = office.user()
    site.assign_user(one, half, department=2, suspended=1)
    none = site.add_user("No", "Company")
    suspended = office.user(one, suspended=1)
    site.assign_user(one, suspended, department=2, suspended=1)
    both = office.user(third, one)
    mixed = office.user(second)
    site.assign_user(third, mixed, suspended=1)
    all_three, orphan = office.user(one, second, third), office.user(gone)
    site.delete_company(gone, raw=True)
    expected = {
        office.token(departments): ("", (one,)),
        office.token(half): ("", (one,)),
        office.token(none): ("its user belongs to no company", ()),
        office.token(suspended): (f"its user is suspended in company {one}", (one,)),
        office.token(both): (f"ambiguous: belongs to companies {one} and {third}", (one, third)),
        office.token(mixed): (
            f"ambiguous: belongs to companies {second} and {third}", (second, third)
        ),
        office.token(all_three): (
            f"ambiguous: belongs to companies {one}, {second} and {third}", (one, second, third)
        ),
        office.token(orphan): (f"company {gone} does not exist any more", (gone,)),
    }  # fmt: skip
    found = office.read()
    assert {n: (token.refusal, token.companies) for n, token in found.items()} == expected


def test_authorised_users(office: Office) -> None:
    office.change(f"UPDATE {{}}external_services SET restrictedusers = 1 WHERE id = {OURS}")
    office.service(5, "alx_report_api")
    users = [office.user() for _number in range(11)]
    plain, zero, ends, over, ip, both, apart, odd, twice, again, never = users
    for user, values in (
        (plain, {}),
        (zero, {"validuntil": 0, "iprestriction": ""}),
        (ends, {"validuntil": NOW + 50}),
        (over, {"validuntil": NOW - 50}),
        (ip, {"iprestriction": "10.0."}),
        (both, {"iprestriction": "10.0.0.0/8", "validuntil": NOW + 300}),
        (apart, {"iprestriction": "10.0.0.0/8"}),
        (odd, {"iprestriction": "office"}),
        (twice, {"iprestriction": "10.0.0.1"}),
        (twice, {"iprestriction": "10.0.0.2"}),
        (again, {"iprestriction": "10.0.0.1", "validuntil": NOW - 1}),
        (again, {"iprestriction": "10.0.0.2"}),
        (again, {"iprestriction": "10.0.0.2"}),
    ):
        office.permit(user, **values)
    office.permit(never, externalserviceid=OTHER)
    absent = "its user is not among the service's authorised users"
    expected = {
        office.token(plain, validuntil=NOW + 9): ("", (), NOW + 9),
        office.token(zero): ("", (), 0),
        office.token(ends, validuntil=NOW + 90): ("", (), NOW + 50),
        office.token(over): ("its user is no longer among the service's authorised users", (), 0),
        office.token(ip): ("", ("10.0.0.0/16",), 0),
        office.token(both, iprestriction="10.9.,192.0.2.1", validuntil=NOW + 200):
            ("", ("10.9.0.0/16",), NOW + 200),
        office.token(apart, iprestriction="192.0.2.1"):
            ("its IP restrictions have no address in common", (), 0),
        office.token(odd):
            ("its IP restriction cannot be carried over: Moodle admits nobody by it", (), 0),
        office.token(twice): ("its user is authorised twice, with different restrictions", (), 0),
        office.token(again): ("", ("10.0.0.2",), 0),
        office.token(never): (absent, (), 0),
        office.token(never, "other", externalserviceid=5): ("", (), 0),  # not a restricted service
    }  # fmt: skip
    found = office.read()
    assert {n: (t.refusal, t.networks, t.expires_at) for n, t in found.items()} == expected
    office.change("DROP TABLE {}external_services_users")
    assert set(office.refusals().values()) == {""}


def test_a_list_of_authorised_users_that_cannot_be_read(
    make_backend: Callable[[str], Backend], open_office: Callable[..., Office]
) -> None:
    backend = make_backend("postgres")
    office = open_office(backend.new_url())
    assert backend.server
    office.change("UPDATE {}external_services SET restrictedusers = 1")
    number = office.token()
    assert "authorised" in office.refusals()[number]
    database = str(office.engine.url.database)
    reader = sa.create_engine(backend.server.readonly_url(database))
    office.change(f"REVOKE ALL ON {{}}external_services_users FROM {reader.url.username}")
    with reader.connect() as connection:
        assert [token.refusal for token in service_tokens(connection, "mdl_", NOW)] == [""]
    reader.dispose()


@pytest.mark.parametrize("prefix", ["", "m2_"])
def test_any_prefix(backend: Backend, open_office: Callable[..., Office], prefix: str) -> None:
    office = open_office(backend.new_url(), prefix, authorised=False)
    number = office.token()
    assert office.refusals() == {number: ""}


def watch(connection: sa.Connection) -> list[str]:
    """Return a list that grows by each statement sent from now on."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        seen.append(sql)

    sa.event.listen(connection, "before_cursor_execute", note)
    return seen


def test_the_number_of_statements_does_not_grow(office: Office) -> None:
    counts = []
    for _round in range(2):
        for _number in range(20):
            office.permit(office.token())
        with office.engine.connect() as connection:
            seen = watch(connection)
            service_tokens(connection, "mdl_", NOW)
        assert all(sql.lstrip().startswith("SELECT") for sql in seen)
        counts.append(len(seen))
    assert counts == [4, 4]


def test_columns_that_a_site_may_lack(office: Office) -> None:
    office.change("DROP TABLE {}external_services_users")
    number = office.token(iprestriction="10.0.0.1", validuntil=NOW - DAY, sid="abc")
    assert office.refusals()[number] == "it belongs to a login session"
    for column in ("sid", "validuntil", "iprestriction"):
        office.change(f"ALTER TABLE {{}}external_tokens DROP COLUMN {column}")
    office.change("ALTER TABLE {}external_services DROP COLUMN restrictedusers")
    token = office.read()[number]
    assert (token.refusal, token.networks, token.expires_at) == ("", (), 0)


@pytest.mark.parametrize("name", ["external_services", "external_tokens"])
def test_no_web_services(office: Office, name: str) -> None:
    office.change(f"DROP TABLE {{}}{name}")
    with pytest.raises(SourceError, match=f"no web services tables: mdl_{name} ") as caught:
        office.read()
    assert caught.value.hint


def test_other_things_that_are_missing(local: Office) -> None:
    local.change("ALTER TABLE {}external_tokens RENAME COLUMN tokentype TO away")
    with pytest.raises(SourceError, match=r"lacks mdl_external_tokens\.tokentype\."):
        local.read()
    local.change("ALTER TABLE {}external_tokens RENAME COLUMN away TO tokentype")
    local.change("DROP TABLE {}company_users")
    with pytest.raises(SourceError, match=r"lacks mdl_company_users\."):
        local.read()


@pytest.mark.parametrize(
    ("name", "dump"),
    [("mariadb", "iomad-T0.sql.gz"), ("postgres", "iomad-T0.postgresql.sql.gz")],
)
def test_the_tokens_of_the_sample_site(
    make_backend: Callable[[str], Backend], shared_data: Path, name: str, dump: str
) -> None:
    backend = make_backend(name)
    engine = sa.create_engine(backend.new_url())
    database = str(engine.url.database)
    assert backend.server
    backend.server.load_dump(database, shared_data / dump)
    texts = backend.server.execute("SELECT token FROM mdl_external_tokens ORDER BY id", database)
    with engine.connect() as connection:
        found = service_tokens(connection, "mdl_", NOW)
    names = ("acme", "beta", "unico", "inject", "susp")
    companies = (1, 2, 3, 6, 4)
    assert found == [
        ServiceToken(
            number, texts[number - 1][0], 150 + number, f"alx_api_{word}", (company,), 0, (), ""
        )
        for number, word, company in zip(range(1, 6), names, companies, strict=True)
    ]
    assert len({token.secret for token in found}) == 5
    engine.dispose()
