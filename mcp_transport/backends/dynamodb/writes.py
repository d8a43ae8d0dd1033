"""Writes as values, and the parameters of DynamoDB's operations for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_transport.backends.dynamodb.items import VERSION, Address, Item, to_attributes

__all__ = ["ABSENT", "Add", "Conflict", "Delete", "Put", "Write", "action", "expected_version", "request", "size_of"]

ABSENT: Final = 0
"""The expected version of an item that must not exist."""

_MAX_COUNT: Final = 10**9


class Conflict(Exception):
    """Raised when the condition of a write does not hold.

    `current` is the stored item, if it is known. `positions` are those of the writes of a transaction that do not
    fit; empty if another transaction was in the way.
    """

    def __init__(self, current: Item | None = None, positions: Sequence[int] = ()) -> None:
        super().__init__("another write was first")
        self.current, self.positions = current, tuple(positions)


def expected_version(item: Item) -> int | None:
    """Return the version that a write in place of a stored item expects; None if no release has written the item."""
    version = item.get(VERSION)
    return version if type(version) is int and version > ABSENT else None


@dataclass(frozen=True, slots=True)
class Put:
    """A write of an item, if its stored version is `expected` (None: whatever is stored)."""

    item: Item
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """A deletion of an item, if it exists with version `expected` (None: with any)."""

    address: Address
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Add:
    """An addition to a count, which then is at least 0, and with a `limit` at most that; other attributes are `put`.

    Without a count, it begins one if there is a limit.
    """

    address: Address
    name: str
    amount: int
    limit: int | None = None
    put: Item | None = None


Write = Put | Delete | Add


def size_of(write: Write) -> int:
    """Return about how many bytes a write stores, for the limit of a transaction."""
    content = write.item.values() if isinstance(write, Put) else ()
    return sum(
        len(part)
        for value in content
        for part in (value if isinstance(value, list) else [value])
        if isinstance(part, bytes | str)
    )


def request(write: Write) -> tuple[str, dict[str, Any]]:
    """Return the operation of boto3's client for one write, and its parameters."""
    kind, parameters = _parameters(write)
    if "ConditionExpression" in parameters:
        parameters["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return f"{kind.lower()}_item", parameters


def action(write: Write, table: str) -> dict[str, Any]:
    """Return one write as an action of a transaction."""
    kind, parameters = _parameters(write)
    return {kind: {"TableName": table, **parameters}}


def _parameters(write: Write) -> tuple[str, dict[str, Any]]:
    match write:
        case Put(item, expected):
            return "Put", {"Item": to_attributes(item), **_condition(expected)}
        case Delete(address, expected):
            condition = {"ConditionExpression": "attribute_exists(pk)"} if expected is None else _condition(expected)
            return "Delete", {"Key": address.attributes(), **condition}
        case Add(address, name, amount, limit, put):
            return "Update", {"Key": address.attributes(), **_addition(name, amount, limit, put or {})}


def _condition(expected: int | None) -> dict[str, Any]:
    if expected is None:
        return {}
    if expected == ABSENT:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "#v = :v",
        "ExpressionAttributeNames": {"#v": VERSION},
        "ExpressionAttributeValues": {":v": {"N": str(expected)}},
    }


def _addition(name: str, amount: int, limit: int | None, put: Item) -> dict[str, Any]:
    names = {"#n": name, **{f"#p{at}": each for at, each in enumerate(put)}}
    values = {":n": {"N": str(amount)}, **{f":p{at}": value for at, value in enumerate(to_attributes(put).values())}}
    update = "ADD #n :n"
    if put:
        update += " SET " + ", ".join(f"#p{at} = :p{at}" for at in range(len(put)))
    # DynamoDB refuses to add to another type, and the whole transaction with it, as an error of the caller.
    minimum, maximum = max(0, -amount), (_MAX_COUNT if limit is None else limit) - amount
    values |= {":type": {"S": "N"}, ":minimum": {"N": str(minimum)}, ":maximum": {"N": str(maximum)}}
    condition = "attribute_type(#n, :type) AND #n BETWEEN :minimum AND :maximum"
    if limit is not None:
        condition = f"attribute_not_exists(#n) OR ({condition})"
    parameters = {"UpdateExpression": update, "ExpressionAttributeNames": names, "ConditionExpression": condition}
    return {**parameters, "ExpressionAttributeValues": values}
