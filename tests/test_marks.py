"""The opaque texts that a client keeps: what was sealed comes back, anything else is nothing."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alxreport.listing import FIELDS, LARGEST_ID, STATUSES, Filter, field_bits
from alxreport.marks import Cursor, Delta, read_cursor, read_delta, write_cursor, write_delta

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

ids = st.integers(0, LARGEST_ID)
filters = st.builds(
    Filter,
    st.lists(ids, max_size=12, unique=True).map(lambda found: tuple(sorted(found))),
    st.none() | st.sampled_from(STATUSES),
)
deltas = st.builds(
    Delta, ids, ids, st.text("0123456789abcdef", max_size=16), ids,
    st.integers(0, field_bits(FIELDS)), filters,
)  # fmt: skip
names = st.none() | st.lists(st.sampled_from(FIELDS), min_size=1, unique=True).map(tuple)
cursors = st.builds(
    Cursor, ids, ids, st.sampled_from(("full", "incremental")), st.none() | ids, ids, ids, deltas,
    st.booleans(), names,
)  # fmt: skip
keys = st.binary(min_size=16, max_size=64)

DELTA = Delta(3, 17, "0123456789abcdef", 1_795_400_000, 4095, Filter((7, 9), "completed"))
CURSOR = Cursor(12, 7, "full", None, 2412, 100, DELTA, True, ("userid", "courseid"))
READERS = (read_delta, read_cursor)
WRITTEN = (write_delta(KEY, DELTA), write_cursor(KEY, CURSOR))


@given(keys, deltas)
def test_a_delta_comes_back(key: bytes, delta: Delta) -> None:
    text = write_delta(key, delta)
    assert read_delta(key, text) == delta
    assert set(text) <= set(LETTERS)  # nothing that a shell, a URL or a file would change
    assert text == write_delta(key, delta)


@given(keys, cursors)
def test_a_cursor_comes_back(key: bytes, cursor: Cursor) -> None:
    text = write_cursor(key, cursor)
    assert read_cursor(key, text) == cursor
    assert set(text) <= set(LETTERS)
    assert text == write_cursor(key, cursor)


@given(keys, keys, deltas, cursors)
def test_a_mark_is_read_with_its_own_key_only(
    key: bytes, other: bytes, delta: Delta, cursor: Cursor
) -> None:
    # HMAC fills short keys up with zeros, which are no other key then.
    same = key.rstrip(b"\0") == other.rstrip(b"\0")
    assert (read_delta(other, write_delta(key, delta)) is not None) == same
    assert (read_cursor(other, write_cursor(key, cursor)) is not None) == same


@given(deltas, cursors)
def test_a_delta_is_no_cursor(delta: Delta, cursor: Cursor) -> None:
    one, other = write_delta(KEY, delta), write_cursor(KEY, cursor)
    assert (one[0], other[0]) == ("T", "C")
    assert read_cursor(KEY, one) is None
    assert read_delta(KEY, other) is None
    assert read_cursor(KEY, "C" + one[1:]) is None
    assert read_delta(KEY, "T" + other[1:]) is None


@given(
    st.text()
    | st.text(LETTERS).map(lambda text: f"T{text}")
    | st.text(LETTERS).map(lambda text: f"C{text}")
)
def test_any_other_text_is_nothing(text: str) -> None:
    for read in READERS:
        assert read(KEY, text) is None


ODD = (
    "", "T", "C", "=", "T=", "T====", "TA", "TAA", "TAAA", "T" + "A" * 15, "T" + "A" * 16,
    "T" + "A" * 17, "T\0", "T\ud800", "C\ud800", "Tß", "T" + "A" * 20_000, "T" * 2**20, "null",
    "T bnVsbA", "T\n", "T" + "-" * 40, "T" + "+" * 40, "T" + "/" * 40,
)  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:12]))
def test_an_odd_text_is_nothing(text: str) -> None:
    for read in READERS:
        assert read(KEY, text) is None


@pytest.mark.parametrize("number", [0, 1], ids=["delta", "cursor"])
def test_a_mark_with_one_character_changed_is_nothing(number: int) -> None:
    text, read = WRITTEN[number], READERS[number]
    assert read(KEY, text) is not None
    for place, character in enumerate(text):
        for other in f"{LETTERS}+/= \0é":
            if other != character:
                assert read(KEY, text[:place] + other + text[place + 1 :]) is None
        assert read(KEY, text[:place] + text[place + 1 :]) is None
        assert read(KEY, text[:place]) is None
    for added in ("A", "=", "==", "\n", " ", "\0", "é", "A===", text):
        assert read(KEY, text + added) is None
        assert read(KEY, added + text) is None


@given(st.sampled_from((0, 1)), st.data())
def test_a_mark_whose_bytes_were_changed_is_nothing(number: int, data: Any) -> None:
    text, read = WRITTEN[number], READERS[number]
    raw = bytearray(base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert read(KEY, text[0] + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None


@pytest.mark.parametrize("courses", [10, 100, 1000])
def test_a_mark_of_many_courses_can_be_read_too(courses: int) -> None:
    """A mark that is handed out is taken back, however long the filter that it keeps."""
    wanted = Filter(tuple(range(1, courses + 1)))
    delta = Delta(3, 17, "0123456789abcdef", 1_795_400_000, 4095, wanted)
    assert read_delta(KEY, write_delta(KEY, delta)) == delta
    cursor = Cursor(12, 7, "full", None, 2412, 100, delta, True, None)
    assert read_cursor(KEY, write_cursor(KEY, cursor)) == cursor


def test_marks_of_other_companies_and_revisions_differ() -> None:
    marks = {
        write_delta(KEY, Delta(company, revision, mark, 1, 1, Filter()))
        for company in range(5) for revision in range(5) for mark in ("", "a", "b")
    }  # fmt: skip
    assert len(marks) == 75
