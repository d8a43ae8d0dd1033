"""What sessions can be filtered by, counted from the index, and the sessions that a search text finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from mcp_transport.backends.codec import milliseconds
from mcp_transport.backends.listing import MAX_VALUES, commonest
from mcp_transport.backends.records import Facets
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.index_sets import Facet, SetFacet, SortedSetFacet
from mcp_transport.domain.session_query import ACTIVE_SECONDS, AGES, SessionQuery, State

__all__ = ["FILTERS", "MAX_INDEXED_VALUES", "TextFacet", "count_facets", "indexed_values", "value_facet"]

FILTERS: Final = ("user", "client", "protocol_version", "node")
MAX_INDEXED_VALUES: Final = 1000
"""How many values of a filter the index remembers, the latest ones."""

# How many sessions that are not initialized are told apart by their last use.
_MAX_OPENING: Final = 5000


def value_facet(client: RedisClient, name: str, value: str) -> SetFacet | SortedSetFacet:
    """Return the sessions that have a value."""
    key = client.keys.facet(name, value)
    return SortedSetFacet(key) if name == "node" else SetFacet(key)


async def indexed_values(client: RedisClient, name: str) -> list[str]:
    """Return the values that sessions have or had, the latest last. Raises: BackendError."""
    values = await client.execute("ZRANGE", client.keys.indexed_values(name), 0, -1)
    return [value.decode(errors="replace") for value in values]


async def count_facets(client: RedisClient, busy: Iterable[bytes], now: int) -> Facets:
    """Count the sessions with each value; `now` is in milliseconds. Raises: BackendError."""
    states, ages, *values = await asyncio.gather(
        _states(client, list(busy), now), _ages(client, now), *(_values(client, name) for name in FILTERS)
    )
    return {"state": states, "age": ages, **dict(zip(FILTERS, values, strict=True))}


async def _values(client: RedisClient, name: str) -> tuple[tuple[str, int], ...]:
    values = await indexed_values(client, name)
    sizes = await asyncio.gather(*(value_facet(client, name, value).size(client) for value in values))
    counted = list(zip(values, sizes, strict=True))
    if over := [value for value, size in counted if not size]:
        # A session that opens with one of them at this moment records it with the next session of the kind.
        client.batcher.post("ZREM", client.keys.indexed_values(name), *over)
    return commonest([item for item in counted if item[1]], MAX_VALUES)


async def _ages(client: RedisClient, now: int) -> tuple[tuple[str, int], ...]:
    name, facets = client.keys.ordered("created"), list[SortedSetFacet]()
    for bound, seconds in AGES.values():
        at = now - milliseconds(seconds)
        facets.append(SortedSetFacet(name, at) if bound == "created_after" else SortedSetFacet(name, None, at))
    sizes = await asyncio.gather(*(facet.size(client) for facet in facets))
    return tuple(zip(AGES, sizes, strict=True))


async def _states(client: RedisClient, busy: Sequence[bytes], now: int) -> tuple[tuple[str, int], ...]:
    """Count each session in the first state that applies, as `state_of` does."""
    keys, execute = client.keys, client.execute
    active_since, oldest = now - milliseconds(ACTIVE_SECONDS), now - client.ttl
    opening_key = keys.facet("state", State.OPENING)
    opening, recent, total = await asyncio.gather(
        execute("SMEMBERS", opening_key) if await execute("SCARD", opening_key) <= _MAX_OPENING else _nothing(),
        SortedSetFacet(keys.sessions, active_since + 1).size(client),
        SortedSetFacet(keys.sessions, oldest + 1).size(client),
    )
    live_busy = [at for at in await _last_uses(client, list(busy)) if at > oldest]
    live_opening = [at for at in await _last_uses(client, list(set(opening) - set(busy))) if at > oldest]
    others_recent = sum(at > active_since for at in (*live_busy, *live_opening))
    active = max(0, recent - others_recent)
    idle = max(0, total - active - len(live_busy) - len(live_opening))
    counts = (len(live_busy), len(live_opening), active, idle)
    return tuple((str(state), count) for state, count in zip(State, counts, strict=True))


async def _nothing() -> list[bytes]:
    return []


async def _last_uses(client: RedisClient, keys: list[bytes]) -> list[float]:
    """Return when listed sessions were last used, in milliseconds."""
    scores = await client.execute("ZMSCORE", client.keys.sessions, *keys) if keys else []
    return [float(score) for score in scores if score is not None]


class TextFacet(Facet):
    """The sessions that a search text finds: by names that contain it, and by terms that begin with it."""

    def __init__(self, query: SessionQuery, sets: Sequence[SetFacet], by_prefix: Sequence[bytes], size: int) -> None:
        self._query, self._sets, self._by_prefix, self._size = query, sets, by_prefix, size

    @classmethod
    async def of(cls, client: RedisClient, query: SessionQuery, limit: int) -> TextFacet:
        """Look a text up in the index; read at most `limit` search terms, and one more. Raises: BackendError."""
        first = f"[{query.term}".encode()
        bounds = first, first + b"\xff", "LIMIT", 0, limit + 1  # no UTF-8 contains the byte 0xff
        terms, users, clients = await asyncio.gather(
            client.execute("ZRANGEBYLEX", client.keys.search_terms, *bounds),
            indexed_values(client, "user"),
            indexed_values(client, "client"),
        )
        names = {"user": users, "client": clients}
        matches = [(name, value) for name, values in names.items() for value in values if query.finds(value, "")]
        sets = [SetFacet(client.keys.facet(name, value)) for name, value in matches]
        sizes = await asyncio.gather(*(item.size(client) for item in sets))
        by_prefix = list(dict.fromkeys(term.rpartition(b"\0")[2] for term in terms))
        # Most sessions that are found by a prefix are found by a name, too.
        return cls(query, sets, by_prefix, max(sum(sizes), len(terms)))

    async def size(self, client: RedisClient) -> int:
        return self._size

    async def members(self, client: RedisClient) -> list[bytes]:
        members = await asyncio.gather(*(item.members(client) for item in self._sets))
        return list(dict.fromkeys([*self._by_prefix, *(key for keys in members for key in keys)]))

    async def has(self, client: RedisClient, keys: Sequence[bytes]) -> Sequence[bool]:
        entries = await client.execute("HMGET", client.keys.index_entries, *keys)
        return [entry is not None and self._finds(entry) for entry in entries]

    def _finds(self, entry: Any) -> bool:
        try:
            values, terms = orjson.loads(entry)
            return self._query.finds(values.get("user", ""), values.get("client", ""), *terms)
        except (ValueError, TypeError, AttributeError):  # another program has written it
            return False
