from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.protocol.client_address import TrustedProxies, caller_block, parse_network
from mcp_transport.protocol.headers import Headers

CLIENT, OTHER = "203.0.113.9", "198.51.100.7"
PROXY, BALANCER = "10.0.0.1", "10.0.0.2"
TRUSTED = ("10.0.0.0/8", "fd00::/8", "2001:db8:1::1")
SIX = "2001:db8:ffff::9"


def client(peer: str, *lines: str, trusted: tuple[str, ...] = TRUSTED) -> str:
    return TrustedProxies(trusted).client(peer, Headers([("X-Forwarded-For", line) for line in lines]))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((CLIENT,), CLIENT),
        ((), PROXY),
        (("",), PROXY),
        ((" , ,",), PROXY),
        ((f"{OTHER}, {CLIENT}",), CLIENT),
        ((f"{CLIENT}, {BALANCER}",), CLIENT),
        ((f"{OTHER},{CLIENT},{BALANCER}",), CLIENT),
        ((OTHER, CLIENT), CLIENT),
        ((f"{OTHER}, {CLIENT}", BALANCER), CLIENT),
        ((CLIENT, ""), CLIENT),
        ((f"{CLIENT},,\t{BALANCER} ,",), CLIENT),
        ((f"{BALANCER}, {PROXY}",), BALANCER),
        ((f"{CLIENT}, {BALANCER}, {PROXY}, {BALANCER}",), CLIENT),
        ((f"{CLIENT}:4711",), CLIENT),
        ((f"{CLIENT}:4711, {BALANCER}:80",), CLIENT),
        ((SIX,), SIX),
        ((SIX.upper(),), SIX),
        ((f"[{SIX}]",), SIX),
        ((f"[{SIX}]:443",), SIX),
        (("2001:0db8:ffff:0000::0009",), SIX),
        ((f"{SIX}%eth0",), SIX),
        ((f"[{SIX}%25eth0]:443",), SIX),
        ((f"{CLIENT}, fd00::7",), CLIENT),
        ((f"{CLIENT}, fd00::7%eth0",), CLIENT),
        ((f"{CLIENT}, [2001:db8:1::1]:8443",), CLIENT),
        ((f"::ffff:{CLIENT}",), CLIENT),
        ((f"{CLIENT}, ::ffff:{BALANCER}",), CLIENT),
    ],
)
def test_the_last_address_before_the_trusted_ones_is_the_clients(lines: tuple[str, ...], expected: str) -> None:
    assert client(PROXY, *lines) == expected


NO_ADDRESSES = """
unknown _hidden localhost unix: 1.2.3 1.2.3.4.5 01.2.3.4 1.2.3.256 1.2.3.4/8 1.2.3.4: 1.2.3.4:x
1.2.3.4:123456 1.2.3.4:5:6 [1.2.3.4] [1.2.3.4]:80 [::1 ::1] [::1]80 [::1]: [] []:80 :80 ::1::2
for=1.2.3.4 1.2.3.4; 16909060 0x1020304 %
"""


@pytest.mark.parametrize(
    "entry",
    [
        *NO_ADDRESSES.split(),
        "1.2.3.4:٤",
        '"1.2.3.4"',
        "1.2.3.4 5.6.7.8",
        "\x00",
        "é",
        "1" * 5000,
        "::" + "%" + "a" * 5000,
    ],
)
def test_an_entry_that_is_no_address_ends_the_walk_at_the_proxy_that_wrote_it(entry: str) -> None:
    assert client(PROXY, entry) == PROXY
    assert client(PROXY, f"{CLIENT}, {entry}, {BALANCER}") == BALANCER
    assert client(PROXY, f"{entry}, {CLIENT}") == CLIENT, "what a client says is not looked at"


@pytest.mark.parametrize("peer", [CLIENT, SIX, "", "unix:/run/mcp.sock", "testclient", "127.0.0.1", "::1"])
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer: str) -> None:
    assert client(peer, OTHER) == client(peer, OTHER, trusted=()) == peer
    assert client(peer, f"{OTHER}, {PROXY}") == peer


@pytest.mark.parametrize("peer", [PROXY, f"{PROXY}:80", f"::ffff:{PROXY}", "fd00::1%eth0", "2001:DB8:1::1"])
def test_a_trusted_peer_may_be_written_in_any_way(peer: str) -> None:
    assert client(peer, CLIENT) == CLIENT


@pytest.mark.parametrize("entry", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"])
def test_a_proxy_may_be_named_as_a_socket_for_both_families_does(entry: str) -> None:
    assert client(PROXY, CLIENT, trusted=(entry,)) == CLIENT


def test_peers_of_a_unix_socket_are_trusted_where_they_are_named() -> None:
    assert client("", CLIENT, trusted=("unix",)) == CLIENT
    assert client("", f"{CLIENT}, {PROXY}", trusted=("unix", PROXY)) == CLIENT
    assert client("", f"{OTHER}, unix, {CLIENT}", trusted=("unix", CLIENT)) == CLIENT
    assert client("", CLIENT) == ""
    assert client(OTHER, CLIENT, trusted=("unix",)) == OTHER
    assert client("testclient", CLIENT, trusted=("unix",)) == "testclient"


def test_a_server_that_has_read_the_header_already_changes_nothing() -> None:
    line = f"{OTHER}, {CLIENT}, {BALANCER}"
    assert client(CLIENT, line) == client(BALANCER, line) == client(PROXY, line) == CLIENT


def test_a_long_line_of_trusted_addresses_is_not_walked_to_its_end() -> None:
    line = ", ".join([CLIENT, *[BALANCER] * 1000])
    assert client(PROXY, line) == BALANCER


@given(st.text(max_size=60), st.lists(st.text(max_size=40), max_size=5))
def test_whatever_is_sent_an_address_or_the_peer_comes_out(peer: str, lines: list[str]) -> None:
    expected = client(peer, *lines, trusted=("0.0.0.0/0", "::/0", "unix"))
    if expected != peer:
        parse_network(expected)
    caller_block(expected)


@pytest.mark.parametrize(
    "entry", ["", "*", "localhost", " 10.0.0.1", "10.0.0.1/8", "10.0.0.1:80", "[::1]", "UNIX", "10.0.0.01", "::/129"]
)
def test_an_entry_that_is_no_proxy_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"appear|host bits"):
        TrustedProxies([entry])


@pytest.mark.parametrize(
    ("address", "block"),
    [
        (CLIENT, CLIENT),
        (f"::ffff:{CLIENT}", CLIENT),
        ("2001:db8:0:1:aaaa::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:bbbb::2", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("testclient", "testclient"),
        ("x" * 500, "x" * 500),
    ],
)
def test_addresses_that_one_host_may_choose_from_count_as_one_caller(address: str, block: str) -> None:
    assert caller_block(address) == block
