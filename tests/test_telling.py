"""Alerts as people and watching programs get them: mails, hooks, one line with an exit code."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alxreport import notify
from alxreport.alert_log import CLAIM_SECONDS
from alxreport.alerts import check, nagios_line
from alxreport.errors import ConfigError
from alxreport.extras import install_hint
from alxreport.telling import tell

from .command_line import Done, run, spawn, write_config
from .moodle_site import NOW
from .receivers import (
    Hook,
    Post,
    dripping_receiver,
    hanging_receiver,
    http_receiver,
    mail_receiver,
    nagios,
    refusing_receiver,
)
from .watching import HOUR, Watched

# As a company's short name, which is in the words of an alert.
AWKWARD = 'A "b" <b>&amp;\r\nBcc: evil@example.com\n\n株式会社 | \x1b[31m\u202e%s {0} \\n'
SANE = 'A "b" <b>&amp; Bcc: evil@example.com 株式会社 | [31m %s {0} \\n'
SECRET = "geheim-9d1f"
WITHOUT_APPRISE = (
    "import sys; sys.modules['apprise'] = None; from alxreport.cli import main; main()"
)


@pytest.fixture
def desk(watched: Watched) -> Watched:
    return watched.furnish()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def post() -> Iterator[Post]:
    with mail_receiver() as receiver:
        yield receiver


def told(desk: Watched, *urls: str, now: int = NOW) -> list[str]:
    """Check and tell those addresses; return what is said of failures."""
    pytest.importorskip("apprise")
    desk.limits(urls=list(urls))
    said: list[str] = []
    failures = tell(desk.store, desk.settings, desk.check(now), now, said.append)
    assert said == []
    return failures


# Delivery


def test_a_mail(desk: Watched, post: Post) -> None:
    url = post.url(to="ops@example.com,boss@example.com")
    desk.intrude(5)
    assert told(desk, url) == []
    assert [to for to, _mail in post.mails] == [["ops@example.com"], ["boss@example.com"]]
    mail = post.mails[0][1]
    assert "CRITICAL: 192.0.2.7 failed to authenticate 5 times" in mail["subject"]
    assert "monitor@example.com" in mail["from"]
    lines = mail.get_body(("plain",)).get_content().splitlines()
    assert lines[0].startswith("CRITICAL since 2026-11-23T02:13:20Z: 192.0.2.7 failed")
    assert lines[1].startswith("  To do: See the log")
    assert lines[2].startswith("  Seen to? alxreport alerts ack ")
    assert told(desk, url) == []
    assert len(post.mails) == 2
    assert told(desk, url, now=NOW + HOUR) == []
    assert "Resolved: 192.0.2.7" in post.mails[-1][1]["subject"]


def test_names_arrive_as_words_and_nothing_else(desk: Watched, post: Post, hook: Hook) -> None:
    desk.ask_beyond_limit()
    desk.run_sql("UPDATE {sync_status} SET shortname = :name WHERE companyid = 1", name=AWKWARD)
    desk.intrude(5, ip="", agent="Agent\r\nSubject: no <script>")
    assert told(desk, post.url(), f"json://{hook.url}/hook/a") == []
    [(to, mail)] = post.mails
    assert to == ["ops@example.com"]
    assert mail["bcc"] is None
    assert len(mail.get_all("subject")) == 1
    assert f"CRITICAL: {SANE} used 2 of its 2 requests" in mail["subject"]
    text = mail.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert f": {SANE} used 2 of its 2 requests of today; 1 more were refused.\n" in text
    assert "To do: Allow more, or ask why" in text
    html = mail.get_body(("html",))
    assert html is None or "<b>" not in html.get_content()
    [(verb, path, body)] = hook.requests
    assert (verb, path) == ("POST", "/hook/a")
    sent = json.loads(body)
    assert (sent["title"], sent["message"].strip()) == (mail["subject"], text.strip())
    assert "\x1b" not in body.decode()


@given(st.text(st.sampled_from("ab\n "), max_size=400), st.integers(40, 300))
def test_a_text_is_cut_to_what_a_service_takes(text: str, most: int) -> None:
    cut = notify.shortened(text, most)
    assert len(cut) <= most
    assert cut == text or cut.endswith((notify.MORE, "…"))
    assert text.startswith(cut.removesuffix(notify.MORE).removesuffix("…"))


def test_many_alerts_fit_into_a_service_of_short_messages(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    from apprise.plugins.custom_json import NotifyJSON

    monkeypatch.setattr(NotifyJSON, "body_maxlen", 2000)
    send = notify.sender(f"json://{hook.url}/many", 1)
    text = "\n\n".join(f"CRITICAL since today: number {n} failed\n  To do: x" for n in range(90))
    assert send("many", text)
    [message] = [json.loads(body) for _verb, _path, body in hook.requests]
    assert len(message["message"]) <= 2000
    assert message["message"].endswith("And more: alxreport alerts list")


def test_a_hook_learns_how_grave_it_is(desk: Watched, hook: Hook) -> None:
    desk.intrude(5)
    assert told(desk, f"json://{hook.url}/grave") == []
    assert told(desk, f"json://{hook.url}/grave", now=NOW + HOUR) == []
    kinds = [json.loads(body)["type"] for _verb, _path, body in hook.requests]
    assert kinds == ["failure", "success"]


def test_a_thousand_words_arrive_whole(desk: Watched, post: Post) -> None:
    for caller in range(25):
        desk.intrude(5, ip="", agent=f"{caller} " + "株" * 60)
    assert told(desk, post.url()) == []
    text = post.mails[0][1].get_body(("plain",)).get_content()
    assert text.count("Seen to?") == 20
    assert "And 5 more" in text


def test_one_ill_address_keeps_none_of_the_others_from_being_told(
    desk: Watched, post: Post, hook: Hook
) -> None:
    desk.intrude(5)
    hook.status = 500
    with refusing_receiver() as nobody:
        urls = (
            f"json://u:{SECRET}@{nobody}/a", f"nonsense://u:{SECRET}@x", post.url(),
            f"json://u:{SECRET}@{hook.url}/b", post.url(), f"mailto://u:{SECRET}@{nobody}?to=a@b.de&from=c@d.de",
        )  # fmt: skip
        first = told(desk, *urls)
    assert len(post.mails) == 1
    assert [line.split(" of alerts.urls")[0] for line in first] == [
        "Not told: The second", "Address 1", "Address 4", "Address 6",
    ]  # fmt: skip
    hook.status = 200
    hook.requests.clear()
    assert told(desk, *urls[2:4], now=NOW + 1) == []
    assert (len(post.mails), len(hook.requests)) == (1, 1)
    kept = json.dumps([desk.rows("alerts"), desk.rows("deliveries"), first])
    assert SECRET not in kept
    assert nobody not in kept


@pytest.mark.parametrize("kind", [hanging_receiver, dripping_receiver])
@pytest.mark.parametrize("scheme", ["json", "mailto"])
def test_a_receiver_that_hangs_is_left_alone_in_time(
    desk: Watched, kind: Any, scheme: str, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert notify.LONGEST_SEND_SECONDS < CLAIM_SECONDS / 2
    monkeypatch.setattr(notify, "LONGEST_SEND_SECONDS", 0.3)
    desk.intrude(5)
    with kind() as address:
        began = time.monotonic()
        failures = told(desk, f"{scheme}://{address}/?from=a@b.de&to=c@d.de", f"json://{hook.url}/")
        assert time.monotonic() - began < 3
    assert failures == ["Address 1 of alerts.urls was not reached; the next check tries again."]
    assert len(hook.requests) == 1


@pytest.mark.parametrize("url", ["", "json://", f"x://u:{SECRET}@y", f"json://u:{SECRET}@[::1/"])
def test_an_address_that_is_none_is_told_without_itself(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("apprise")
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as error:
        notify.senders(["json://localhost", url])
    assert "second of alerts.urls" in error.value.message
    shown = f"{error.value.message}{error.value.hint}{caplog.text}{capfd.readouterr()}"
    assert SECRET not in shown


# The command


@pytest.fixture
def present(watched: Watched) -> Watched:
    """A desk synced just now, by the clock that commands go by."""
    watched.furnish()
    watched.now = int(time.time())
    watched.harness.sync()
    return watched


def configured(desk: Watched, folder: Path, *urls: str) -> Path:
    more = f"[alerts]\nurls = {json.dumps(urls)}\n" if urls else ""
    return write_config(folder, desk.settings.moodle.url, desk.settings.store.url, more)


def checked(config: Path, *words: str) -> Done:
    return run("alerts", "check", "--config", config, *words)


def test_a_line_and_a_code_for_each_status(present: Watched, tmp_path: Path) -> None:
    desk, config = present, configured(present, tmp_path)
    done = checked(config)
    status, words, measures = nagios(done.out)
    assert (done.code, status, words, done.err) == (0, "OK", "Nothing is wrong", "")
    assert measures["alerts"] == (0, "")
    assert 0 <= measures["data_age"][0] < 120
    assert "p95" not in measures
    desk.logged(20, at=desk.now, ms=9_000)
    done = checked(config)
    status, words, measures = nagios(done.out)
    assert (done.code, status) == (1, "WARNING")
    assert words.startswith("One page in twenty took 9.0 s")
    assert (measures["p95"], measures["calls"]) == ((9.0, "s"), (20.0, ""))
    assert (measures["success"], measures["warning"]) == ((100.0, "%"), (1.0, ""))
    desk.run_sql("UPDATE {sync_status} SET shortname = :name WHERE companyid = 1", name=AWKWARD)
    desk.run_sql(
        "UPDATE {sync_status} SET last_status = 'failed', last_error = :error WHERE companyid = 1",
        error="a | b\n'c'=1;2\u2028d\x1b[31m",
    )
    done = checked(config)
    status, words, measures = nagios(done.out)
    assert (done.code, status) == (2, "CRITICAL")
    assert "failed: a / b 'c'=1;2 d [31m. The data are of" in words
    assert words.endswith("(and 1 more)")
    assert measures["critical"] == (1.0, "")


def test_unknown(present: Watched, tmp_path: Path) -> None:
    config = configured(present, tmp_path)
    sound = config.read_text()
    wrong = (
        "[store]\nurl = 5\n",
        "[[[",
        "[alerts]\nurl = []\n",
        "[alerts]\np95_seconds = -1\n",
        f"{sound}[requests]\ntimezone = 'Mars'\n",
    )
    for text in wrong:
        config.write_text(text)
        done = checked(config)
        assert (done.code, nagios(done.out)[0], nagios(done.out)[2]) == (3, "UNKNOWN", {})
        assert done.err == ""
    with refusing_receiver() as nobody:
        url = f"postgresql+psycopg://u:{SECRET}@{nobody}/x"
        config.write_text(f"[store]\nurl = '{url}'\n")
        done = checked(config)
    assert (done.code, nagios(done.out)[0]) == (3, "UNKNOWN")
    assert SECRET not in done.out.decode() + done.err
    quiet = checked(tmp_path / "nowhere.toml", "--quiet")
    assert (quiet.code, quiet.out, nagios(quiet.err)[0]) == (3, b"", "UNKNOWN")
    shown = checked(tmp_path / "nowhere.toml", "--json")
    assert (shown.code, shown.json()["status"]) == (3, "UNKNOWN")


def test_nothing_there_yet_is_no_alarm(tmp_path: Path) -> None:
    config = write_config(tmp_path, "sqlite:///x.db", f"sqlite:///{tmp_path}/none.db")
    done = checked(config, "--notify")
    assert (done.code, done.err) == (0, "")
    assert nagios(done.out)[1] == "No sync has run yet, no data yet"
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("text", ["a|b", "a\nb\r\n", "|", "a\u2028b\x85c", "\x1b]0;x\x07", "'|'=1"])
def test_no_words_break_the_line(text: str) -> None:
    status, words, measures = nagios(f"{nagios_line('CRITICAL', f'x {text} y')} | a=1\n")
    assert (status, words[0], words[-1], measures) == ("CRITICAL", "x", "y", {"a": (1.0, "")})


def test_json_and_quiet(present: Watched, tmp_path: Path) -> None:
    config = configured(present, tmp_path)
    present.intrude(5)
    quiet = checked(config, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (2, b"", "")
    done = checked(config, "--json")
    found = done.json()
    assert (done.code, found["status"], found["opened"], found["not_told"]) == (
        2,
        "CRITICAL",
        0,
        [],
    )
    [alert] = found["alerts"]
    assert (alert["kind"], alert["subject"]) == ("failed_authentications", "caller:192.0.2.7")
    assert alert["advice"]
    assert alert["closed_at"] is None
    listed = run("alerts", "list", "--config", config, "--json").json()
    assert [other["id"] for other in listed] == [alert["id"]]
    for number, code in ((alert["id"], 0), (alert["id"], 0), (alert["id"] + 1, 6)):
        assert run("alerts", "ack", str(number), "--config", config).code == code
    present.run_sql("DELETE FROM {refusals}")
    assert checked(config).code == 0
    assert run("alerts", "ack", str(alert["id"]), "--config", config).code == 2


def test_without_an_address_cron_mails_it_once(present: Watched, tmp_path: Path) -> None:
    config = configured(present, tmp_path)
    present.intrude(5)
    first = checked(config, "--notify", "--quiet")
    assert (first.code, first.out) == (2, b"")
    assert first.err.count("192.0.2.7 failed to authenticate 5 times") == 2  # title and text
    assert "To do: " in first.err
    assert checked(config, "--notify", "--quiet").err == ""
    present.run_sql("DELETE FROM {refusals}")
    assert "RESOLVED" in checked(config, "--notify").err
    assert checked(config, "--notify", "--quiet").err == ""


def test_no_address_is_ever_shown(present: Watched, tmp_path: Path, hook: Hook) -> None:
    pytest.importorskip("apprise")
    present.intrude(5)
    hook.status = 500
    with refusing_receiver() as nobody, hanging_receiver() as silent:
        config = configured(
            present, tmp_path, f"json://u:{SECRET}@{nobody}/{SECRET}", f"json://u:{SECRET}@{hook.url}",
            f"json://u:{SECRET}@{silent}/?rto=0.2", f"slack://{SECRET}", f"odd://{SECRET}@x",
            f"mailtos://u:{SECRET}@{nobody}?to=a@b.de&from=c@d.de",
        )  # fmt: skip
        done = spawn("alerts", "check", "--notify", "--config", config)
    err = done.stderr.decode()
    assert done.returncode == 2
    assert nagios(done.stdout)[0] == "CRITICAL"
    for hidden in (SECRET, nobody, silent, hook.url, "127.0.0.1", "Traceback"):
        assert hidden not in err + done.stdout.decode()
    assert [line.split(":")[0] for line in err.splitlines()] == ["alxreport"] * 6
    assert len(hook.requests) == 1


def test_without_the_package_one_line_says_so(present: Watched, tmp_path: Path) -> None:
    config = configured(present, tmp_path, f"json://u:{SECRET}@localhost", f"x://{SECRET}")
    present.intrude(5)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_APPRISE, "alerts", "check", "--notify", "--config", config],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert nagios(done.stdout)[0] == "CRITICAL"
    assert done.stderr.count("\n") == 1
    assert install_hint("notify") in done.stderr
    assert SECRET not in done.stderr
    found = check(present.store, present.settings, present.now)
    assert [alert.acknowledged_at for alert in found.open] == [None]
    assert present.rows("deliveries") == []
