"""Determine the client's address behind proxies, and the network that counts as one caller."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from mcp_transport.protocol.headers import Headers

__all__ = ["UNIX", "TrustedProxies", "caller_block", "parse_network"]

UNIX: Final = "unix"
"""Stands for the peers of a Unix socket, for which servers report no address."""

# Characters: an IPv6 address with an IPv4 tail, a zone and a port is shorter.
_MAX_ADDRESS: Final = 80
_MAX_HOPS: Final = 32
_MAX_CACHED_LINE: Final = 256

# The prefix length of the network from which an IPv6 host picks its addresses (RFC 4291, 2.5.1).
_IPV6_PREFIX: Final = 64
_MAPPED_PREFIX: Final = 96
"""The prefix length of `::ffff:0:0`, which precedes a mapped IPv4 address (RFC 4291, 2.5.5.2)."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class TrustedProxies:
    """The proxies whose X-Forwarded-For is trusted: addresses, networks, `unix` for the peers of a Unix socket."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """Parse the entries. Raises: ValueError for an invalid one."""
        entries = tuple(proxies)
        self._networks = tuple(parse_network(entry) for entry in entries if entry != UNIX)
        self._trusts_unix = UNIX in entries
        self._are_any = bool(entries)
        self._find_cached = lru_cache(maxsize=1024)(self._find)  # a client's requests take the same path

    def client(self, peer: str, headers: Headers) -> str:
        """Return the client's address: the rightmost one in X-Forwarded-For that is not a trusted proxy's.

        Each proxy appends the address of its peer. An entry that is not an address ends the search at the proxy that
        wrote it.
        """
        if not self._are_any:
            return peer
        line = ",".join(headers.lines("x-forwarded-for"))
        return self._find_cached(peer, line) if len(line) <= _MAX_CACHED_LINE else self._find(peer, line)

    def _find(self, peer: str, line: str) -> str:
        hop = _parse(peer)
        client = peer if hop is None else str(hop)
        is_trusted = self._trusts(hop) if hop is not None else self._trusts_unix and not peer
        hops = [text for entry in line.rsplit(",", _MAX_HOPS) if (text := entry.strip(" \t"))]  # RFC 9110, 5.6.1.2
        while is_trusted and hops and (hop := _parse(hops.pop())) is not None:
            client, is_trusted = str(hop), self._trusts(hop)
        return client

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def parse_network(entry: str) -> Network:
    """Parse an address or a network; IPv4-mapped IPv6 becomes IPv4.

    Raises: ValueError.
    """
    network = ip_network(entry)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))


def caller_block(address: str) -> str:
    """Return the unit that counts as one caller: an IPv4 address, the /64 of an IPv6 one, other text unchanged."""
    return _block(address) if len(address) <= _MAX_ADDRESS else address


@lru_cache(maxsize=1024)  # looked up for every request of a session
def _block(text: str) -> str:
    address = _parse(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, _IPV6_PREFIX), strict=False))
    return text if address is None else str(address)


def _parse(text: str) -> Address | None:
    """Parse an address, which may have a port and, for IPv6, a zone; return None if it is invalid."""
    if len(text) > _MAX_ADDRESS:
        return None
    try:
        address = ip_address(_without_port(text).partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _without_port(text: str) -> str:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        is_complete = bool(bracket) and ":" in host and (not rest or _is_port(rest))
        return host if is_complete else text
    host, colon, port = text.partition(":")
    return host if colon and "." in host and _is_port(f":{port}") else text


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6
