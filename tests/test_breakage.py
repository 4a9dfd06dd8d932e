"""Breakages that were found by trying: each stays mended."""

from __future__ import annotations

import pymysql
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from alxreport.companies import find_company
from alxreport.company_options import company_options
from alxreport.database import database_url, writing
from alxreport.database_errors import source_error, store_error
from alxreport.error_codes import error_code
from alxreport.errors import ConfigError, NotFoundError, UsageError
from alxreport.listing import Filter
from alxreport.question import Basis, Question, make_plan
from alxreport.settings import Settings, StoreSettings

from .conftest import Backend
from .harness import Harness


@pytest.fixture
def harness(backend: Backend, make_harness):
    made = make_harness(backend.name)
    made.site.sample(3)
    return made


def change(harness: Harness, *statements: str) -> None:
    with writing(harness.engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_a_latin1_store_database_loses_no_letter(mariadb_server, make_backend):
    url = make_backend("mariadb").new_url()
    name = sa.make_url(url).database
    mariadb_server.execute(f"ALTER DATABASE `{name}` CHARACTER SET latin1")
    harness = Harness(make_backend("sqlite").new_url(), url)
    harness.site.create().sample(3)
    for user in harness.site.ids("user"):
        harness.site.update("user", {"id": user}, firstname="Ünï 課程 🚀", lastname="Ω")
    assert harness.sync().created > 0
    harness.check()
    assert harness.sync(full=True).updated == 0
    harness.close()


@pytest.mark.parametrize(("number", "state"), [(1205, "HY000"), (1045, "28000"), (1049, "42000")])
def test_mysql_errors_go_by_their_number(number, state):
    error = pymysql.err.OperationalError(number, "said", sqlstate=state)
    wrapped = OperationalError("SELECT 1", {}, error)
    assert error_code(wrapped) == number
    assert "pg_hba" not in source_error(wrapped).hint
    assert store_error(wrapped).transient == (number == 1205)


def test_a_damaged_position_is_no_dead_end(harness: Harness):
    harness.sync()
    positions = harness.tables.positions
    with writing(harness.engine) as connection:
        connection.execute(sa.update(positions).values(data=b"broken"))
    before = harness.stored()
    assert harness.sync().status == "success"
    assert harness.stored() == before
    assert harness.verify().pending == 0


def test_rows_that_nobody_knows_of_are_found_and_mended(harness: Harness):
    harness.sync()
    harness.site.unenrol(harness.site.ids("user_enrolments")[0])
    harness.sync()
    table = harness.tables.reporting.name
    change(
        harness,
        f"INSERT INTO {table} (userid, companyid, courseid, firstname)"
        " VALUES (900, 999, 3, 'GHOST')",
        f"INSERT INTO {table} (userid, companyid, courseid, firstname, is_deleted)"
        " VALUES (901, 1, 3, 'LEAVER', 1)",
    )
    assert harness.verify().wrong == 2
    assert harness.verify(repair=True).repaired
    assert harness.verify().wrong == 0
    harness.check()


def test_huge_ids_and_odd_letters_in_names(harness: Harness):
    site = harness.site
    company = site.add_company("Huge")
    site.update("company", {"id": company}, id=2**40)
    for user in site.ids("user"):
        site.update("user", {"id": user}, lastname="a\x1fb", firstname="c")
    for _run in range(2):
        harness.sync_whatever()
        harness.check()
    for user in site.ids("user"):
        site.update("user", {"id": user}, lastname="b", firstname="c\x1fa")
    harness.sync_whatever()
    harness.check()


def test_administrators_that_are_no_number(harness: Harness):
    harness.site.set_config("siteadmins", "2,²,x")
    assert harness.sync().status == "success"


def test_a_company_named_by_thousands_of_digits():
    with pytest.raises(NotFoundError):
        find_company([], "9" * 5000)


def test_no_password_in_the_error_of_a_url():
    with pytest.raises(ConfigError) as caught:
        database_url(StoreSettings(url="mysql://a:S3CRET@pw@127.0.0.1/d"), "store.url")
    assert "pw" not in caught.value.message.replace("password", "")


def test_what_is_hidden_is_not_filtered_by():
    options = company_options(Settings(), {"field_status": "0", "field_courseid": "0"})
    basis = Basis(1, 0, "", 0, 0, 1, options, b"k", 90, True, 1)
    for wanted in (Filter(status="completed"), Filter(courses=(7,))):
        with pytest.raises(UsageError, match="hidden"):
            make_plan(Question(wanted=wanted), basis, lambda _delta: True)
    assert make_plan(Question(), basis, lambda _delta: True).mode == "full"
