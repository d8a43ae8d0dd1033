"""Items that never expire: each needs a reason, since what expires cannot be left behind for good."""

from __future__ import annotations

from typing import Final

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.items import EXPIRES
from tests.support.dynamodb.backend import admin

PERMANENT: Final[dict[str, str]] = {}
"""Partitions whose items may stay, and why."""


def permanent_items(table: TableSettings) -> set[tuple[str, str]]:
    """Return the keys of items that have no end and no reason."""
    pages = admin(str(table.endpoint_url)).get_paginator("scan").paginate(TableName=table.table, ConsistentRead=True)
    items = [item for page in pages for item in page["Items"]]
    places = {(item["pk"]["S"], item["sk"]["S"]) for item in items if EXPIRES not in item}
    return {place for place in places if place[0] not in PERMANENT}


def refuse_permanent_items(table: TableSettings) -> None:
    """Fail when an item does not expire; each is written with its end, so nothing needs to be waited for."""
    found = permanent_items(table)
    assert not found, f"items that never expire: {sorted(found)[:10]}"
