"""A real OData v4 client reads the feed: its schema, every page, filters, orders and counts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from .asking import Desk, open_desk
from .crowd import add_crowd
from .serving import Serving, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the client's own imports say
    from odata import ODataService


class Reader:
    """The client, with a token, that prefers small pages."""

    def __init__(self, server: Serving, token: str) -> None:
        self.session = requests.Session()
        self.session.auth = ("alxreport", token)
        self.session.headers["Prefer"] = "odata.maxpagesize=7"
        self.session.headers["Connection"] = "close"
        address = f"http://127.0.0.1:{server.port}/odata/v4/"
        self.service = ODataService(
            address, session=self.session, reflect_entities=True, quiet_progress=True
        )
        self.rows: Any = self.service.entities["Progress"]

    def all(self, *conditions: Any) -> list[Any]:
        query = self.service.query(self.rows)
        for condition in conditions:
            query = query.filter(condition)
        return list(query)


@pytest.fixture
def opened(tmp_path: Any) -> Iterator[tuple[Desk, Serving]]:
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/store.db") as desk:
        desk.now = int(datetime.now(UTC).timestamp())
        add_crowd(desk.site, "acme", 11, 5)
        add_crowd(desk.site, "beta", 3)
        desk.harness.sync()
        with serving(desk.settings) as server:
            yield desk, server


def test_it_reads_everything(opened: tuple[Desk, Serving]) -> None:
    desk, server = opened
    reader = Reader(server, desk.token("acme"))
    found = reader.all()
    records = json.loads(desk.export(None, company="acme")[0])
    assert len(found) == len(records) == 55
    for entity, record in zip(found, records, strict=True):
        for name, value in record.items():
            told = getattr(entity, name)
            if isinstance(told, datetime):
                told = told.strftime("%Y-%m-%dT%H:%M:%SZ")
            assert told == value, name
        assert entity.created_at == datetime.fromtimestamp(desk.now, UTC)
    server.settle()
    assert [row["calls"] for row in desk.rows("usage")] == [1], "a series is one request"


def test_it_filters_and_sorts(opened: tuple[Desk, Serving]) -> None:
    desk, server = opened
    reader = Reader(server, desk.token("acme"))
    rows = reader.rows
    users = sorted({entity.userid for entity in reader.all()})
    assert {entity.userid for entity in reader.all(rows.userid == users[2])} == {users[2]}
    (status,) = {entity.status for entity in reader.all()}
    assert len(reader.all(rows.userid > users[2], rows.status == status)) == 40
    assert reader.all(rows.status != status) == []
    ordered = list(
        reader.service.query(rows).order_by(rows.courseid.desc(), rows.userid.asc()).limit(6)
    )
    places = [(-entity.courseid, entity.userid) for entity in ordered]
    assert places == sorted(places)
    assert len(places) == 6
    later = datetime.fromtimestamp(desk.now + 1, UTC)
    assert reader.all(rows.last_updated >= later) == []
    assert len(reader.all(rows.last_updated < later)) == 55


def test_a_token_of_the_other_company(opened: tuple[Desk, Serving]) -> None:
    desk, server = opened
    mine = {entity.userid for entity in Reader(server, desk.token("acme")).all()}
    theirs = {entity.userid for entity in Reader(server, desk.token("beta")).all()}
    assert len(mine) == 11
    assert len(theirs) == 3
    assert not mine & theirs
