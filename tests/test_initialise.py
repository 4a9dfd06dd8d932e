"""alxreport init: what it reads, asks, tries and writes, and what it leaves alone on a failure."""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from alxreport import config_file, initialise
from alxreport.address import plain, same_database, shown
from alxreport.config_file import config_text, write_config
from alxreport.database import database_url, open_store
from alxreport.errors import ConfigError, SourceError, StoreError, UsageError
from alxreport.probes import usable_zone
from alxreport.schema import SCHEMA_VERSION, schema_version, store_tables
from alxreport.settings import (
    MoodleSettings,
    StoreSettings,
    load_settings,
    parse_settings,
    user_config_path,
)

from .conftest import Backend
from .moodle_site import Site

DBTYPES = {"mariadb": "mariadb", "postgres": "pgsql"}


class Person:
    """Answers questions from a list, and remembers what was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, question: str, secret: bool) -> str:
        self.asked.append((question, secret))
        if not self.answers:
            raise UsageError(f"Nobody is there to ask: {question}.")
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Let no test see or touch the files of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(initialise, "ROOT_STORE", tmp_path / "var" / "alxreport.db")
    monkeypatch.setattr(initialise, "USUAL_SOCKETS", ())


@pytest.fixture
def target(tmp_path):
    return tmp_path / "made" / "for it" / "config.toml"


@pytest.fixture(params=["mariadb", "postgres"])
def server(request, make_backend) -> Backend:
    return make_backend(request.param)


def init(target, **changes):
    options = {
        "moodle_config": None, "moodle_url": None, "store_url": None, "prefix": None, "tls": None,
        "tls_ca": None, "ask": Person(), "force": False,
    }  # fmt: skip
    return initialise.initialise(target=target, **(options | changes))


def build(url, prefix="mdl_", **config):
    """Make a small IOMAD site, and return the URL."""
    engine = sa.create_engine(url)
    site = Site(engine, prefix).create().sample(1)
    for name, value in config.items():
        site.set_config(name, value)
    engine.dispose()
    return url


def config_php(folder: Path, url, **changes) -> Path:
    """Write a config.php as Moodle's installer does; values are PHP."""
    url = sa.make_url(url)
    values = {
        "dbtype": f"'{DBTYPES['mariadb' if 'mysql' in url.drivername else 'postgres']}'",
        "dbhost": f"'{url.host}'",
        "dbname": f"'{url.database}'",
        "dbuser": f"'{url.username}'",
        "dbpass": f"'{url.password or ''}'",
        "prefix": "'mdl_'",
        "dboptions": f"['dbport' => '{url.port}', 'dbsocket' => '']",
    } | changes
    lines = [f"$CFG->{name} = {value};" for name, value in values.items() if value is not None]
    path = folder / "config.php"
    path.write_text("<?php\nunset($CFG);\n$CFG = new stdClass();\n" + "\n".join(lines))
    return path


def without_password(url):
    return sa.make_url(url)._replace(password=None).render_as_string()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# What is written


def test_a_sqlite_site_is_tried_counted_and_written(tmp_path, target):
    build(f"sqlite:///{tmp_path}/moodle.db")
    url, store = f"sqlite:///{tmp_path}/moodle.db", tmp_path / "data" / "store.db"
    report = init(target, moodle_url=url, store_url=f"sqlite:///{store}")
    assert (report.path, report.source, report.store) == (target, url, f"sqlite:///{store}")
    assert report.server.startswith("SQLite 3.")
    assert report.companies == 3
    assert report.users == 13  # twelve and the administrator, not the guest
    assert report.timezone == "Europe/London"
    assert mode(target) == 0o600
    assert mode(target.parent) == mode(target.parent.parent) == 0o700
    assert [path.name for path in target.parent.iterdir()] == ["config.toml"]
    settings = load_settings(target, {})
    assert settings.moodle == MoodleSettings(url=url, prefix="mdl_")
    assert settings.store == StoreSettings(url=f"sqlite:///{store}")
    assert settings.requests.timezone == "Europe/London"
    assert settings.warnings == ()
    assert mode(store) == 0o600
    engine = open_store(settings.store)
    with engine.connect() as connection:
        assert schema_version(connection, store_tables()) == SCHEMA_VERSION
    engine.dispose()


def test_relative_paths_are_written_as_absolute_ones(tmp_path, target, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build("sqlite:///moodle.db")
    init(target, moodle_url="sqlite:///moodle.db", store_url="sqlite:///store.db")
    settings = load_settings(target, {})
    assert settings.moodle.url == f"sqlite:///{tmp_path}/moodle.db"
    assert settings.store.url == f"sqlite:///{tmp_path}/store.db"


def test_the_store_lies_in_its_usual_place_when_none_is_named(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    report = init(target, moodle_url=url)
    assert report.store == initialise.default_store_url()
    assert load_settings(target, {}).store.url == report.store


def test_the_usual_places_of_root_and_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setattr(initialise, "_is_root", lambda: True)
    assert initialise.default_config_target(None) == Path("/etc/alxreport/config.toml")
    assert initialise.default_store_url() == f"sqlite:///{tmp_path}/var/alxreport.db"
    monkeypatch.setattr(initialise, "_is_root", lambda: False)
    assert initialise.default_config_target(None) == user_config_path()
    assert str(tmp_path / "home") in initialise.default_store_url()
    named = initialise.default_config_target(Path("here.toml"))
    assert named == Path.cwd() / "here.toml"


def test_roots_file_is_made_in_a_folder_that_everybody_can_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(config_file, "SYSTEM_FOLDER", tmp_path)
    target = tmp_path / "alxreport" / "config.toml"
    before = os.umask(0o077)
    try:
        write_config(target, "x")
    finally:
        os.umask(before)
    assert (mode(target.parent), mode(target)) == (0o755, 0o600)


def test_a_server_is_read_through_a_select_only_user(make_backend, server, target):
    url = build(server.new_url())
    reader = sa.make_url(server.server.readonly_url(sa.make_url(url).database))
    person = Person(str(reader.password))
    report = init(
        target,
        moodle_url=without_password(reader),
        ask=person,
        store_url=make_backend("sqlite").new_url(),
    )
    assert person.asked == [("Password of Moodle's database", True)]
    assert report.server.startswith(
        {"mariadb": "MariaDB 1", "postgres": "PostgreSQL 1"}[server.name]
    )
    assert str(reader.password) not in repr(report)
    assert str(reader.password) in target.read_text()
    assert report.source == shown(reader)
    assert (report.companies, report.users, report.timezone) == (3, 13, "Europe/London")


def test_the_store_may_be_on_a_server(server, tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    store = sa.make_url(server.new_url())
    person = Person("")
    init(target, moodle_url=url, store_url=store.render_as_string(), ask=person)
    assert person.asked == [("Password of the store's database", True)]
    engine = open_store(load_settings(target, {}).store)
    with engine.connect() as connection:
        assert schema_version(connection, store_tables()) == SCHEMA_VERSION
    engine.dispose()
    assert server.server.open_connections(store.database) == 0


def test_the_source_leaves_no_connection_behind(server, tmp_path, target):
    url = build(server.new_url())
    init(target, moodle_config=config_php(tmp_path, url))
    assert server.server.open_connections(sa.make_url(url).database) == 0


# Moodle's config.php


def test_config_php_is_enough(server, tmp_path, target):
    url = build(server.new_url())
    reader = server.server.readonly_url(sa.make_url(url).database)
    report = init(target, moodle_config=config_php(tmp_path, reader))
    written = sa.make_url(load_settings(target, {}).moodle.url)
    assert written == plain(sa.make_url(reader))
    assert "+" not in written.drivername
    assert report.companies == 3


def test_what_php_computes_is_asked_for(server, tmp_path, target):
    url = build(server.new_url())
    reader = sa.make_url(server.server.readonly_url(sa.make_url(url).database))
    php = config_php(
        tmp_path,
        reader,
        dbhost="getenv('DB_HOST')",
        dbpass="getenv('DB_PASS')",
        prefix="getenv('PREFIX')",
        dboptions="['dbport' => getenv('DB_PORT')]",
    )
    person = Person(" 127.0.0.1 ", str(reader.password), "mdl_", str(reader.port))
    init(target, moodle_config=php, ask=person)
    assert [secret for _question, secret in person.asked] == [False, True, False, False]
    assert sa.make_url(load_settings(target, {}).moodle.url) == plain(reader)


def test_a_prefix_in_a_flag_is_not_asked_for(server, tmp_path, target):
    url = build(server.new_url(), "m_")
    php = config_php(tmp_path, url, prefix="getenv('PREFIX')")
    init(target, moodle_config=php, prefix="m_")
    assert load_settings(target, {}).moodle.prefix == "m_"


def test_a_config_php_without_a_prefix_means_none(server, tmp_path, target):
    url = build(server.new_url(), "")
    init(target, moodle_config=config_php(tmp_path, url, prefix=None))
    assert load_settings(target, {}).moodle.prefix == ""


def test_a_port_that_is_none_is_refused(server, tmp_path, target):
    php = config_php(tmp_path, server.new_url(), dboptions="['dbport' => getenv('P')]")
    with pytest.raises(UsageError, match="'70000' is not a port number"):
        init(target, moodle_config=php, ask=Person("70000"))


def test_localhost_falls_back_on_the_socket_that_php_uses(
    make_backend, tmp_path, target, monkeypatch
):
    backend = make_backend("mariadb")
    url = build(backend.new_url())
    socket = backend.server.folder / "data" / "server.sock"
    missing = tmp_path / "none.sock"
    monkeypatch.setattr(initialise, "USUAL_SOCKETS", (missing, socket))
    php = config_php(tmp_path, url, dbhost="'localhost'", dboptions="['dbport' => 1]")
    report = init(target, moodle_config=php)
    written = sa.make_url(load_settings(target, {}).moodle.url)
    assert written.query == {"unix_socket": str(socket)}
    assert report.source.endswith(f"by {socket}")
    target.unlink()
    with pytest.raises(SourceError, match="Can't connect"):
        init(target, moodle_url="mysql://root:@localhost:1/moodle")  # a port means TCP


def test_moodles_encryption_is_taken_over(tmp_path, target, monkeypatch):
    seen = []

    def answers(choices):
        seen.extend(choices)
        raise SourceError("far enough")

    monkeypatch.setattr(initialise, "_first_that_answers", answers)
    url = "mysql://u:p@db.example/moodle"
    cases = [
        ("verify-full", None, None, "verify"),
        ("require", None, None, "require"),
        ("prefer", None, None, "off"),
        ("require", "off", None, "off"),
        ("", None, "ca.pem", "verify"),
    ]
    for ssl, tls, authority, expected in cases:
        php = config_php(tmp_path, url, dboptions=f"['ssl' => '{ssl}']")
        with pytest.raises(SourceError, match="far enough"):
            init(target, moodle_config=php, tls=tls, tls_ca=authority)
        assert seen[-1].tls == expected
    assert seen[-1].tls_ca == str(Path.cwd() / "ca.pem")
    php = config_php(tmp_path, url, dboptions="['ssl' => 'odd']")
    with pytest.raises(ConfigError, match="odd"):
        init(target, moodle_config=php)


def test_encryption_that_the_server_lacks_is_refused(make_backend, tmp_path, target):
    url = build(make_backend("mariadb").new_url())
    with pytest.raises(SourceError):
        init(target, moodle_config=config_php(tmp_path, url), tls="require")
    assert not target.exists()


# What is refused, with nothing written


def refused(target, error, match, **options):
    with pytest.raises(error, match=match) as caught:
        init(target, **options)
    assert not target.exists()
    return caught.value


def test_a_wrong_password(server, tmp_path, target):
    url = build(server.new_url())
    reader = sa.make_url(server.server.readonly_url(sa.make_url(url).database))
    store = tmp_path / "store.db"
    for options in (
        {"moodle_config": config_php(tmp_path, reader.set(password="hunter2"))},
        {
            "moodle_url": without_password(reader),
            "ask": Person("hunter2"),
        },
    ):
        error = refused(
            target,
            SourceError,
            "refuses|authentication failed",
            store_url=f"sqlite:///{store}",
            **options,
        )
        assert "hunter2" not in error.message + error.hint
        assert not store.exists()


def test_a_server_that_is_not_there(target):
    refused(target, SourceError, "Moodle's database", moodle_url="mysql://u:@127.0.0.1:1/moodle")
    refused(target, SourceError, "Moodle's", moodle_url="postgres://u:@127.0.0.1:1/moodle")


def test_a_wrong_prefix_and_what_is_not_moodle(backend, target):
    url = sa.make_url(build(backend.new_url())).set(password="" if backend.server else None)
    text = url.render_as_string(hide_password=False)
    refused(target, SourceError, "do not begin with 'x_'", moodle_url=text, prefix="x_")
    empty = sa.make_url(backend.new_url()).set(password="" if backend.server else None)
    if empty.database and not backend.server:
        sa.create_engine(empty).connect().close()
    refused(
        target,
        SourceError,
        "not a Moodle database",
        moodle_url=empty.render_as_string(hide_password=False),
    )


def test_a_moodle_without_iomad(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name in ("company", "company_users", "company_course", "iomad_courses"):
            connection.execute(sa.text(f"DROP TABLE mdl_{name}"))
    engine.dispose()
    refused(target, SourceError, "has no IOMAD", moodle_url=url)


def test_a_store_that_cannot_be_used(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    (tmp_path / "file").write_text("no folder")
    store = f"sqlite:///{tmp_path}/file/store.db"
    refused(target, StoreError, "cannot be made", moodle_url=url, store_url=store)
    refused(target, ConfigError, "--store-url", moodle_url=url, store_url="oracle://x/y")


def test_the_plugins_tables_are_not_taken_for_a_store(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE local_alx_api_reporting (id integer)"))
    engine.dispose()
    refused(target, StoreError, "did not make", moodle_url=url, store_url=url)


def test_the_flags_must_make_sense(tmp_path, target):
    refused(target, UsageError, "Name Moodle's config.php or its database.$")
    both = {"moodle_url": "sqlite:///x", "moodle_config": tmp_path}
    refused(target, UsageError, "not both", **both)
    url = {"moodle_url": "sqlite:////x.db"}
    refused(target, UsageError, "--tls 'maybe'", tls="maybe", **url)
    refused(target, UsageError, "--tls-ca", tls="require", tls_ca="x", **url)
    refused(target, ConfigError, "--moodle-url", moodle_url="nonsense")
    refused(target, ConfigError, "cannot be read", moodle_config=tmp_path / "none.php")


def test_nobody_to_ask_passes_through(target):
    refused(target, UsageError, "Nobody", moodle_url="mysql://u@127.0.0.1:1/moodle")


def test_a_file_that_is_there_is_only_replaced_when_asked_to(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    target.chmod(0o644)
    with pytest.raises(UsageError, match="is there already") as caught:
        init(target, moodle_url=url)
    assert "--force" in caught.value.hint
    assert target.read_text() == "mine"
    link = tmp_path / "link.toml"
    link.symlink_to(target)
    report = init(link, moodle_url=url, force=True)
    assert report.path == link
    assert link.is_symlink()
    assert mode(target) == 0o600
    assert load_settings(link, {}).moodle.url == url


def test_a_folder_that_cannot_be_made(tmp_path):
    url = build(f"sqlite:///{tmp_path}/moodle.db")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        init(tmp_path / "file" / "config.toml", moodle_url=url)


# Notes


def test_what_is_worth_knowing_is_noted(tmp_path, target):
    url = build(f"sqlite:///{tmp_path}/moodle.db", timezone="99")
    report = init(target, moodle_url=url, store_url=url)
    notes = "\n".join(report.notes)
    assert report.timezone == "UTC"
    assert "Moodle names no time zone" in notes
    assert "Moodle's own database" in notes
    assert f"--config {target}" in notes
    assert ("Only root" in notes) == (os.geteuid() == 0)


@pytest.mark.parametrize(
    ("moodle", "expected", "noted"),
    [
        ("Europe/London", "Europe/London", False),
        ("UTC", "UTC", False),
        ("99", "UTC", True),
        ("", "UTC", True),
        ("5.5", "UTC", True),
        ("Europe", "UTC", True),
        ("../etc/passwd", "UTC", True),
        ("Mars/Olympus", "UTC", True),
    ],
)
def test_time_zones(moodle, expected, noted):
    zone, note = usable_zone(moodle)
    assert (zone, bool(note)) == (expected, noted)


# The file's text

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(url=TEXT, prefix=TEXT, authority=TEXT, store=TEXT, timezone=TEXT)
def test_every_value_comes_back_out_of_the_file(url, prefix, authority, store, timezone):
    moodle = MoodleSettings(url=url, prefix=prefix, tls="verify", tls_ca=authority)
    settings = parse_settings(config_text(moodle, StoreSettings(url=store), timezone))
    assert settings.moodle == moodle
    assert settings.store == StoreSettings(url=store)
    assert settings.requests.timezone == timezone


@given(password=TEXT, user=TEXT.filter(bool))
def test_every_password_comes_back_out_of_the_url(password, user):
    password = f"secret{password}"
    for driver in ("mysql+pymysql", "postgresql+psycopg"):
        url = sa.URL.create(driver, user, password, "db.example", 3306, "moodle")
        written = plain(url).render_as_string(hide_password=False)
        text = config_text(MoodleSettings(url=written), StoreSettings(), "UTC")
        back = database_url(parse_settings(text).moodle, "moodle.url")
        assert (back.username, back.password) == (user, password)
        assert "secret" not in shown(back)


def test_the_text_is_toml_with_comments():
    text = config_text(MoodleSettings(url="mysql://h/d"), StoreSettings(url="s"), "UTC")
    assert set(tomllib.loads(text)) == {"moodle", "store", "requests"}
    assert "tls_ca" not in tomllib.loads(text)["moodle"]


# Addresses


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("mysql://a:b@localhost/moodle", "mariadb://c@127.0.0.1:3306/moodle", True),
        ("mysql://a@localhost/moodle", "mysql://a@localhost/alx", False),
        ("mysql://a@localhost/moodle", "mysql://a@localhost:3307/moodle", False),
        ("mysql://a@localhost/moodle?unix_socket=/s", "mysql://a@localhost/moodle", True),
        ("postgres://a@/moodle?host=/run/postgresql", "postgresql://b@localhost/moodle", True),
        ("postgres://a@db.example/moodle", "postgres://b@DB.example:5432/moodle", True),
        ("postgres://a@db.example/moodle", "mysql://b@db.example/moodle", False),
        ("sqlite:////x/../y.db", "sqlite:////y.db", True),
        ("sqlite:////x.db", "sqlite:////y.db", False),
    ],
)
def test_the_same_database_is_recognised(one, other, same):
    found = [database_url(replace(MoodleSettings(), url=text), "x") for text in (one, other)]
    assert same_database(*found) is same


def test_no_password_is_shown_even_from_the_options():
    url = database_url(MoodleSettings(url="postgres://u:p4ss@h/d?password=p4ss"), "x")
    assert shown(url) == "postgresql://u@h/d"
