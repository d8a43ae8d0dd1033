"""Permissions, scopes and visibility of what is declared: what a caller may not use does not exist for it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp_types import Completion

from mcp_transport import Context, Principal, bootstrap, completion, prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.session import session_key
from mcp_transport.server import build_server
from tests.support.client import Answer, SessionClient, send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

Ask = Callable[..., Awaitable[Answer]]


class Person:
    """A user as tests need one: its permissions are a set."""

    is_authenticated = is_active = True

    def __init__(self, name: str, *permissions: str) -> None:
        self.pk, self.permissions = name, set(permissions)

    def has_perms(self, names: tuple[str, ...]) -> bool:
        return self.permissions >= set(names)


ANN = Principal("test", "ann", user=Person("ann", "shop.view_order"), scopes=frozenset({"orders:read"}))
BOB = Principal("test", "bob", user=Person("bob"), scopes=frozenset())
PEOPLE = {"ann": ANN, "bob": BOB}


async def authenticate(request: Any) -> Principal:
    return PEOPLE.get(request.user, Principal())


def declare() -> None:
    declare_tools()
    declare_others()


def declare_tools() -> None:
    @tool
    def open_to_all() -> str:
        return "open"

    @tool(permission="shop.view_order")
    def orders(number: int = 0) -> str:
        return "orders"

    @tool(permission=["shop.view_order", "shop.change_order"])
    def change() -> str:
        return "changed"

    @tool(scopes=["orders:read", "orders:write"])
    def write() -> str:
        return "written"

    @tool(scopes=["orders:read"])
    async def read(ctx: Context) -> str:
        return ",".join(sorted(ctx.principal.scopes or ()))

    @tool(visible=lambda principal: principal.subject == "ann", scopes=["secret"])
    def for_ann() -> str:
        return "ann"

    @tool(visible=_only_bob)
    async def for_bob() -> str:
        return "bob"


def declare_others() -> None:
    @prompt(permission="shop.view_order")
    def summary(order: str) -> str:
        return f"Sum up {order}"

    @resource("shop://orders", permission="shop.view_order")
    def all_orders() -> str:
        return "1, 2"

    @resource("shop://orders/{number}", permission="shop.view_order", scopes=["orders:read"])
    def one_order(number: str) -> str:
        return number

    @resource("shop://products")
    def products() -> str:
        return "tea"

    @completion
    def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=["1"])


async def _only_bob(principal: Principal) -> bool:
    return principal.subject == "bob"


@pytest.fixture
def served(build_endpoint: Any, declarations: Declarations) -> Endpoint:
    declare()
    endpoint: Endpoint = build_endpoint(server=None)
    serve_declared(endpoint, declarations)
    endpoint._authenticate = authenticate
    return endpoint


def serve_declared(endpoint: Endpoint, declarations: Declarations) -> None:
    """Have an endpoint that has served nothing yet serve what is declared."""
    endpoint.kernel = Kernel(build_server((b"k" * 32,)), access=declarations.access)
    endpoint.kernel.bus.publish_to = endpoint._broadcast


@pytest.fixture(params=["2025-11-25", "2026-07-28"])
def ask(request: pytest.FixtureRequest, served: Endpoint) -> Ask:
    """Ask as a user, in a session or without one."""
    ids = itertools.count(1)

    async def in_session(user: str, method: str, params: dict[str, Any]) -> Answer:
        client = SessionClient(served, user=user)
        await client.open()
        return await client.post({"jsonrpc": "2.0", "id": next(ids), "method": method, "params": params})

    async def alone(user: str, method: str, params: dict[str, Any]) -> Answer:
        return await send_sessionless(served, method, params, user=user)

    return in_session if request.param == "2025-11-25" else alone


async def names(ask: Ask, user: str, method: str, member: str, name: str) -> set[str]:
    result = (await ask(user, method, {})).json["result"]
    return {item[name] for item in result[member]}


async def test_lists_show_what_their_caller_may_use(ask: Ask) -> None:
    both = {"open_to_all", "read", "write"}
    assert await names(ask, "ann", "tools/list", "tools", "name") == both | {"orders", "for_ann"}
    assert await names(ask, "bob", "tools/list", "tools", "name") == both | {"for_bob"}
    assert await names(ask, "ann", "prompts/list", "prompts", "name") == {"summary"}
    assert await names(ask, "bob", "prompts/list", "prompts", "name") == set()
    assert await names(ask, "ann", "resources/list", "resources", "uri") == {"shop://orders", "shop://products"}
    assert await names(ask, "bob", "resources/list", "resources", "uri") == {"shop://products"}
    assert await names(ask, "ann", "resources/templates/list", "resourceTemplates", "uriTemplate") == {
        "shop://orders/{number}"
    }
    assert await names(ask, "bob", "resources/templates/list", "resourceTemplates", "uriTemplate") == set()


@pytest.mark.parametrize("user", ["ann", "bob", "nobody"])
async def test_a_tool_runs_for_whom_it_is(ask: Ask, user: str) -> None:
    for name in ("open_to_all", "orders", "change", "for_bob"):
        answer = await ask(user, "tools/call", {"name": name, "arguments": {}})
        may = name == "open_to_all" or (name, user) in {("orders", "ann"), ("for_bob", "bob")}
        assert ("result" in answer.json) == may, (name, answer.json)


HIDDEN = [
    ("tools/call", {"name": "orders", "arguments": {"number": 1}}, "orders"),
    ("tools/call", {"name": "for_ann", "arguments": {}}, "for_ann"),
    ("prompts/get", {"name": "summary", "arguments": {"order": "1"}}, "summary"),
    ("resources/read", {"uri": "shop://orders"}, "shop://orders"),
    ("resources/read", {"uri": "shop://orders/7"}, "shop://orders/7"),
]


@pytest.mark.parametrize(("method", "params", "name"), HIDDEN, ids=lambda item: str(item)[:30])
async def test_what_is_hidden_is_answered_as_what_does_not_exist(
    ask: Ask, method: str, params: dict[str, Any], name: str
) -> None:
    member = "uri" if "uri" in params else "name"
    missing = f"{name}-missing" if member == "name" else "shop://missing"
    hidden = await ask("bob", method, params)
    unknown = await ask("bob", method, {**params, member: missing})
    assert "error" in hidden.json
    assert hidden.status == unknown.status
    assert sorted(hidden.headers) == sorted(unknown.headers)
    told, expected = (
        repr({key: value for key, value in answer.json.items() if key != "id"}) for answer in (hidden, unknown)
    )
    assert told.replace(name, "NAME") == expected.replace(missing, "NAME")


async def test_wrong_parameter_headers_do_not_tell_of_a_hidden_tool(served: Endpoint) -> None:
    headers: dict[str, str | None] = {"mcp-param-number": "8"}
    hidden = await send_sessionless(
        served, "tools/call", {"name": "orders", "arguments": {"number": 7}}, user="bob", headers=headers
    )
    assert hidden.json["error"]["message"] == "Unknown tool: orders"


async def test_a_missing_scope_is_403_with_all_that_is_needed_before_anything_runs(ask: Ask) -> None:
    answer = await ask("ann", "tools/call", {"name": "write", "arguments": {}})
    assert answer.status == 403
    assert "orders:read orders:write" in answer.json["error"]["message"]
    assert (await ask("ann", "tools/call", {"name": "read", "arguments": {}})).json["result"]["content"][0][
        "text"
    ] == "orders:read"
    assert (await ask("bob", "resources/read", {"uri": "shop://orders/7"})).status == 200, "hidden comes first"


async def test_scopes_of_a_hidden_tool_are_not_told(ask: Ask) -> None:
    assert (await ask("ann", "tools/call", {"name": "for_ann", "arguments": {}})).status == 403
    answer = await ask("bob", "tools/call", {"name": "for_ann", "arguments": {}})
    assert answer.json["error"]["message"] == "Unknown tool: for_ann"
    assert "secret" not in answer.body.decode()


async def test_a_batch_is_told_all_scopes_at_once(served: Endpoint) -> None:
    client = SessionClient(served, "2025-03-26", user="bob")
    await client.open()
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}}
        for number, name in enumerate(("read", "write", "open_to_all"))
    ]
    answer = await client.post(calls)
    assert (answer.status, "orders:read orders:write" in answer.json["error"]["message"]) == (403, True)


async def test_a_subscription_to_what_is_hidden_or_missing_is_answered_and_not_kept(served: Endpoint) -> None:
    for user, kept in (("bob", set()), ("ann", {"shop://orders"})):
        client = SessionClient(served, user=user)
        await client.open()
        for uri in ("shop://orders", "shop://missing"):
            message = {"jsonrpc": "2.0", "id": uri, "method": "resources/subscribe", "params": {"uri": uri}}
            assert (await client.post(message)).json["result"] == {}
        assert await served.backend.subscriptions(session_key(client.session_id)) == kept


async def test_listening_does_not_tell_hidden_resources_from_missing_ones(served: Endpoint) -> None:
    uris = ["shop://orders", "shop://orders/7", "shop://missing", "shop://products"]
    for user, kept in (
        ("bob", {"shop://products"}),
        ("ann", {"shop://orders", "shop://orders/7", "shop://products"}),
    ):
        params = {"notifications": {"resourceSubscriptions": uris}}
        answer = await send_sessionless(served, "subscriptions/listen", params, user=user)
        message = await answer.message()
        assert message is not None
        assert set(message["params"]["notifications"]["resourceSubscriptions"]) == kept
        answer.close()


class Counted:
    """A rule's word, and how often it was asked for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, principal: Principal) -> bool:
        self.times += 1
        return principal.subject == "ann"


@pytest.mark.parametrize(("user", "kept"), [("ann", 500), ("bob", 0)])
async def test_listening_asks_once_for_each_resource_however_many_uris_it_names(
    served: Endpoint, declarations: Declarations, user: str, kept: int
) -> None:
    asked = Counted()

    @resource("stock://{number}", visible=asked)
    def stock(number: str) -> str:
        return number

    serve_declared(served, declarations)
    params = {"notifications": {"resourceSubscriptions": [f"stock://{number % 500}" for number in range(1000)]}}
    answer = await send_sessionless(served, "subscriptions/listen", params, user=user)
    message = await answer.message()
    assert message is not None
    assert len(message["params"]["notifications"].get("resourceSubscriptions") or []) == kept
    assert asked.times == 1
    answer.close()


async def test_more_uris_than_may_be_listened_to_are_refused_before_anybody_is_asked(
    served: Endpoint, declarations: Declarations
) -> None:
    asked = Counted()

    @resource("stock://{number}", visible=asked)
    def stock(number: str) -> str:
        return number

    serve_declared(served, declarations)
    for uris in ([f"stock://{number}" for number in range(1001)], ["stock://" + "9" * 100_000]):
        params = {"notifications": {"resourceSubscriptions": uris}}
        answer = await send_sessionless(served, "subscriptions/listen", params, user="ann")
        assert (answer.status, answer.error_code) == (400, -32602)
        assert asked.times == 0


async def test_listening_takes_the_scopes_of_what_it_names(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEOPLE, "carl", dataclasses.replace(ANN, subject="carl", scopes=frozenset()))
    for uri, status in (("shop://orders/7", 403), ("shop://orders", 200)):
        params = {"notifications": {"resourceSubscriptions": [uri]}}
        answer = await send_sessionless(served, "subscriptions/listen", params, user="carl")
        assert answer.status == status
        if status == 200:
            answer.close()


async def test_completion_for_something_hidden_is_refused(ask: Ask) -> None:
    for reference in (
        {"type": "ref/prompt", "name": "summary"},
        {"type": "ref/resource", "uri": "shop://orders/{number}"},
    ):
        params = {"ref": reference, "argument": {"name": "order", "value": "1"}}
        assert (await ask("ann", "completion/complete", params)).json["result"]["completion"]["values"] == ["1"]
        assert "Unknown" in (await ask("bob", "completion/complete", params)).json["error"]["message"]


@pytest.mark.parametrize(("restricted", "scope"), [(True, "private"), (False, "public")])
async def test_filtered_lists_are_private(
    served: Endpoint, declarations: Declarations, settings: Any, restricted: bool, scope: str
) -> None:
    settings.MCP_TRANSPORT = {"CACHE_HINTS": {"tools/list": (1000, "public")}}
    served.kernel = Kernel(build_server((b"k" * 32,)), access=declarations.access if restricted else {})
    result = (await send_sessionless(served, "tools/list", {}, user="bob")).json["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (1000, scope)


@pytest.mark.parametrize(
    "options",
    [
        {"permission": "view_order"},
        {"permission": ""},
        {"permission": [1]},
        {"scopes": "orders:read"},
        {"scopes": ["orders read"]},
        {"scopes": ['a"b']},
        {"scopes": [""]},
        {"visible": True},
    ],
    ids=repr,
)
def test_a_rule_that_makes_no_sense_is_refused_where_it_stands(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        tool(**options)(declare)


def test_another_server_has_no_rules_of_ours(settings: Any) -> None:
    declare()
    assert bootstrap.served_access()
    settings.MCP_TRANSPORT = {"SERVER": "some.server"}
    assert bootstrap.served_access() == {}
