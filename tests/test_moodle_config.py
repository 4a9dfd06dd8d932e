"""Moodle's config.php as people write it: what is read, what is left to ask, what is refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alxreport.errors import ConfigError
from alxreport.moodle_config import (
    ATTRIBUTES,
    DEFAULT_SOCKET,
    MoodleConfig,
    parse_moodle_config,
    read_moodle_config,
    source_url,
)

INSTALLER = """<?php  // Moodle configuration file

unset($CFG);
global $CFG;
$CFG = new stdClass();

$CFG->dbtype    = 'mariadb';
$CFG->dblibrary = 'native';
$CFG->dbhost    = 'localhost';
$CFG->dbname    = 'moodle';
$CFG->dbuser    = 'moodleuser';
$CFG->dbpass    = 'S3cret#//*"?>pa$$';
$CFG->prefix    = 'mdl_';
$CFG->dboptions = array (
  'dbpersist' => 0,
  'dbport' => 3306,
  'dbsocket' => '/run/mysqld/mysqld.sock',
  'dbcollation' => 'utf8mb4_unicode_ci',
);

$CFG->wwwroot   = 'https://learn.example';
$CFG->directorypermissions = 02777;

require_once(__DIR__ . '/lib/setup.php');

// There is no php closing tag in this file,
// it is intentional because it prevents trailing whitespace problems!
"""
INSTALLED = MoodleConfig(
    dbtype="mariadb",
    host="localhost",
    port=3306,
    socket="/run/mysqld/mysqld.sock",
    database="moodle",
    user="moodleuser",
    password='S3cret#//*"?>pa$$',
    prefix="mdl_",
)


def parse(body: str, dbtype: str = "mariadb") -> MoodleConfig:
    return parse_moodle_config(f"<?php\n$CFG->dbtype = '{dbtype}';\n{body}\n")


def password(expression: str) -> str | None:
    config = parse(f"$CFG->dbpass = {expression};\n$CFG->dbname = 'after';")
    assert config.database == "after"
    assert ("dbpass" in config.computed) == (config.password is None)
    return config.password


@pytest.mark.parametrize(
    "text",
    [
        INSTALLER,
        "\ufeff" + INSTALLER,
        INSTALLER.replace("\n", "\r\n"),
        INSTALLER.replace("\n\n// There", "\n?>\n\n$CFG->dbname = 'html'; it's\n// There"),
        INSTALLER.removeprefix("<?php"),
        INSTALLER.replace("<?php", "<?PHP"),
        "#!/usr/bin/php\n<p class='x'>" + INSTALLER,
        INSTALLER.replace("array (", "[").replace(",\n);", "\n];"),
        INSTALLER + "__halt_compiler(); $CFG->dbname = 'no'; it's",
        INSTALLER + "return; $CFG->dbname = 'never reached';",
        INSTALLER + 'if (CLI) { exit(1); } $x = "{$CFG->dbname["a}"]} \'"; `ls \'$x\'`;',
    ],
)
def test_the_installers_file_in_every_wrapping(text):
    assert parse_moodle_config(text) == INSTALLED


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (r"'it\'s \\ \n \x41 $x {$y}'", r"it's \ \n \x41 $x {$y}"),
        (r"'\\'", "\\"),
        ("''", ""),
        ("'a\nb'", "a\nb"),
        (r'"\n\t\r\v\e\f\\\$\""', '\n\t\r\v\x1b\f\\$"'),
        (r'"\x41\101\u{1F600}\u{e9}\q\{"', "AA\U0001f600é\\q\\{"),
        (r'"\xC3\xA9"', "é"),
        (r'"\xE9"', "é"),
        ('"100$ $1 $ {x} #//"', "100$ $1 $ {x} #//"),
        ("b'bytes'", "bytes"),
        ("'a' . 'b' . \"c\" . 1", "abc1"),
        ("('a' . ('b'))", "ab"),
        ("12345", "12345"),
        ("'pass' /* ; 'no' */ // ; '\n # '\n", "pass"),
        ("<<<'EOT'\nit's \"$raw\" \\n\nEOT", 'it\'s "$raw" \\n'),
        ('<<<EOT\na\\tb\\x41 "q" \\"\nEOT', 'a\tbA "q" \\"'),
        ('<<<"EOT"\n    one\n      EOTX\n    EOT', "one\n  EOTX"),
        ("<<<EOT\nEOT", ""),
        ("<<<EOT\r\none\r\nEOT", "one"),
    ],
)
def test_literals_mean_what_php_says(expression, value):
    assert password(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "getenv('DB_PASS')",
        "getenv('DB_PASS') ?: 'default'",
        "\\getenv('DB_PASS')",
        "$_ENV['DB_PASS']",
        "$_SERVER[\"DB_PASS\"] ?? 'x;y'",
        "DB_PASS",
        "Secrets::PASS",
        "'a' . DB_PASS",
        "'a' . $b . 'c'",
        "$x ? 'a' : 'b'",
        "'a' === PHP_OS ? 'a' : 'b'",
        "trim(file_get_contents('/run/secret'))",
        "(function () { return ';'; })()",
        "(string) 'x'",
        '"$x"',
        "\"a{$x['b']}c\"",
        '"a{$x["b}\\""]}c"',
        '"${x}"',
        '"pa$é"',
        "<<<EOT\n$x\nEOT",
        "`cat /run/secret`",
        "new Secret(['a;' => 1])",
        "match (true) { default => 'x' }",
        "['a']",
        '"\\u{110000}"',
        "-1.5",
    ],
)
def test_what_php_computes_is_left_to_ask(expression):
    assert password(expression) is None


@pytest.mark.parametrize(
    "comment",
    [
        "// $CFG->dbname = 'no';",
        "# $CFG->dbname = 'no'; it's",
        "/* $CFG->dbname = 'no';\n */",
        "/** don't\n$CFG->dbname = 'no'; **/",
        "#[Pure]",
        "$x = '$CFG->dbname = 1; // /*';",
        "$x = \"\\$CFG->dbname = '1';\";",
        "define('DB', \"it's\");",
        "// closed by ?> $CFG->dbname = 'no'; <?php",
        "$CFG->other = ['dbname' => 'no']; $cfg->dbname = 'no'; $CFG->dbName = 'no';",
        "if ($CFG->dbname == 'no') { echo 1; }",
        "$CFG->forced_plugin_settings['local_x']['dbname'] = 'no'; $CFG->list[] = 'no';",
    ],
)
@pytest.mark.parametrize("template", ["{c}\n{a}", "{a} {c}\n"])
def test_comments_and_text_assign_nothing(template, comment):
    config = parse(template.format(c=comment, a="$CFG->dbname = 'moodle';"))
    assert (config.database, config.computed) == ("moodle", frozenset())


def test_an_attribute_hides_nothing_behind_it():
    assert parse("#[A('x')] function f() { } $CFG->dbname = 'moodle';").database == "moodle"


@pytest.mark.parametrize(
    ("options", "port", "socket"),
    [
        ("array()", None, None),
        ("[]", None, None),
        ("array('dbport' => '', 'dbsocket' => '')", None, None),
        ("['dbport' => 0, 'dbsocket' => 0]", None, None),
        ("['dbport' => '3307', 'dbsocket' => false,]", 3307, None),
        ("['dbport' => 3_307, 'dbsocket' => '0']", 3307, None),
        ("['dbport' => null, 'dbsocket' => TRUE]", None, DEFAULT_SOCKET),
        ("['dbport' => 'x', 'dbsocket' => 1]", None, DEFAULT_SOCKET),
        ("array('dbport' => ' 3307 ', \"dbsocket\" => '/tmp/' . 'my.sock')", 3307, "/tmp/my.sock"),
        (
            "[\n // 'dbport' => 1,\n 'readonly' => ['instance' => [['dbport' => 1, 'x'], f(2)],],\n"
            " 'connecttimeout' => null, 'clientcompress' => true, 'dbport' => 3307,\n]",
            3307,
            None,
        ),
    ],
)
def test_dboptions(options, port, socket):
    config = parse(f"$CFG->dboptions = {options};")
    assert (config.port, config.socket, config.computed) == (port, socket, frozenset())


@pytest.mark.parametrize(
    ("options", "computed"),
    [
        ("['dbport' => getenv('P') ?: 3306, 'dbsocket' => '']", {"dbport"}),
        ("array_merge($x, ['dbport' => 1])", {"dbport", "dbsocket", "ssl"}),
        ("[...$x, 'dbport' => 1, 'ssl' => 'require']", {"dbsocket"}),
        ("[PORT => 1, 'dbport' => 1]", {"dbsocket", "ssl"}),
    ],
)
def test_computed_dboptions(options, computed):
    config = parse(f"$CFG->dboptions = {options};")
    assert config.computed == {f"dboptions.{name}" for name in computed}


def test_elements_assigned_to_dboptions():
    config = parse(
        "$CFG->dboptions = ['dbport' => 1];\n$CFG->dboptions['dbport'] = 3307;\n"
        "$CFG->dboptions[\"dbsocket\"] = \"/s\";\n$CFG->dboptions['readonly']['x'] = 1;"
    )
    assert (config.port, config.socket, config.computed) == (3307, "/s", frozenset())
    assert parse("$CFG->dboptions[$key] = 3307;").computed == {
        "dboptions.dbport",
        "dboptions.dbsocket",
        "dboptions.ssl",
    }


@pytest.mark.parametrize(
    ("value", "ssl"),
    [("'verify-full'", "verify-full"), ("true", "require"), ("''", None), ("null", None)],
)
def test_ssl(value, ssl):
    assert parse(f"$CFG->dboptions = ['ssl' => {value}];", "pgsql").ssl == ssl


def test_a_port_beyond_65535_is_refused():
    with pytest.raises(ConfigError, match="dbport 65536"):
        parse("$CFG->dboptions = ['dbport' => 65536];")


@pytest.mark.parametrize(
    ("body", "database"),
    [
        ("$CFG->dbname = 'a'; $CFG->dbname = 'b';", "b"),
        ("$CFG -> dbname\n=\n'b'\n;", "b"),
        ("$CFG->{'dbname'} = 'b';", "b"),
        ("{ $CFG->dbname = 'b'; }", "b"),
        ("$CFG->dbname = getenv('X'); $CFG->dbname = 'b';", "b"),
        ("if (A) { $CFG->dbname = 'a'; } $CFG->dbname = 'b';", "b"),
        ("if (A) { if (B) { f(); } else { g(); } } $CFG->dbname = 'b';", "b"),
        ("if (A): if (B) { f(); } else { g(); } endif; $CFG->dbname = 'b';", "b"),
        ("if (A) f(); else if (B) g(); else h(); $CFG->dbname = 'b';", "b"),
        ("do { f(); } while (A); $CFG->dbname = 'b';", "b"),
        ("switch (A) { case 1: f(); break; default: g(); } $CFG->dbname = 'b';", "b"),
        ("foreach ($a as $k => $v): f(); endforeach; $CFG->dbname = 'b';", "b"),
        ("try { f(); } catch (E $e) { } finally { } $CFG->dbname = 'b';", "b"),
        ("function f($a = []) : int { return 1; } $CFG->dbname = 'b';", "b"),
        ("$f = function () { return 1; }; $CFG->dbname = 'b';", "b"),
        ("final class A { public $x = 'y'; function f() { } } $CFG->dbname = 'b';", "b"),
        ("$CFG->dbname = 'b'; if (A) { $CFG->dbname = 'b'; }", "b"),
        ("$CFG->dbname = 'a'; if (!isset($CFG)) { $CFG = new stdClass; }", "a"),
        ("$CFG->dbname = 'a'; $CFG = new \\stdClass(); $CFG->dbhost = 'h';", None),
        ("$CFG->dbname = 'a'; unset($CFG->dbname);", None),
        ("$CFG->dbname = '';", None),
        ("namespace A; $CFG->dbname = 'b';", "b"),
        ("declare(strict_types=1); $CFG->dbname = 'b' ?>", "b"),
    ],
)
def test_the_last_unconditional_assignment_counts(body, database):
    config = parse(body)
    assert (config.database, config.computed) == (database, frozenset())


@pytest.mark.parametrize(
    "body",
    [
        "if (A) { $CFG->dbname = 'a'; } else { $CFG->dbname = 'b'; }",
        "if (A) $CFG->dbname = 'a';",
        "if (A): f(); elseif (B): $CFG->dbname = 'a'; endif;",
        "if (A) { f(); } else $CFG->dbname = 'a';",
        "if ($CFG->dbname = f()) { }",
        "foreach ($a as $b) { $CFG->dbname = 'a'; }",
        "foreach ($a as $k => $v) { $CFG->$k = $v; }",
        "switch (A) { case 1: if (B): f(); endif; $CFG->dbname = 'a'; }",
        "try { $CFG->dbname = 'a'; } catch (E $e) { }",
        "function f() { global $CFG; $CFG->dbname = 'a'; }",
        "class A { function f() { $CFG->dbname = 'a'; } }",
        "$f = function () use ($CFG) { $CFG->dbname = 'a'; };",
        "A && $CFG->dbname = 'a';",
        "A ? $CFG->dbname = 'a' : 0;",
        "$CFG->dbname = $CFG->dbuser = 'a';",
        "$CFG->dbname .= 'a';",
        "$CFG->dbname ??= 'a';",
        "$CFG->{'db' . $x} = 'a';",
        "$CFG = load();",
        "if (A) { unset($CFG->dbname); }",
    ],
)
def test_an_assignment_that_depends_is_left_to_ask(body):
    config = parse("$CFG->dbname = 'before';\n" + body)
    assert config.database is None
    assert "dbname" in config.computed


def test_a_computed_dbtype_is_empty_and_named():
    config = parse_moodle_config("<?php $CFG->dbtype = getenv('T'); $CFG->dbhost = 'db:3307';")
    assert (config.dbtype, config.computed) == ("", {"dbtype"})
    full = replace(config, dbtype="mysqli", database="m", user="u")
    assert (source_url(full).host, source_url(full).port) == ("db", 3307)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("localhost", "''", ("localhost", None, "/s")),
        ("127.0.0.1:3307", "3306", ("127.0.0.1", 3307, None)),
        ("db.example:3307", "''", ("db.example", 3307, None)),
        ("localhost:3307", "''", ("localhost", 3307, None)),
        ("[::1]", "3308", ("::1", 3308, "/s")),
        ("[::1]:3307", "''", ("::1", 3307, None)),
        ("::1", "''", ("::1", None, "/s")),
        ("p:db", "''", ("db", None, "/s")),
        ("p:db:3307", "''", ("db", 3307, None)),
        ("", "''", ("localhost", None, "/s")),
    ],
)
def test_hosts_as_mysqli_reads_them(host, port, expected):
    options = f"['dbport' => {port}, 'dbsocket' => '/s']"
    config = parse(f"$CFG->dbhost = '{host}'; $CFG->dboptions = {options};")
    assert (config.host, config.port, config.socket) == expected


def test_other_databases_keep_their_host():
    assert parse(r"$CFG->dbhost = 'db\inst,1433';", "sqlsrv").host == r"db\inst,1433"


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        (
            {},
            "mysql+pymysql://moodleuser:p@localhost:3306/moodle"
            "?charset=utf8mb4&unix_socket=%2Frun%2Fmysqld%2Fmysqld.sock",
        ),
        ({"host": "db", "dbtype": "mysqli"}, "mysql+pymysql://moodleuser:p@db:3306/moodle"),
        ({"host": "::1", "port": None}, "mysql+pymysql://moodleuser:p@[::1]/moodle"),
        ({"socket": DEFAULT_SOCKET}, "mysql+pymysql://moodleuser:p@localhost:3306/moodle"),
        ({"host": "p:db:1", "dbtype": "auroramysql"}, "mysql+pymysql://moodleuser:p@db:1/moodle"),
        ({"password": None, "socket": None}, "mysql+pymysql://moodleuser@localhost:3306/moodle"),
    ],
)
def test_mysql_urls(changes, url):
    url_object = source_url(replace(INSTALLED, **({"password": "p"} | changes)))
    rendered = url_object.render_as_string(hide_password=False)
    assert rendered == (url if "charset" in url else f"{url}?charset=utf8mb4")


def test_any_password_fits_into_a_url():
    url = source_url(replace(INSTALLED, host="db", password="p@:/?#% é"))
    _, arguments = url.get_dialect()().create_connect_args(url)
    assert arguments["password"] == "p@:/?#% é"


@pytest.mark.parametrize(
    ("host", "port", "socket", "arguments"),
    [
        ("db", 5433, "/run/pg", {"host": "db", "port": 5433}),
        ("localhost", None, None, {"host": "localhost"}),
        ("localhost", 5433, "/run/pg", {"host": "/run/pg", "port": 5433}),
        ("127.0.0.1", None, DEFAULT_SOCKET, {}),
        ("", None, None, {}),
        ("/run/pg", None, None, {"host": "/run/pg"}),
        (None, None, "/run/pg", {"host": "/run/pg"}),
    ],
)
def test_postgresql_connection_arguments(host, port, socket, arguments):
    config = MoodleConfig("pgsql", host, port, socket, "m", "u", "p@:/ é")
    url = source_url(config)
    _, given_arguments = url.get_dialect()().create_connect_args(url)
    common = {"user": "u", "password": "p@:/ é", "dbname": "m"}
    assert (url.drivername, given_arguments) == ("postgresql+psycopg", common | arguments)


@pytest.mark.parametrize("dbtype", ["sqlsrv", "oci", "", "MariaDB"])
def test_other_dbtypes_are_refused_with_the_supported_ones(dbtype):
    with pytest.raises(ConfigError) as caught:
        source_url(replace(INSTALLED, dbtype=dbtype))
    assert "mariadb, mysqli" in caught.value.hint
    assert "pgsql" in caught.value.hint


def test_a_url_needs_every_value_and_a_computed_password():
    with pytest.raises(ConfigError, match="dbhost, dbname, dbuser, dbpass"):
        source_url(MoodleConfig("mariadb", computed=frozenset({"dbpass"})))
    filled = replace(INSTALLED, password="", computed=frozenset({"dbpass"}))
    assert source_url(filled).password == ""


@pytest.mark.parametrize(
    "text",
    ["", "<?php\n", "<html>", "<?php $CFG = new stdClass();", "<?php require 'real.php';", "\x00"],
)
def test_files_that_are_not_moodles(text):
    with pytest.raises(ConfigError, match="not a Moodle config"):
        parse_moodle_config(text)


@pytest.mark.parametrize("value", ["'open", '"open', "<<<EOT\nopen", '"{$open'])
def test_text_that_is_never_closed_is_refused_without_quoting_it(value):
    with pytest.raises(ConfigError, match="line 3") as caught:
        parse(f"$CFG->dbpass = {value}")
    assert "open;" not in caught.value.message


@pytest.mark.parametrize("deep", ["[" * 5000, "(" * 5000, "{" * 5000, "if (A) " * 5000])
def test_deep_nesting_is_refused(deep):
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse(f"{'' if deep[0] in '{i' else '$CFG->dbpass = '}{deep}")


def test_the_password_is_not_shown():
    assert "S3cret" not in repr(INSTALLED)
    assert "S3cret" not in str(source_url(INSTALLED))


def test_attributes_name_what_a_person_is_asked_for():
    assert {name for name in ATTRIBUTES.values() if not hasattr(INSTALLED, name)} == set()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_files_in_either_encoding(tmp_path, encoding):
    path = tmp_path / "config.php"
    path.write_bytes(INSTALLER.replace("S3cret", "Gehäusé").encode(encoding))
    assert read_moodle_config(path) == replace(
        INSTALLED, password=INSTALLED.password.replace("S3cret", "Gehäusé")
    )


def test_unreadable_files_are_named(tmp_path):
    (tmp_path / "index.php").write_text("<?php echo 'S3cret';")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "absent.php": "No such file",
        "": "Is a directory",
        "loop": "symbolic links",
        "index.php": "not a Moodle config.php",
    }.items():
        with pytest.raises(ConfigError, match=reason) as caught:
            read_moodle_config(tmp_path / name)
        assert str(tmp_path / name) in caught.value.message
        assert "S3cret" not in caught.value.message + caught.value.hint
        assert "\n" not in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "config.php"
    path.touch(0o000)
    with pytest.raises(ConfigError, match="Permission denied"):
        read_moodle_config(path)


def test_reading_does_not_import_sqlalchemy():
    code = "import sys, alxreport.moodle_config; sys.exit('sqlalchemy' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def single_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def double_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def nowdoc(text: str) -> str:
    return f"<<<'NOT_IN_ANY_PASSWORD'\n{text}\nNOT_IN_ANY_PASSWORD"


def escaped(text: str) -> str:
    return '"' + "".join(f"\\u{{{ord(letter):x}}}" for letter in text) + '"'


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text("'\"\\$#/*?><;{}x1n\n ."))
@example("\\", "?>")
def test_any_password_round_trips(left, right):
    for text in (left, right, left + right):
        for rendered in (single_quoted, double_quoted, escaped):
            assert password(rendered(text)) == text
        if not text.endswith("\r"):  # with the line's own end it would be one CRLF
            assert password(nowdoc(text)) == text
    assert password(f"{single_quoted(left)} . {double_quoted(right)}") == left + right


WORDS = [*INSTALLER.split(), *"'\"[](){};:,$=.", "if", "else", "endif", "->", "<<<A\n", '"{$']


@given(st.lists(st.sampled_from(WORDS)))
def test_any_heap_of_php_is_read_or_refused(words):
    with contextlib.suppress(ConfigError):
        parse_moodle_config("<?php " + " ".join(words))
