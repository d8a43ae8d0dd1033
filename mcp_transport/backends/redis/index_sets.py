"""Sets of sessions in the index: their size, their members, and whether some sessions are among them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mcp_transport.backends.redis.client import RedisClient

__all__ = ["Facet", "FixedFacet", "SetFacet", "SortedSetFacet"]


class Facet(ABC):
    """The keys of the sessions that match one condition of a query."""

    @abstractmethod
    async def size(self, client: RedisClient) -> int:
        """Return the number of sessions."""

    @abstractmethod
    async def members(self, client: RedisClient) -> list[bytes]:
        """Return the keys of all sessions."""

    @abstractmethod
    async def has(self, client: RedisClient, keys: Sequence[bytes]) -> Sequence[bool]:
        """Return for each key whether it is in the set."""


class SetFacet(Facet):
    """The members of a set."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def size(self, client: RedisClient) -> int:
        return int(await client.execute("SCARD", self._name))

    async def members(self, client: RedisClient) -> list[bytes]:
        return list(await client.execute("SMEMBERS", self._name))

    async def has(self, client: RedisClient, keys: Sequence[bytes]) -> Sequence[bool]:
        return [bool(is_member) for is_member in await client.execute("SMISMEMBER", self._name, *keys)]


class SortedSetFacet(Facet):
    """The members of a sorted set between two scores, both included."""

    def __init__(self, name: str, low: float | None = None, high: float | None = None) -> None:
        self._name, self._low, self._high = name, low, high

    @property
    def _range(self) -> tuple[Any, Any]:
        return "-inf" if self._low is None else self._low, "+inf" if self._high is None else self._high

    def is_part_of(self, name: str) -> bool:
        """Return whether these are members of the sorted set `name`."""
        return self._name == name

    async def part(self, client: RedisClient, offset: int, limit: int, *, is_reversed: bool) -> list[bytes]:
        """Return a part of the members, in order."""
        first, last = self._range[::-1] if is_reversed else self._range
        order = ["REV"] if is_reversed else []
        command = ("ZRANGE", self._name, first, last, "BYSCORE", *order, "LIMIT", offset, limit)
        return list(await client.execute(*command))

    async def size(self, client: RedisClient) -> int:
        return int(await client.execute("ZCOUNT", self._name, *self._range))

    async def members(self, client: RedisClient) -> list[bytes]:
        return list(await client.execute("ZRANGEBYSCORE", self._name, *self._range))

    async def has(self, client: RedisClient, keys: Sequence[bytes]) -> Sequence[bool]:
        return [self._contains(score) for score in await client.execute("ZMSCORE", self._name, *keys)]

    def _contains(self, score: Any) -> bool:
        if score is None:
            return False
        is_low = self._low is not None and float(score) < self._low
        return not is_low and (self._high is None or float(score) <= self._high)


class FixedFacet(Facet):
    """Members that were already read."""

    def __init__(self, keys: frozenset[bytes]) -> None:
        self._keys = keys

    async def size(self, client: RedisClient) -> int:
        return len(self._keys)

    async def members(self, client: RedisClient) -> list[bytes]:
        return list(self._keys)

    async def has(self, client: RedisClient, keys: Sequence[bytes]) -> Sequence[bool]:
        return [key in self._keys for key in keys]
