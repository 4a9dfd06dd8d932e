"""The PHP plugin's settings of companies, as alxreport would store them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from alxreport.errors import SourceError
from alxreport.plugin_settings import PluginCompany, plugin_settings

from .conftest import Backend
from .moodle_site import Site

DEFAULTS = {
    "max_limit": "1000",
    "sync_mode": "full",
    "sync_window_hours": "24",
    "cache_minutes": "60",
    "include_untracked": "0",
    "rate_limit": "100",
    "field_email": "1",
    "field_username": "0",
}
PLUGIN = "local_alx_report_api"
ONE_BUDGET = (
    "The plugin gave {} requests a day to each user; now they are one budget of the whole company."
)


class Plugin:
    """A site of three companies with the plugin's tables, as db/install.xml makes them."""

    def __init__(self, url: str, prefix: str = "mdl_", value: Any = sa.SmallInteger) -> None:
        self.engine = sa.create_engine(url)
        self.prefix = prefix
        self.site = Site(self.engine, prefix).create()
        self.companies = [self.site.add_company(name) for name in ("Acme", "Beta", "Gamma")]
        meta = sa.MetaData()
        self.settings = sa.Table(
            f"{prefix}local_alx_api_settings",
            meta,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("companyid", sa.BigInteger, nullable=False),
            sa.Column("setting_name", sa.String(100), nullable=False),
            sa.Column("setting_value", value),
        )
        self.config = sa.Table(
            f"{prefix}config_plugins",
            meta,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("plugin", sa.String(100), nullable=False),
            sa.Column("name", sa.String(100), nullable=False),
            sa.Column("value", sa.Text),
        )
        meta.create_all(self.engine)

    def set(self, company: int, **values: Any) -> None:
        with self.engine.begin() as connection:
            for name, value in values.items():
                connection.execute(
                    self.settings.insert().values(
                        companyid=company, setting_name=name, setting_value=value
                    )
                )

    def set_site(self, plugin: str = PLUGIN, **values: str | None) -> None:
        with self.engine.begin() as connection:
            for name, value in values.items():
                connection.execute(
                    self.config.insert().values(plugin=plugin, name=name, value=value)
                )

    def change(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(sql.replace("{}", self.prefix))

    def read(self, **defaults: str) -> list[PluginCompany]:
        with self.engine.connect() as connection:
            return plugin_settings(connection, self.prefix, DEFAULTS | defaults)

    def first(self, **defaults: str) -> tuple[dict[str, str], tuple[str, ...]]:
        found = self.read(**defaults)
        assert found[0].companyid == self.companies[0]
        return found[0].values, found[0].notes


@pytest.fixture
def open_plugin() -> Iterator[Callable[..., Plugin]]:
    """Return what makes a Plugin; its connections are closed when the test ends."""
    made: list[Plugin] = []

    def make(*arguments: Any, **options: Any) -> Plugin:
        made.append(Plugin(*arguments, **options))
        return made[-1]

    yield make
    for plugin in made:
        plugin.engine.dispose()


@pytest.fixture
def plugin(backend: Backend, open_plugin: Callable[..., Plugin]) -> Plugin:
    return open_plugin(backend.new_url())


@pytest.fixture
def local(make_backend: Callable[[str], Backend], open_plugin: Callable[..., Plugin]) -> Plugin:
    return open_plugin(make_backend("sqlite").new_url())


@pytest.fixture
def texts(make_backend: Callable[[str], Backend], open_plugin: Callable[..., Plugin]) -> Plugin:
    """A plugin whose values are texts, so that they can be anything."""
    return open_plugin(make_backend("sqlite").new_url(), value=sa.Text)


def test_companies_settings(plugin: Plugin) -> None:
    one, two, three = plugin.companies
    plugin.set(
        three, field_email=0, field_status=1, course_7=0, course_8=1, sync_mode=1, rate_limit=120,
        sync_window_hours=48, cache_enabled=1, cache_ttl_minutes=30, first_sync_hours=127,
    )  # fmt: skip
    plugin.set(one, field_email=1, sync_mode=2, cache_ttl_minutes=60, rate_limit=100)
    assert plugin.read() == [
        PluginCompany(one, {}, ()),
        PluginCompany(
            three,
            {
                "field_email": "0", "course_7": "0", "sync_mode": "incremental",
                "sync_window_hours": "48", "cache_minutes": "30", "rate_limit": "120",
            },
            (
                "Incremental: the plugin remembered what a token had read; now the reader keeps"
                " the delta of an answer and gives it back, or gets everything.",
                ONE_BUDGET.format(120),
            ),
        ),
    ]  # fmt: skip
    assert two not in [company.companyid for company in plugin.read()]


def test_the_settings_of_the_site_hold_for_every_company(plugin: Plugin) -> None:
    one, two, three = plugin.companies
    plugin.set(two, rate_limit=50, course_3=0)
    plugin.set(three, rate_limit=0)
    plugin.set_site(max_records="250", rate_limit="500", cache_ttl="3600")
    plugin.set_site("local_other", max_records="3", rate_limit="4")
    both = {"max_limit": "250", "rate_limit": "500"}
    assert plugin.read() == [
        PluginCompany(one, both, (ONE_BUDGET.format(500),)),
        PluginCompany(
            two, {"course_3": "0", "max_limit": "250", "rate_limit": "50"}, (ONE_BUDGET.format(50),)
        ),
        PluginCompany(three, both, (ONE_BUDGET.format(500),)),
    ]


def test_settings_of_the_site_that_are_the_defaults(plugin: Plugin) -> None:
    plugin.set_site(max_records="1000", rate_limit="100")
    assert plugin.read() == []
    assert [company.values for company in plugin.read(max_limit="500", rate_limit="10")] == [
        {"max_limit": "1000", "rate_limit": "100"}
    ] * 3


@pytest.mark.parametrize(
    ("records", "limit"),
    [
        (None, None), ("", None), ("0", None), ("-5", None), ("1", "1"), ("10000", "10000"),
        ("20000", "10000"), (" 300 ", "300"), ("many", None),
    ],
)  # fmt: skip
def test_the_largest_page(local: Plugin, records: str | None, limit: str | None) -> None:
    local.set(local.companies[0], sync_mode=2)
    local.set_site(max_records=records)
    values, notes = local.first()
    assert values.get("max_limit") == limit
    told = {"20000": "max_records = 20000 is more than is possible: 10000 now.",
            "many": "max_records = 'many' is not a number: left out."}  # fmt: skip
    assert notes == ((told[records],) if records in told else ())


def test_the_plugin_gives_a_thousand_rows_where_nothing_sensible_is_set(local: Plugin) -> None:
    local.set_site(max_records="0")
    assert local.first(max_limit="200")[0] == {"max_limit": "1000"}


@pytest.mark.parametrize(
    ("number", "mode", "note"),
    [
        (0, "auto", ""),
        (1, "incremental", "Incremental: the plugin remembered"),
        (2, None, ""),
        (3, "disabled", "Disabled: requests are refused now; the plugin answered them."),
        (9, "auto", "sync_mode = 9 meant auto to the plugin"),
    ],
)
def test_modes(local: Plugin, number: int, mode: str | None, note: str) -> None:
    local.set(local.companies[0], sync_mode=number)
    values, notes = local.first()
    assert values == ({"sync_mode": mode} if mode else {})
    assert len(notes) == bool(note)
    assert "".join(notes).startswith(note)
    assert local.first(sync_mode="auto")[0] == (
        {} if mode == "auto" else {"sync_mode": mode or "full"}
    )


@pytest.mark.parametrize(
    ("settings", "window", "noted"),
    [
        ({"sync_window_hours": 24}, None, False),
        ({"sync_window_hours": 1}, "1", False),
        ({"sync_window_hours": 20_000}, "8760", True),
        ({"sync_window_hours": 0}, None, True),
        ({"sync_window_hours": 0, "sync_mode": 2}, None, False),  # greyed out, so saved as 0
    ],
)
def test_windows(local: Plugin, settings: dict[str, int], window: str | None, noted: bool) -> None:
    local.set(local.companies[0], **settings)
    values, notes = local.first()
    assert values.get("sync_window_hours") == window
    assert len(notes) == noted


@pytest.mark.parametrize(
    ("settings", "minutes"),
    [
        ({"cache_enabled": 0}, "0"),
        ({"cache_enabled": 0, "cache_ttl_minutes": 90}, "0"),
        ({"cache_enabled": 1, "cache_ttl_minutes": 90}, "90"),
        ({"cache_ttl_minutes": 90}, "90"),
        ({"cache_ttl_minutes": 60}, None),
        ({"cache_ttl_minutes": 0}, None),
        ({"cache_ttl_minutes": 5000}, "1440"),
        ({"cache_enabled": 1}, None),
    ],
)
def test_caches(local: Plugin, settings: dict[str, int], minutes: str | None) -> None:
    local.set(local.companies[0], **settings)
    assert local.first()[0] == ({} if minutes is None else {"cache_minutes": minutes})


def test_fields_and_courses(local: Plugin) -> None:
    one = local.companies[0]
    local.set(one, field_email=0, field_userid=1, field_status=0, course_15=1, course_007=0)
    assert local.first() == ({"field_email": "0", "field_status": "0", "course_7": "0"}, ())
    hidden = local.first(field_email="0", field_userid="0")
    assert hidden[0] == {"field_userid": "1", "field_status": "0", "course_7": "0"}


def test_odd_content_is_noted_and_left_out(texts: Plugin) -> None:
    one = texts.companies[0]
    texts.set(
        one, field_email="yes", field_status="2", course_3="-1", course_x="0", sync_mode="full",
        sync_window_hours="1e3", cache_enabled="", cache_ttl_minutes=None, rate_limit="9" * 200,
        field_secret="1", first_sync_hours="odd", course_4="+0", colour="x" * 99,
    )  # fmt: skip
    texts.set_site(rate_limit="٣", max_records="12.5")
    values, notes = texts.first()
    assert values == {"course_4": "0"}
    assert notes == (
        "field_email = 'yes' is not a number: left out.",
        "field_status = 2 is neither 0 nor 1: left out.",
        "'colour' is no known setting: left out.",
        "course_3 = -1 is neither 0 nor 1: left out.",
        "'course_x' is no known setting: left out.",
        "'field_secret' is no known setting: left out.",
        "sync_mode = 'full' is not a number: left out.",
        "sync_window_hours = '1e3' is not a number: left out.",
        "max_records = '12.5' is not a number: left out.",
        f"rate_limit = '{'9' * 40}…' is not a number: left out.",
        "rate_limit = '٣' is not a number: left out.",
    )


def test_numbers_may_be_texts_too(texts: Plugin) -> None:
    texts.set(texts.companies[0], field_email="0", sync_mode=" 3 ", rate_limit="2000000000")
    values, notes = texts.first()
    assert values == {"field_email": "0", "sync_mode": "disabled", "rate_limit": "1000000000"}
    assert notes[1:] == (
        "rate_limit = 2000000000 is more than is possible: 1000000000 now.",
        ONE_BUDGET.format(2_000_000_000),
    )


def test_a_company_that_is_gone(plugin: Plugin) -> None:
    plugin.set(77, sync_mode=3, field_email=0)
    gone = "This company does not exist in Moodle any more: nothing was carried over."
    assert plugin.read() == [PluginCompany(77, {}, (gone,))]


def test_without_settings_of_the_site(plugin: Plugin) -> None:
    plugin.set(plugin.companies[0], rate_limit=9)
    plugin.set_site(rate_limit="7")
    plugin.change("ALTER TABLE {}config_plugins RENAME COLUMN value TO away")
    assert plugin.first()[0] == {"rate_limit": "9"}
    plugin.change("DROP TABLE {}config_plugins")
    assert plugin.first()[0] == {"rate_limit": "9"}


def test_no_plugin(plugin: Plugin) -> None:
    plugin.change("DROP TABLE {}local_alx_api_settings")
    with pytest.raises(SourceError, match="no settings of the PHP plugin") as caught:
        plugin.read()
    assert "mdl_local_alx_api_settings" in caught.value.message
    assert "is not installed there" in caught.value.hint


def test_another_form_of_the_table(local: Plugin) -> None:
    local.change("ALTER TABLE {}local_alx_api_settings RENAME COLUMN setting_value TO value")
    with pytest.raises(SourceError, match="mdl_local_alx_api_settings lacks setting_value"):
        local.read()


@pytest.mark.parametrize("prefix", ["", "m2_"])
def test_any_prefix(backend: Backend, open_plugin: Callable[..., Plugin], prefix: str) -> None:
    plugin = open_plugin(backend.new_url(), prefix)
    plugin.set(plugin.companies[0], field_email=0)
    plugin.set_site(max_records="7")
    assert plugin.first()[0] == {"field_email": "0", "max_limit": "7"}


@pytest.mark.parametrize(
    ("name", "dump"),
    [("mariadb", "iomad-T0.sql.gz"), ("postgres", "iomad-T0.postgresql.sql.gz")],
)
def test_the_settings_of_the_sample_site(
    make_backend: Callable[[str], Backend], shared_data: Path, name: str, dump: str
) -> None:
    """Every company there has all fields and courses on, mode 0, 24 hours, and no cache."""
    backend = make_backend(name)
    engine = sa.create_engine(backend.new_url())
    assert backend.server
    backend.server.load_dump(str(engine.url.database), shared_data / dump)
    with engine.connect() as connection:
        found = plugin_settings(connection, "mdl_", DEFAULTS)
    same = {"sync_mode": "auto", "cache_minutes": "0"}
    assert found == [PluginCompany(company, same, ()) for company in range(1, 8)]
    engine.dispose()
