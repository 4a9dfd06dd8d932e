"""A secret is printed once, where it is made; nothing else that is printed or kept has it.

Not even most of it: whoever has all but a few characters has the token.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from alxreport.admission import Caller
from alxreport.token_form import checksum, new_token

from .command_line import Done, awkward_site, run, write_config
from .conftest import Backend
from .test_service_tokens import OURS, web_services

MOODLE = "5f2b8c01d94e7a36b0c3e8f17d2a4965"  # a token of Moodle's form


def shows(text: bytes | str, secret: str) -> bool:
    """Tell whether more than half of a secret stands in a text, in one piece."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    size = len(secret) // 2 + 1
    parts = {secret[place : place + size] for place in range(len(secret) - size + 1)}
    return any(part.encode("utf-8", "replace") in data for part in parts)


def test_showing() -> None:
    token = new_token()
    for text in (token, f"x{token}y", token[:-20], token[15:], token[:30] + "-" + token[31:]):
        assert shows(text, token)
    for text in ("", token[:10], "***", new_token(), f"{token[:20]} {token[21:40]}"):
        assert not shows(text, token)


@dataclass
class Story:
    """Commands on one store, and everything that they printed."""

    folder: Path
    config: Path
    url: str
    secrets: dict[str, str] = field(default_factory=dict)
    told: list[tuple[tuple[str, ...], str, bytes]] = field(default_factory=list)

    def run(self, *words: str, stdin: str = "", token: str | None = None) -> Done:
        done = run(*words, "--config", self.config, stdin=stdin, ALXREPORT_TOKEN=token)
        self.told += [(words, "stdout", done.out), (words, "stderr", done.err.encode())]
        assert b"Traceback" not in done.out + done.err.encode(), words
        return done

    def make(self, name: str, *words: str) -> str:
        """Run a command that prints a secret: on stdout, alone, and nowhere else."""
        done = run(*words, "--config", self.config, ALXREPORT_TOKEN=None)
        assert done.code == 0, done.err
        secret = done.out.decode().strip()
        assert done.out == f"{secret}\n".encode()
        self.told.append((words, "stderr", done.err.encode()))
        self.secrets[name] = secret
        return secret

    def check(self) -> None:
        """Assert that no secret is in what was printed, in the store, or in any other file."""
        places = [(" ".join(words), stream, data) for words, stream, data in self.told]
        places += [("kept in", where, data) for where, data in self.kept()]
        leaks = {
            (what.replace(secret, "S"), where, name)
            for name, secret in self.secrets.items()
            for what, where, data in places
            if shows(data, secret)
        }
        assert leaks == set()

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield every file, but Moodle's and the token's own, and every table of the store."""
        kept = {"token", "moodle.db", "moodle.db-wal", "moodle.db-shm"}
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name not in kept:
                yield path.name, path.name.encode() + b"\n" + path.read_bytes()
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            tables = sa.inspect(engine).get_table_names()
            assert len(tables) > 10
            for table in tables:
                quoted = engine.dialect.identifier_preparer.quote(table)
                for row in connection.exec_driver_sql(f"SELECT * FROM {quoted}"):
                    cells = (c if isinstance(c, bytes) else str(c).encode() for c in row)
                    yield table, b"\0".join(cells)


def begin(folder: Path, url: str) -> Story:
    """Return a story on a synced site with two tokens of Moodle's."""
    moodle = f"sqlite:///{folder}/moodle.db"
    awkward_site(moodle)
    engine = sa.create_engine(moodle, poolclass=sa.NullPool)
    meta = web_services()
    meta.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            meta.tables["mdl_external_services"].insert().values(
                id=OURS, name="x", shortname="alx_report_api", enabled=1, restrictedusers=0
            )
        )  # fmt: skip
        for number, user, secret in ((1, 3, MOODLE), (2, 999, MOODLE[::-1])):
            connection.execute(
                meta.tables["mdl_external_tokens"].insert().values(
                    id=number, token=secret, tokentype=0, userid=user, externalserviceid=OURS
                )
            )  # fmt: skip
    engine.dispose()
    story = Story(folder, write_config(folder, moodle, url), url)
    assert story.run("sync", "--quiet").code == 0
    return story


@pytest.fixture
def story(backend: Backend, tmp_path: Path) -> Story:
    return begin(tmp_path, backend.new_url())


def changed(token: str, place: int, character: str | None = None) -> str:
    character = character or ("0" if token[place] != "0" else "1")
    return token[:place] + character + token[place + 1 :]


@pytest.mark.soak_on("mariadb", "postgres")
def test_the_story_of_a_token(story: Story, tmp_path: Path) -> None:
    """Made, used, mistyped, rotated, revoked, taken over from Moodle; rightly and wrongly."""
    one = story.make("one", "token", "create", "--company", "acme", "--name", "BI")
    two = story.make("two", "token", "create", "--company", "id:1", "--ip", "10.0.0.0/8")
    three = story.make("three", "token", "rotate", "1", "--grace", "1h")
    story.secrets |= {"moodle": MOODLE, "other of moodle": MOODLE[::-1]}
    for form in ((), ("--json",)):
        assert story.run("token", "import-moodle", *form).code == 0
    path = tmp_path / "token"
    # The words are the same on every database: all ways to tell them are tried on one.
    forms = ((), ("--json",), ("--debug",)) if story.url.startswith("sqlite") else (("--json",),)
    for form in forms:
        for token, code in (
            (one, 0), (three, 0), (MOODLE, 0), (two, 4), (changed(one, 30), 4),
            (changed(one, 4), 4), (one[:-1], 4), (one + "x", 4), (one[:43] + checksum("x"), 4),
            (MOODLE[::-1], 4), (MOODLE[:-1], 4), (MOODLE.upper(), 4), (f"{one} {two}", 4),
        ):  # fmt: skip
            for words in (("query",), ("export",), ("query", "--limit", "0")):
                expected = 2 if code == 0 and "0" in words else code
                assert story.run(*words, *form, token=token).code == expected
            assert story.run("query", "--company", "twin", *form, token=token).code == 4
        path.write_text(one)
        assert story.run("query", *form, "--token-file", str(path)).code == 0
        assert story.run("query", *form, "--token-file", "-", stdin=three).code == 0
        for words in (
            ("token", "list"), ("token", "show", "1"), ("token", "show", "3"), ("limit", "show"),
            ("company", "list"), ("company", "show", "acme"), ("cache", "show"), ("doctor",),
            ("token", "rotate", "1"), ("token", "rotate", "9"), ("token", "revoke", "2"),
            ("query", "--company", "acme", "--format", "table"), ("sync",), ("verify",),
        ):  # fmt: skip
            story.run(*words, *form)
    story.run("export", "--output", str(tmp_path / "rows.csv"), "--state", str(tmp_path / "T"),
              token=three)  # fmt: skip
    story.run("powerbi", "--company", "acme", "--url", "https://reports.example.org",
              "--output", str(tmp_path / "bi"), token=three)  # fmt: skip
    story.run("token", "revoke", "3")
    assert story.run("query", token=three).code == 4
    assert len(story.told) > 150
    story.check()


def test_a_secret_in_json_is_printed_once_too(mistaken: Story) -> None:
    made = run("token", "create", "--company", "acme", "--json", "--config", mistaken.config)
    again = run("token", "rotate", "2", "--json", "--config", mistaken.config)
    mistaken.secrets = {"made": made.json()["token"], "rotated": again.json()["token"]}
    assert made.err == again.err == ""
    for words in (("token", "list"), ("token", "show", "2"), ("token", "show", "3")):
        assert "token" not in str(mistaken.run(*words, "--json").json()).replace("token_", "")
    mistaken.check()


# A token where something else belongs; S stands for it
MISTAKES = """
S
query --company S
query --company acme --since S
query --company acme --since S --mode incremental
query --company acme --cursor S
query --company acme --fields S
query --company acme --fields userid,S
query --company acme --courses S
query --company acme --status S
query --company acme --limit S
query --company acme --offset S
query --company acme --mode S
query --company acme --format S
query --company acme --S
query --company acme S
query --company acme --token-file S
export --company S
export --company acme --since S --mode incremental
export --company acme --fields S
export --company acme --output /nowhere/S
export --company acme --state /dev/null/S
query --config S
token S
token create --company S
token create --company acme --expires S
token create --company acme --ip S
token create --company acme --name S
token create --company acme S
token show S
token revoke S
token rotate S
token rotate 1 --grace S
token rotate 1 --expires S
limit show S
limit set S 5
limit set acme S
limit reset S
cache show S
cache clear S
company show S
company set S max_limit 5
company set acme S 5
company set acme max_limit S
company set acme S=5
company set acme max_limit=S
company unset acme S
company unset S max_limit
company fields acme --hide S
company fields S --hide email
company courses acme --disable S
company courses S
explain --company S --user 1 --course 1
explain --company acme --user S --course 1
explain --company acme --user 3 --course S
sync --company S
sync-state S
verify --company S
powerbi --company S
powerbi --company acme --url S
powerbi --company acme --url https://h.example/S?wstoken=S
powerbi --company acme --url https://S@h.example
"""

TOKEN = new_token()
# What is typed by mistake, and the secret that must not be seen in what comes of it.
TYPED: dict[str, tuple[str, str]] = {
    "whole": (TOKEN, TOKEN),
    "a character changed": (changed(TOKEN, 25), TOKEN),
    "the last character missing": (TOKEN[:-1], TOKEN),
    "a character too many": (TOKEN + "x", TOKEN),
    "two of them": (f"{TOKEN},{TOKEN}", TOKEN),
    "quoted": (f"'{TOKEN}'", TOKEN),
    "the whole header": (f"Bearer {TOKEN}", TOKEN),
    "Moodle's": (MOODLE, MOODLE),
    "Moodle's in a URL": (f"wstoken={MOODLE}&x=1", MOODLE),
}
# The same, mistyped so that it has no token's form: most of the secret is still there to be read.
NEARLY: dict[str, tuple[str, str]] = {
    "a sign mistyped": (changed(TOKEN, 8, "-"), TOKEN),
    "a space in it": (TOKEN[:10] + " " + TOKEN[10:], TOKEN),
    "without its first character": (TOKEN[1:], TOKEN),
    "without its prefix": (TOKEN[4:], TOKEN),
    "a prefix mistyped": ("alx-" + TOKEN[4:], TOKEN),
    "in capitals": ("ALX_" + TOKEN[4:], TOKEN),
    "Moodle's, the last character missing": (MOODLE[:-1], MOODLE),
    "Moodle's, a character too many": (MOODLE + "0", MOODLE),
    "Moodle's, a character mistyped": (changed(MOODLE, 5, "g"), MOODLE),
    "Moodle's in capitals": (MOODLE.upper(), MOODLE.upper()),
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a site and a store that has a token."""
    folder = tmp_path_factory.mktemp("office")
    story = begin(folder, f"sqlite:///{folder}/store.db")
    assert story.run("token", "create", "--company", "acme", "--json").code == 0
    return folder


@pytest.fixture
def mistaken(office: Path, tmp_path: Path) -> Story:
    """A copy of it: what one test leaves in the store is not the next one's."""
    for path in office.iterdir():
        shutil.copy(path, tmp_path / path.name)
    url = f"sqlite:///{tmp_path}/store.db"
    config = write_config(tmp_path, f"sqlite:///{tmp_path}/moodle.db", url)
    return Story(tmp_path, config, url)


@pytest.mark.parametrize(("typed", "secret"), TYPED.values(), ids=TYPED)
def test_a_token_where_something_else_belongs(mistaken: Story, typed: str, secret: str) -> None:
    mistaken.secrets = {"typed": secret}
    for place, line in enumerate(MISTAKES.strip().splitlines()):
        words = [word.replace("S", typed) for word in line.split()]
        mistaken.run(*words, *(["--json"] if place % 2 else []))
    mistaken.check()


@pytest.mark.parametrize(("typed", "secret"), NEARLY.values(), ids=NEARLY)
def test_nearly_a_token_where_something_else_belongs(
    mistaken: Story, typed: str, secret: str
) -> None:
    mistaken.secrets = {"typed": secret}
    for line in ("S", "query --company S", "token create --company acme --name S", "token show S"):
        mistaken.run(*[word.replace("S", typed) for word in line.split()])
    mistaken.check()


def test_a_token_as_the_name_of_one(mistaken: Story) -> None:
    """The name is kept and shown; the secret in it is not."""
    secret = new_token()
    mistaken.secrets["named"] = secret
    mistaken.make("made", "token", "create", "--company", "acme", "--name", f"for {secret}!")
    assert mistaken.run("token", "show", "2", "--json").json()["name"] == "for ***!"
    mistaken.run("token", "list")
    mistaken.run("token", "create", "--company", "acme", "--name", f"{secret}\n")
    mistaken.check()


# Inside the program


def test_no_secret_in_a_repr_or_in_a_log(
    make_backend: Callable[[str], Backend], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert TOKEN not in repr(Caller("query", token=TOKEN))
    story = begin(tmp_path, make_backend("sqlite").new_url())
    caplog.set_level(logging.DEBUG)
    secret = story.make("one", "token", "create", "--company", "acme")
    assert story.run("query", token=secret).code == 0
    assert story.run("query", "--debug", token=changed(secret, 9)).code == 4
    assert not shows(caplog.text, secret)


def test_no_secret_in_the_error_of_a_broken_store(story: Story) -> None:
    """The drivers' messages may quote statements and values."""
    secret = story.make("one", "token", "create", "--company", "acme")
    engine = sa.create_engine(story.url, poolclass=sa.NullPool)
    for table in ("logs", "usage", "settings", "tokens"):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE local_alx_api_{table}")
        assert story.run("query", token=secret).code == 3
        assert story.run("query", "--json", token=secret).code == 3
    assert story.run("token", "create", "--company", "acme", "--name", secret).code == 3
    assert story.run("token", "rotate", "1").code == 3
    for words, stream, data in story.told:
        assert not shows(data, secret), (words, stream)


def test_a_token_in_use_is_not_written_over(mistaken: Story, tmp_path: Path) -> None:
    path = tmp_path / "acme.token"
    words = ("--company", "acme", "--output", path, "--config", mistaken.config)
    assert run("token", "create", *words).code == 0
    secret = path.read_bytes()
    again = run("token", "create", *words)
    assert (again.code, again.out) == (2, b"")
    assert f"{path} exists already" in again.err
    assert path.read_bytes() == secret
    listed = run("token", "list", "--json", "--config", mistaken.config).json()
    assert len(listed) == 2
    # A rotation is meant to replace it.
    number = listed[-1]["id"]
    assert run("token", "rotate", number, "--output", path, "--config", mistaken.config).code == 0
    assert path.read_bytes() != secret


def test_queries_of_an_earlier_time_are_named(mistaken: Story, tmp_path: Path) -> None:
    words = ("powerbi", "--company", "acme", "--output", tmp_path / "bi")
    told = run(*words, "--url", "https://reports.example.org", "--config", mistaken.config)
    assert "earlier" not in told.err
    told = run(*words, "--config", mistaken.config)
    assert told.code == 0
    lines = [line for line in told.err.splitlines() if "is of an earlier time" in line]
    assert [line.split("/")[-1].split(" ")[0] for line in lines] == [
        "progress-from-api.pq", "progress-from-odata.pq",
    ]  # fmt: skip
