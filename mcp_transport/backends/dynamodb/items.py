"""Items of the table: their addresses, and the conversion to and from DynamoDB's attribute values."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mcp_transport.backends.codec import strict

__all__ = [
    "EXPIRES",
    "LISTING_INDEX",
    "VERSION",
    "Address",
    "Item",
    "digest",
    "from_attributes",
    "to_attributes",
]

VERSION: Final = "v"
"""The attribute with a random number that each write of a versioned item changes."""

EXPIRES: Final = "ttl"
"""The attribute by which DynamoDB deletes an item, in seconds since the epoch. It may be days late."""

# How much later an item may be deleted than it expires: the backend itself decides what has expired.
_EXPIRY_MARGIN_SECONDS: Final = 60

LISTING_INDEX: Final = "sessions"
"""The sparse index of live sessions: its keys are `shard` and `created`."""

Item = dict[str, Any]
"""An item: strings, integers, bytes, booleans, and lists of these."""


class Address(NamedTuple):
    """The primary key of an item."""

    pk: str
    sk: str

    def attributes(self) -> dict[str, Any]:
        """Return the key as attribute values."""
        return {"pk": {"S": self.pk}, "sk": {"S": self.sk}}


def to_attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an item to attribute values."""
    return {name: _to_value(value) for name, value in item.items()}


@strict
def from_attributes(attributes: Mapping[str, Any]) -> Item:
    """Convert attribute values to an item. Raises: Unreadable for types that this backend does not write."""
    return {name: _from_value(value) for name, value in attributes.items()}


def expiry(seconds: float) -> dict[str, int]:
    """Return the attribute that lets DynamoDB delete an item some time after it has expired."""
    return {EXPIRES: int(seconds) + _EXPIRY_MARGIN_SECONDS}


def digest(text: str) -> str:
    """Return a short digest for a key that clients choose: 26 characters, 130 bits."""
    return base64.b32encode(hashlib.sha256(text.encode(errors="surrogatepass")).digest()).decode()[:26]


def _to_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case str():
            return {"S": value}
        case list():
            return {"L": [_to_value(item) for item in value]}
    raise TypeError(f"an item cannot contain {type(value).__name__}")


def _from_value(value: Mapping[str, Any]) -> Any:
    [(kind, content)] = value.items()
    match kind:
        case "S" | "BOOL":
            return content
        case "N":
            return int(content)
        case "B":
            return bytes(content)
        case "L":
            return [_from_value(item) for item in content]
    raise ValueError(f"an attribute of type {kind}")
