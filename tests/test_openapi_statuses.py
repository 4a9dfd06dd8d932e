"""Every status that the OpenAPI document promises is met, and told as it says."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from alxreport.company_admin import set_options
from alxreport.errors import BusyError, StoreError
from alxreport.http_protocol import LARGEST_URL
from alxreport.token_admin import revoke_token

from .api_answers import check, responses
from .api_site import EXPORT, PATHS, PROGRESS, Api, api, lasting
from .serving import Got

__all__ = ["api", "lasting"]  # fixtures


def _kept(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    return api.ask(path, headers={"If-None-Match": api.ask(path).headers["etag"]})


def _spent(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    api.configure(rate_limit=1)
    api.ask(path)
    return api.ask(path)


def _revoked(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    [token] = api.desk.tokens()
    revoke_token(api.desk.store, token["id"], api.desk.now)
    return api.ask(path)


def _disabled(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    set_options(api.desk.store, "acme", {"sync_mode": "disabled"}, api.desk.now)
    return api.ask(path)


def _never_synced(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    api.desk.run_sql("UPDATE {sync_status} SET synced_at = NULL")
    return api.ask(path)


def _failing(error: Exception) -> Any:
    def ask(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
        async def run(*_given: Any, **_more: Any) -> Any:
            raise error

        patch.setattr(api.desk.server.office, "run", run)
        return api.ask(path)

    return ask


def _without_pyarrow(api: Api, path: str, patch: pytest.MonkeyPatch) -> Got:
    patch.setitem(sys.modules, "pyarrow", None)
    assert api.ask(path, None, format="parquet").status == 401, "the credential comes first"
    return api.ask(path, format="parquet")


WAYS: list[tuple[str, tuple[str, ...], int, Any]] = [
    ("kept", (PROGRESS,), 304, _kept),
    ("unknown", PATHS, 400, lambda api, path, _: api.ask(path, nothing=1)),
    ("twice", PATHS, 400, lambda api, path, _: api.ask(path + "?company=acme&company=acme")),
    ("no token", PATHS, 401, lambda api, path, _: api.ask(path, None)),
    ("mistyped", PATHS, 401, lambda api, path, _: api.ask(path, api.token[:-1] + "-")),
    ("nobody's", PATHS, 401, lambda api, path, _: api.ask(path, "0" * 32)),
    ("revoked", PATHS, 401, _revoked),
    ("of beta", PATHS, 403, lambda api, path, _: api.ask(path, company="beta")),
    ("disabled", PATHS, 403, _disabled),
    ("damaged", (PROGRESS, EXPORT), 410, lambda api, path, _: api.ask(path, since="T00")),
    ("long", PATHS, 414, lambda api, path, _: api.ask(path, company="x" * LARGEST_URL)),
    ("spent", (PROGRESS, EXPORT), 429, _spent),
    ("many", PATHS, 431, lambda api, path, _: api.ask(
        path, headers={f"X-{number}": "1" for number in range(120)})),
    ("broken", PATHS, 500, _failing(RuntimeError("a fault"))),
    ("parquet", (EXPORT,), 501, _without_pyarrow),
    ("never", PATHS, 503, _never_synced),
    ("no store", PATHS, 503, _failing(StoreError("gone"))),
    ("busy", PATHS, 503, _failing(BusyError("busy"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status", "ask"),
    [pytest.param(path, status, ask, id=f"{name} {path}")
     for name, paths, status, ask in WAYS for path in paths],
)  # fmt: skip
def test_every_status_is_as_documented(api, path, status, ask, monkeypatch, capfd):
    got = ask(api, path, monkeypatch)
    assert got.status == status
    check(path, got)


@pytest.mark.parametrize("path", PATHS)
def test_every_documented_status_is_met(path):
    met = {str(status) for _name, paths, status, _ask in WAYS if path in paths}
    assert met | {"200"} == set(responses(path))
