"""The buckets of rate limits, by the clock of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from mcp_transport.backends.rates import RateStore
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.domain.rate_limit import Charge

__all__ = ["RedisRateStore", "bucket_arguments", "bucket_keys"]

# How many buckets one script changes, so that it does not hold up Redis.
_MAX_BUCKETS: Final = 100


class RedisRateStore(RateStore):
    """Adds what nodes have admitted; in a Cluster, where buckets are on different servers, with a script for each."""

    def __init__(self, client: RedisClient) -> None:
        self._client, self._size = client, 1 if client.is_cluster else _MAX_BUCKETS

    async def settle(self, charges: Sequence[Charge]) -> Sequence[float]:
        chunks = [charges[start : start + self._size] for start in range(0, len(charges), self._size)]
        replies = await asyncio.gather(*map(self._settle, chunks))
        return [float(fill) / 1000 for fills in replies for fill in fills]

    def _settle(self, charges: Sequence[Charge]) -> asyncio.Future[Any]:
        keys, arguments = bucket_keys(self._client, charges), bucket_arguments(charges)
        return self._client.batcher.run(self._client.scripts["settle"], keys, arguments, deferred=True)


def bucket_keys(client: RedisClient, charges: Sequence[Charge]) -> list[str]:
    """Return the keys of the buckets."""
    return [client.keys.rate_bucket(charge.bucket) for charge in charges]


def bucket_arguments(charges: Sequence[Charge]) -> list[str]:
    """Return cost and capacity of each charge for a script, in milliseconds."""
    return [_milliseconds(seconds) for charge in charges for seconds in (charge.cost, charge.capacity)]


@lru_cache(maxsize=1024)  # of a few limits
def _milliseconds(seconds: float) -> str:
    return repr(seconds * 1000)
