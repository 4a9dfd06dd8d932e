"""Networks: ours as given, and Moodle's own way of writing them, to the last address."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from alxreport.errors import UsageError
from alxreport.networks import allows, from_moodle, intersect, parse_networks

MAPPED = ipaddress.ip_network("::ffff:0:0/96")
LARGEST = {4: 2**32 - 1, 6: 2**128 - 1}

# What lib/moodlelib.php of Moodle 4.1 does, in its own steps and on texts as there


def clean_remote_addr(text: str) -> str | None:
    text = text.strip(" \t\n\r\0\x0b")
    if ":" not in text:
        match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})", text)
        if match is None or any(int(part) > 255 for part in match.groups()):
            return None
        return ".".join(str(int(part)) for part in match.groups())
    parts = text.split(":")
    if "." in parts[-1]:
        four = clean_remote_addr(parts.pop())
        if four is None:
            return None
        a, b, c, d = (f"{int(part):x}" for part in four.split("."))
        parts += [a + b, c + d]
        text = ":".join(parts)
    if not 3 <= len(parts) <= 8:
        return None
    if len(parts) != 8:
        if "::" not in text:
            return None
        where, missing = parts.index(""), ["0"] * (9 - len(parts))
        parts = [part or "0" for part in parts[:where] + missing + parts[where + 1 :]]
    if not all(re.fullmatch(r"[0-9a-fA-F]{1,4}", part) for part in parts):
        return None
    return ":".join(f"{int(part, 16):x}" for part in parts)


def address_in_subnet(addr: str, subnets: str) -> bool:
    if addr == "0.0.0.0":
        return False
    cleaned = clean_remote_addr(addr)
    if cleaned is None:
        return False
    return any(
        in_one_subnet(cleaned, subnet)
        for subnet in (one.strip(" \t\n\r\0\x0b") for one in subnets.split(","))
        if subnet != ""
    )


def in_one_subnet(addr: str, subnet: str) -> bool:
    if "/" in subnet:
        return in_mask(addr, subnet)
    if "-" in subnet:
        return in_range(addr, subnet)
    mark, size = (":", 8) if ":" in subnet else (".", 4)
    if (":" in addr) != (mark == ":"):
        return False
    parts = subnet.split(mark)
    if parts[-1] == "":
        parts.pop()
        subnet = ".".join(parts)  # with dots for IPv6 too: that is how it is there
    if mark == ":":
        whole = clean_remote_addr(subnet)
        if whole is not None:
            return whole == addr
        if len(parts) > size:
            return False
    elif len(parts) >= size:
        return len(parts) == size and clean_remote_addr(subnet) == addr
    zeros = mark.join(["0"] * (size - len(parts)))
    width = 128 // size if mark == ":" else 32 // size
    return in_mask(addr, f"{subnet}{mark}{zeros}/{len(parts) * width}")


def in_mask(addr: str, subnet: str) -> bool:
    text, mask = subnet.split("/")[:2]
    mask = mask.strip(" \t\n\r\0\x0b")
    if not re.fullmatch(r"0|-?[1-9][0-9]*", mask):
        return False
    ip, bits = clean_remote_addr(text), int(mask)
    if ip is None or (":" in ip) != (":" in addr) or not 0 <= bits <= (128 if ":" in ip else 32):
        return False
    return as_bits(ip)[:bits] == as_bits(addr)[:bits]


def in_range(addr: str, subnet: str) -> bool:
    parts = subnet.split("-")
    six = ":" in subnet
    if len(parts) != 2 or six != (":" in addr):
        return False
    start = clean_remote_addr(parts[0])
    if start is None:
        return False
    mark = ":" if six else "."
    groups = start.split(mark)
    end = clean_remote_addr(mark.join([*groups[:-1], parts[1].strip(" \t\n\r\0\x0b")]))
    if end is None or addr.split(mark)[:-1] != groups[:-1]:
        return False
    return as_bits(start) <= as_bits(addr) <= as_bits(end)


def as_bits(cleaned: str) -> str:
    if ":" in cleaned:
        return "".join(f"{int(part, 16):016b}" for part in cleaned.split(":"))
    return "".join(f"{int(part):08b}" for part in cleaned.split("."))


# Texts near each other, so that they meet often

octets = st.sampled_from([0, 1, 9, 10, 19, 20, 127, 128, 192, 254, 255])
groups = st.sampled_from([0, 1, 0xF, 0x10, 0xDB8, 0x2001, 0xFE80, 0x8000, 0xFFFE, 0xFFFF])
v4_numbers = st.lists(octets, min_size=4, max_size=4).map(lambda p: int.from_bytes(bytes(p)))
v6_numbers = st.lists(groups, min_size=8, max_size=8).map(
    lambda p: int.from_bytes(b"".join(x.to_bytes(2) for x in p))
)
v4_addresses = v4_numbers.map(lambda n: str(ipaddress.IPv4Address(n)))
v6_addresses = v6_numbers.flatmap(
    lambda n: st.sampled_from(
        [ipaddress.IPv6Address(n).compressed, ipaddress.IPv6Address(n).exploded.upper()]
    )
)
addresses = v4_addresses | v6_addresses
v4_items = st.one_of(
    v4_addresses,
    st.builds("{}/{}".format, v4_addresses, st.integers(0, 32)),
    st.builds("{}-{}".format, v4_addresses, octets),
    st.lists(octets, min_size=1, max_size=3).flatmap(
        lambda p: st.sampled_from([".".join(map(str, p)), ".".join(map(str, p)) + "."])
    ),
)
plain_v6 = v6_numbers.map(lambda n: ipaddress.IPv6Address(n).exploded)


def items_v6(written: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        written,
        st.builds("{}/{}".format, written, st.integers(0, 128)),
        st.builds("{}-{:x}".format, written, groups),
        st.lists(groups, min_size=2, max_size=7).map(lambda p: ":".join(f"{x:x}" for x in p)),
        groups.map("{:x}:".format),
    )


odd_items = st.one_of(
    st.text("0123456789abfF.:/- ", max_size=12),
    st.sampled_from(
        ["", " ", "0", "10", "010.001.0.9", "10.0.0.1-300", "10.0.0.20-10", "10.0.0.1/33", "::/129",
         "10.0.0.1/08", "10.0.0.1/8/9", "10..", ".", "10.0.0.1.", "1.2.3.4.5", "fe80", "1::2::3",
         "1:::2", "::", "::1", ":1", "1:2:3:4:5:6:7:8:", "1::3:4:5:6:7:8", "::2:3:4:5:6:7:8",
         "::1-", "::5-1", "::1-1:2", "10.0.0.1-1-2", "10.0.0.1 - 20", " 10.0.0.1 / 24 ",
         "office.example.com", "10.0.0.1; 10.0.0.2", "2001:db8:", "fe80::", "::ffff:10.0.0.1",
         "::ffff:a00:1", "10.0.0.1:80", "10.0.0.1-::1", "٣.0.0.0", "1/2", "-1", "10.0.0.1/-1"]
    ),
)  # fmt: skip
texts = st.lists(v4_items | items_v6(v6_addresses) | odd_items, min_size=1, max_size=4).map(
    ",".join
)
clean_texts = st.lists(v4_items | items_v6(plain_v6), min_size=1, max_size=4).map(",".join)


def edges(networks: tuple[str, ...]) -> Iterator[str]:
    """Yield the first and last address of each network and their neighbours outside."""
    for network in map(ipaddress.ip_network, networks):
        kind = type(network.network_address)
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in {max(0, first - 1), first, last, min(LARGEST[network.version], last + 1)}:
            yield str(kind(number))


def moodle_admits(caller: str, text: str) -> bool:
    # Written in full: cleanremoteaddr cannot read 1:2:3:4:5:6:: and refuses that caller.
    return address_in_subnet(ipaddress.ip_address(caller).exploded, text)


def is_mapped(address: str) -> bool:
    return ipaddress.ip_address(address) in MAPPED


@settings(max_examples=75)
@given(texts, st.lists(addresses, max_size=12))
@example("10.0.0.1-20, 192.168., 172.16/12,fe80:", ["10.0.0.1", "10.0.0.21", "172.16.0.1"])
@example("0.0.0.0/0", ["0.0.0.0", "0.0.0.1", "::"])
@example("1::2::3,1:::2", ["1:0:0:0:0:2:0:3", "1::2"])
def test_moodles_restriction_admits_whom_moodle_admits(text: str, callers: list[str]) -> None:
    if text == "":
        assert from_moodle(text) == ()
        return
    try:
        networks = from_moodle(text)
    except ValueError:
        hopeful = text.split(",")
        misread = any(":" in one and ("." in one or one.strip().endswith(":")) for one in hopeful)
        assert misread or "ffff" in text.lower() or not any(
            address_in_subnet(caller, text) for caller in callers
        )  # fmt: skip
        return
    assert networks
    for caller in [*callers, *edges(networks)]:
        if not is_mapped(caller):
            assert allows(networks, caller) == moodle_admits(caller, text), caller


@given(clean_texts, st.lists(addresses, max_size=8))
def test_every_proper_item_is_understood(text: str, callers: list[str]) -> None:
    try:
        networks = from_moodle(text) if not nobody(text) else ()
    except ValueError as error:
        assume("IPv4 written as IPv6" not in str(error))
        raise
    for caller in callers:
        if not is_mapped(caller):
            assert (networks != () and allows(networks, caller)) == moodle_admits(caller, text)


def nobody(text: str) -> bool:
    """Tell whether every item is a range that ends before it begins."""
    items = text.split(",")
    return all("-" in item and range_is_empty(item) for item in items)


def range_is_empty(item: str) -> bool:
    start, end = item.split("-")
    if ":" in item:
        return int(ipaddress.ip_address(start)) & 0xFFFF > int(end, 16)
    return int(start.rsplit(".", 1)[1]) > int(end)


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", ()),
        ("10.0.0.1", ("10.0.0.1",)),
        ("010.000.000.001", ("10.0.0.1",)),
        ("10.0.0.5/24", ("10.0.0.0/24",)),
        ("10.0.0.1-4", ("10.0.0.1", "10.0.0.2/31", "10.0.0.4")),
        ("192.168.", ("192.168.0.0/16",)),
        ("192.168", ("192.168.0.0/16",)),
        ("10", ("10.0.0.0/8",)),
        ("fe80:", ("fe80::/16",)),
        ("2001:db8", ("2001:db8::/32",)),
        ("2001:DB8:0:0:0:0:0:1", ("2001:db8::1",)),
        ("::10-13", ("::10/126",)),
        ("10.0.0.0/9, 10.128.0.0/9,10.1.2.3", ("10.0.0.0/8",)),
        ("10.0.0.1, office.example.com, ,10.0.0.300", ("10.0.0.1",)),
        (" 10.0.0.1 ,\t::1\n", ("10.0.0.1", "::1")),
        ("0.0.0.0/0,::/0", ("0.0.0.0/0", "::/0")),
    ],
)
def test_moodles_way_of_writing(text: str, networks: tuple[str, ...]) -> None:
    assert from_moodle(text) == networks


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ", "admits nobody"),
        (",", "admits nobody"),
        ("office.example.com", "admits nobody"),
        ("10.0.0.1; 10.0.0.2", "admits nobody"),
        ("10.0.0.1-10.0.0.9", "admits nobody"),
        ("10.0.0.9-1", "admits nobody"),
        ("10.0.0.1,::ffff:10.0.0.1", "mixes IPv6 and IPv4"),
        ("10.0.0.1,::ffff:a00:1", "IPv4 written as IPv6"),
        ("10.0.0.1,2001:db8:", "without a colon"),
        ("fe80::", "without a colon"),
    ],
)
def test_what_no_network_can_follow(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_moodle(text)


def test_addresses_and_networks_as_given() -> None:
    given_ones = [
        "10.0.0.0/8", " 192.0.2.7 ", "192.0.2.7/32", "10.0.0.0/255.0.0.0", "2001:DB8:0::/32",
        "2001:db8::1/128", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "0.0.0.0/0", "::/0",
    ]  # fmt: skip
    assert parse_networks(given_ones) == (
        "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "2001:db8::1", "10.0.0.1", "0.0.0.0/0", "::/0",
    )  # fmt: skip
    assert parse_networks([]) == ()


@pytest.mark.parametrize(
    ("item", "instead"),
    [
        ("10.0.0.5/24", "10.0.0.0/24"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("10.1.0.0/255.0.0.0", "10.0.0.0/8"),
    ],
)
def test_bits_beyond_the_mask_name_the_right_network(item: str, instead: str) -> None:
    with pytest.raises(UsageError, match="bits beyond") as caught:
        parse_networks(["192.0.2.7", item])
    assert f"Give {instead} for the whole network" in caught.value.hint
    assert f"or {item.partition('/')[0]} for that" in caught.value.hint
    assert parse_networks([instead]) == (instead,)


@pytest.mark.parametrize(
    "item",
    ["", "10", "10.0.0", "10.0.0.256", "10.0.0.0/33", "10.0.0.1,10.0.0.2", "example.com", "/8",
     "fe80::1%eth0", "010.0.0.1", "::1/129", "10.0.0.1-20", "1.2.3.4/8/9"],
)  # fmt: skip
def test_what_is_no_network_is_refused(item: str) -> None:
    with pytest.raises(UsageError, match="not an address or a network"):
        parse_networks([item])


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        ((), "10.0.0.1", True),
        ((), "nonsense", True),
        ((), "", True),
        (("10.0.0.0/8",), "10.255.255.255", True),
        (("10.0.0.0/8",), "11.0.0.0", False),
        (("10.0.0.0/8",), "::ffff:10.0.0.1", True),
        (("10.0.0.0/8",), "::ffff:a00:1", True),
        (("10.0.0.0/8",), "::10.0.0.1", False),
        (("::/0",), "::ffff:10.0.0.1", False),
        (("::ffff:10.0.0.0/104",), "10.0.0.1", True),
        (("::1",), "::1", True),
        (("::1",), "0.0.0.1", False),
        (("0.0.0.1",), "::1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("0.0.0.0/0", "::/0"), "", False),
        (("0.0.0.0/0", "::/0"), "nonsense", False),
        (("0.0.0.0/0", "::/0"), "10.0.0.1:80", False),
        (("0.0.0.0/0", "::/0"), "0.0.0.0", False),
        (("0.0.0.0/0", "::/0"), "::ffff:0.0.0.0", False),
        (("0.0.0.0/0", "::/0"), "::", True),
    ],
)
def test_who_is_allowed(networks: tuple[str, ...], address: str, expected: bool) -> None:
    assert allows(networks, address) is expected


network_lists = st.lists(
    st.builds(
        lambda n, m: str(ipaddress.ip_network((n, m), strict=False)), v4_numbers, st.integers(0, 32)
    )
    | st.builds(
        lambda n, m: str(ipaddress.IPv6Network((n, m), strict=False)),
        v6_numbers,
        st.integers(0, 128),
    ),
    max_size=4,
).map(parse_networks)


@settings(max_examples=100)
@given(network_lists, network_lists, st.lists(addresses, max_size=10))
def test_both_restrictions_hold(a: tuple[str, ...], b: tuple[str, ...], callers: list[str]) -> None:
    both = intersect(a, b)
    assert (both == ()) == (a == () == b)
    for caller in [*callers, *edges(a + b)]:
        wanted = allows(a, caller) and allows(b, caller)
        assert (both is not None and allows(both, caller)) == wanted, caller
    if both is None:
        assert not any(
            ipaddress.ip_network(x).version == ipaddress.ip_network(y).version
            and ipaddress.ip_network(x).overlaps(ipaddress.ip_network(y))
            for x in a
            for y in b
        )
    elif both:
        assert parse_networks(both) == both


def test_intersections() -> None:
    assert intersect((), ()) == ()
    assert intersect((), ("::1",)) == ("::1",)
    assert intersect(["10.0.0.0/8"], []) == ("10.0.0.0/8",)
    assert intersect(("10.0.0.0/8", "::/0"), ("10.1.0.0/16", "192.0.2.7")) == ("10.1.0.0/16",)
    assert intersect(("10.0.0.0/9", "10.128.0.0/9"), ("10.0.0.0/8",)) == ("10.0.0.0/8",)
    assert intersect(("10.0.0.0/8",), ("::/0",)) is None
