"""The API's page says what the document says, needs nothing else, and every link of it leads on."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterator
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from alxreport.listing import FIELDS
from alxreport.openapi_html import page, policy

from .api_answers import DOCUMENT, followed
from .asking import open_desk
from .http_desk import HttpDesk
from .serving import Serving

VOID = {"meta", "link", "br"}
DOCS = "/api/v1/docs"


class Reader(HTMLParser):
    """Reads a page; refuses one whose elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [attrs[name] for _tag, attrs in self.tags if name in attrs]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("docs")
    with open_desk(folder, f"sqlite:///{folder}/store.db", HttpDesk) as made:
        made.harness.sync()
        yield made.server


def test_the_page_is_sound_and_needs_nothing_else():
    found = Reader(page(DOCUMENT))
    assert not {"script", "img", "iframe", "form", "object"} & {tag for tag, _attrs in found.tags}
    assert not [attrs for _tag, attrs in found.tags if any(name.startswith("on") for name in attrs)]
    assert not found.values("style")
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    for address in [*found.values("href"), *found.values("src")]:
        parts = urlsplit(address)
        assert address == "data:," or not (parts.scheme or parts.netloc)
        assert not address.startswith("/"), "it would lead out of a proxy's path"
        assert parts.path or parts.fragment in ids
    [style] = re.findall("<style>(.*?)</style>", page(DOCUMENT), re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy()
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_says_all_that_the_document_says():
    text = html.unescape(re.sub("<[^>]*>", "", page(DOCUMENT)))
    told = [*FIELDS, DOCUMENT["info"]["version"]]
    for path, node in DOCUMENT["paths"].items():
        told += [f"GET {path}", node["get"]["summary"], node["get"]["description"]]
        told += [sample["source"] for sample in node["get"]["x-codeSamples"]]
        for each in node["get"]["parameters"]:
            told += [each["name"], each["description"]]
        for status, answer in node["get"]["responses"].items():
            # What is kept needs no table: it is told where the header is.
            told += [status, *followed(answer).get("headers", ())] if status != "304" else []
            told += followed(answer).get("x-error-codes", ())
            told += [followed(answer)["description"]] if status > "304" else []
        told += node["get"]["responses"]["200"]["content"]
    told += DOCUMENT["info"]["description"].split("\n\n")
    missing = [each for each in told if each.replace("`", "") not in text]
    assert missing == []


def test_no_text_of_the_document_is_taken_for_html():
    nasty = '<script>alert("1")</script> & \x00 `<b>`'
    changed = deepcopy(DOCUMENT)
    for node in changed["paths"].values():
        for each in node["get"]["parameters"]:
            each["description"], each["name"] = nasty, nasty
        node["get"]["summary"] = node["get"]["description"] = nasty
        node["get"]["x-codeSamples"][0]["source"] = nasty
    changed["info"] = {"title": nasty, "version": nasty, "description": nasty}
    for each in changed["components"]["responses"].values():
        each["description"], each["x-error-codes"] = nasty, [nasty]
    found = Reader(page(changed))
    assert {tag for tag, _attrs in found.tags} <= {tag for tag, _ in Reader(page(DOCUMENT)).tags}
    assert "\x00" not in page(changed)
    assert any('<script>alert("1")</script> &' in text for text in found.texts)


def test_the_page_is_served_to_everybody(server):
    got = server.ask("GET", DOCS)
    assert got.status == 200
    assert got.body.decode() == page(DOCUMENT)
    assert got.headers["content-type"] == "text/html; charset=utf-8"
    assert got.headers["content-security-policy"] == policy()
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "public, max-age=3600"
    packed = server.ask("GET", DOCS, Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert "default-src 'none'" in policy()
    assert "unsafe" not in policy()


@pytest.mark.parametrize("address", ["/api/v1", "/api/v1/"])
def test_the_bare_address_leads_to_the_page(server, address):
    got = server.ask("GET", address)
    assert got.status == 307
    place = got.headers["location"]
    assert not place.startswith(("/", "http"))
    assert urljoin(f"http://h{address}", place) == f"http://h{DOCS}"
    assert urljoin(f"http://h/prefix{address}", place) == f"http://h/prefix{DOCS}"


def test_every_link_of_the_page_leads_somewhere(server):
    links = {href for href in Reader(page(DOCUMENT)).values("href") if href[0] not in "#d"}
    assert len(links) >= 4
    for link in links:
        found = urljoin(f"http://h{DOCS}", link).removeprefix("http://h")
        status = server.ask("GET", found).status
        # Asked with a token or in another way, or not healthy: it is there all the same.
        assert status in {200, 400, 401, 403, 405, 503}, (link, status)


def test_the_first_steps_of_the_page_are_the_shells(server):
    """What is to be pasted names files and variables that the same page makes."""
    commands = re.findall("<pre[^>]*><code>(.*?)</code></pre>", page(DOCUMENT), re.S)
    setup, *rest = [html.unescape(text) for text in commands]
    curls = [text for text in rest if text.startswith("curl ")]
    assert len(curls) == len(DOCUMENT["paths"])
    assert "> alxreport.header" in setup
    assert "ALXREPORT=" in setup
    for text in curls:
        assert "-H @alxreport.header" in text
        assert '"$ALXREPORT/api/v1/' in text
