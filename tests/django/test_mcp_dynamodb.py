"""`manage.py mcp_dynamodb` creates and checks the table of the settings, and prints the policies for it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from django.core.management import CommandError, call_command

from mcp_transport import session_backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.dynamodb.table import DEFINITION, TIME_TO_LIVE
from tests.support.dynamodb.backend import admin, dynamo
from tests.support.dynamodb.server import DynamoServer

__all__ = ["dynamo"]

SEVERAL = ["eu-west-1", "us-east-1"]
PAY = {"BillingMode": "PAY_PER_REQUEST"}


def printed(*words: str) -> str:
    out = io.StringIO()
    call_command("mcp_dynamodb", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def name(dynamo: DynamoServer, settings: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a table that does not exist yet."""
    name = request.node.name.translate({ord(other): "-" for other in "[]"})[-100:]
    settings.MCP_TRANSPORT = {"DYNAMODB": dynamo.setting(name)}
    yield name
    if name in admin(dynamo.url).list_tables()["TableNames"]:
        admin(dynamo.url).delete_table(TableName=name)


@pytest.mark.servers
def test_create_makes_the_table_as_check_wants_it_and_can_run_again(name: str, dynamo: DynamoServer) -> None:
    with pytest.raises(CommandError, match=r"`check` failed: .*does not exist: run `manage.py mcp_dynamodb create`"):
        printed("check")
    expected = f"The table {name} is as the backend needs it.\n"
    assert [printed(verb) for verb in ("create", "create", "check")] == [expected] * 3
    described = admin(dynamo.url).describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


@pytest.mark.servers
def test_create_enables_time_to_live_in_a_table_that_exists_and_names_the_rest(
    name: str, dynamo: DynamoServer
) -> None:
    keys = {"pk": "HASH", "sk": "RANGE"}
    admin(dynamo.url).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    )
    with pytest.raises(CommandError) as refused:
        printed("create")
    assert str(refused.value).splitlines() == [
        f"The table {name} is not as the backend needs it:",
        "The index 'sessions' is missing; expected one with the key shard (S), created (N) and KEYS_ONLY.",
        "The billing mode is PROVISIONED; expected PAY_PER_REQUEST: load above the provisioned units is refused.",
    ]


@pytest.mark.servers
def test_a_global_table_is_checked_in_each_region(
    name: str, dynamo: DynamoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed("create")
    tables = {region: TableSettings(table=name, region=region, endpoint_url=dynamo.url) for region in SEVERAL}
    monkeypatch.setattr(session_backend, "_tables", lambda: tables)
    with pytest.raises(CommandError, match=r"`check` failed: .*does not exist"):
        printed("check")
    america = boto3.session.Session().client("dynamodb", region_name="us-east-1", endpoint_url=dynamo.url)
    america.create_table(TableName=name, **DEFINITION)
    america.update_time_to_live(TableName=name, TimeToLiveSpecification=TIME_TO_LIVE)
    with pytest.raises(CommandError) as refused:
        printed("check")
    america.delete_table(TableName=name)
    [_, first, second] = str(refused.value).splitlines()
    assert first.startswith("eu-west-1: There is no active replica in us-east-1;")
    assert second.startswith("us-east-1: There is no active replica in eu-west-1;")


@pytest.mark.servers
def test_create_leaves_a_table_with_other_keys_alone(name: str, dynamo: DynamoServer) -> None:
    admin(dynamo.url).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        **PAY,
    )
    with pytest.raises(CommandError, match=r"The primary key is id \(N\); expected pk \(S\), sk \(S\)\. Keys cannot"):
        printed("create")
    described = admin(dynamo.url).describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert described["TimeToLiveStatus"] == "DISABLED"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"TABEL": "x"},
            "expected some of TABLE, REGION, ENDPOINT_URL, REGIONS, REGION_LOST_SECONDS, got 'TABEL'",
        ),
        ({"TABLE": 5}, "expected a name of 3 to 255 letters, digits, '_', '-' and '.' for 'TABLE', got 5"),
        ({"TABLE": None}, "for 'TABLE', got None"),
        ({"REGION": "Ireland"}, "expected a region such as 'eu-west-1' for 'REGION', got 'Ireland'"),
        ({"ENDPOINT_URL": "localhost:8000"}, "expected an http or https URL without a path"),
        ({"REGIONS": ["eu-west-1"]}, "expected a list of 2 to 16 different regions for 'REGIONS', got ['eu-west-1']"),
        ({"REGIONS": ["eu-west-1"] * 2}, "expected a list of 2 to 16 different regions for 'REGIONS'"),
        ({"REGIONS": "eu-west-1"}, "expected a list of 2 to 16 different regions for 'REGIONS', got 'eu-west-1'"),
        ({"REGIONS": None}, "expected a list of 2 to 16 different regions for 'REGIONS', got None"),
        ({"REGION_LOST_SECONDS": 30}, "expected a list of 2 to 16 different regions for 'REGIONS', got None"),
        ({"REGIONS": ["eu-west-1", 7]}, "expected a region such as 'eu-west-1' in 'REGIONS', got 7"),
        ({"REGIONS": ["eu-west-1", "a|b"]}, "expected a region such as 'eu-west-1' in 'REGIONS', got 'a|b'"),
        ({"REGIONS": SEVERAL, "REGION_LOST_SECONDS": 0}, "expected 1 to 86400 seconds for 'REGION_LOST_SECONDS'"),
        ({"REGIONS": SEVERAL, "REGION_LOST_SECONDS": "30"}, "expected 1 to 86400 seconds for 'REGION_LOST_SECONDS'"),
        ({"REGIONS": SEVERAL, "REGION": "eu-west-1"}, "expected no 'REGION' beside 'REGIONS'"),
        (
            {"REGIONS": SEVERAL, "ENDPOINT_URL": "http://dynamodb.test"},
            "expected '{region}' in 'ENDPOINT_URL' for several regions, got 'http://dynamodb.test'",
        ),
    ],
)
def test_a_wrong_setting_is_refused(options: dict[str, Any], expected: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"DYNAMODB": options}
    with pytest.raises(CommandError) as refused:
        printed("policy")
    assert expected in str(refused.value)


def test_the_policy_is_for_the_table_and_its_index(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"DYNAMODB": {"TABLE": "Sessions", "REGION": "eu-west-1"}}
    items, index = json.loads(printed("policy", "--account", "123456789012"))["Statement"]
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/Sessions"
    assert (items["Resource"], index["Resource"]) == (arn, f"{arn}/index/sessions")
    assert index["Action"] == ["dynamodb:Query"]
    assert set(items["Action"]) == {
        f"dynamodb:{action}"
        for action in ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "BatchGetItem", "BatchWriteItem")
    }
    [creation] = json.loads(printed("policy", "--create", "--region", "*", "--partition", "aws-cn"))["Statement"]
    assert creation["Resource"] == "arn:aws-cn:dynamodb:*:*:table/Sessions"
    actions = ("CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive")
    assert creation["Action"] == [f"dynamodb:{action}" for action in actions]


def test_the_policy_of_several_regions_is_for_the_table_in_each(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"DYNAMODB": {"REGIONS": SEVERAL}}
    items, index = json.loads(printed("policy", "--account", "123456789012"))["Statement"]
    arns = [f"arn:aws:dynamodb:{region}:123456789012:table/MCPSessions" for region in SEVERAL]
    assert (items["Resource"], index["Resource"]) == (arns, [f"{arn}/index/sessions" for arn in arns])
    [creation] = json.loads(printed("policy", "--create", "--region", "eu-west-1"))["Statement"]
    assert creation["Resource"] == "arn:aws:dynamodb:eu-west-1:*:table/MCPSessions"


@pytest.mark.parametrize("words", [["--account", "12"], ["--region", "eu west"], ["--partition", "azure"]])
def test_what_no_arn_contains_is_refused(words: list[str]) -> None:
    with pytest.raises(CommandError, match="argument"):
        printed("policy", *words)
