"""The Power BI files: sound Power Query M for every company's name, address and fields."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alxreport import listing, powerbi, powerbi_text
from alxreport.errors import UsageError
from alxreport.powerbi import COLUMNS, CompanyName, base_url, power_query_files, text_literal

DOCS = Path(__file__).resolve().parents[1] / "docs" / "power-bi.md"
URL = "https://reports.example.org"
ACME = CompanyName(3, "acme", "Acme Ltd")
API, CSV = "progress-from-api.pq", "progress-from-csv.pq"
JSON, PARQUET, HOW_TO = "progress-from-json.pq", "progress-from-parquet.pq", "how-to.md"
QUERIES = (API, CSV, JSON, PARQUET)
NAMES = (
    'Müller "& Söhne" GmbH', "a #(cr) #(zz) #(#( ##", "x */ let in // y\n in null", '"', "", "#(lf",
    "עברית \u202e abc \u2066", "\x00\x85\u2028\ufeff", "\ud800", "\U0010ffff\U000e0041", "C:\\n\\",
    "$id ${id} $$", "`</script>| # [a](b)", "alxreport\r\n# Heading",
)  # fmt: skip
names = st.one_of(st.sampled_from(NAMES), st.text(), st.text(alphabet='"#(),cr/*\\\n$`|א\u202e'))
some_fields = st.lists(st.sampled_from(list(COLUMNS)), min_size=1, unique=True)


class Token(NamedTuple):
    kind: str
    text: str


KINDS = re.compile(
    r"""(?P<space>\s+)
    | (?P<comment>//[^\n\r\x85\u2028\u2029]* | /\*.*?\*/)
    | (?P<quoted>\#"(?:[^"]|"")*")
    | (?P<string>"(?:[^"]|"")*")
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<name>\#?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
    | (?P<operator><>|<=|>=|=>|\.\.|[=<>+*/&,;?@-])
    | (?P<bracket>[()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"#\((?:cr|lf|tab|#|[0-9A-Fa-f]{4}|[0-9A-Fa-f]{8})\)")
CLOSES = {")": "(", "]": "[", "}": "{", "in": "let"}


def tokens(text):
    """Return the tokens of Power Query M, without space; an AssertionError for what is none."""
    found, place = [], 0
    while place < len(text):
        match = KINDS.match(text, place)
        assert match, f"no token: {text[place : place + 40]!r}"
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0]))
        place = match.end()
    return found


def value(token):
    """Return what a text literal means; it holds nothing that an editor cannot show."""
    assert token.kind == "string"
    inner = token.text[1:-1]
    assert "#(" not in ESCAPE.sub("", inner), token.text
    assert inner.isprintable(), token.text

    def meant(match):
        code = match[0][2:-1]
        known = {"cr": "\r", "lf": "\n", "tab": "\t", "#": "#"}
        return known[code] if code in known else chr(int(code, 16))

    return re.sub(f'{ESCAPE.pattern}|""', lambda m: '"' if m[0] == '""' else meant(m), inner)


def code(text):
    return [token for token in tokens(text) if token.kind != "comment"]


def check(text):
    """Assert that brackets and let ... in pair off, that no comma dangles, and return the code."""
    found, opened = code(text), []
    for token, following in zip(found, [*found[1:], Token("end", "")], strict=True):
        if token.kind == "string":
            value(token)
        if token.text in {"(", "[", "{", "let"} and token.kind in {"bracket", "name"}:
            opened.append(token.text)
        elif token.text in CLOSES and token.kind in {"bracket", "name"}:
            assert opened
            assert opened.pop() == CLOSES[token.text], text
        if token == ("operator", ","):
            assert following.text not in {*CLOSES, ",", ""}
    assert not opened
    assert found[0].text == "let"
    assert [token.text for token in found[-2:]] == ["in", "Typed"]
    return found


def bound(found, name):
    """Return the tokens that follow ``name =``, up to the bracket that closes the first one."""
    (start,) = [
        place + 2
        for place, token in enumerate(found[:-1])
        if token.text == name and found[place + 1].text == "="
    ]
    depth = 0
    for place in range(start, len(found)):
        depth += found[place].text in {"(", "[", "{"}
        depth -= found[place].text in {")", "]", "}"}
        if depth == 0 and found[place].text in {")", "]", "}"}:
            return found[start : place + 1]
    raise AssertionError(name)


def listed(found, name):
    return [value(token) for token in bound(found, name) if token.kind == "string"]


def types(found):
    """Return the columns with their types, in order, from the last step."""
    words = " ".join(token.text for token in bound(found, "Typed"))
    return dict(re.findall(r'{ "(\w+)" , (type \w+|\w+\.\w+) }', words))


def files(fields=listing.DEFAULT_FIELDS, *, url=URL, company=ACME, max_limit=1000):
    return power_query_files(company, url, fields, max_limit)


@pytest.mark.parametrize(
    "wrong",
    ['let a = "x in a', "let a = (1 in a", "let a = 1, in a", "let a = {1) in a", "a", "let a = 1"],
)
def test_the_check_finds_what_is_wrong(wrong):
    with pytest.raises(AssertionError):
        check(wrong.replace("in a", "in Typed"))


@pytest.mark.parametrize("literal", ['"#(zz)"', '"a#(lf"', '"\u202e"', '"\n"'])
def test_the_check_finds_a_text_that_is_none(literal):
    with pytest.raises(AssertionError):
        value(Token("string", literal))


# What is made


def test_the_files():
    assert set(files()) == {*QUERIES, HOW_TO}
    assert set(files(url=None)) == {CSV, JSON, PARQUET, HOW_TO}


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("fields", [listing.DEFAULT_FIELDS, tuple(COLUMNS), ("email",)])
def test_every_field_is_listed_and_typed_and_no_other(name, fields):
    found = check(files(fields)[name])
    assert listed(found, "Columns") == list(fields)
    assert list(types(found)) == list(fields)
    assert types(found) == {field: COLUMNS[field].type for field in fields}


@given(fields=some_fields, limit=st.integers(1, 10**6), number=st.integers(1, 2**63 - 1))
def test_any_fields(fields, limit, number):
    made = files(fields, company=CompanyName(number, "acme", "Acme"), max_limit=limit)
    for name in QUERIES:
        found = check(made[name])
        assert listed(found, "Columns") == list(types(found)) == fields
    assert set(re.findall(r"Progress\[(\w+)\]", made[HOW_TO])) <= set(fields)
    assert re.findall(r"^\| `(\w+)` \|", made[HOW_TO], re.MULTILINE) == fields


def test_the_columns_are_those_of_a_record():
    assert list(COLUMNS) == [*listing.FIELDS, listing.IS_DELETED]
    assert {name for name in COLUMNS if COLUMNS[name].type == powerbi.TIME} == listing.TIMES
    assert {name for name in COLUMNS if COLUMNS[name].type == powerbi.TEXT} == listing.TEXTS
    assert powerbi.KEYS == listing.KEYS


@pytest.mark.parametrize("fields", [(), ("userid", "password"), ("",)])
def test_fields_that_are_none(fields):
    with pytest.raises(UsageError):
        files(fields)


def test_a_page_has_rows():
    with pytest.raises(UsageError):
        files(max_limit=0)


def test_a_field_named_twice_is_one():
    assert files(("userid", "email", "userid")) == files(("userid", "email"))


# Names


@given(name=names)
def test_a_literal_means_the_text(name):
    (token,) = tokens(text_literal(name))
    assert value(token) == re.sub("[\ud800-\udfff]", "\ufffd", name)


@given(name=st.text(alphabet="אب\u202a\u202b\u202d\u202e\u2066\u2067\u200f\u061c٣", min_size=1))
def test_a_literal_keeps_the_order_of_the_line(name):
    assert text_literal(name).isascii()


@given(name=names, shortname=names)
def test_a_name_changes_one_literal_and_one_heading(name, shortname):
    made, plain = files(company=CompanyName(3, shortname, name)), files()
    for query in (CSV, JSON, PARQUET):
        assert made[query] == plain[query]
    one, other = tokens(made[API]), tokens(plain[API])
    assert len(one) == len(other)
    differ = {place for place in range(len(one)) if one[place] != other[place]}
    names_at = {place for place, token in enumerate(other) if token.text == '"Acme Ltd"'}
    assert differ <= names_at
    assert len(names_at) == 1
    check(made[API])
    assert made[HOW_TO].split("\n")[1:] == plain[HOW_TO].split("\n")[1:]
    for text in made.values():
        assert text.encode()
        assert "\r" not in text


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("Acme Ltd", "# Acme Ltd in Power BI"),
        ("a\n# b", "# a \\# b in Power BI"),
        ("<b>[x](y)</b>", "# \\<b\\>\\[x\\]\\(y\\)\\</b\\> in Power BI"),
        ("\u202e\x00", "# Company 3 in Power BI"),
    ],
)
def test_the_heading(name, heading):
    made = files(company=CompanyName(3, "acme", name))[HOW_TO]
    assert made.split("\n")[0] == heading


# The query over HTTP


@pytest.mark.parametrize("url", [URL, "https://[::1]:8443/a/b%20c(x)", "http://localhost:8080/alx"])
def test_the_address_is_one_constant(url):
    found = code(files(url=url)[API])
    (call,) = [place for place, token in enumerate(found) if token.text == "Web.Contents"]
    assert found[call + 1].text == "("
    assert value(found[call + 2]) == url
    assert found[call + 3].text == ","
    assert found[call + 4].text == "["
    assert [value(t) for t in found if t.kind == "string"].count(url) == 1


def test_what_is_asked_for():
    found = code(files(max_limit=250)[API])
    words = " ".join(token.text for token in found)
    assert 'RelativePath = "api/v1/progress"' in words
    assert (
        'Query = if position = null then [ mode = "full" , limit = "250" ]'
        ' else [ mode = "full" , limit = "250" , cursor = position ]'
    ) in words
    assert "ManualStatusHandling = { 400 , 404 , 410 , 429 }" in words
    assert "if Page [ company ] [ id ] = 3 then Page else error" in words
    assert "each if [ next ] = null then null else GetPage ( [ next ] )" in words


def test_credential_prompts_are_left_alone():
    found = code(files()[API])
    words = {token.text for token in found}
    assert not words & {"Headers", "ApiKeyName", "Content", "401", "403", "503"}
    # A 'try' around the request would swallow the refused credential.
    tries = [place for place, token in enumerate(found) if token.text == "try"]
    assert [found[place + 3].text for place in tries] == ["Json.Document"]


@given(fields=some_fields)
@example(list(COLUMNS))
def test_no_file_holds_a_token(fields):
    for text in files(fields).values():
        assert not re.search(r"alx_|Authorization|Bearer|wstoken", text)


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://host", "https://host"),
        ("HTTPS://Host.Example.org/", "https://host.example.org"),
        ("https://host/alx//", "https://host/alx"),
        ("https://host:8443/Alx/", "https://host:8443/Alx"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost/", "http://localhost"),
    ],
)
def test_addresses(given_url, expected):
    assert base_url(given_url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "//host", "/alx", "ftp://host", "https://", "https:///alx", "http://host",
        "http://localhost.evil.example", "http://127.0.0.1.example", "https://host?x=1",
        "https://host/?", "https://host/#a", "https://user:S3cret@host/", "https://S3cret@host",
        "https://host:0", "https://host:65536", "https://host:99999", "https://host:x",
        "https://ho st", "https://host/a b", "https://host/%zz", 'https://host/"', "https://host\n",
        "https://host/a//b", "https://host/../a", "https://host/api/v1/progress", "https://hóst",
        "https://host/api/v1/progress/", "https://host\\a", "https://-host", "http://[::1]/",
        "//user:S3cret@host", "https://user:S3cret@host?token=S3cret#S3cret",
    ],
)  # fmt: skip
def test_addresses_that_power_bi_cannot_use(url):
    with pytest.raises(UsageError) as caught:
        files(url=url)
    assert "S3cret" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@given(url=st.one_of(st.text(), st.from_regex(r"https?://[a-z@:/.?#\"%]{1,20}", fullmatch=True)))
def test_any_address_is_refused_or_sound(url):
    try:
        made = files(url=url)
    except UsageError:
        return
    assert re.fullmatch(r"https?://[^\s\"?#@]*[^\s\"?#@/]", base_url(url))
    check(made[API])


# The queries over files


def test_csv_is_read_as_it_is_written():
    found = code(files()[CSV])
    words = " ".join(token.text for token in found)
    assert '[ Delimiter = "," , Encoding = 65001 , QuoteStyle = QuoteStyle.Csv ]' in words
    assert "PromoteAllScalars = true" in words
    assert "File.Contents ( FilePath )" in words


@pytest.mark.parametrize("name", QUERIES)
def test_numbers_are_read_in_one_language(name):
    assert value(bound(code(files()[name]), "Typed")[-2]) == "en-US"


def test_the_apostrophe_of_export_is_taken_away():
    found = code(files(tuple(COLUMNS))[CSV])
    starts = bound(found, "Unguard")  # up to the parameter's bracket; the list comes later
    assert starts[0].text == "("
    (place,) = [
        place for place, token in enumerate(found)
        if token.text == "List.Contains"
    ]  # fmt: skip
    told = []
    for token in found[place + 3 :]:
        if token.text == "}":
            break
        if token.kind == "string":
            told.append(value(token))
    assert tuple(told) == powerbi.FORMULA_STARTS == listing.FORMULA_STARTS
    assert set(listed(found, "Texts")) == listing.TEXTS
    assert set(listed(found, "Others")) == set(COLUMNS) - listing.TEXTS


def test_a_file_of_something_else_is_refused():
    for name in (CSV, PARQUET):
        words = " ".join(token.text for token in code(files()[name]))
        assert (
            'List.ContainsAll ( Table.ColumnNames ( Promoted ) , { "userid" , "courseid" } )'
            in words
        )
        words = " ".join(token.text for token in code(files(("email",))[name]))
        assert 'Table.ColumnNames ( Promoted ) , { "email" } )' in words


def test_missing_columns_become_null():
    for name in QUERIES:
        assert "MissingField.UseNull" in {token.text for token in code(files()[name])}


def test_parquet_times_are_utc():
    found = code(files(tuple(COLUMNS))[PARQUET])
    assert set(listed(found, "Times")) == listing.TIMES
    assert "Binary.Buffer(Web.Contents(" in files()[PARQUET]
    assert "Binary.Buffer(" not in files()[CSV]


@pytest.mark.parametrize("form", powerbi.FORMS)
def test_a_file_query_begins_with_the_path_and_says_what_else_there_is(form):
    text = files()[f"progress-from-{form}.pq"]
    assert re.search(
        rf'^let\n    FilePath = "C:\\alxreport\\progress\.{form}",\n', text, re.MULTILINE
    )
    for source in ("SharePoint.Files(", "Web.Contents(", "AzureStorage.BlobContents("):
        lines = [line for line in text.splitlines() if source in line]
        assert lines
        assert all(line.lstrip().startswith("//") for line in lines)
    assert f"--company id:3 --format {form}" in text


# The guides


def test_the_guide_names_every_file_and_every_step():
    for url in (URL, None):
        made = files(url=url)
        for name in set(made) - {HOW_TO}:
            assert f"`{name}`" in made[HOW_TO]
        assert [int(number) for number in re.findall(r"^(\d)\. ", made[HOW_TO], re.MULTILINE)][
            :6
        ] == [1, 2, 3, 4, 5, 6]
        assert "$" not in made[HOW_TO]
    assert URL in files()[HOW_TO]


def test_the_tables_need_their_columns():
    assert "Learners =" in files()[HOW_TO]
    assert "Learners" not in files(("userid", "status"))[HOW_TO]
    assert "Completion rate" in files(("userid", "status"))[HOW_TO]
    assert "Completion rate" not in files(("userid",))[HOW_TO]


@pytest.mark.parametrize(("needed", "dax"), powerbi_text.DAX)
def test_each_measure_names_what_it_needs(needed, dax):
    used = set(re.findall(r"Progress\[(\w+)\]", dax))
    assert used <= set(needed.split()) <= set(COLUMNS)
    assert dax.count("(") == dax.count(")")
    assert dax.count('"') % 2 == 0
    made = {known.strip().partition(" =")[0] for _, known in powerbi_text.DAX}
    assert set(re.findall(r"(?<!\w)\[([^\]]+)\]", dax)) <= made


def test_the_page_of_the_documentation():
    text = DOCS.read_text(encoding="utf-8")
    for name in (*QUERIES, HOW_TO):
        assert f"`{name}`" in text
    for word in ("401", "429", "503", "gateway", "id:3", "Anonymous", "Basic"):
        assert word in text
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(COLUMNS)
    for _, dax in powerbi_text.DAX:
        assert dax.strip() in text


@pytest.mark.parametrize("module", [powerbi, powerbi_text])
def test_nothing_is_read_or_written(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported <= {
        "__future__", "collections.abc", "dataclasses", "re", "string", "typing", "unicodedata",
        "alxreport", "alxreport.errors",
    }  # fmt: skip
