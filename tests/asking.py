"""A company's desk: a synced site whose rows are asked for with tokens, at a time of one's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from alxreport import token_admin
from alxreport.admission import Ask, Caller
from alxreport.database import reading
from alxreport.export import Exported, export
from alxreport.listing import parse_fields, parse_filter
from alxreport.query import Page, query_page
from alxreport.question import Question
from alxreport.sessions import Store
from alxreport.settings import Settings

from .crowd import Crowd, add_crowd
from .harness import Harness
from .moodle_site import NOW

HERE = "127.0.0.1"
AGENT = "cli:tester"


class Desk:
    """A Harness, and requests to its store; ``now`` is the harness's unless given."""

    endpoint = "query"  # as the log has a page
    harness: Harness
    store: Store

    def __init__(self, source_url: str, store_url: str) -> None:
        self.harness = Harness(source_url, store_url)
        self._settings = self.harness.settings
        self.site = self.harness.site
        self.store = Store(self.harness.settings.store)

    def close(self) -> None:
        self.store.close()
        self.harness.close()

    def renew(self) -> None:
        """Leave everything as it is at a new desk: cheaper than new databases."""
        self.harness.settings = self._settings
        self.now = NOW
        self.harness.renew()

    @property
    def settings(self) -> Settings:
        return self.harness.settings

    @property
    def now(self) -> int:
        return self.harness.now

    @now.setter
    def now(self, moment: int) -> None:
        self.harness.now = moment

    def configure(self, **values: Any) -> None:
        """Change what ``[requests]`` of the configuration says."""
        requests = replace(self.harness.settings.requests, **values)
        self.harness.settings = replace(self.harness.settings, requests=requests)

    def token(self, company: str, *, name: str = "", **options: Any) -> str:
        """Make a token of a company; ``expires`` and ``networks`` as token_admin has them."""
        options.setdefault("now", self.now)
        return token_admin.create_token(self.store, company=company, name=name, **options)[1]

    def tokens(self) -> list[dict[str, Any]]:
        found = token_admin.list_tokens(self.store, company=None, now=self.now)
        return [asdict(token) for token in found]

    def page(self, token: str | None, *, now: int | None = None, **asked: Any) -> Page:
        """Return one page; ``asked`` is of ``caller`` and of ``question``."""
        who = caller(token, "query", asked)
        now = self.now if now is None else now
        return query_page(self.store, self.settings, who, question(**asked), now)

    def ask(self, token: str | None, *, now: int | None = None, **asked: Any) -> dict[str, Any]:
        """Return one page as the object that a client reads."""
        return dict(json.loads(self.page(token, now=now, **asked).json()))

    def pages(self, token: str | None, *, now: int | None = None, **asked: Any) -> Iterator[Any]:
        """Yield the page objects of one cursor series."""
        page = self.ask(token, now=now, **asked)
        yield page
        more = {name: asked[name] for name in ("limit", "company", "ip", "agent") if name in asked}
        while page["next"]:
            page = self.ask(token, now=now, cursor=page["next"], **more)
            yield page

    def export(
        self, token: str | None, *, form: str = "json", now: int | None = None, **asked: Any
    ) -> tuple[bytes, Exported]:
        """Return what an export wrote, and what it said of it."""
        out, who = io.BytesIO(), caller(token, "export", asked)
        now = self.now if now is None else now
        ask = question(everything=True, **asked)
        done = export(self.store, self.settings, who, ask, out, form=form, now=now)
        return out.getvalue(), done

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table of the store, named as in StoreTables, by its key."""
        found: sa.Table = getattr(self.harness.tables, table)
        query = sa.select(found).order_by(*found.primary_key.columns)
        with reading(self.harness.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def log(self) -> list[dict[str, Any]]:
        return self.rows("logs")

    def run_sql(self, sql: str, **values: Any) -> None:
        """Change the store behind its back; a table is named by ``{logs}``."""

        def work(session: Any) -> None:
            tables = {name: getattr(session.names, name) for name in vars(self.harness.tables)}
            session.change(sql.format(**tables), **values)

        self.store.write(work)


def caller(token: str | None, endpoint: str, asked: dict[str, Any]) -> Caller:
    """Return who asks; what of ``asked`` is about him is taken out of it."""
    ip = asked.pop("ip", "" if token is None else HERE)
    agent = asked.pop("agent", AGENT)
    return Caller(endpoint, ip, agent, token, asked.pop("company", None))


def question(
    *, fields: str | None = None, courses: str | None = None, status: str | None = None, **more: Any
) -> Ask:
    """Return what makes the question, with lists written as on the command line."""

    def made() -> Question:
        wanted = None if courses is None and status is None else parse_filter(courses, status)
        return Question(fields=parse_fields(fields), wanted=wanted, **more)

    return made


SomeDesk = TypeVar("SomeDesk", bound=Desk)


@contextmanager
def open_desk(
    folder: Path,
    store_url: str,
    kind: type[SomeDesk] = Desk,  # type: ignore[assignment]
) -> Iterator[SomeDesk]:
    """Yield a desk with the store at ``store_url``; Moodle is a new SQLite site in ``folder``."""
    desk = kind(f"sqlite:///{folder}/moodle.db", store_url)
    try:
        desk.site.create()
        yield desk
    finally:
        desk.close()


@contextmanager
def lasting_desk(
    name: str,
    request: pytest.FixtureRequest,
    folder: Path,
    kind: type[SomeDesk] = Desk,  # type: ignore[assignment]
    word: str = "desk",
) -> Iterator[SomeDesk]:
    """Yield a desk on the backend ``name`` for a whole module; each test renews it."""
    if name == "http":
        from .http_desk import HttpDesk

        assert issubclass(HttpDesk, kind), "requests of another kind do not go over HTTP"
        kind = HttpDesk
    if name in {"sqlite", "http"}:
        with open_desk(folder, f"sqlite:///{folder}/store.db", kind) as desk:
            yield desk
        return
    server = request.getfixturevalue(f"{name}_server")
    database = f"{word}_{request.module.__name__.rpartition('.')[2]}"
    server.create_database(database)
    try:
        with open_desk(folder, server.url(database), kind) as desk:
            yield desk
    finally:
        server.drop_database(database)


# As fixtures of conftest.py: a module that wants other ones makes its own of these names


@pytest.fixture(scope="module")
def office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A desk with a store on each backend, made once: a new database takes longer than a test."""
    with lasting_desk(request.param, request, tmp_path_factory.mktemp("office")) as made:
        yield made


@pytest.fixture(scope="module")
def local_office(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A desk on SQLite, made once."""
    with lasting_desk("sqlite", request, tmp_path_factory.mktemp("local")) as made:
        yield made


@pytest.fixture
def desk(office: Desk) -> Desk:
    """The office with no company at all; requests are not limited."""
    office.renew()
    office.configure(rate_limit=0)
    return office


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Desk]:
    """A desk on SQLite, for what no server decides, whose files lie in ``tmp_path``."""
    with open_desk(tmp_path, f"sqlite:///{tmp_path}/store.db") as made:
        made.configure(rate_limit=0)
        yield made


def people(desk: Desk, learners: int = 4, courses: int = 3) -> Crowd:
    """Add the companies acme and beta, and sync."""
    crowd = add_crowd(desk.site, "acme", learners, courses)
    add_crowd(desk.site, "beta", 2)
    desk.harness.sync()
    return crowd
