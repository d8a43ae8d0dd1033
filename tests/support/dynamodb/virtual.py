"""A table in memory, in virtual time: outages, delays and outdated reads as a seed decides, in no real time."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.writes import Conflict
from mcp_transport.exceptions import StoreUnreachable

_T = TypeVar("_T")
_Items = dict[tuple[str, str], dict[str, Any]]

MAX_DELAY = 0.05
MAX_STALE = 1.0
RESENT = 0.1
"""How often a write without a condition reaches the table again, since the answer to the first attempt was lost."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait: its time is that of the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 1000.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def jump(timeout: float | None = None) -> Any:
            events = select(0 if timeout is not None else None)
            if not events and timeout:
                self._virtual += timeout
            return events

        selector.select = jump

    def time(self) -> float:
        return self._virtual


def run_virtually(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class VirtualTable:
    """The items; `is_away` is whether no request is answered."""

    def __init__(self, seed: int) -> None:
        self.random, self.is_away = Random(seed), False  # noqa: S311
        self._times, self._versions = [0.0], [_Items()]
        self.requests: list[tuple[float, str, dict[str, Any]]] = []

    @property
    def items(self) -> _Items:
        return self._versions[-1]

    def write(self, changes: dict[tuple[str, str], dict[str, Any] | None]) -> None:
        """Replace or delete items."""
        merged = {**self.items, **changes}
        self._times.append(asyncio.get_running_loop().time())
        self._versions.append({key: item for key, item in merged.items() if item is not None})

    def outdated(self) -> _Items:
        """Return the items as they were up to a second ago."""
        time = asyncio.get_running_loop().time() - self.random.uniform(0, MAX_STALE)
        return self._versions[max(0, bisect.bisect_right(self._times, time) - 1)]

    def client(self, clock_error: float = 0.0) -> VirtualClient:
        """Return the client of a process whose clock is wrong."""
        return VirtualClient(self, clock_error)


class VirtualClient(DynamoClient):
    """Interprets the requests of the backend that its node part sends."""

    def __init__(self, virtual: VirtualTable, clock_error: float) -> None:
        super().__init__(TableSettings(), lambda: 1e6 + asyncio.get_running_loop().time() + clock_error)
        self.virtual = virtual

    async def _run(self, operation: str, parameters: dict[str, Any]) -> Any:
        random, loop = self.virtual.random, asyncio.get_running_loop()
        self.virtual.requests.append((loop.time(), operation, parameters))
        await asyncio.sleep(random.uniform(0, MAX_DELAY))
        if self.virtual.is_away:
            await asyncio.sleep(random.uniform(0, 1))
            raise StoreUnreachable("away")
        handle: Callable[[dict[str, Any]], Any] = getattr(self, f"_handle_{operation}")
        reply = handle(parameters)
        await asyncio.sleep(random.uniform(0, MAX_DELAY))
        if self.virtual.is_away:
            raise StoreUnreachable("the answer was lost")
        return reply

    def _handle_get_item(self, parameters: dict[str, Any]) -> Any:
        item = self.virtual.items.get(_key(parameters["Key"]))
        return {} if item is None else {"Item": item}

    def _handle_batch_get_item(self, parameters: dict[str, Any]) -> Any:
        keys = map(_key, parameters["RequestItems"][self.table]["Keys"])
        return {"Responses": {self.table: [self.virtual.items[key] for key in keys if key in self.virtual.items]}}

    def _handle_query(self, parameters: dict[str, Any]) -> Any:
        items = self.virtual.items if parameters["ConsistentRead"] else self.virtual.outdated()
        values = {name: value["S"] for name, value in parameters["ExpressionAttributeValues"].items()}
        low, high = values.get(":low", ""), values.get(":high", "\U0010ffff")
        rows = [item for (pk, sk), item in sorted(items.items()) if pk == values[":pk"] and low <= sk <= high]
        limit = parameters.get("Limit", len(rows) + 1)
        return {"Items": rows[:limit], **({"LastEvaluatedKey": "more"} if len(rows) >= limit else {})}

    def _handle_put_item(self, parameters: dict[str, Any]) -> Any:
        self._check(_key(parameters["Item"]), parameters)
        change = {_key(parameters["Item"]): parameters["Item"]}
        self.virtual.write(change)
        if "ConditionExpression" not in parameters and self.virtual.random.random() < RESENT:
            loop = asyncio.get_running_loop()
            loop.call_later(self.virtual.random.uniform(0, 2), self.virtual.write, change)
        return {}

    def _handle_delete_item(self, parameters: dict[str, Any]) -> Any:
        self._check(_key(parameters["Key"]), parameters)
        self.virtual.write({_key(parameters["Key"]): None})
        return {}

    def _handle_transact_write_items(self, parameters: dict[str, Any]) -> Any:
        puts = [action["Put"] for action in parameters["TransactItems"]]
        for put in puts:
            self._check(_key(put["Item"]), put)
        self.virtual.write({_key(put["Item"]): put["Item"] for put in puts})
        return {}

    def _handle_batch_write_item(self, parameters: dict[str, Any]) -> Any:
        changes: dict[tuple[str, str], dict[str, Any] | None] = {}
        for request in parameters["RequestItems"][self.table]:
            if "PutRequest" in request:
                changes[_key(request["PutRequest"]["Item"])] = request["PutRequest"]["Item"]
            else:
                changes[_key(request["DeleteRequest"]["Key"])] = None
        self.virtual.write(changes)
        return {}

    def _check(self, key: tuple[str, str], parameters: dict[str, Any]) -> None:
        current, condition = self.virtual.items.get(key), parameters.get("ConditionExpression")
        fits = {
            None: True,
            "attribute_exists(pk)": current is not None,
            "attribute_not_exists(pk)": current is None,
            "#v = :v": current is not None
            and current.get("v") == parameters.get("ExpressionAttributeValues", {}).get(":v"),
        }
        if not fits[condition]:
            raise Conflict()


def _key(attributes: dict[str, Any]) -> tuple[str, str]:
    return attributes["pk"]["S"], attributes["sk"]["S"]
