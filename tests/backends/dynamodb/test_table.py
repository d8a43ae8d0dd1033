"""The table's definition: what differs from it is said, and its policy has the rights that the code needs."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mcp_transport.backends.dynamodb
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.dynamodb.table import ACTIONS, DEFAULT_TABLE, DEFINITION, differences
from mcp_transport.backends.dynamodb.writes import Add, Delete, Put, request

RIGHT = {**DEFINITION, "TableStatus": "ACTIVE", "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"}}
LIVING = {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
FOLDER = Path(mcp_transport.backends.dynamodb.__file__).parent

Change = Callable[[dict[str, Any]], object]


def test_a_table_as_it_was_created_differs_in_nothing() -> None:
    assert differences(RIGHT, LIVING) == differences(RIGHT, {**LIVING, "TimeToLiveStatus": "ENABLING"}) == []
    assert differences({**RIGHT, "KeySchema": RIGHT["KeySchema"][::-1]}, LIVING) == []
    assert TableSettings().table == DEFAULT_TABLE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table["KeySchema"].pop(), "The primary key is pk (S); expected pk (S), sk (S)."),
        (
            lambda table: table["AttributeDefinitions"][0].update(AttributeType="B"),
            "The primary key is pk (B), sk (S);",
        ),
        (lambda table: table.pop("GlobalSecondaryIndexes"), "The index 'sessions' is missing; expected"),
        (lambda table: index(table)["KeySchema"].pop(), "The key of the index 'sessions' is shard (S); expected"),
        (
            lambda table: index(table)["Projection"].update(ProjectionType="ALL"),
            "has the projection ALL; expected KEYS",
        ),
        (lambda table: index(table).update(IndexStatus="CREATING"), "The index 'sessions' is CREATING; wait"),
        (lambda table: table.update(TableStatus="CREATING"), "The table is CREATING; wait until it is ACTIVE."),
        (lambda table: table.pop("BillingModeSummary"), "The billing mode is PROVISIONED; expected PAY_PER_REQUEST"),
    ],
)
def test_each_difference_is_said(change: Change, expected: str) -> None:
    table = copy.deepcopy(RIGHT)
    change(table)
    [text] = differences(table, LIVING)
    assert expected in text


def test_each_replica_that_is_missing_is_said() -> None:
    replicas = [{"RegionName": "us-east-1"}, {"RegionName": "ap-south-1", "ReplicaStatus": "CREATING"}]
    table = {**RIGHT, "Replicas": replicas}
    assert differences(table, LIVING, ["us-east-1"]) == []
    [creating] = differences(table, LIVING, ["us-east-1", "ap-south-1"])
    assert creating.startswith("There is no active replica in ap-south-1; expected one")
    [missing] = differences(RIGHT, LIVING, ["us-east-1"])
    assert missing.startswith("There is no active replica in us-east-1")
    [strong] = differences({**table, "MultiRegionConsistency": "STRONG"}, LIVING, ["us-east-1"])
    assert strong.endswith("expected EVENTUAL.")


def index(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = table["GlobalSecondaryIndexes"][0]
    return found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, "Time to live is DISABLED; expected ENABLED with the attribute 'ttl'"),
        ({"TimeToLiveStatus": "DISABLING", "AttributeName": "ttl"}, "Time to live is DISABLING; expected ENABLED"),
        ({"TimeToLiveStatus": "ENABLED", "AttributeName": "ends"}, "uses the attribute 'ends'; expected 'ttl'"),
    ],
)
def test_another_time_to_live_is_said(answer: dict[str, str], expected: str) -> None:
    [text] = differences(RIGHT, answer)
    assert expected in text


def test_the_policy_has_the_rights_for_each_operation_in_the_code_and_no_other() -> None:
    """`creation.py` has the larger policy; what a write becomes is computed, not written in the code."""
    texts = [path.read_text() for path in FOLDER.glob("*.py") if path.name != "creation.py"]
    called = {name for text in texts for name in re.findall(r'\.(?:call|_repeat)\(\s*"(\w+)"', text)}
    writes = (Put({"pk": "p", "sk": "s"}), Delete(Address("p", "s")), Add(Address("p", "s"), "n", 1))
    assert called | {request(write)[0] for write in writes} == ACTIONS.keys()
    created = set(re.findall(r'\.call\(\s*"(\w+)"', (FOLDER / "creation.py").read_text()))
    assert created == {"create_table", "describe_table", "describe_time_to_live", "update_time_to_live"}
