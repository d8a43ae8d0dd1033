"""The table of the DynamoDB backend as values: its definition, what differs from it, and the IAM policies for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.dynamodb.items import EXPIRES, LISTING_INDEX

__all__ = [
    "ACTIONS",
    "DEFAULT_TABLE",
    "DEFINITION",
    "MAX_EVENT_BYTES",
    "TIME_TO_LIVE",
    "differences",
    "iam_policy",
    "key_differences",
]

DEFAULT_TABLE: Final = "MCPSessions"

MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
"""The largest event that is stored, in 128 items."""

DEFINITION: Final[Mapping[str, Any]] = {
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
        {"AttributeName": "shard", "AttributeType": "S"},
        {"AttributeName": "created", "AttributeType": "N"},
    ],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": LISTING_INDEX,
            "KeySchema": [
                {"AttributeName": "shard", "KeyType": "HASH"},
                {"AttributeName": "created", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
"""The parameters of CreateTable, besides the name."""

TIME_TO_LIVE: Final = {"Enabled": True, "AttributeName": EXPIRES}
"""The setting by which DynamoDB deletes items whose time has come; it may be days late."""

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "get_item": ("GetItem",),
    "put_item": ("PutItem",),
    "update_item": ("UpdateItem",),
    "delete_item": ("DeleteItem",),
    "query": ("Query",),
    "batch_get_item": ("BatchGetItem",),
    "batch_write_item": ("BatchWriteItem",),
    # A transaction has no right of its own: each of its actions needs that of the same operation.
    "transact_write_items": ("PutItem", "UpdateItem", "DeleteItem"),
}
"""The rights that each operation of the backend needs."""

_CREATION: Final = ("CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive")


def iam_policy(
    table: str,
    *,
    regions: Sequence[str] = ("*",),
    account: str = "*",
    partition: str = "aws",
    creates: bool = False,
) -> dict[str, Any]:
    """Return the least IAM policy for nodes or, with `creates`, for the command that makes and checks the table.

    Nodes of each region use the table of every region.
    """
    arns = [f"arn:{partition}:dynamodb:{region}:{account}:table/{table}" for region in regions]
    actions = _CREATION if creates else sorted({action for needed in ACTIONS.values() for action in needed})
    statements = [_statement(actions, arns)]
    if not creates:
        statements.append(_statement(["Query"], [f"{arn}/index/{LISTING_INDEX}" for arn in arns]))
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(actions: Any, resources: Sequence[str]) -> dict[str, Any]:
    resource = resources[0] if len(resources) == 1 else list(resources)
    return {"Effect": "Allow", "Action": [f"dynamodb:{action}" for action in actions], "Resource": resource}


def differences(
    described: Mapping[str, Any], time_to_live: Mapping[str, Any], replicas: Collection[str] = ()
) -> list[str]:
    """Return what DescribeTable and DescribeTimeToLive say that the backend cannot work with, one sentence each.

    `replicas` are the other regions of a global table.
    """
    return [
        *key_differences(described),
        *_index_differences(described),
        *_other_differences(described, time_to_live),
        *_replica_differences(described, replicas),
    ]


def _replica_differences(described: Mapping[str, Any], replicas: Collection[str]) -> Iterator[str]:
    active = {
        replica["RegionName"]
        for replica in described.get("Replicas", ())
        if replica.get("ReplicaStatus", "ACTIVE") in ("ACTIVE", "UPDATING")
    }
    for region in sorted(set(replicas) - active):
        yield f"There is no active replica in {region}; expected one: its nodes would not see the sessions of others."
    if replicas and described.get("MultiRegionConsistency", "EVENTUAL") != "EVENTUAL":
        yield "The table is strongly consistent between regions, and has no transactions; expected EVENTUAL."


def key_differences(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the primary key that DescribeTable returns."""
    expected, actual = _keys(DEFINITION, DEFINITION), _keys(described, described)
    if actual != expected:
        yield f"The primary key is {actual}; expected {expected}. Keys cannot be changed: create another table."


def _index_differences(described: Mapping[str, Any]) -> Iterator[str]:
    [definition] = DEFINITION["GlobalSecondaryIndexes"]
    indexes = {index["IndexName"]: index for index in described.get("GlobalSecondaryIndexes", ())}
    expected = _keys(definition, DEFINITION)
    if LISTING_INDEX not in indexes:
        yield f"The index {LISTING_INDEX!r} is missing; expected one with the key {expected} and KEYS_ONLY."
        return
    index = indexes[LISTING_INDEX]
    if (actual := _keys(index, described)) != expected:
        yield f"The key of the index {LISTING_INDEX!r} is {actual}; expected {expected}."
    projection = index.get("Projection", {}).get("ProjectionType")
    if projection != "KEYS_ONLY":
        yield (
            f"The index {LISTING_INDEX!r} has the projection {projection}; expected KEYS_ONLY: others make each "
            "write cost more."
        )
    if (status := index.get("IndexStatus", "ACTIVE")) != "ACTIVE":
        yield f"The index {LISTING_INDEX!r} is {status}; wait until it is ACTIVE."


def _other_differences(described: Mapping[str, Any], time_to_live: Mapping[str, Any]) -> Iterator[str]:
    if (status := described.get("TableStatus", "ACTIVE")) not in ("ACTIVE", "UPDATING"):
        yield f"The table is {status}; wait until it is ACTIVE."
    billing = described.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if billing != "PAY_PER_REQUEST":
        yield f"The billing mode is {billing}; expected PAY_PER_REQUEST: load above the provisioned units is refused."
    status, attribute = time_to_live.get("TimeToLiveStatus", "DISABLED"), time_to_live.get("AttributeName", EXPIRES)
    if status not in ("ENABLED", "ENABLING"):
        yield f"Time to live is {status}; expected ENABLED with the attribute {EXPIRES!r}: the table would only grow."
    elif attribute != EXPIRES:
        yield f"Time to live uses the attribute {attribute!r}; expected {EXPIRES!r}: the table would only grow."


def _keys(part: Mapping[str, Any], table: Mapping[str, Any]) -> str:
    """Return a key in words: `pk (S), sk (S)`."""
    types = {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions", ())}
    # The partition key is first, whatever the order in the answer.
    schema = sorted(part.get("KeySchema", ()), key=lambda key: str(key["KeyType"]))
    names = [key["AttributeName"] for key in schema]
    return ", ".join(f"{name} ({types.get(name, '?')})" for name in names)
