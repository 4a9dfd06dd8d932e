"""Holds an answer of the server against what the OpenAPI document promises of it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from alxreport import __version__
from alxreport.openapi import document

from .serving import Got

DOCUMENT = document(__version__)


def followed(node: Any) -> Any:
    """Return what a reference names, or the node itself."""
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/") if "$ref" in node else ():
        found = found[part]
    return found if "$ref" in node else node


def responses(path: str) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][path]["get"]["responses"])


def parameters(path: str) -> dict[str, Any]:
    """Return the documented parameters of the query string, by name."""
    found = DOCUMENT["paths"][path]["get"]["parameters"]
    return {each["name"]: each for each in found if each["in"] == "query"}


def strict(node: Any) -> Any:
    """Return schemas in which no object may have a key that is not described."""
    if isinstance(node, dict):
        node = {name: strict(value) for name, value in node.items()}
        if isinstance(node.get("properties"), dict):
            node["additionalProperties"] = False
    return [strict(value) for value in node] if isinstance(node, list) else node


def check_value(value: Any, schema: dict[str, Any]) -> None:
    """Check a value against a schema of the document, allowing nothing that is not described."""
    whole = strict(deepcopy(schema)) | {"components": strict(deepcopy(DOCUMENT["components"]))}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def check(path: str, got: Got, *, limited: bool = True) -> Any:
    """Check an answer's status, headers, type and body; return the body.

    ``limited`` says whether the company's requests are, so that each answer tells the budget.
    """
    response = followed(responses(path)[str(got.status)])
    for name, node in response.get("headers", {}).items():
        header, value = followed(node), got.headers.get(name.lower())
        if value is None:
            assert not header["required"], f"{name} is missing"
            assert not limited, f"{name} is missing"
            continue
        number = header["schema"]["type"] == "integer"
        check_value(int(value) if number else value, header["schema"])
    if "content" not in response:
        assert got.body == b""
        return None
    kind = got.headers["content-type"].partition(";")[0]
    schema = response["content"][kind]["schema"]
    if not kind.endswith("json") or kind == "application/x-ndjson":
        assert schema["type"] == "string"
        return got.body
    told = json.loads(got.body)
    check_value(told, schema)
    if kind == "application/problem+json":
        assert told["status"] == got.status
        assert told["title"] == TITLES[str(got.status)]
        assert told["error"]["code"] in response["x-error-codes"]
    return told


TITLES = {
    status: content["example"]["title"]
    for path in DOCUMENT["paths"]
    for status, node in responses(path).items()
    for content in followed(node).get("content", {}).values()
    if "x-error-codes" in followed(node) and "example" in content
}
