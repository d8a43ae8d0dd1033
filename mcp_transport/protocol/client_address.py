"""Whose address a request comes from, and which addresses count as one caller."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from mcp_transport.protocol.headers import Headers

__all__ = ["UNIX", "TrustedProxies", "caller_block", "parse_network"]

UNIX: Final = "unix"
"""Stands for the peers of a Unix socket, of whom servers tell no address."""

# The longest is that of an IPv6 address with an IPv4 tail, a zone and a port.
_LONGEST: Final = 80
_MOST_HOPS: Final = 32
_CACHED_BYTES: Final = 256

# An IPv6 host picks its addresses from a network of this size (RFC 4291, 2.5.1).
_IPV6_BLOCK: Final = 64
_MAPPED: Final = 96
"""The bits of `::ffff:0:0` before an IPv4 address (RFC 4291, 2.5.5.2)."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed: addresses, networks, `unix` for the peers of a Unix socket."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Read the entries. Raises: ValueError for one that is none of these."""
        named = tuple(entries)
        self._networks = tuple(parse_network(entry) for entry in named if entry != UNIX)
        self._trusts_unix = UNIX in named
        self._are_any = bool(named)
        self._find = lru_cache(maxsize=1024)(self._walk)  # a client comes by the same way each time

    def client(self, peer: str, headers: Headers) -> str:
        """Return the client's address: the last one in X-Forwarded-For that is no trusted proxy's.

        Each proxy adds the address that it was called from at the right. An entry that is no address ends the walk at
        the proxy that wrote it.
        """
        if not self._are_any:
            return peer
        line = ",".join(headers.lines("x-forwarded-for"))
        return self._find(peer, line) if len(line) <= _CACHED_BYTES else self._walk(peer, line)

    def _walk(self, peer: str, line: str) -> str:
        hop = _parse(peer)
        known = peer if hop is None else str(hop)
        is_trusted = self._trusts(hop) if hop is not None else self._trusts_unix and not peer
        hops = [text for entry in line.rsplit(",", _MOST_HOPS) if (text := entry.strip(" \t"))]  # RFC 9110, 5.6.1.2
        while is_trusted and hops and (hop := _parse(hops.pop())) is not None:
            known, is_trusted = str(hop), self._trusts(hop)
        return known

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def parse_network(entry: str) -> Network:
    """Read an address or a network; the ones of IPv4 that are written as IPv6 become IPv4.

    Raises: ValueError.
    """
    network = ip_network(entry)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED))


def caller_block(address: str) -> str:
    """Return what counts as one caller: an IPv4 address, the /64 network of an IPv6 one, any other text as it is."""
    return _block(address) if len(address) <= _LONGEST else address


@lru_cache(maxsize=1024)  # a session's is asked for with each request
def _block(address: str) -> str:
    found = _parse(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _IPV6_BLOCK), strict=False))
    return address if found is None else str(found)


def _parse(text: str) -> Address | None:
    """Read an address, which may have a port and, with IPv6, a zone."""
    if len(text) > _LONGEST:
        return None
    try:
        found = ip_address(_without_port(text).partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _without_port(text: str) -> str:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        is_whole = bool(bracket) and ":" in host and (not rest or _is_port(rest))
        return host if is_whole else text
    host, colon, port = text.partition(":")
    return host if colon and "." in host and _is_port(f":{port}") else text


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6
