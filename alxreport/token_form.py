"""What a token looks like: made, recognised without the database, hashed, and blacked out."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib

PREFIX = "alx_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS, CHECK_CHARACTERS = 40, 6
# Tokens of ours and of Moodle (32 hexadecimal digits), also mistyped or cut: a long word of letters
# and digits that has both, which no name of a table, setting or file has.
_SECRET = re.compile(r"alx_[0-9A-Za-z]{12,}|(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[0-9A-Za-z]{24,}")
# The longest text that is looked at as a token at all; Moodle's column holds 128 characters.
LONGEST = 128


def new_token() -> str:
    """Return a new secret: ``alx_``, 40 random base-62 characters (238 bits), 6 of checksum."""
    body = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return body + checksum(body)


def checksum(body: str) -> str:
    """Return the CRC-32 of a token's body in six base-62 digits."""
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECK_CHARACTERS):
        rest, digit = divmod(rest, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_possible(text: str) -> bool:
    """Tell whether a text can be a token.

    False for an ``alx_`` form that was mistyped or cut short. Tokens of other forms, taken over
    from Moodle, have no checksum: any text of printable ASCII may be one.
    """
    if not text.startswith(PREFIX):
        return 0 < len(text) <= LONGEST and text.isascii() and text.isprintable()
    body, check = text[:-CHECK_CHARACTERS], text[-CHECK_CHARACTERS:]
    length = len(PREFIX) + RANDOM_CHARACTERS
    return len(body) == length and body.isascii() and checksum(body) == check


def token_hash(text: str) -> str:
    """Return the SHA-256 of a token as it is stored.

    A plain hash is enough: the secret is random, so there is nothing to guess through a slow one.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def without_secrets(text: str) -> str:
    """Return a text in which everything that looks like a token is blacked out."""
    return _SECRET.sub("***", text)
