"""The house follows the data: who may import whom, as a table, and what stays in one place."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "alxreport"
GROUND, DATABASE, PURE, PARTS, SERVICES, FACES = range(6)
LAYERS = {
    GROUND: "__init__ settings records errors error_codes store_names token_form whole_file"
    " process_mark extras",
    DATABASE: "dialects tls failover replica again database database_errors address schema"
    " request_schema migrations moodle_tables sessions sqlite_session group_commit store_size",
    PURE: "catalogue progress fingerprints merge guard companies listing moodle_config"
    " php_tokens php_statements plugin_records marks question company_options networks powerbi"
    " powerbi_text powerbi_odata"
    " cron_lines openapi openapi_answers openapi_parameters openapi_refusals openapi_html"
    " odata_model odata_compare odata_filter odata_writer odata_options plugin_question"
    " cron_command cron_times cron_units screens"
    " snapshots alert_rules wording monitor_screens"
    " monitor_html monitor_charts markup metrics",
    PARTS: "moodle evidence store lease history switch company_settings checks grants"
    " probes config_file explain_source tokens rate_limit cache request_log reporting_table"
    " service_tokens plugin_settings cron_host cron_program retention monitor_facts call_facts"
    " alert_log notify ping",
    SERVICES: "survey watched_source sync verify explain query export demo demo_site demo_history"
    " demo_names initialise doctor explain_conditions run company_sync admission request_trace"
    " health odata credentials"
    " token_admin"
    " company_admin limit_admin cron cron_judge gathering monitor alerts telling",
    FACES: "cli cli_options cli_read cli_setup cli_company cli_cron cli_monitor cli_tokens"
    " cli_serve http_app http_api http_brakes http_call http_docs http_dropin http_odata http_reply"
    " http_log http_protocol http_server http_workers"
    " command_group views cron_views request_views monitor_views alert_views"
    " terminal_charts terminal_tables terminal_text __main__",
}
LAYER = {name: layer for layer, names in LAYERS.items() for name in names.split()}
SOUND = {
    ("evidence", "moodle"): "evidence extends moodle's conditions on the same Source",
    ("explain_source", "moodle"): "the same activities have to be counted by the same condition",
    ("probes", "moodle"): "looks at a Source that moodle inspected",
}
LINES, DATA = 350, {"demo_names"}
CLI = {
    "cli",
    "cli_options",
    "cli_read",
    "cli_setup",
    "cli_company",
    "cli_cron",
    "cli_monitor",
    "cli_tokens",
    "cli_serve",
}
PAINTERS = {"views", "request_views", "cron_views", "alert_views", "monitor_views",
            "terminal_charts", "terminal_tables", "terminal_text"}  # fmt: skip
REPORTING_WRITERS = {"store", "retention", "migrations"}
# They write SQL as text, and only into the store's tables by their attribute of StoreNames.
PLAIN_SQL = {"tokens", "rate_limit", "cache", "request_log", "company_settings", "sessions",
             "monitor_facts", "call_facts", "alert_log"}  # fmt: skip
DIALECT_READERS = {"dialects", "database", "address", "sessions", "failover", "tls",
                   "replica"}  # fmt: skip


def name_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MODULES = {name_of(path) for path in FILES}
by_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT).with_suffix(""))
)


def imports(tree: ast.AST) -> set[str]:
    """Return every dotted name imported anywhere in a module, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the package"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def neighbours(tree: ast.AST) -> set[str]:
    ours = {name.split(".")[1] for name in imports(tree) if name.startswith("alxreport.")}
    return ours & MODULES


def layer(name: str) -> int:
    return SERVICES if name.startswith("doctor_") else LAYER[name]


def attributes(tree: ast.AST, *names: str) -> list[int]:
    return [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in names]


def test_every_module_has_a_place():
    assert {name for name in MODULES if not name.startswith("doctor_")} <= LAYER.keys()


@by_file
def test_imports_point_downwards(path):
    name = name_of(path)
    mine = layer(name)
    wrong = [
        other
        for other in sorted(neighbours(TREES[path]) - {name})
        if layer(other) > mine
        or (layer(other) == mine and mine == PARTS and (name, other) not in SOUND)
    ]
    assert not wrong, f"{name} imports {wrong}"


def test_no_exception_is_left_over():
    for name, other in SOUND:
        assert other in neighbours(TREES[ROOT / f"{name}.py"]), f"{name} -> {other} is no more"


@by_file
def test_libraries_stay_in_their_place(path):
    name, used = name_of(path), {found.split(".")[0] for found in imports(TREES[path])}
    if "rich" in used:
        assert name in CLI | PAINTERS
    if "typer" in used:
        assert name in CLI | {"command_group"}
    if {"starlette", "uvicorn"} & used:
        assert name.startswith("http_")
    if "alembic" in used:
        assert name == "migrations"
    assert not used & {"click", "psycopg"}
    if "pymysql" in used:
        assert name == "failover"


@by_file
def test_the_environment_is_read_by_settings(path):
    read = attributes(TREES[path], "environ", "getenv")
    assert not read or name_of(path) == "settings", f"lines {read}"


@by_file
def test_which_database_it_is_is_known_in_one_place(path):
    if name_of(path) in DIALECT_READERS:
        return
    found = attributes(TREES[path], "drivername", "get_backend_name")
    found += [
        node.lineno
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Attribute) and node.attr == "name"
        and isinstance(node.value, ast.Attribute | ast.Name)
        and (node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id)
        == "dialect"
    ]  # fmt: skip
    assert not found, f"lines {found}"


@by_file
def test_the_library_never_prints(path):
    called = [n.func for n in ast.walk(TREES[path]) if isinstance(n, ast.Call)]
    assert not any(isinstance(func, ast.Name) and func.id == "print" for func in called)


def writes(tree: ast.AST) -> set[str]:
    """Return what a module's INSERT, UPDATE and DELETE name as their tables, as source text."""
    verbs = {"insert", "update", "delete"}
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in verbs and node.args:
            found.add(ast.unparse(node.args[0]))
        elif (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in verbs
            and not isinstance(node.func.value, ast.Name)
        ):
            found.add(ast.unparse(node.func.value))
    return found


@by_file
def test_only_the_store_writes_the_reporting_table(path):
    text = path.read_text(encoding="utf-8")
    if name_of(path) not in REPORTING_WRITERS and "tables.reporting" in text:
        assert not {table for table in writes(TREES[path]) if "reporting" in table}
    if name_of(path) in PLAIN_SQL:
        assert "names.reporting" not in text


@by_file
def test_nothing_but_the_demo_writes_moodles_tables(path):
    name = name_of(path)
    texts = [n.value for n in ast.walk(TREES[path])
             if isinstance(n, ast.Constant) and isinstance(n.value, str)]  # fmt: skip
    statement = re.compile(r"\s*(INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|REPLACE\s+INTO)\b")
    if name in PLAIN_SQL:
        assert not {"moodle_tables", "moodle", "moodle_config"} & neighbours(TREES[path])
        assert not [text for text in texts if re.search(r"(INTO|UPDATE|FROM)\s+\w*[a-z]\w*_", text)]
        return
    assert not [text for text in texts if statement.match(text)]
    if {"moodle_tables", "moodle"} & neighbours(TREES[path]) and name != "demo_site":
        assert not writes(TREES[path]), "it knows Moodle's tables and writes"


@by_file
def test_files_are_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES or name_of(path) in DATA, f"{lines} lines: split it by job"


@by_file
def test_every_module_says_in_one_sentence_what_it_is(path):
    first = (ast.get_docstring(TREES[path]) or "").split("\n")[0]
    assert first.endswith((".", "?")), first
    assert not re.search(r"\.\s+[A-Z]", first), "two sentences"


HEAVY = ["sqlalchemy", "alembic", "orjson", "pymysql", "psycopg", "tabulate", "platformdirs",
         "cronsim"]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "heavy"),
    [(["--version"], [*HEAVY, "rich"]), (["--help"], HEAVY), (["sync", "--help"], HEAVY)],
)
def test_the_start_is_light(words, heavy):
    code = (
        "import sys; from alxreport.cli import main\n"
        f"sys.argv = ['alxreport', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('loaded:', *(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
