"""The OpenAPI document as a page for people: no network, no script, no other file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from alxreport.listing import LARGEST_ID
from alxreport.markup import safe

Node = dict[str, Any]
SETUP = """\
# this page's address, as far as before /api
ALXREPORT=https://reports.example.com
(umask 077; printf 'Authorization: Bearer %s\\n' "$(cat acme.token)" > alxreport.header)"""
WORDS = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "null"}
MOST_VALUES = 6  # more of them are told elsewhere
ELSEWHERE = (
    ("openapi.json", "OpenAPI document", "this page for programs: client generators, Postman"),
    ("../../odata/v4/", "OData feed", "the same rows for Power BI and Excel, page by page"),
    (
        "../../webservice/rest/server.php", "Moodle plugin's address",
        "for reports made for the plugin: nothing new but the host name",
    ),
    ("../../healthz", "Health", "whether requests can be answered with data that are not old"),
)  # fmt: skip


def page(document: Node) -> str:
    """Return the whole HTML page of a document that ``openapi.document`` made."""
    info, style = document["info"], _style()
    what, *more = info["description"].split("\n\n")
    operations = [
        (path, operation["get"], f"get{path.replace('/', '-')}")
        for path, operation in document["paths"].items()
    ]
    contents = "".join(
        f'<li><a href="#{key}"><code>GET {safe(path)}</code></a> {safe(operation["summary"])}</li>'
        for path, operation, key in operations
    )
    told = "\n".join(_operation(document, *each) for each in operations)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{safe(info["title"])}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<h1>alxreport <span>API v1</span></h1>
<p class="at">Version {safe(info["version"])} · <a href="openapi.json">openapi.json</a></p>
</header>
<main>
<p class="what">{_text(what)}</p>
<nav aria-label="Endpoints"><ul>{contents}<li><a href="#errors">Errors</a></li></ul></nav>
{_authentication(document)}
<section id="reading"><h2>Read all, then what changed</h2>
{"".join(f"<p>{_text(paragraph)}</p>" for paragraph in more)}</section>
{told}
{_records(document)}
{_errors(document)}
{_elsewhere()}
</main>
</body>
</html>
"""


def policy() -> str:
    """Return the Content-Security-Policy of the page: its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _style() -> str:
    return files("alxreport").joinpath("pages", "openapi.css").read_text(encoding="utf-8")


def _text(text: str) -> str:
    """Return a text with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", safe(text))


def _code(text: str) -> str:
    # Not through safe(): the lines have to stay lines.
    lines = "\n".join(safe(line) for line in text.splitlines())
    return f'<pre tabindex="0"><code>{lines}</code></pre>'


def _followed(document: Node, node: Node) -> Node:
    """Return what a reference names, or the node itself."""
    if "$ref" not in node:
        return node
    found: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already; the first of each row is its head."""
    head = "".join(f'<th scope="col">{safe(text)}</th>' for text in heads)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<table aria-label="{safe(name)}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _authentication(document: Node) -> str:
    schemes = "".join(
        f"<li><strong>{safe(name.title())}</strong> – {_text(scheme['description'])}</li>"
        for name, scheme in document["components"]["securitySchemes"].items()
    )
    return (
        '<section id="authentication"><h2>Authenticate</h2>\n'
        "<p>Whoever runs alxreport gives you a token in a file. It opens one company.</p>\n"
        f"<ul>{schemes}</ul>\n"
        "<p>The examples below take the token from a file, because other people on a machine can "
        "read command lines. Once:</p>\n"
        f"{_code(SETUP)}\n</section>"
    )


def _operation(document: Node, path: str, operation: Node, key: str) -> str:
    rows = [
        (
            f"<code>{safe(each['name'])}</code>"
            + ("" if each["in"] == "query" else " <small>header</small>"),
            _kind(each["schema"]),
            _text(each["description"]) + _example(each),
        )
        for each in operation["parameters"]
    ]
    parameters = _table(f"Parameters of {path}", ("Parameter", "Value", "Meaning"), rows)
    answer = operation["responses"]["200"]
    return (
        f'<section id="{key}"><h2><code>GET {safe(path)}</code> {safe(operation["summary"])}</h2>\n'
        f"<p>{_text(operation['description'])}</p>\n{_code(operation['x-codeSamples'][0]['source'])}\n"
        f"{parameters}\n{_answer(document, answer)}\n</section>"
    )


def _kind(schema: Node) -> str:
    """Return in words what a schema allows."""
    if schema["type"] == "array":
        return f"list of {_kind(schema['items']).replace('number', 'numbers')}"
    if "enum" in schema:
        values = [text for text in schema["enum"] if text]
        if len(values) > MOST_VALUES:
            return '<a href="#record">fields</a>'
        told = " | ".join(f"<code>{safe(text)}</code>" for text in values)
    else:
        types: list[str] = schema["type"]
        types = types if isinstance(types, list) else [types]
        time = schema.get("format") == "date-time"
        told = " or ".join("time" if time and n == "string" else WORDS.get(n, n) for n in types)
    if "minimum" in schema:
        least, most = schema["minimum"], schema.get("maximum", LARGEST_ID)
        told += f" from {least}" if most == LARGEST_ID else f", {least} to {most}"
    if "default" in schema:
        told += f"; <code>{schema['default']}</code> if not given"
    return told


def _example(parameter: Node) -> str:
    if "example" not in parameter:
        return ""
    value = parameter["example"]
    text = ",".join(map(str, value)) if isinstance(value, list) else value
    asked = safe(f"{parameter['name']}={text}")
    return f' <span class="example"><code>{asked}</code></span>'


def _answer(document: Node, answer: Node) -> str:
    parts = []
    for kind, content in answer["content"].items():
        schema = content["schema"]
        if kind == "application/json":
            told = json.dumps(content["example"], ensure_ascii=False, indent=2)
            parts.append(f"<h3>Answer <small>200, {safe(kind)}</small></h3>\n{_code(told)}")
            meant = _followed(document, schema)
            if meant.get("properties"):
                parts.append(_properties(f"Members of {meant['description']}", meant))
        else:
            parts.append(f"<p><code>{safe(kind)}</code> {_text(schema.get('description', ''))}</p>")
    heads = [
        (f"<code>{safe(name)}</code>", _text(header["description"]),
         f"<code>{safe(str(header['example']))}</code>")
        for name, header in (
            (name, _followed(document, node)) for name, node in answer["headers"].items()
        )
    ]  # fmt: skip
    table = _table("Headers of the answer", ("Header", "Meaning", "Example"), heads)
    parts.append(f"<h3>Its headers</h3>\n{table}")
    return "\n".join(parts)


def _properties(name: str, schema: Node) -> str:
    rows = [
        (f"<code>{safe(key)}</code>", _kind(each), _text(each["description"]))
        for key, each in schema["properties"].items()
        if "type" in each and "description" in each and each["type"] != "object"
    ]
    return _table(name, ("Member", "Value", "Meaning"), rows)


def _records(document: Node) -> str:
    record = document["components"]["schemas"]["Record"]
    return (
        f'<section id="record"><h2>A record</h2>\n<p>{_text(record["description"])}</p>\n'
        f"{_properties('Fields of a record', record)}\n</section>"
    )


def _errors(document: Node) -> str:
    responses = document["components"]["responses"]
    statuses = {
        node["$ref"]: status
        for operation in document["paths"].values()
        for status, node in operation["get"]["responses"].items()
        if "$ref" in node
    }
    rows = []
    for name, response in responses.items():
        codes = "<br>".join(f"<code>{safe(code)}</code>" for code in response["x-error-codes"])
        status = statuses[f"#/components/responses/{name}"]
        sent = ", ".join(f"<code>{safe(header)}</code>" for header in response.get("headers", ()))
        meaning = _text(response["description"])
        rows.append((status, codes, f"{meaning} <small>With {sent}.</small>" if sent else meaning))
    example = responses["BadRequest"]["content"]["application/problem+json"]["example"]
    return (
        '<section id="errors"><h2>Errors</h2>\n'
        "<p>A refusal is a problem document, <code>application/problem+json</code> (RFC 9457). Go "
        "by its status and by <code>error.code</code>; the texts are for people.</p>\n"
        f"{_table('Errors', ('Status', 'error.code', 'Meaning'), rows)}\n"
        f"<h3>Example</h3>\n{_code(json.dumps(example, indent=2))}\n</section>"
    )


def _elsewhere() -> str:
    links = "".join(
        f'<li><a href="{safe(address)}">{safe(name)}</a> – {safe(what)}</li>'
        for address, name, what in ELSEWHERE
    )
    return f'<section id="elsewhere"><h2>Other addresses</h2>\n<ul>{links}</ul></section>'
