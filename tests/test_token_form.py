"""The form of a token: recognised without the database when mistyped, blacked out when shown."""

from __future__ import annotations

import re
import string
import zlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from alxreport.token_form import (
    ALPHABET,
    CHECK_CHARACTERS,
    LONGEST,
    PREFIX,
    checksum,
    is_possible,
    new_token,
    token_hash,
    without_secrets,
)

LENGTH = 4 + 40 + 6
bodies = st.text(ALPHABET, min_size=40, max_size=40)
tokens = bodies.map(lambda text: PREFIX + text + checksum(PREFIX + text))
places = st.integers(len(PREFIX), LENGTH - 1)  # the prefix says what it is, not whether it is whole
characters = st.characters() | st.sampled_from(ALPHABET) | st.sampled_from(string.printable)


def test_the_form() -> None:
    made = [new_token() for _ in range(200)]
    assert len(set(made)) == 200
    for token in made:
        assert re.fullmatch(r"alx_[0-9A-Za-z]{46}", token)
        assert is_possible(token)
    # Every character is drawn: 8,000 draws of 62 miss one with a chance of 10 ** -54.
    assert set("".join(token[4:44] for token in made)) == set(ALPHABET)
    assert len(ALPHABET) == len(set(ALPHABET)) == 62


def test_the_checksum_is_crc_32_in_six_digits_of_base_62() -> None:
    """Written down, so that the tokens that are out there stay good."""
    body = PREFIX + "0" * 40
    rest, digits = zlib.crc32(body.encode()), []
    for _ in range(6):
        digits.append("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[rest % 62])
        rest //= 62
    assert checksum(body) == "".join(reversed(digits))
    assert rest == 0
    assert len(checksum(PREFIX)) == CHECK_CHARACTERS
    assert is_possible("alx_" + "0" * 40 + checksum(body))


@given(tokens)
def test_every_token_of_the_form_is_possible(token: str) -> None:
    assert is_possible(token)


@given(tokens, places, characters)
def test_a_changed_character_is_caught(token: str, place: int, character: str) -> None:
    assume(token[place] != character)
    assert not is_possible(token[:place] + character + token[place + 1 :])


def test_every_changed_character_is_caught() -> None:
    token = new_token()
    for place in range(len(PREFIX), LENGTH):
        for character in set(string.printable) - {token[place]}:
            assert not is_possible(token[:place] + character + token[place + 1 :])


@given(tokens)
def test_every_adjacent_swap_is_caught(token: str) -> None:
    for place in range(len(PREFIX), LENGTH - 1):
        one, two = token[place], token[place + 1]
        if one != two:
            assert not is_possible(token[:place] + two + one + token[place + 2 :])


@given(tokens, st.integers(0, LENGTH - 1))
def test_a_cut_token_is_caught(token: str, length: int) -> None:
    cut = token[:length]
    # What is shorter than the prefix is too short to say that it is one of ours.
    assert not is_possible(cut) if cut.startswith(PREFIX) or not cut else len(cut) < len(PREFIX)


@given(tokens, st.text(min_size=1, max_size=200))
@example("alx_" + "0" * 40 + checksum("alx_" + "0" * 40), " ")
@example("alx_" + "0" * 40 + checksum("alx_" + "0" * 40), "\n")
def test_a_prolonged_token_is_caught(token: str, more: str) -> None:
    assert not is_possible(token + more)


@given(tokens, places, st.sampled_from(" \t\r\n\x00\u00a0\u200b"))
def test_whitespace_inside_is_caught(token: str, place: int, space: str) -> None:
    assert not is_possible(token[:place] + space + token[place:])


@given(tokens, places)
def test_a_missing_character_is_caught(token: str, place: int) -> None:
    assert not is_possible(token[:place] + token[place + 1 :])


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("", False),
        ("0123456789abcdef0123456789abcdef", True),  # Moodle's own form
        ("any printable text", True),
        ("x" * LONGEST, True),
        ("x" * (LONGEST + 1), False),
        ("tab\there", False),
        ("line\n", False),
        ("\x00", False),
        ("\x7f", False),
        ("é", False),
        ("０" * 32, False),
        ("\udc80", False),
        ("alx_", False),
        ("alx_" + "é" * 46, False),
        ("alx_" + "\udc80" * 46, False),
        ("alx_" + "0" * 46, False),
    ],
)
def test_what_can_be_a_token(text: str, possible: bool) -> None:
    assert is_possible(text) is possible


def test_the_hash() -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert token_hash("abc") == known
    assert len(token_hash("\udc80é")) == 64


words = st.text(st.characters(exclude_characters=ALPHABET, codec="utf-8"), max_size=20)


@given(words, tokens, words)
def test_a_token_is_blacked_out_wherever_it_stands(before: str, token: str, after: str) -> None:
    shown = without_secrets(f"{before}{token}{after}")
    assert shown == f"{before}***{after}"


@given(words, st.binary(min_size=16, max_size=16), words)
def test_a_token_of_moodle_is_blacked_out(before: str, secret: bytes, after: str) -> None:
    assume(not secret.hex().isdecimal())  # once in three million tokens; a long number stays
    assert without_secrets(f"{before}{secret.hex()}{after}") == f"{before}***{after}"


@given(tokens, places, st.sampled_from(ALPHABET))
def test_a_mistyped_token_is_blacked_out(token: str, place: int, character: str) -> None:
    assert without_secrets(token[:place] + character + token[place + 1 :]) == "***"
    assert without_secrets(token[:40]) == without_secrets(token + character) == "***"


@given(st.lists(tokens, min_size=2, max_size=4))
def test_all_of_them_are_blacked_out(several: list[str]) -> None:
    assert without_secrets(" ".join(several)) == " ".join(["***"] * len(several))


@given(tokens, tokens, st.sampled_from(["", "_", "x", "=", "alx_", ":"]))
def test_nothing_of_two_tokens_without_a_space_between_them_is_left(
    one: str, two: str, joint: str
) -> None:
    shown = without_secrets(one + joint + two)
    assert not any(two[place : place + 12] in shown for place in range(4, 38))
    assert not any(one[place : place + 12] in shown for place in range(4, 38))


@pytest.mark.parametrize(
    "text",
    ["", "acme", "alx_api", "alx_report_api_custom", "local_alx_api_logs", "id:7", "9" * 30,
     "2026-11-22T17:00:03Z", "a" * 31, "token 12 of acme", "株式会社"],
)  # fmt: skip
def test_other_texts_stay(text: str) -> None:
    assert without_secrets(text) == text
