"""Namespaces of one table: a prefix of each partition key, and of each partition of the listing.

With several regions each item belongs to the region that writes it, so that the order in which regions replicate
never decides anything (ADR 45).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["in_namespace", "item_without_namespace", "qualified", "without_namespace"]

_SEPARATOR: Final = "|"
_PREFIXED: Final = ("pk", "shard")
# The names under which the backend's queries pass the value of a partition key.
_QUERIED: Final = (":pk", ":value")

_Attributes = Mapping[str, Any]


def qualified(name: str, namespace: str) -> str:
    """Return a partition key as it is stored; without a namespace, the name itself."""
    return f"{namespace}{_SEPARATOR}{name}" if namespace else name


def in_namespace(parameters: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return the parameters of an operation with the namespace in all keys."""
    return _changed(parameters, lambda name: qualified(name, namespace))


def without_namespace(reply: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return a reply without the namespace in its items; the key after which a query continues has it."""
    return _changed(reply, lambda name: name.removeprefix(f"{namespace}{_SEPARATOR}"))


def item_without_namespace(item: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """Return a converted item without the namespace in its keys."""
    prefix = f"{namespace}{_SEPARATOR}"
    keys = {name: item[name].removeprefix(prefix) for name in _PREFIXED if isinstance(item.get(name), str)}
    return {**item, **keys}


def _changed(content: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {name: _CHANGES[name](part, change) if name in _CHANGES else part for name, part in content.items()}


def _item(attributes: _Attributes, change: Callable[[str], str]) -> dict[str, Any]:
    keys = {name: {"S": change(attributes[name]["S"])} for name in _PREFIXED if "S" in attributes.get(name, ())}
    return {**attributes, **keys}


def _items(items: list[_Attributes], change: Callable[[str], str]) -> list[Any]:
    return [_item(item, change) for item in items]


def _values(values: _Attributes, change: Callable[[str], str]) -> dict[str, Any]:
    return {name: {"S": change(value["S"])} if name in _QUERIED else value for name, value in values.items()}


def _transaction(actions: list[Mapping[str, Any]], change: Callable[[str], str]) -> list[Any]:
    return [{kind: _changed(content, change) for kind, content in action.items()} for action in actions]


def _batch(requests: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Change a batch by table: the keys to read, or the writes."""
    return {
        table: _changed(request, change) if isinstance(request, Mapping) else _transaction(request, change)
        for table, request in requests.items()
    }


def _responses(responses: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {table: _items(items, change) for table, items in responses.items()}


_CHANGES: Final[Mapping[str, Callable[[Any, Callable[[str], str]], Any]]] = {
    "Key": _item,
    "Item": _item,
    "Attributes": _item,
    "Keys": _items,
    "Items": _items,
    "ExpressionAttributeValues": _values,
    "TransactItems": _transaction,
    "RequestItems": _batch,
    "UnprocessedKeys": _batch,
    "UnprocessedItems": _batch,
    "Responses": _responses,
}
