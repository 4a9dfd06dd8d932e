"""A served site for the tests of the API's document, and who asks there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .asking import open_desk, people
from .http_desk import HttpDesk
from .serving import Got

PATHS = ("/progress", "/export", "/company")
PROGRESS, EXPORT, COMPANY = PATHS


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpDesk]:
    folder = tmp_path_factory.mktemp("openapi")
    with open_desk(folder, f"sqlite:///{folder}/store.db", HttpDesk) as made:
        yield made


@pytest.fixture
def api(lasting: HttpDesk) -> Api:
    lasting.renew()
    return Api(lasting)


class Api:
    """A served site with the companies acme and beta, and a token of acme."""

    def __init__(self, desk: HttpDesk) -> None:
        self.desk = desk
        self.crowd = people(desk)
        desk.server.clock = desk.now
        desk.server.configure(desk.settings)
        self.token = desk.token("acme")

    def ask(self, path: str, token: str | None = "", /, **asked: Any) -> Got:
        """Ask with the token of acme unless another one, or none, is given."""
        token = self.token if token == "" else token
        return self.desk.server.get(f"/api/v1{path}", token, **asked)

    def configure(self, **values: Any) -> None:
        """Change what ``[requests]`` of the configuration says, from the next request on."""
        self.desk.configure(**values)
        self.desk.server.configure(self.desk.settings)
