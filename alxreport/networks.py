"""Networks that a token may be used from: as given here, and as Moodle writes them.

A network is text: an address, or a CIDR without host bits. No networks at all means everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from alxreport.errors import UsageError

Span = tuple[int, int, int]  # 4 or 6, first and last address as numbers

BITS = {4: 32, 6: 128}
# An IPv6 socket shows IPv4 callers as ::ffff:10.0.0.1; here they are IPv4 callers.
MAPPED = (6, 0xFFFF_0000_0000, 0xFFFF_FFFF_FFFF)
# Moodle's getremoteaddr() says 0.0.0.0 for a caller it does not know.
UNKNOWN_CALLER = (4, 0)

PHP_WHITESPACE = " \t\n\r\0\x0b"  # what trim() removes
_IPV4 = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")
_OCTET = re.compile(r"[0-9]{1,3}")
_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
# is_number() takes a number only as PHP itself would write it; longer ones are never a mask.
_MASK = re.compile(r"0|[1-9][0-9]{0,2}")


def parse_networks(items: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses and networks given with ``--ip`` in one way of writing, each once.

    Raises UsageError for one that is neither, or whose address has bits beyond its mask.
    """
    return tuple(dict.fromkeys(text for item in items for text in _texts([_given(item)])))


def allows(networks: Sequence[str], address: str) -> bool:
    """Tell whether a caller's address lies in one of the networks; without any it may be anything.

    An unreadable address and 0.0.0.0, the unknown caller of Moodle's ``address_in_subnet``
    (lib/moodlelib.php), lie in none.
    """
    from ipaddress import ip_address

    if not networks:
        return True
    try:
        caller = ip_address(address)
    except ValueError:
        return False
    version, number, _ = _unmapped((caller.version, int(caller), int(caller)))
    return (version, number) != UNKNOWN_CALLER and any(
        version == span[0] and span[1] <= number <= span[2] for span in _spans(networks)
    )


def intersect(a: Sequence[str], b: Sequence[str]) -> tuple[str, ...] | None:
    """Return the networks that lie in both lists, None when nobody does.

    An empty list restricts nothing, so that the other one stays as it is.
    """
    if not a or not b:
        return tuple(a or b)
    common = [
        (version, max(first, start), min(last, end))
        for version, first, last in _spans(a)
        for other, start, end in _spans(b)
        if version == other and max(first, start) <= min(last, end)
    ]
    return _texts(common) or None


def from_moodle(text: str) -> tuple[str, ...]:
    """Return the networks of a Moodle ``iprestriction``, () for an empty one.

    They admit whom ``address_in_subnet`` of lib/moodlelib.php admits: addresses, CIDRs, ranges of
    the last part (``10.0.0.1-20``) and beginnings (``192.168.``, ``fe80:``), after commas; what
    Moodle passes over there is passed over here. Raises ValueError, with the reason, where
    nobody is admitted or Moodle misreads an item, which no network could follow.
    """
    if not text:
        return ()
    read = (_moodle_item(item.strip(PHP_WHITESPACE)) for item in text.split(","))
    spans = [span for span in read if span is not None]
    if not spans:
        raise ValueError("Moodle admits nobody by it")
    return _texts(spans)


def _given(item: str) -> Span:
    from ipaddress import ip_network

    text = item.strip()
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "%" in text:
        raise UsageError(
            f"{text!r} is not an address or a network.",
            "Give one of them per --ip, such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32.",
        )
    address = text.split("/")[0]
    if ip_network(address) != ip_network(network.network_address):
        raise UsageError(
            f"{text} is not a network: its address has bits beyond /{network.prefixlen}.",
            f"Give {network} for the whole network, or {address} for that address alone.",
        )
    first, last = int(network.network_address), int(network.broadcast_address)
    return _unmapped((network.version, first, last))


def _spans(networks: Sequence[str]) -> list[Span]:
    from ipaddress import ip_network

    parsed = map(ip_network, networks)
    return [_unmapped((n.version, int(n[0]), int(n[-1]))) for n in parsed]


def _is_mapped(span: Span) -> bool:
    return span[0] == MAPPED[0] and MAPPED[1] <= span[1] and span[2] <= MAPPED[2]


def _unmapped(span: Span) -> Span:
    return (4, span[1] - MAPPED[1], span[2] - MAPPED[1]) if _is_mapped(span) else span


def _texts(spans: Iterable[Span]) -> tuple[str, ...]:
    """Return the fewest networks that hold the addresses of all spans and no other."""
    from ipaddress import IPv4Address, IPv6Address, summarize_address_range

    merged: list[Span] = []
    for version, first, last in sorted(spans):
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(last, merged[-1][2]))
        else:
            merged.append((version, first, last))
    found: list[str] = []
    for version, first, last in merged:
        kind = IPv4Address if version == 4 else IPv6Address
        for network in summarize_address_range(kind(first), kind(last)):
            alone = network.prefixlen == network.max_prefixlen
            found.append(str(network.network_address if alone else network))
    return tuple(found)


# Moodle's way of writing: the three kinds of items of address_in_subnet, in its order


def _moodle_item(item: str) -> Span | None:
    """Return whom one item admits, None where Moodle passes it over."""
    if item == "":
        return None
    if ":" in item and "." in item:
        # cleanremoteaddr() drops zeros where it turns 10.0.0.1 into two IPv6 groups.
        raise ValueError(f"{item!r} mixes IPv6 and IPv4, which Moodle misreads")
    if "/" in item:
        span = _by_mask(item)
    elif "-" in item:
        span = _by_last_part(item)
    else:
        span = _by_beginning_v6(item) if ":" in item else _by_beginning_v4(item)
    if span is not None and _is_mapped(span):
        raise ValueError(f"{item!r} is IPv4 written as IPv6, which Moodle misreads")
    return span


def _by_mask(item: str) -> Span | None:
    ip, mask = item.split("/")[:2]
    address, mask = _address(ip), mask.strip(PHP_WHITESPACE)
    if address is None or not _MASK.fullmatch(mask) or int(mask) > BITS[address[0]]:
        return None
    return _block(*address, int(mask))


def _by_last_part(item: str) -> Span | None:
    start, *rest = (part.strip(PHP_WHITESPACE) for part in item.split("-"))
    address = _address(start)
    if address is None or len(rest) != 1:
        return None
    version, first = address
    if version == 4:
        end = int(rest[0]) if _OCTET.fullmatch(rest[0]) else -1
        size = 8
    else:
        end = int(rest[0], 16) if _GROUP.fullmatch(rest[0]) else -1
        size = 16
    if not first % 2**size <= end < 2**size:
        return None
    return version, first, (first >> size << size) + end


def _by_beginning_v4(item: str) -> Span | None:
    parts = item.split(".")
    if parts[-1] == "":
        parts.pop()
    if len(parts) == 4:
        address = _address(".".join(parts))
        return _block(*address, 32) if address else None
    if len(parts) > 4 or not all(map(_OCTET.fullmatch, parts)):
        return None
    address = _address(".".join(parts + ["0"] * (4 - len(parts))))
    return _block(*address, 8 * len(parts)) if address else None


def _by_beginning_v6(item: str) -> Span | None:
    parts = item.split(":")
    if parts[-1] == "":
        parts.pop()
        if len(parts) > 1:
            # address_in_subnet() joins the rest with dots here and then finds nobody.
            raise ValueError(f"Moodle misreads {item!r}; it would have to end without a colon")
    elif address := _address(item):
        return _block(*address, 128)
    if len(parts) >= 8 or not all(map(_GROUP.fullmatch, parts)):
        return None
    address = _address(":".join(parts + ["0"] * (8 - len(parts))))
    return _block(*address, 16 * len(parts)) if address else None


def _block(version: int, number: int, mask: int) -> Span:
    size = BITS[version] - mask
    first = number >> size << size
    return version, first, first + 2**size - 1


def _address(text: str) -> tuple[int, int] | None:
    """Read a whole address as ``cleanremoteaddr`` of lib/moodlelib.php does, None if it is none.

    It takes leading zeros for decimal and more than one ``::``, unlike the library.
    """
    text = text.strip(PHP_WHITESPACE)
    if ":" not in text:
        match = _IPV4.fullmatch(text)
        octets = [int(part) for part in match.groups()] if match else [256]
        return (4, int.from_bytes(octets, "big")) if max(octets) < 256 else None
    parts = text.split(":")
    if not 3 <= len(parts) <= 8:
        return None
    if len(parts) < 8:
        if "::" not in text:
            return None
        at = parts.index("")
        parts[at : at + 1] = ["0"] * (9 - len(parts))
        parts = [part or "0" for part in parts]
    if not all(map(_GROUP.fullmatch, parts)):
        return None
    number = 0
    for part in parts:
        number = (number << 16) + int(part, 16)
    return 6, number
