"""The Power BI files: sound Power Query M for every company's name, address and fields."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alxreport import listing, powerbi, powerbi_odata, powerbi_text
from alxreport.company_admin import company_fields, power_bi
from alxreport.errors import UsageError
from alxreport.powerbi import COLUMNS, CompanyName, base_url, power_query_files, text_literal

from .asking import Desk, people
from .serving import Client, basic, serving

DOCS = Path(__file__).resolve().parents[1] / "docs" / "power-bi.md"
URL = "https://reports.example.org"
ACME = CompanyName(3, "acme", "Acme Ltd")
ODATA, API, CSV = "progress-from-odata.pq", "progress-from-api.pq", "progress-from-csv.pq"
JSON, PARQUET, HOW_TO = "progress-from-json.pq", "progress-from-parquet.pq", "how-to.md"
QUERIES = (ODATA, API, CSV, JSON, PARQUET)
FEED = f"{URL}/odata/v4/"
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
    """Return the columns with their types, in order, from the last step or the list before it."""
    names = {token.text for token in found}
    words = " ".join(token.text for token in bound(found, "Types" if "Types" in names else "Typed"))
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
    assert tuple(files()) == (*QUERIES, HOW_TO)  # the first choice first
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
    for query in (ODATA, CSV, JSON, PARQUET):
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


# The queries over OData and over HTTP


@pytest.mark.parametrize("url", [URL, "https://[::1]:8443/a/b%20c(x)", "http://localhost:8080/alx"])
@pytest.mark.parametrize(
    ("name", "function", "path", "then"),
    [
        (API, "Web.Contents", "/company/id:3", ", ["),
        (ODATA, "OData.Feed", "/company/id:3/odata/v4/", ", null , ["),
    ],
)
def test_the_address_is_one_constant(url, name, function, path, then):
    found = code(files(url=url)[name])
    (call,) = [place for place, token in enumerate(found) if token.text == function]
    assert found[call + 1].text == "("
    assert value(found[call + 2]) == url + path
    assert " ".join(token.text for token in found[call + 3 :]).startswith(then)
    assert [value(t) for t in found if t.kind == "string"].count(url + path) == 1


def test_what_is_asked_of_the_feed():
    found = code(files()[ODATA])
    words = " ".join(token.text for token in found)
    assert 'null , [ Implementation = "2.0" , ODataVersion = 4 ] )' in words
    assert 'Progress = Feed { [ Name = "Progress" , Signature = "table" ] } [ Data ]' in words
    assert "Table.SelectRows ( Progress , each [ companyid ] = 3 ) else Progress" in words
    assert "Selected = Table.SelectColumns ( Own , Shown )" in words


def test_the_feed_is_converted_only_where_a_column_is_missing():
    words = " ".join(token.text for token in code(files()[ODATA]))
    assert "Typed = if List.IsEmpty ( Hidden ) then Selected else Table.Tran" in words
    assert "List.Select ( Types , each List.Contains ( Hidden , _ { 0 } ) )" in words


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
    feed = {token.text for token in code(files()[ODATA])}
    assert not feed & {"Headers", "ApiKeyName", "try", "401", "403", "503"}
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
        "https://host/api/v1/progress/", "https://host\\a", "https://host/api/v1/company",
        "https://host/odata/v4", "https://host/odata/v4/", "https://host/alx/odata/v4/Progress",
        "https://host/webservice/rest/server.php", "https://-host", "http://[::1]/",
        "//user:S3cret@host", "https://user:S3cret@host?token=S3cret#S3cret",
    ],
)  # fmt: skip
def test_addresses_that_power_bi_cannot_use(url):
    with pytest.raises(UsageError) as caught:
        files(url=url)
    assert "S3cret" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@given(url=st.one_of(st.text(), st.from_regex(r"https?://[a-z@:/.?#\"%]{1,20}", fullmatch=True)))
@example("https://host/@")
def test_any_address_is_refused_or_sound(url):
    try:
        made = files(url=url)
    except UsageError:
        return
    assert re.fullmatch(r"https?://[^\s\"?#@]*[^\s\"?#@/]", base_url(url))
    check(made[API])
    check(made[ODATA])


# The queries over files


def test_csv_is_read_as_it_is_written():
    found = code(files()[CSV])
    words = " ".join(token.text for token in found)
    assert '[ Delimiter = "," , Encoding = 65001 , QuoteStyle = QuoteStyle.Csv ]' in words
    assert "PromoteAllScalars = true" in words
    assert "File.Contents ( FilePath )" in words


@pytest.mark.parametrize("name", QUERIES)
def test_numbers_are_read_in_one_language(name):
    found = code(files()[name])
    (call,) = [place for place, token in enumerate(found)
               if token.text == "Table.TransformColumnTypes"]  # fmt: skip
    (word,) = [value(token) for token in found[call:] if token == ("string", '"en-US"')]
    assert found[-4:-2] == [("string", f'"{word}"'), ("bracket", ")")]


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


@pytest.mark.parametrize("module", [powerbi, powerbi_odata, powerbi_text])
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


# What the query of the feed asks, asked of the server


class Feed:
    """Asks as Power BI does, with what stands in a query."""

    def __init__(self, client: Client, query: str, token: str) -> None:
        found = code(query)
        (call,) = [place for place, token in enumerate(found) if token.text == "OData.Feed"]
        self.root = value(found[call + 2]).removeprefix(URL)
        self.columns = listed(found, "Columns")
        self._client, self._token = client, token

    def get(self, path, options=""):
        more = f"?{options}" if options else ""
        return self._client.ask("GET", f"{self.root}{path}{more}", Authorization=basic(self._token))

    def rows(self, options=""):
        got, rows = self.get("Progress", options), []
        while True:
            assert got.status == 200, got.body
            rows += got.json()["value"]
            if (link := got.json().get("@odata.nextLink")) is None:
                return rows
            path = urljoin(f"{self.root}Progress", link)
            got = self._client.ask("GET", path, Authorization=basic(self._token))


def feed_of(desk: Desk, client: Client, company: str, token: str) -> Feed:
    made = power_bi(desk.store, desk.settings, company, URL, desk.now)
    return Feed(client, made[ODATA], token)


def test_the_feed_gives_what_the_query_names(local):
    people(local)
    desk = local
    with serving(desk.settings) as client:
        client.clock = desk.now
        feed = feed_of(desk, client, "acme", desk.token("acme"))
        chosen = f"$select={','.join(feed.columns)}"
        rows = feed.rows(chosen)
        assert [tuple(row) for row in rows] == [tuple(feed.columns)] * len(rows)
        assert len(rows) == desk.page(None, company="acme").head["total"] > 0
        begun = quote("status ne 'not_started'")
        started = feed.rows(f"{chosen}&$filter={begun}")
        assert started == [row for row in rows if row["status"] != "not_started"]
        since = "created_at ge 2000-01-01T00:00:00Z and created_at lt 2100-01-01T00:00:00Z"
        assert feed.rows(f"{chosen}&$filter={quote(since)}") == rows
        company_fields(desk.store, desk.settings, "acme", desk.now, show=["companyid"])
        feed = feed_of(desk, client, "acme", desk.token("acme"))
        assert "companyid" in feed.columns
        number = rows and feed.rows("$top=1")[0]["companyid"]
        assert len(feed.rows(f"{chosen}&$filter=companyid%20eq%20{number}")) == len(rows)


def test_the_feed_fills_no_report_with_another_companys_rows(local):
    people(local)
    with serving(local.settings) as client:
        client.clock = local.now
        ours, others = local.token("acme"), local.token("beta")
        feed = feed_of(local, client, "acme", others)
        for path in ("", "$metadata", "Progress", "Progress/$count"):
            got = feed.get(path)
            assert got.status == 403, path
            assert b"beta" not in got.body
        first = feed_of(local, client, "acme", ours)
        # The next page is refused too, for its address names the company.
        assert first.root.startswith("/company/id:")
        link = client.ask(
            "GET", f"{first.root}Progress", Authorization=basic(ours), Prefer="odata.maxpagesize=1"
        ).json()["@odata.nextLink"]
        path = urljoin(f"{first.root}Progress", link)
        assert client.ask("GET", path, Authorization=basic(ours)).status == 200
        assert client.ask("GET", path, Authorization=basic(others)).status == 403
        assert first.rows()
