"""The command line as tests run it, and a site whose names are as awkward as real ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from typer.testing import CliRunner

from alxreport.cli import app

from .moodle_site import DAY, NOW, Site

PYTHON = [sys.executable, "-m", "alxreport"]
LONG_NAME = "N" * 100
PEOPLE = (
    ("=1+1", "+44 20"), ("-1", "@home"), ("\tTab", "\rReturn"), ("Zoë 🎓", 'O\'Brien "x"'),
    ("شركة", "עברית"), (LONG_NAME, "a\\b%_c"), ("", "NULL"),
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: bytes
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def run(*words: str | Path, stdin: str = "", **env: str | None) -> Done:
    """Run a command in this process; a fault that is no exit fails the test."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout_bytes, result.stderr)


def spawn(*words: str | Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [*PYTHON, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=os.environ | env,
        timeout=60,
        check=False,
    )


def write_config(folder: Path, moodle: str, store: str, more: str = "") -> Path:
    """Write a configuration; return its path."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"[moodle]\nurl = {json.dumps(moodle)}\n[store]\nurl = {json.dumps(store)}\n{more}"
    )
    return path


def awkward_site(url: str) -> None:
    """Fill a database: acme (1), one named "1", an empty one, and Twin and twin."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    site = Site(engine).create()
    with site.transaction():
        acme = site.add_company('Acme "Ltd" 🎓 شركة', "acme")
        site.add_company("Numbered", "1")
        site.add_company("Nobody here", "empty")
        site.add_company("Twin one", "Twin")
        site.add_company("Twin two", "twin")
        courses = [site.add_course(1, name) for name in ('Line\nbreak, "quoted"', "=SUM(A1)")]
        people = [site.add_user(*names) for names in PEOPLE]
        for course in courses:
            site.give_course(acme, course)
            activities = [site.add_activity(course) for _ in range(3)]
            method = site.ids("enrol", courseid=course)[0]
            for place, user in enumerate(people):
                site.assign_user(acme, user)
                # Old imports left both 0 and NULL where there is no time.
                site.enrol(method, user, timestart=(place % 2) * (NOW - DAY), timecreated=0)
                site.set_state(activities[0], user, place % 3, NOW)
                done = (None, 0, NOW - 60)[place % 3]
                site.set_course_completion(user, course, done)
        site.share_course(courses[1], None)
    engine.dispose()
