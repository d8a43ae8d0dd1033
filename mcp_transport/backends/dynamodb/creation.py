"""Creates and checks the table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE, differences, key_differences
from mcp_transport.exceptions import BackendError

__all__ = ["check_table", "create_table"]

_CREATION_SECONDS: Final = 300.0
_POLL_SECONDS: Final = 1.0


async def create_table(client: DynamoClient) -> bool:
    """Create the table unless it exists, wait until it is active, and enable time to live; return whether it is new.

    A table with another primary key is left alone: its items are not this backend's. Raises: BackendError.
    """
    is_new = await _create(client)
    described = await _active(client)
    if not list(key_differences(described)) and (await _time_to_live(client)).get("TimeToLiveStatus") == "DISABLED":
        await client.call("update_time_to_live", TableName=client.table, TimeToLiveSpecification=TIME_TO_LIVE)
    return is_new


async def check_table(client: DynamoClient, replicas: Collection[str] = ()) -> list[str]:
    """Return how the table differs from what the backend needs, with replicas in other regions.

    Raises: BackendError, also if it does not exist.
    """
    described = await client.call("describe_table", TableName=client.table)
    return differences(described["Table"], await _time_to_live(client), replicas)


async def _create(client: DynamoClient) -> bool:
    try:
        await client.call("create_table", TableName=client.table, **DEFINITION)
    except BackendError as error:
        if _code(error) == "ResourceInUseException":
            return False
        raise
    return True


async def _active(client: DynamoClient) -> Mapping[str, Any]:
    """Return the description of the table once it is active; for a moment a new table may be unknown."""
    deadline, status = time.monotonic() + _CREATION_SECONDS, "unknown"
    while True:
        try:
            described: Mapping[str, Any] = (await client.call("describe_table", TableName=client.table))["Table"]
            status = described["TableStatus"]
        except BackendError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
        if status in ("ACTIVE", "UPDATING"):
            return described
        if time.monotonic() > deadline:
            raise BackendError(f"the DynamoDB table {client.table} is still {status} after {_CREATION_SECONDS:g} s")
        await asyncio.sleep(_POLL_SECONDS)


async def _time_to_live(client: DynamoClient) -> Mapping[str, Any]:
    answer = await client.call("describe_time_to_live", TableName=client.table)
    described: Mapping[str, Any] = answer["TimeToLiveDescription"]
    return described


def _code(error: BackendError) -> str:
    """Return the code of DynamoDB's answer, "" if there was none."""
    code: str = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")
    return code
