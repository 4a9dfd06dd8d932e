"""Schemathesis holds the running server against its own OpenAPI document, with real data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from alxreport.company_admin import company_fields
from alxreport.demo import run_demo
from alxreport.listing import MORE_FIELDS
from alxreport.sessions import open_requests

from .serving import Serving, serving

ROOT = Path(__file__).resolve().parents[1]
# The same requests each time; another number tries others: ALXREPORT_SEED=7
SEED = os.environ.get("ALXREPORT_SEED", "1")
EXAMPLES = 15 * int(os.environ.get("ALXREPORT_DEPTH", "1"))
LEAST_CASES = 300


@dataclass(frozen=True)
class Site:
    """A served demonstration, and the token of a company whose requests are not limited."""

    server: Serving
    token: str


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    now = int(time.time())
    report = run_demo(tmp_path / "demo", now)
    settings = replace(report.settings, requests=replace(report.settings.requests, rate_limit=0))
    store = open_requests(settings.store)
    # All fields, so that what the document allows is not refused for being hidden.
    company_fields(store, settings, report.company, now, show=MORE_FIELDS)
    store.close()
    with serving(settings) as server:
        # Wrong tokens are tried by the hundred, and would be answered later and later.
        server.office.brakes.count = lambda _address, _now: 0.0  # type: ignore[method-assign]
        yield Site(server, report.token_file.read_text().strip())


def run(site: Site, folder: Path) -> tuple[int, str]:
    """Run Schemathesis on the server; return its exit code and what it printed."""
    base = f"http://127.0.0.1:{site.server.port}/api/v1"
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", str(folder / "none.toml"),
            "run", f"{base}/openapi.json", "--url", base,
            "--header", f"Authorization: Bearer {site.token}",
            # In its place stands what_fits_is_accepted, which knows the reasons.
            "--checks", "all", "--exclude-checks", "positive_data_acceptance",
            "--max-examples", str(EXAMPLES), "--seed", SEED,
            "--generation-database", "none", "--continue-on-failure", "--no-color",
            "--request-timeout", "10",
        ],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300, check=False,
        env={name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
        | {"SCHEMATHESIS_HOOKS": "tests.schemathesis_checks", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout


def test_the_server_is_as_documented(site: Site, tmp_path: Path) -> None:
    (tmp_path / "none.toml").touch()
    code, told = run(site, tmp_path)
    (tmp_path / "told").write_text(told)
    assert code == 0, told
    assert site.token not in told
    [cases] = re.findall(r"(\d+) generated", told)
    assert int(cases) >= LEAST_CASES, told
    assert "Tested: 3" in told
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in told.partition("SUMMARY")[2], told
