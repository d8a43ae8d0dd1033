"""What DynamoDB counts: sizes of items, and the read and write units of them, as its Developer Guide has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp_transport.backends.dynamodb.table import DEFINITION

Attributes = Mapping[str, Any]

READ_BYTES, WRITE_BYTES = 4096, 1024
LIST_OVERHEAD, ELEMENT_OVERHEAD = 3, 1


@dataclass(frozen=True, slots=True)
class Units:
    """Read and write units, and the operations that cost them."""

    reads: float = 0.0
    writes: float = 0.0
    operations: tuple[str, ...] = field(default=())

    def __add__(self, other: Units) -> Units:
        return Units(self.reads + other.reads, self.writes + other.writes, self.operations + other.operations)


def item_size(item: Attributes) -> int:
    """Return the size of an item in bytes: names and values."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Attributes) -> int:
    """Return the size of an attribute's value in bytes."""
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "B":
            return len(content)
        case "N":
            return (len(content.lstrip("-").replace(".", "").strip("0")) + 1) // 2 + 1
        case "BOOL" | "NULL":
            return 1
        case "L":
            return LIST_OVERHEAD + sum(ELEMENT_OVERHEAD + value_size(each) for each in content)
        case "M":
            elements = (len(name.encode()) + ELEMENT_OVERHEAD + value_size(each) for name, each in content.items())
            return LIST_OVERHEAD + sum(elements)
    raise ValueError(f"an attribute of type {kind}")


def read_units(size: int, *, consistent: bool) -> float:
    """Return the units of one read; an item that does not exist costs as much as a small one."""
    units = max(1, -(-size // READ_BYTES))
    return float(units) if consistent else units / 2


def write_units(before: Attributes | None, after: Attributes | None) -> float:
    """Return the units of one write, by the larger of the items before and after it, and those of the index."""
    larger = max(item_size(item) if item else 0 for item in (before, after))
    return _rounded(larger) + index_units(before, after)


def refused_units(before: Attributes | None) -> float:
    """Return the units of a write whose condition did not hold: by the item that exists."""
    return _rounded(item_size(before) if before else 0)


def index_units(before: Attributes | None, after: Attributes | None) -> float:
    """Return the units of the index: an entry that is written, deleted, or replaced by one with another key."""
    old, new = index_entry(before), index_entry(after)
    if old == new:
        return 0.0
    return sum(_rounded(item_size(entry)) for entry in (old, new) if entry)


def index_entry(item: Attributes | None) -> dict[str, Any] | None:
    """Return what the index has of an item: its keys, if it has both of the index's."""
    [index] = DEFINITION["GlobalSecondaryIndexes"]
    keys = [key["AttributeName"] for key in index["KeySchema"]]
    if not item or not all(name in item for name in keys):
        return None
    return {name: item[name] for name in ("pk", "sk", *keys)}


def total(parts: Iterable[Units]) -> Units:
    """Return the sum."""
    return sum(parts, Units())


def _rounded(size: int) -> float:
    return float(max(1, -(-size // WRITE_BYTES)))
