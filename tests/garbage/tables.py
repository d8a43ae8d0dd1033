"""The items of a table as DynamoDB has them, and what the processes of a test have written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address
from tests.garbage.items import Raw
from tests.support.dynamodb.backend import admin

__all__ = ["Recorder", "Table", "address_of", "kind_of"]

Call = Callable[..., Awaitable[Any]]


def address_of(item: Raw) -> Address:
    return Address(item["pk"]["S"], item["sk"]["S"])


def kind_of(address: Address) -> str:
    """Return the kind of an item: its address without names, keys and numbers."""
    head, *rest = address.pk.split("#")
    first, *others = address.sk.split("#")
    named = first if head == "session" else first and "*"
    return " ".join([head + "#" * bool(rest), "#".join([named, *(each and "*" for each in others)])])


class Table:
    """A table, past all conditions."""

    def __init__(self, settings: TableSettings) -> None:
        self._name, self._client = settings.table, admin(settings.endpoint_url or "")

    def all(self) -> dict[Address, Raw]:
        found, parameters = list[Raw](), dict[str, Any]()
        while True:
            reply = self._client.scan(TableName=self._name, **parameters)
            found += reply["Items"]
            if "LastEvaluatedKey" not in reply:
                return {address_of(item): item for item in found}
            parameters = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def put(self, item: Raw) -> None:
        self._client.put_item(TableName=self._name, Item=item)

    def delete(self, address: Address) -> None:
        self._client.delete_item(TableName=self._name, Key=address.attributes())


class Recorder:
    """Remembers the newest item of each address that any process has written."""

    def __init__(self) -> None:
        self.written = dict[Address, Raw | None]()
        self.touched = set[Address]()
        """What was written or deleted since a test has emptied this."""

    def recorded(self, call: Call) -> Call:
        async def recorded(client: DynamoClient, operation: str, **parameters: Any) -> Any:
            for kind, write in _writes(operation, parameters):
                address = address_of(write.get("Item") or write["Key"])
                self.touched.add(address)
                if "Delete" not in kind:
                    self.written.pop(address, None)
                    self.written[address] = write.get("Item")
            return await call(client, operation, **parameters)

        return recorded

    @property
    def kinds(self) -> set[str]:
        return set(map(kind_of, self.written))


def _writes(operation: str, parameters: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each write of an operation: its kind, and its parameters."""
    match operation:
        case "put_item" | "update_item":
            yield operation, parameters
        case "delete_item":
            yield "Delete", parameters
        case "transact_write_items":
            for action in parameters["TransactItems"]:
                yield from action.items()
        case "batch_write_item":
            for requests in parameters["RequestItems"].values():
                for each in requests:
                    yield from each.items()
