"""The doctor on sound and broken set-ups: every check says what is wrong and what to do."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from alxreport import cron, cron_host, doctor_store, history, switch
from alxreport.checks import age_text
from alxreport.database import open_store, writing
from alxreport.doctor import ORDER, SEVERITY, Check, diagnose, worst
from alxreport.doctor_host import cron_check
from alxreport.errors import ConfigError, SourceError
from alxreport.grants import writing_rights
from alxreport.records import RunReport
from alxreport.schema import SCHEMA_VERSION, prepare_store, store_tables
from alxreport.settings import MoodleSettings, Settings, StoreSettings, load_settings
from alxreport.sync import run_sync

from .moodle_site import Site

TABLES = store_tables()


@pytest.fixture(autouse=True)
def host(tmp_path, monkeypatch):
    """A machine of its own: a home, an empty crontab command, no cron files."""
    folder = tmp_path / "host"
    (folder / "cron.d").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cron_host, "SYSTEM_CRONTAB", folder / "crontab")
    monkeypatch.setattr(cron_host, "CRON_FOLDER", folder / "cron.d")
    monkeypatch.setattr(cron_host, "UNIT_FOLDER", folder / "units")
    monkeypatch.setattr(cron_host, "SPOOLS", ())
    monkeypatch.setattr(cron_host, "home_of", lambda user: folder / "home")
    monkeypatch.setattr(cron_host, "cron_daemon", lambda: "cron")
    monkeypatch.setattr(cron_host, "can_mail", lambda: True)
    program(folder)
    set_crontab(folder, "")
    return folder


def program(folder):
    """Make something that can be run and is alxreport; return its path."""
    path = folder / "bin" / "alxreport"
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexec python3 -m alxreport\n")
    path.chmod(0o755)
    return path


def set_crontab(folder, text):
    listing = folder / "crontab_of_user"
    listing.write_text(text)
    script = folder / "bin-crontab"
    none = "#!/bin/sh\necho no crontab for you >&2\nexit 1\n"
    script.write_text(f"#!/bin/sh\ncat '{listing}'\n" if text else none)
    script.chmod(0o755)


@pytest.fixture(autouse=True)
def crontab_command(host, monkeypatch):
    """Let ``crontab -l`` be the script of ``set_crontab``."""
    found = {"crontab": str(host / "bin-crontab")}
    monkeypatch.setattr(cron_host, "crontab_program", lambda: found.get("crontab"))
    return found


def build(url):
    engine = sa.create_engine(url)
    site = Site(engine).create().sample(1)
    engine.dispose()
    return site


@pytest.fixture
def settings(tmp_path):
    """Return the settings of a sound site that was never synced."""
    url = f"sqlite:///{tmp_path}/moodle.db"
    build(url)
    return Settings(
        moodle=MoodleSettings(url=url), store=StoreSettings(url=f"sqlite:///{tmp_path}/store.db")
    )


def look(settings, now=None):
    found = diagnose(lambda: settings, int(time.time()) if now is None else now)
    names = [check.name for check in found]
    assert names == sorted(names, key=ORDER.index), "the checks come in their order"
    assert len(set(names)) == len(names)
    for check in found:
        assert check.finding
        assert check.verdict == "ok" or check.advice, f"{check} does not say what to do"
    return {check.name: check for check in found}


def verdicts(checks):
    return {name: check.verdict for name, check in checks.items() if check.verdict != "ok"}


def sync(settings, now=None):
    engine = open_store(settings.store)
    try:
        prepare_store(engine, TABLES)
        return run_sync(settings, engine, TABLES, now=now)
    finally:
        engine.dispose()


def in_store(settings, change):
    engine = open_store(settings.store)
    try:
        with writing(engine) as connection:
            return change(connection)
    finally:
        engine.dispose()


def with_cron(host, config):
    named = f"ALXREPORT_CONFIG={config}"
    line = f"{named} {program(host)}"
    set_crontab(host, f"7 * * * * {line} sync --quiet\n*/10 * * * * {line} alerts check --notify\n")


# As it should be


def test_a_sound_and_synced_site_has_nothing_to_complain_about(settings, host, tmp_path):
    path = tmp_path / "config.toml"
    with_cron(host, path)
    path.write_text(
        f'[moodle]\nurl = "{settings.moodle.url}"\n[store]\nurl = "{settings.store.url}"\n'
    )
    path.chmod(0o600)
    loaded = load_settings(path, {})
    sync(loaded)
    checks = look(loaded)
    assert verdicts(checks) == {}
    assert tuple(checks) == tuple(name for name in ORDER if name != "replica")
    assert worst(checks.values()) == "ok"
    assert checks["configuration"].finding == f"{path} (mode 0600)."
    assert checks["source"].finding.startswith("SQLite 3.")
    assert checks["companies"].finding == "3 companies, 13 users."
    assert checks["schema"].finding == f"Schema {SCHEMA_VERSION} is current."
    assert checks["last sync"].finding == "Success, 0 min ago."


def test_a_store_that_is_not_there_yet_is_not_made(settings, tmp_path):
    checks = look(settings)
    assert not (tmp_path / "store.db").exists()
    assert "the first sync makes it" in checks["store"].finding
    assert checks["last sync"].advice == "Run: alxreport sync"
    assert verdicts(checks) == {"cron": "warning", "last sync": "warning", "alerts": "warning"}
    assert "schema" not in checks


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_servers_on_both_sides(make_backend, name):
    backend = make_backend(name)
    source, store = backend.new_url(), backend.new_url()
    site = build(source)
    readonly = backend.server.readonly_url(site.engine.url.database)
    settings = Settings(moodle=MoodleSettings(url=readonly), store=StoreSettings(url=store))
    before = look(settings)
    assert verdicts(before) == {"cron": "warning", "last sync": "warning", "alerts": "warning"}
    assert "empty; the first sync" in before["schema"].finding
    sync(settings)
    checks = look(settings)
    assert verdicts(checks) == {"cron": "warning", "alerts": "warning"}
    assert checks["rights"].finding.endswith("may only read.")
    assert "reader_" in checks["rights"].finding
    password = sa.make_url(readonly).password
    assert password not in repr(checks)
    for url in (source, store):
        assert backend.server.open_connections(sa.make_url(url).database) == 0


# Configuration


def test_no_configuration_at_all():
    def loader():
        raise ConfigError("It cannot be read.", "Do this.")

    found = diagnose(loader, 0)
    assert found[0] == Check("configuration", "problem", "It cannot be read.", "Do this.")
    assert [check.name for check in found] == ["configuration", "cron"]
    checks = look(load_settings(None, {}))
    assert checks["configuration"].verdict == "problem"
    assert checks["configuration"].advice == "Run: alxreport init"
    assert {"source", "rights", "tables"}.isdisjoint(checks)
    assert "store" in checks


def test_what_the_environment_overrides_is_named(settings, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f'[moodle]\nurl = "{settings.moodle.url}"\n')
    path.chmod(0o600)
    environ = {"ALXREPORT_STORE_URL": settings.store.url, "ALXREPORT_MOODLE_PREFIX": "mdl_"}
    found = look(load_settings(path, environ))["configuration"]
    assert found.finding.endswith("The environment overrides store.url.")
    environ["ALXREPORT_MOODLE_URL"] = settings.moodle.url
    found = look(load_settings(None, environ))["configuration"]
    assert found.finding == "No file; the environment sets moodle.url, store.url."
    assert found.verdict == "ok"


def test_files_that_others_can_read_or_change(settings, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f'[moodle]\nurl = "{settings.moodle.url}"\n')
    environ = {"ALXREPORT_STORE_URL": settings.store.url}
    path.chmod(0o644)
    found = look(load_settings(path, environ))["configuration"]
    assert (found.verdict, "chmod 600" in found.advice) == ("warning", True)
    path.chmod(0o602)
    assert "changed by everybody" in look(load_settings(path, environ))["configuration"].advice
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    path.chmod(0o600)
    moodle = MoodleSettings(url="mysql://u@127.0.0.1:1/moodle", password_file=str(secret))
    found = look(replace(load_settings(path, environ), moodle=moodle))["configuration"]
    assert f"run: chmod 600 {secret}" in found.advice
    path.write_text('[moodle]\nurl = "mysql://u:pw@h/d"\n')
    path.chmod(0o644)
    first, *_others = diagnose(lambda: load_settings(path, {}), 0)
    assert first.verdict == "problem"
    assert "holds a password" in first.finding


def test_an_unknown_time_zone(settings):
    requests = replace(settings.requests, timezone="Mars/Olympus")
    found = look(replace(settings, requests=requests))["configuration"]
    assert (found.verdict, "Mars/Olympus" in found.finding) == ("problem", True)


# Moodle's database


def test_a_source_that_is_not_there_leaves_out_what_builds_on_it(settings, tmp_path):
    for url in (f"sqlite:///{tmp_path}/none.db", "mysql://u@127.0.0.1:1/moodle", "nonsense"):
        checks = look(replace(settings, moodle=MoodleSettings(url=url)))
        assert checks["source"].verdict == "problem"
        assert {"rights", "tables", "companies", "clock", "completion"}.isdisjoint(checks)
        assert "store" in checks


def test_a_file_that_is_no_database(settings, tmp_path):
    (tmp_path / "moodle.db").write_bytes(b"not a database at all" * 100)
    assert look(settings)["source"].verdict == "problem"


def test_a_wrong_prefix_is_found_and_the_clock_still_read(backend):
    url = backend.new_url()
    build(url)
    settings = Settings(moodle=MoodleSettings(url=url, prefix="x_"))
    checks = look(settings)
    assert "do not begin with 'x_'" in checks["tables"].finding
    assert checks["tables"].verdict == "problem"
    assert checks["clock"].verdict == "ok"
    assert {"companies", "completion"}.isdisjoint(checks)


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_user_with_every_right_is_told_that_less_is_enough(make_backend, name):
    url = make_backend(name).new_url()
    build(url)
    found = look(Settings(moodle=MoodleSettings(url=url)))["rights"]
    assert found.verdict == "warning"
    assert {"mariadb": "ALL PRIVILEGES", "postgres": "SUPERUSER"}[name] in found.finding
    assert "GRANT SELECT ON" in found.advice


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_the_advised_statements_make_a_user_who_may_only_read(make_backend, name):
    backend = make_backend(name)
    url = backend.new_url()
    build(url)
    database = sa.make_url(url).database
    advice = look(Settings(moodle=MoodleSettings(url=url)))["rights"].advice
    user = f"advised_{name}"
    statements = advice.partition("enough: ")[2].replace("alxreport", user).replace("…", "pw")
    made = sa.make_url(url).set(username=user, password="pw")
    try:
        for statement in statements.rstrip(";").split(";"):
            backend.server.execute(statement, database)
        settings = Settings(moodle=MoodleSettings(url=made.render_as_string(False)))
        checks = look(settings)
        assert checks["rights"].verdict == "ok"
        assert checks["companies"].verdict == "ok"
    finally:
        if name == "mariadb":
            backend.server.execute(f"DROP USER '{user}'@'localhost'")
        else:
            backend.server.execute(f"DROP OWNED BY {user}", database)
            backend.server.execute(f"DROP ROLE {user}")


def test_rights_on_one_table_of_postgres(make_backend):
    backend = make_backend("postgres")
    url = backend.new_url()
    build(url)
    database = sa.make_url(url).database
    reader = sa.make_url(backend.server.readonly_url(database))
    backend.server.execute(f"GRANT UPDATE ON mdl_user TO {reader.username}", database)
    settings = Settings(moodle=MoodleSettings(url=reader.render_as_string(False)))
    found = look(settings)["rights"]
    assert (found.verdict, "more than read: UPDATE." in found.finding) == ("warning", True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*AB'", ()),
        ("GRANT SELECT, SHOW VIEW ON `moodle`.* TO `u`@`%`", ()),
        ("GRANT SELECT (`id`, `name`) ON `moodle`.`mdl_user` TO `u`@`%`", ()),
        ("GRANT SELECT, INSERT (`id`, `x`), UPDATE ON `moodle`.`t` TO `u`@`%`",
         ("INSERT", "UPDATE")),
        ("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
         ("ALL PRIVILEGES", "GRANT OPTION")),
        ("GRANT ALL PRIVILEGES ON `other`.* TO `u`@`%`", ()),
        ("GRANT INSERT ON `mood%`.* TO `u`@`%`", ("INSERT",)),
        ("GRANT INSERT ON `mo_dle`.* TO `u`@`%`", ("INSERT",)),
        (r"GRANT INSERT ON `mo\_dle`.* TO `u`@`%`", ()),
        ("GRANT INSERT ON `mo_dle`.`t` TO `u`@`%`", ()),
        ('GRANT DELETE ON "moodle".* TO "u"@"%"', ("DELETE",)),
        ("GRANT EXECUTE ON PROCEDURE `moodle`.`p` TO `u`@`%`", ("EXECUTE",)),
        ("GRANT `role`@`%` TO `u`@`%`", ()),
        ("GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION", ()),
    ],
)  # fmt: skip
def test_lines_of_show_grants(line, expected):
    assert writing_rights([line], "moodle") == expected


@given(st.text(), st.text())
def test_no_line_of_show_grants_breaks_the_reader(line, database):
    writing_rights([line, f"GRANT {line} ON {line}.* TO x"], database)


def test_a_site_without_companies_or_an_optional_table(settings):
    site = Site(sa.create_engine(settings.moodle.url))
    site.delete("company")
    with site.transaction() as connection:
        connection.execute(sa.text("DROP TABLE mdl_company_shared_courses"))
    site.engine.dispose()
    checks = look(settings)
    assert checks["companies"].verdict == "warning"
    assert checks["tables"].verdict == "ok"
    assert "lacks mdl_company_shared_courses" in checks["tables"].finding


def test_clocks_that_differ(settings):
    now = int(time.time())
    assert look(settings, now + 30)["clock"].verdict == "ok"
    behind = look(settings, now + 3600)["clock"]
    assert (behind.verdict, "behind" in behind.finding) == ("warning", True)
    assert "ahead of" in look(settings, now - 3600)["clock"].finding


def test_completion_switched_off(settings):
    site = Site(sa.create_engine(settings.moodle.url))
    site.update("course", {}, enablecompletion=0)
    assert look(settings)["completion"].verdict == "warning"
    site.update("course", {}, enablecompletion=1, visible=0)
    assert "No visible course" in look(settings)["completion"].finding
    for value in ("0", None):
        site.set_config("enablecompletion", value)
        assert "whole site" in look(settings)["completion"].finding
    site.engine.dispose()


# The store


def test_a_store_whose_place_cannot_be_written(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    there = replace(settings, store=StoreSettings(url=f"sqlite:///{tmp_path}/file/a/b.db"))
    assert look(there)["store"].verdict == "problem"
    monkeypatch.setattr(doctor_store.os, "access", lambda *_: False)
    found = look(settings)["store"]
    assert (found.verdict, str(tmp_path) in found.advice) == ("problem", True)


def test_a_store_that_cannot_be_reached_or_is_none(settings, tmp_path):
    (tmp_path / "none.db").write_bytes(b"not a database at all" * 100)
    for url in (
        f"sqlite:///{tmp_path}/none.db",
        "mysql://u@127.0.0.1:1/x",
        "nonsense",
        "sqlite://",
    ):
        checks = look(replace(settings, store=StoreSettings(url=url)))
        assert checks["store"].verdict == "problem", url
        assert {"schema", "switch", "last sync"}.isdisjoint(checks)


def test_a_store_that_can_be_read_but_not_written(make_backend, settings):
    backend = make_backend("mariadb")
    store = StoreSettings(url=backend.new_url())
    sync(replace(settings, store=store))
    reader = backend.server.readonly_url(sa.make_url(store.url).database)
    found = look(replace(settings, store=StoreSettings(url=reader)))["store"]
    assert found.verdict == "problem"
    assert "UPDATE command denied" in found.finding


def test_a_busy_store_is_no_problem(settings, monkeypatch):
    sync(settings)
    engine = sa.create_engine(settings.store.url, connect_args={"isolation_level": None})
    monkeypatch.setattr("alxreport.database.LOCK_WAIT_SECONDS", 0.1)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        found = look(settings)["store"]
        assert (found.verdict, "busy" in found.finding) == ("warning", True)
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()


def test_a_store_that_everybody_can_read(settings, tmp_path):
    sync(settings)
    (tmp_path / "store.db").chmod(0o644)
    found = look(settings)["store"]
    assert (found.verdict, "chmod 600" in found.advice) == ("warning", True)


@pytest.mark.parametrize(
    ("version", "verdict", "word"),
    [("", "warning", "not finished"), ("0000", "warning", "older"), ("9999", "problem", "newer")],
)
def test_other_schemas(settings, version, verdict, word):
    sync(settings)
    in_store(
        settings,
        lambda c: c.execute(sa.text(f"UPDATE {TABLES.version} SET version_num = '{version}'")),
    )
    checks = look(settings)
    assert (checks["schema"].verdict, word in checks["schema"].finding) == (verdict, True)
    assert "last sync" not in checks


def test_a_store_beside_or_inside_moodle(backend):
    url = backend.new_url()
    build(url)
    inside = Settings(moodle=MoodleSettings(url=url), store=StoreSettings(url=url))
    checks = look(inside)
    assert checks["separation"].verdict == "warning"
    # Known by Moodle's tables in it, whatever the source is called.
    renamed = replace(inside, moodle=MoodleSettings(url="mysql://u@127.0.0.1:1/moodle"))
    assert look(renamed)["separation"].verdict == "warning"


def test_the_plugins_tables_in_the_store(settings):
    site = Site(sa.create_engine(settings.moodle.url))
    with site.transaction() as connection:
        connection.execute(sa.text("CREATE TABLE local_alx_api_reporting (id integer)"))
    site.engine.dispose()
    checks = look(replace(settings, store=StoreSettings(url=settings.moodle.url)))
    assert (checks["schema"].verdict, "did not make" in checks["schema"].finding) == (
        "problem",
        True,
    )


# Cron


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("7 * * * * {} sync", True),
        ("@hourly {} --config {}.toml sync --quiet >/dev/null", True),
        ("7 * * * * ALXREPORT_MOODLE_URL=mysql://u:pw@h/d {} sync", True),
        ("7 * * * * {} sync; true", True),
        ("# 7 * * * * {} sync", False),
        ("7 * * * * {} sync-state show", False),
        ("7 * * * * {} monitor; /bin/x sync", False),
        ("7 * * * * {}er sync", False),
        ("MAILTO={} sync", False),
        # What cannot work, though it looks as if it did.
        ("7 * * * * alxreport sync", False),
        ("7 * * * * /nowhere{} sync", False),
        ("7 * * * * {} sync --quite", False),
        ("7 * * * * {} sync --dry-run", False),
        ("7 * * * * ALXREPORT_CONFIG=/nowhere.toml {} sync", False),
        ("7 2 * * * {} sync", False),
        ("7 * * * 1-5 {} sync", False),
        ("@reboot {} sync", False),
    ],
)
def test_cron_lines(host, line, found):
    path = program(host)
    config = path.with_name("alxreport.toml")
    config.touch()
    set_crontab(host, f"SHELL=/bin/sh\n{line.replace('{}', str(path))}\n")
    check = cron_check(config if "--config" in line else None, 0)
    assert check.verdict == ("ok" if found else "warning")
    assert bool(check.advice) != found
    assert "pw" not in check.finding


def test_a_line_of_another_configuration_is_none(host, tmp_path):
    mine, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    mine.touch()
    other.touch()
    set_crontab(host, f"7 * * * * {program(host)} --config {other} sync\n")
    assert cron_check(mine, 0).finding == "No cron line runs the sync."
    assert cron_check(mine, 0).advice == f"Run: alxreport cron install --config {mine}"
    assert cron_check(other, 0).verdict == "ok"
    assert cron_check(None, 0, any_config=True).verdict == "ok"


def test_cron_lines_of_the_machine(host, crontab_command, monkeypatch):
    monkeypatch.setattr(cron_host, "_file_fault", lambda path: "")
    line = f"7 * * * * root {program(host)} sync --quiet\n"
    for name in ("alxreport.dpkg-old", "x~"):
        (host / "cron.d" / name).write_text(line)
    assert cron_check(None, 0).verdict == "warning"
    (host / "cron.d" / "alxreport").write_text(line)
    found = cron_check(None, 0)
    assert (found.verdict, "cron.d/alxreport" in found.finding) == ("ok", True)
    (host / "cron.d" / "alxreport").unlink()
    (host / "crontab").write_text(line)
    crontab_command.clear()
    assert cron_check(None, 0).verdict == "ok"
    (host / "crontab").unlink()
    assert "no crontab command" in cron_check(None, 0).finding


def test_no_daemon_no_sync(host, monkeypatch):
    set_crontab(host, f"7 * * * * {program(host)} sync\n")
    monkeypatch.setattr(cron_host, "cron_daemon", lambda: "")
    check = cron_check(None, 0)
    assert (check.verdict, "no cron daemon is running" in check.finding) == ("warning", True)
    monkeypatch.setattr(cron_host, "cron_daemon", lambda: None)
    assert cron_check(None, 0).verdict == "ok"


def test_the_line_to_add_is_found_once_it_is_added(host, tmp_path, monkeypatch):
    monkeypatch.setattr(cron, "own_program", lambda: (str(program(host)),))
    usual = host / "home" / ".config" / "alxreport" / "config.toml"
    odd = tmp_path / "50% of 'it'" / "a.toml"
    for config in (None, usual, odd):
        if config:
            config.parent.mkdir(parents=True)
            config.touch()
        line = cron.cron_lines(config)["sync"]
        assert ("ALXREPORT_CONFIG" in line) == (config == odd)
        assert "%" not in line.replace(r"\%", "")
        set_crontab(host, line + "\n")
        assert cron_check(config, 0).verdict == "ok"


# The syncs


def test_a_disabled_sync_is_not_overdue(settings):
    now = int(time.time())
    sync(settings)
    assert look(settings, now + 7100)["last sync"].verdict == "ok"
    found = look(settings, now + 7300)["last sync"]
    assert (found.verdict, found.finding) == ("warning", "Success, 2 h ago.")
    in_store(settings, lambda c: switch.write(c, TABLES, switch.SWITCH, switch.DISABLED))
    checks = look(settings, now + 7300)
    assert checks["last sync"].verdict == "ok"
    assert checks["switch"].verdict == "warning"
    assert "sync-state enable" in checks["switch"].advice


def test_a_store_that_was_made_but_never_synced(settings):
    engine = open_store(settings.store)
    prepare_store(engine, TABLES)
    engine.dispose()
    checks = look(settings)
    assert checks["last sync"] == doctor_store.NEVER
    assert "company syncs" not in checks


def test_a_failed_sync_and_its_reason(settings):
    sync(settings)
    site = Site(sa.create_engine(settings.moodle.url))
    site.delete("enrol")
    site.engine.dispose()
    with pytest.raises(SourceError):
        sync(settings)
    found = look(settings)["last sync"]
    assert found.verdict == "problem"
    assert "mdl_enrol is empty" in found.finding
    assert "last success was 0 min ago" in found.finding


def test_a_sync_that_is_running_or_died(settings):
    engine = open_store(settings.store)
    prepare_store(engine, TABLES)
    with writing(engine) as connection:
        history.begin_run(connection, TABLES, "full", 1000)
    engine.dispose()
    assert look(settings, 1300)["last sync"].finding == "One has been running for 5 min."
    assert look(settings, 1300)["last sync"].verdict == "ok"
    assert look(settings, 1000 + 9000)["last sync"].verdict == "warning"


def test_companies_that_failed_are_named(settings):
    sync(settings)
    state = TABLES.sync_status

    def fail(connection):
        connection.execute(
            sa.update(state)
            .where(state.c.companyid == 1)
            .values(last_status="failed", last_error="Too many rows would go.")
        )
        run = history.begin_run(connection, TABLES, "incremental", int(time.time()))
        report = RunReport(run, "incremental", "partial", 0, int(time.time()), 1.0)
        history.end_run(connection, TABLES, report)
        return connection.scalar(sa.select(state.c.shortname).where(state.c.companyid == 1))

    name = in_store(settings, fail)
    checks = look(settings)
    assert checks["company syncs"].verdict == "problem"
    assert f"1 of 3 failed at their last sync: {name}: Too many" in checks["company syncs"].finding
    assert (checks["last sync"].verdict, checks["last sync"].finding) == (
        "warning",
        "Partial, 0 min ago.",
    )


def test_the_doctor_changes_nothing(settings, tmp_path):
    sync(settings)

    def content():
        found = {}
        for name in ("store.db", "moodle.db"):
            engine = sa.create_engine(f"sqlite:///{tmp_path}/{name}")
            with engine.connect() as connection:
                raw = connection.connection.driver_connection
                found[name] = "\n".join(raw.iterdump())
            engine.dispose()
        return found

    before = content()
    look(settings)
    assert content() == before


# The words


def test_the_gravest_verdict_counts():
    checks = [Check("a", verdict, "") for verdict in SEVERITY]
    assert worst([]) == "ok"
    assert worst(checks[:1]) == "ok"
    assert worst(checks[:2]) == "warning"
    assert worst(reversed(checks)) == "problem"


def test_ages():
    assert [age_text(s) for s in (-5, 59, 7199, 7200, 172_799, 172_800)] == [
        "0 min", "0 min", "119 min", "2 h", "47 h", "2 days",
    ]  # fmt: skip


# Who is told


@pytest.mark.parametrize(
    ("urls", "mail", "line", "verdict", "finding"),
    [
        ([], True, True, "ok", "cron mails what is wrong"),
        ([], False, True, "warning", "Nobody is told"),
        ([], True, False, "warning", "No cron line looks"),
        (["json://127.0.0.1:9/x"], False, True, "ok", "One address is told"),
        (["json://127.0.0.1:9/x", "nonsense://s3cret"], True, True, "problem", "The second of"),
    ],
)
def test_who_is_told(settings, host, tmp_path, monkeypatch, urls, mail, line, verdict, finding):
    path = tmp_path / "config.toml"
    if line:
        with_cron(host, path)
    monkeypatch.setattr(cron_host, "can_mail", lambda: mail)
    path.write_text(
        f'[moodle]\nurl = "{settings.moodle.url}"\n[store]\nurl = "{settings.store.url}"\n'
        f"[alerts]\nurls = {urls}\n[sync]\nping_url = 'ftp://x'\n"
    )
    path.chmod(0o600)
    checks = look(load_settings(path, {}))
    assert checks["alerts"].verdict == verdict
    assert finding in checks["alerts"].finding
    assert "s3cret" not in repr(checks)
    assert "ping_url" in checks["configuration"].advice
