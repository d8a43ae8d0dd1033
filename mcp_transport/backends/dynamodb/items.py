"""Items of the table: their addresses, and the conversion to and from DynamoDB's attribute values."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = [
    "EXPIRES",
    "LISTING_INDEX",
    "UNREADABLE",
    "VERSION",
    "Address",
    "Item",
    "count_of",
    "digest",
    "from_attributes",
    "name_of",
    "to_attributes",
]

VERSION: Final = "v"
"""The attribute with a random number that each write of a versioned item changes."""

EXPIRES: Final = "ttl"
"""The attribute by which DynamoDB deletes an item, in seconds since the epoch. It may be days late."""

# How much later an item may be deleted than it expires: the backend itself decides what has expired.
_EXPIRY_MARGIN_SECONDS: Final = 60

# DynamoDB keeps 38 digits of a number exactly.
_INTEGER: Final = re.compile(r"-?\d{1,38}", re.ASCII)

_MAX_COUNT: Final = 2**62
# With others and the names of partitions, it fits into a sort key, of 1024 bytes.
_MAX_NAME: Final = 200

LISTING_INDEX: Final = "sessions"
"""The sparse index of live sessions: its keys are `shard` and `created`."""

Item = dict[str, Any]
"""An item: strings, integers, bytes, booleans, and lists of these."""

UNREADABLE: Final = object()
"""Stands for a value that no release of this backend writes; another release may have added its attribute."""


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


def from_attributes(attributes: Mapping[str, Any]) -> Item:
    """Convert attribute values to an item; values of types that this backend does not write are UNREADABLE."""
    return {name: _from_value(value) for name, value in attributes.items()}


def count_of(value: Any, minimum: int = 0, maximum: int = _MAX_COUNT) -> int:
    """Return a stored number. Raises: ValueError for anything else, or a number that no release has written."""
    if type(value) is not int or not minimum <= value <= maximum:
        raise ValueError("not a count")
    return value


def name_of(value: Any, minimum: int = 0) -> str:
    """Return a stored name, which can be part of a key. Raises: ValueError for anything else."""
    if not isinstance(value, str) or not minimum <= len(value) <= _MAX_NAME:
        raise ValueError("not a name")
    return value


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
        case "N" if _INTEGER.fullmatch(content):
            return int(content)
        case "B":
            return bytes(content)
        case "L":
            return [_from_value(item) for item in content]
    return UNREADABLE
