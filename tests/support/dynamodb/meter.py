"""Counts the units that a client's operations would cost, at botocore's layer: moto itself says 1 for everything."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, TypeVar

from mcp_transport.backends.dynamodb.client import DynamoClient
from tests.support.dynamodb.backend import admin, boto3_of
from tests.support.dynamodb.units import Units, item_size, read_units, refused_units, total, write_units

T = TypeVar("T")
Parameters = dict[str, Any]

_SINGLE = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete"}
# Two writes of each item: to prepare and to commit.
_TRANSACTION = 2


class Meter:
    """The units of all operations of the clients that it counts; it reads what they write, before and after."""

    def __init__(self, url: str, *clients: DynamoClient) -> None:
        self._admin, self._lock = admin(url), threading.Lock()
        self._counted = list[Units]()
        self._clients = clients
        for client in clients:
            events = boto3_of(client).meta.events
            events.register("before-parameter-build.dynamodb", self._before)
            events.register("after-call.dynamodb", self._after)

    async def of(self, work: Awaitable[T]) -> tuple[T, Units]:
        """Await work and the operations that it has begun; return its result, and their units."""
        self.take()
        result = await work
        for client in self._clients:
            await client.flush()
        return result, self.take()

    def take(self) -> Units:
        """Return the units of all operations since the last time."""
        with self._lock:
            counted, self._counted = self._counted, []
        return total(counted)

    # -- botocore's events, in the threads of the clients

    def _before(self, params: Parameters, model: Any, context: Parameters, **_: Any) -> None:
        context["metered"] = params, [self._item(*place) for place in written(model.name, params)]

    def _after(self, http_response: Any, parsed: Parameters, model: Any, context: Parameters, **_: Any) -> None:
        params, before = context["metered"]
        code = parsed.get("Error", {}).get("Code", "")
        reads, writes = self._reads(model.name, params, parsed), 0.0
        places = list(written(model.name, params))
        if code in ("ConditionalCheckFailedException", "TransactionCanceledException"):
            writes = sum(map(refused_units, before))
        elif not code:
            unprocessed = list(written("BatchWriteItem", {"RequestItems": parsed.get("UnprocessedItems", {})}))
            after = [self._item(*place) for place in places]
            changed = zip(places, before, after, strict=True)
            writes = sum(write_units(old, new) for place, old, new in changed if place not in unprocessed)
        factor = _TRANSACTION if model.name == "TransactWriteItems" else 1
        with self._lock:
            self._counted.append(Units(reads, writes * factor, (model.name,)))

    def _item(self, table: str, key: Parameters) -> Parameters | None:
        answer: Parameters = self._admin.get_item(TableName=table, Key=key, ConsistentRead=True)
        return answer.get("Item")

    def _reads(self, name: str, params: Parameters, parsed: Parameters) -> float:
        if "Error" in parsed:
            return 0.0
        if name == "GetItem":
            return read_units(item_size(parsed.get("Item", {})), consistent=params.get("ConsistentRead", False))
        if name == "Query":
            return read_units(self._queried(params, parsed), consistent=params.get("ConsistentRead", False))
        if name == "BatchGetItem":
            return sum(self._batch(table, request, parsed) for table, request in params["RequestItems"].items())
        return 0.0

    def _queried(self, params: Parameters, parsed: Parameters) -> int:
        """Return the bytes of the items that a query has read, which are whole whatever it returns of them."""
        items = parsed["Items"]
        if "ProjectionExpression" in params:
            whole = {name: value for name, value in params.items() if name not in _PROJECTION}
            items = self._admin.query(**whole)["Items"]
        return sum(map(item_size, items))

    def _batch(self, table: str, request: Parameters, parsed: Parameters) -> float:
        """Return the units of a batch's reads: each item is rounded by itself, one that does not exist, too."""
        consistent = request.get("ConsistentRead", False)
        items = parsed["Responses"].get(table, [])
        left = parsed.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        missing = len(request["Keys"]) - len(items) - len(left)
        sizes = [*map(item_size, items), *[0] * missing]
        return sum(read_units(size, consistent=consistent) for size in sizes)


_PROJECTION = ("ProjectionExpression", "ExpressionAttributeNames")


def written(name: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Parameters]]:
    """Yield the table and the key of each item that an operation writes."""
    if name in _SINGLE:
        yield _place(_SINGLE[name], params)
    elif name == "TransactWriteItems":
        for action in params["TransactItems"]:
            [(kind, content)] = action.items()
            yield _place(kind, content)
    elif name == "BatchWriteItem":
        for table, requests in params["RequestItems"].items():
            for request in requests:
                [(kind, content)] = request.items()
                yield _place(kind.removesuffix("Request"), {"TableName": table, **content})


def _place(kind: str, content: Mapping[str, Any]) -> tuple[str, Parameters]:
    key = content["Item"] if kind == "Put" else content["Key"]
    return content["TableName"], {name: key[name] for name in ("pk", "sk")}
