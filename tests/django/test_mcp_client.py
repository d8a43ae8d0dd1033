"""MCPClient, the client for tests: what it asks and what comes back, in both eras, inside the test's transaction."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User

from mcp_transport import tool
from mcp_transport.exceptions import ProtocolError
from mcp_transport.test import Log, MCPClient, Progress
from tests.django.tested_tools import Crash, declare

pytestmark = pytest.mark.django_db

VERSIONS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
each_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True)
def tools(declarations: Any) -> None:
    declare()


@pytest.fixture(params=VERSIONS[:2])
def version(request: pytest.FixtureRequest) -> str:
    """A revision of each era; `each_version` has them all."""
    return str(request.param)


@pytest.fixture
def client(version: str) -> Iterator[MCPClient]:
    with MCPClient(protocol_version=version) as made:
        yield made


# -- calls -------------------------------------------------------------------------------------------------


@each_version
def test_result_of_a_tool_is_its_value(client: MCPClient) -> None:
    result = client.call("add", a=2, b=3)
    assert (result.result, result.text, result.error, result.is_error, result.code) == (5, "5", None, False, None)
    assert (result.progress, result.logs, result.status) == ([], [], 200)
    assert result.content == [{"type": "text", "text": "5"}]
    assert result.raw["jsonrpc"] == "2.0"
    assert result.assert_ok() is result
    assert client.call("described").result == "text", "without a schema"


def test_arguments_may_have_any_name_and_are_written_as_django_writes_json(client: MCPClient) -> None:
    @tool
    def typed(when: datetime.date, price: decimal.Decimal) -> str:
        """Take what is no JSON."""
        return f"{when:%d.%m.%Y} {price}"

    arguments: dict[str, Any] = {"name": "x", "self": 1, "arguments": [2]}
    assert client.call("echo", arguments).result == arguments
    assert client.call("echo", **arguments).result == arguments
    assert client.call("echo", {"name": "y", "self": 1}, name="x", arguments=[2]).result == arguments
    result = client.call("typed", when=datetime.date(2026, 1, 2), price=decimal.Decimal("1.50"))
    assert result.result == "02.01.2026 1.50"


def test_arguments_that_headers_repeat_and_names_in_another_script_are_sent(client: MCPClient) -> None:
    assert [client.call("routed", region=region).result for region in ("eu", "Malmö")] == ["eu", "Malmö"]
    assert client.call("привет").code == -32602


@each_version
def test_errors_of_tools_and_of_the_protocol_are_told_from_results(client: MCPClient) -> None:
    result = client.call("refuse")
    said = "Error executing tool refuse: sold out"
    assert (result.error, result.is_error, result.code, result.text) == (said, True, None, said)
    result.assert_error("sold out")
    with pytest.raises(AssertionError, match="sold out"):
        _ = result.result
    client.call("add", a="x").assert_error("validation error")
    result = client.call("missing", a=1)
    assert (result.error, result.is_error, result.code) == ("Unknown tool: missing", False, -32602)
    result.assert_error("missing", code=-32602)
    for ask in (lambda: result.result, lambda: result.text, result.assert_ok):
        with pytest.raises(AssertionError, match=r"(?s)tools/call missing|Unknown tool: missing"):
            ask()


def test_crash_of_a_tool_is_raised_in_the_test_or_looks_as_to_a_client(client: MCPClient, version: str) -> None:
    other = MCPClient(protocol_version=version, raise_request_exception=False)
    for name in ("crash", "crash_late"):
        with pytest.raises(Crash, match="by accident"):
            client.call(name)
        assert other.call(name).assert_error(name).is_error
    assert client.call("add", a=1, b=1).result == 2
    other.close()


def test_failed_assertion_prints_everything(client: MCPClient) -> None:
    result = client.call("report_then_count")
    with pytest.raises(AssertionError) as failed:
        result.assert_error()
    for part in ("tools/call", "report_then_count", "HTTP 200", "progress: 0 of 2", "info: {'groups'", '"jsonrpc"'):
        assert part in str(failed.value)
    with pytest.raises(AssertionError, match=r"expected an error that contains 'other'"):
        client.call("refuse").assert_error("other")
    with pytest.raises(AssertionError, match=r"expected the JSON-RPC error -32000"):
        client.call("missing").assert_error(code=-32000)


@each_version
def test_progress_and_logs_are_kept_in_order_and_a_stream_that_a_tool_closes_is_resumed(client: MCPClient) -> None:
    Group.objects.create(name="a")
    result = client.call("report_then_count")
    assert result.result == 2
    assert result.progress == [Progress(0, 2, "begin"), Progress(2, 2)]
    assert result.logs == [Log("info", {"groups": "counting"}, "shop")]
    result = client.call("report_from_a_thread")
    assert (result.result, result.progress, result.logs) == (2, [(1, 2, None)], [("debug", "half", None)])
    result = client.call("close_stream")
    assert (result.result, result.progress) == (1, [Progress(1, 2)])


# -- lists, resources, prompts, completions ------------------------------------------------------------------


def test_lists_hold_what_the_client_sees(client: MCPClient, version: str) -> None:
    names = {item["name"] for item in client.list_tools()}
    assert {"add", "groups"} <= names and "hidden" not in names
    assert {item["uri"] for item in client.list_resources()} == {"shop://hours", "shop://logo", "shop://broken"}
    assert [item["uriTemplate"] for item in client.list_resource_templates()] == ["shop://groups/{name}"]
    assert [item["name"] for item in client.list_prompts()] == ["praise"]
    client.call("hidden").assert_error("Unknown tool: hidden", code=-32602)
    ann = User.objects.create_user("ann")
    ann.user_permissions.add(Permission.objects.get(codename="add_group"))
    allowed = MCPClient(user=ann, protocol_version=version)
    assert "hidden" in {item["name"] for item in allowed.list_tools()}
    assert allowed.call("hidden").result == "seen"


def test_resources_are_read(client: MCPClient) -> None:
    Group.objects.create(name="a b")
    assert client.read_resource("shop://hours").result == client.read_resource("shop://hours").text == "9 to 17"
    assert client.read_resource("shop://groups/a%20b").result["name"] == "a b"
    logo = client.read_resource("shop://logo")
    assert (logo.result, logo.content[0]["mimeType"]) == (b"\x89PNG", "image/png")
    client.read_resource("shop://groups/none").assert_error("no group none")
    client.read_resource("other://none").assert_error(code=-32602 if client.session_id is None else -32002)
    with pytest.raises(Crash):
        client.read_resource("shop://broken")


@each_version
def test_prompts_are_got_and_arguments_completed(client: MCPClient, version: str) -> None:
    for name in ("anna", "bert"):
        Group.objects.create(name=name)
    praise = client.get_prompt("praise", name="a mug")
    assert praise.text == "Praise a mug, be friendly; 2 groups."
    assert praise.result == [{"role": "user", "content": praise.content[0]}]
    assert client.get_prompt("praise", {"name": "a", "tone": "short"}).text.startswith("Praise a, be short")
    client.get_prompt("praise").assert_error("name", code=-32602)
    assert client.complete("praise", "name", "a") == ["anna"]
    assert client.complete("shop://groups/{name}", "name") == ["anna", "bert"]
    if version > "2025-03-26":
        assert client.complete("praise", "name", "b", tone="short") == ["bert", "tone"]


def test_list_that_is_refused_raises(settings: Any, client: MCPClient) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": ["token"]}
    for ask in (client.list_tools, client.list_resources, client.list_prompts, client.list_resource_templates):
        with pytest.raises(ProtocolError) as refused:
            ask()
        assert refused.value.status == 401
    result = client.call("add", a=1, b=1)
    assert (result.status, result.headers["www-authenticate"]) == (401, "Bearer")
    assert client.read_resource("shop://hours").status == 401


def test_tools_see_the_transaction_of_the_test_and_the_test_sees_theirs(client: MCPClient) -> None:
    Group.objects.create(name="mine")
    assert client.call("groups").result == ["mine"]
    assert client.call("count_groups").result == 1
    assert client.call("make_group", name="theirs").result["name"] == "theirs"
    assert Group.objects.filter(name="theirs").exists()


# -- sessions --------------------------------------------------------------------------------------------------


def test_session_lives_from_the_first_request_to_the_end() -> None:
    client = MCPClient(session=True)
    observed = [client.session_id]
    with client:
        client.call("add", a=1, b=1).assert_ok()
        observed.append(client.session_id)
        client.list_tools()
        observed.append(client.session_id)
    observed.append(client.session_id)
    client.call("add", a=1, b=1).assert_ok()
    _, first, *others = [*observed, client.session_id]
    assert first and others[:2] == [first, None] == [first, observed[0]]
    assert others[2] not in (None, first)
    client.close()
    client.close()


def test_several_clients_live_side_by_side() -> None:
    clients = [MCPClient(protocol_version=version) for version in VERSIONS for _ in range(2)]
    for _ in range(2):
        answers = [client.call("add", a=1, b=number).result for number, client in enumerate(clients)]
        assert answers == list(range(1, 9))
    assert len({client.session_id for client in clients}) == 7, "requests of 2026-07-28 have none"
    for client in clients:
        client.close()


def test_version_that_has_no_sessions_or_is_not_served_is_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match="revision 2026-07-28 has no sessions"):
        MCPClient(session=True, protocol_version="2026-07-28")
    with pytest.raises(ValueError, match="protocol_version must be one of"):
        MCPClient(protocol_version="2024-11-05")
    settings.MCP_TRANSPORT = {"PROTOCOL_VERSIONS": ["2025-06-18"]}
    with pytest.raises(AssertionError, match="offers 2025-06-18 in place of 2025-11-25: see PROTOCOL_VERSIONS"):
        MCPClient(session=True).call("add", a=1, b=1)
    MCPClient().call("add", a=1, b=1).assert_error("this server speaks 2025-06-18")
