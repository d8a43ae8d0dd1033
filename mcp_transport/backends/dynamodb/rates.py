"""The buckets of rate limits, by the store's clock as each node estimates it.

Fills are exact to `store_clock.MAX_CLOCK_ERROR`, usually to some hundredths of a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.items import EXPIRES, Address, digest
from mcp_transport.backends.dynamodb.writes import Conflict
from mcp_transport.backends.rates import RateStore
from mcp_transport.domain.rate_limit import Charge
from mcp_transport.exceptions import BackendError

__all__ = ["DynamoRateStore"]

# The attribute with the time at which a bucket is empty, in microseconds.
_EMPTY_AT: Final = "empty_at"
_MICROSECONDS: Final = 1_000_000

# A fill of so many capacities is no sum of costs.
_ABSURD: Final = 20

# How often a charge tries the two updates, of which always one fits: others only get in between.
_ATTEMPTS: Final = 8

_IS_FULL: Final = "attribute_type(#e, :n) AND #e BETWEEN :now AND :absurd"
_ADD: Final = {"UpdateExpression": "ADD #e :cost SET #t = :t", "ConditionExpression": _IS_FULL}
_SET: Final = {"UpdateExpression": "SET #e = :start, #t = :t", "ConditionExpression": f"NOT ({_IS_FULL})"}


class DynamoRateStore(RateStore):
    """Adds what nodes have admitted, each bucket by one conditional update of its item."""

    def __init__(self, client: DynamoClient) -> None:
        self._client = client

    async def settle(self, charges: Sequence[Charge]) -> Sequence[float]:
        return await asyncio.gather(*(self._charge(each) if each.cost > 0 else self._read(each) for each in charges))

    async def _read(self, charge: Charge) -> float:
        now = self._client.now()
        item = await self._client.get(_address(charge)) or {}
        empty_at = item.get(_EMPTY_AT)
        fill = empty_at / _MICROSECONDS - now if type(empty_at) is int else 0.0
        return fill if 0 < fill < _ABSURD * charge.capacity else 0.0

    async def _charge(self, charge: Charge) -> float:
        """Add to a bucket that is not empty, or begin with an empty one."""
        for attempt in range(_ATTEMPTS):
            now = self._client.now()
            try:
                reply = await self._update(charge, now, is_addition=attempt % 2 == 0)
            except Conflict:
                continue
            return int(reply["Attributes"][_EMPTY_AT]["N"]) / _MICROSECONDS - now
        raise BackendError("the bucket of a rate limit cannot be changed")

    async def _update(self, charge: Charge, now: float, *, is_addition: bool) -> Any:
        cost, absurd = _micros(charge.cost), _micros(now + _ABSURD * charge.capacity)
        values = {
            ":now": _micros(now),
            ":absurd": absurd,
            ":t": int(now + _ABSURD * charge.capacity + charge.cost) + 1,
        }
        values |= {":cost": cost} if is_addition else {":start": _micros(now) + cost}
        return await self._client.call(
            "update_item",
            TableName=self._client.table,
            Key=_address(charge).attributes(),
            ExpressionAttributeNames={"#e": _EMPTY_AT, "#t": EXPIRES},
            ExpressionAttributeValues={
                ":n": {"S": "N"},
                **{name: {"N": str(value)} for name, value in values.items()},
            },
            ReturnValues="UPDATED_NEW",
            **(_ADD if is_addition else _SET),
        )


def _address(charge: Charge) -> Address:
    return Address(f"rate#{digest(charge.bucket)}", "#")


def _micros(seconds: float) -> int:
    return round(seconds * _MICROSECONDS)
