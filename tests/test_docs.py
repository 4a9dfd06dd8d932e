"""README, docs, examples, crontab.example, Makefile and CHANGELOG say what the program does."""

from __future__ import annotations

import configparser
import re
import shlex
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import typer

from alxreport import (
    cli,
    command_group,
    errors,
    http_api,
    http_app,
    http_call,
    http_dropin,
    http_protocol,
    http_reply,
    http_server,
    odata_filter,
    odata_model,
    odata_options,
    odata_writer,
    query,
)
from alxreport.settings import ServeSettings, Settings, StoreSettings
from alxreport.sqlite_session import LOCK_WAIT_SECONDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
EXAMPLES = ROOT / "docs" / "examples"
UNIT = ROOT / "systemd" / "alxreport-serve.service"
CRONTAB = (ROOT / "crontab.example").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines() if line.startswith("|")]  # fmt: skip


def program():
    """Return every command by its full name, with the options it takes."""
    found = {}

    def walk(command, names):
        if children := getattr(command, "commands", None):
            for name, child in children.items():
                walk(child, (*names, name))
        else:
            found[" ".join(names)] = {o for param in command.params for o in param.opts}

    walk(typer.main.get_command(cli.app), ())
    return found


COMMANDS = program()


def shown():
    """Return every alxreport command line in the code of README and docs, and crontab.example."""
    code = [line for line in CRONTAB.splitlines() if not line.startswith("#")]
    for text in (README, *DOCS.values()):
        blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        code += [line for block in blocks for line in block.splitlines()]
        code += re.findall(r"`(alxreport [^`]+)`", text)
    found = []
    for line in code:
        if match := re.search(r"(?:^|[#$*] +)(alxreport .+)$", line.strip()):
            text = re.split(r"\s[>|#]|   ", match[1])[0]
            if "bin/" not in line:
                found.append(" ".join(text.split()))
    return sorted(set(found))


def test_the_command_table_names_every_command_and_no_other():
    named = [row[0].strip("`").removeprefix("alxreport ") for row in ROWS
             if row[0].startswith("`alxreport ")]  # fmt: skip
    assert sorted(named) == sorted(COMMANDS)


def test_there_is_something_to_check():
    assert len(shown()) > 10
    assert "alxreport sync" in shown()


@pytest.mark.parametrize("line", shown())
def test_every_command_shown_exists(line):
    _program, *words = shlex.split(line)
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
    assert name, f"{line}: no such command"
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    assert options <= COMMANDS[name] | {"--help"}, line


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_every_option_named_in_the_text_exists(line):
    assert line in {option for options in COMMANDS.values() for option in options}


def test_the_exit_codes_are_the_errors_codes():
    told = {int(row[0]) for row in ROWS if row[0].isdigit()}
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in classes if issubclass(kind, errors.AlxError)}
    others = {0, cli.FAILED_COMPANIES, cli.DIFFERENCES, command_group.INTERRUPTED}
    assert told == raised | others


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("name", sorted(DOCS))
def test_every_link_of_the_pages_leads_somewhere(name):
    for link in re.findall(r"\]\(([^)#:]+)\)", DOCS[name]):
        assert (ROOT / "docs" / link).exists(), link
    assert f"docs/{name}" in README


def test_the_cron_lines():
    lines = [line for line in CRONTAB.splitlines() if line and not line.startswith("#")]
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    assert jobs
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    for job in jobs:
        *times, command = job.split(maxsplit=5)
        assert len(times) == 5
        for value, (low, high) in zip(times, ranges, strict=True):
            step = re.fullmatch(r"\*(/\d+)?|\d+", value)
            assert step, value
            assert not value.isdigit() or low <= int(value) <= high
        assert "%" not in command.replace(r"\%", ""), "cron ends a command at a bare %"
        assert command in README


def test_the_front_door():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "lint", "check", "bench"} <= targets
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
    named = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert named
    assert targets <= set(named[1].split())


def test_the_changelog_has_a_place_for_what_comes():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
    headings = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# Serving over HTTP


def toml_of(page):
    """Return the TOML of a page, all of its blocks together."""
    blocks = re.findall(r"^```toml\n(.*?)^```", DOCS[page], re.DOTALL | re.MULTILINE)
    return tomllib.loads("\n".join(blocks))


@pytest.mark.parametrize("page", ["http.md", "configuration.md"])
def test_the_settings_of_serving(page):
    assert toml_of(page)["serve"] == asdict(ServeSettings())


def test_every_setting_has_its_line():
    told, settings = toml_of("configuration.md"), Settings()
    assert set(told) == {each.name for each in fields(Settings)} - {"path", "warnings"}
    for section in set(told) - {"store", "moodle"}:
        assert set(told[section]) == {each.name for each in fields(getattr(settings, section))}
    named = {each.name for each in fields(StoreSettings)} - set(told["store"])
    assert all(name in DOCS["configuration.md"] for name in named)


def test_every_status_is_explained():
    told = {int(number) for row in re.findall(r"^\| ([0-9, ]+) \|", DOCS["http.md"], re.MULTILINE)
            for number in row.split(", ")}  # fmt: skip
    # Those of errors and of the protocol; 401, 403 and 500 come from no table.
    made = {status for _kind, status in http_reply._STATUS} | {401, 403, 500}
    made |= set(http_api.TITLES) | {200, 304, 307, 408, 413, 414, 431}
    assert made == told


@pytest.mark.parametrize(
    "limit",
    [
        f"{http_protocol.LARGEST_URL:,} bytes",
        f"{http_protocol.LARGEST_HEAD // 1024} KiB, {http_protocol.MOST_HEADERS} headers,"
        f" to arrive within {http_protocol.HEAD_SECONDS:.0f} seconds",
        f"{http_dropin.LARGEST_BODY // 1024} KiB,"
        f" to arrive within {http_dropin.BODY_SECONDS} seconds",
        f"| parameters | {http_call.MOST_PARAMETERS} |",
        f"{http_protocol.MOST_CONNECTIONS} for each worker",
        f"{http_call.FILE_THREADS['request']} pages at the same time where the store is a file,"
        f" {http_call.SERVER_THREADS['request']} where it is a server;"
        f" besides them {http_call.FILE_THREADS['export']} exports,"
        f" and {http_call.FILE_THREADS['search']} or {http_call.SERVER_THREADS['search']} pages",
        f"of each kind {http_call.MOST_WAITING} may wait",
        f"{query.CONDITION_SECONDS:.0f} seconds of the database's time",
        f"{LOCK_WAIT_SECONDS} seconds, then 503",
        f"{http_server.KEEP_ALIVE_SECONDS} between two requests",
        f"is cut off after {http_server.STALLED_SECONDS} seconds",
        f"up to {http_api.SPOOLED_BYTES // 1_000_000} MB",
        f"more than {http_reply.PACKED_FROM:,} bytes",
    ],
)
def test_the_limits_are_those_of_the_program(limit):
    assert limit in DOCS["http.md"]


def test_what_the_feed_offers():
    text = DOCS["odata.md"]
    options = {name for name in odata_options.OPTIONS if name != "$skiptoken"}
    assert all(f"`{name}" in text for name in options)
    functions = re.search(r"and the functions ([^|]+) \|", text)
    assert set(re.findall(r"`(\w+)`", functions[1])) == set(odata_model.FUNCTIONS)
    assert f"up to {odata_options.MOST_ORDERS} properties" in text
    assert f"has {odata_filter.LONGEST:,} characters" in text
    assert f"{odata_writer.MOST_FUNCTIONS} functions" in text
    assert f"of {odata_writer.LONGEST_TEXT:,} characters" in text
    assert f"{query.CONDITION_SECONDS:.0f} seconds" in text
    for name in odata_model.BOOKKEEPING:
        assert f"`{name}`" in text


def test_the_pages_name_the_addresses():
    routes = {route.path for route in http_app.make_app(Settings()).routes}
    for path in ("/healthz", "/metrics", "/api/v1/progress", "/api/v1/export", "/api/v1/company",
                 http_app.SERVER_PHP):  # fmt: skip
        assert path in routes
        assert f"`{path}`" in DOCS["http.md"]


@pytest.mark.parametrize("name", ["nginx", "nginx-moodle", "apache", "apache-moodle"])
def test_the_examples_for_proxies(name):
    text = (EXAMPLES / f"{name}.conf").read_text(encoding="utf-8")
    assert f"examples/{name}.conf" in DOCS["http.md"]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line.removeprefix("#").strip() if "log_format" in text else line for line in lines]
    code = "\n".join(lines)
    assert f"http://127.0.0.1:{ServeSettings().port}" in code or (
        f"server 127.0.0.1:{ServeSettings().port};" in code
    )
    # No log may hold a query string.
    formats = re.findall(r"^(?:log_format|LogFormat).*(?:\n'.*)*", code, re.MULTILINE)
    assert len(formats) == 1
    assert not re.search(r"\$(request|request_uri|args|query_string|http_referer)\b", formats[0])
    assert not re.search(r"%(r|q|>?\{Referer\}i)", formats[0])
    if name.startswith("nginx"):
        logs = re.findall(r"^access_log (.+);$", code, re.MULTILINE)
        assert logs
        assert all(log == "off" or log.endswith(" alxreport") for log in logs)
        assert re.search(r"^error_log \S+ crit;$", code, re.MULTILINE)
        assert "proxy_set_header X-Forwarded-For $remote_addr;" in code
        assert f"client_max_body_size {http_dropin.LARGEST_BODY // 1024}k;" in code
    else:
        assert all(" alxreport" in log for log in re.findall(r"^CustomLog .+$", code, re.MULTILINE))
        assert "RequestHeader unset X-Forwarded-For" in code
        assert f"LimitRequestBody {http_dropin.LARGEST_BODY}" in code
    if name == "nginx":
        size = re.search(r"large_client_header_buffers \d+ (\d+)k;", code)
        assert int(size[1]) * 1024 > http_protocol.LARGEST_URL
    if name == "apache":
        assert int(re.search(r"LimitRequestLine (\d+)", code)[1]) > http_protocol.LARGEST_URL


def test_the_unit_of_the_server():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]
    _program, name, *words = shlex.split(service["ExecStart"])
    assert {word for word in words if word.startswith("--")} <= COMMANDS[name]
    assert int(service["TimeoutStopSec"]) > http_server.STALLED_SECONDS
    assert service["Restart"] == "on-failure"
    # A single worker knows no SIGHUP.
    assert int(words[words.index("--workers") + 1]) > 1 or "ExecReload" not in service
    assert {"NoNewPrivileges", "ProtectSystem", "ReadWritePaths"} <= set(service)
