"""The table of the DynamoDB backend as values: its definition, and what differs from it in a table that exists."""

from __future__ import annotations

from typing import Any, Final

from mcp_transport.backends.dynamodb.items import EXPIRES, LISTING_INDEX

__all__ = ["DEFINITION", "TIME_TO_LIVE"]

DEFINITION: Final[dict[str, Any]] = {
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
