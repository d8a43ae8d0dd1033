"""Permissions, scopes and visibility of what is declared: what a caller may not use does not exist for it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp.server.lowlevel import Server

from mcp_transport import Principal, bootstrap, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import Kernel
from tests.auth.shop import ANN, PEOPLE, declare, only_ann, serve_declared
from tests.support.client import Answer, SessionClient, send_sessionless

pytestmark = pytest.mark.usefixtures("fast", "declarations")

Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
def served(build_endpoint: Any, declarations: Declarations) -> Endpoint:
    declare()
    return serve_declared(build_endpoint(server=None), declarations)


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


TEMPLATES = {"shop://orders/{number}", "shop://counts/{count}"}
LISTS = {
    ("tools/list", "tools", "name"): (
        {"open_to_all", "read", "write"},
        {"orders", "for_ann", "parcel", "lasting"},
        {"for_bob"},
    ),
    ("prompts/list", "prompts", "name"): (set(), {"summary", "letter"}, set()),
    ("resources/list", "resources", "uri"): ({"shop://products"}, {"shop://orders"}, set()),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"): (
        set(),
        TEMPLATES | {"shop://bills/{+path}"},
        set(),
    ),
}
"""By method, member and name: what everybody may use, what Ann may use besides, and Bob."""


@pytest.mark.parametrize(("method", "member", "name"), LISTS)
async def test_lists_show_what_their_caller_may_use(ask: Ask, method: str, member: str, name: str) -> None:
    everybodys, anns, bobs = LISTS[method, member, name]
    for user, may in (("ann", everybodys | anns), ("bob", everybodys | bobs)):
        result = (await ask(user, method, {})).json["result"]
        assert {item[name] for item in result[member]} == may


@pytest.mark.parametrize("user", ["ann", "bob", "nobody"])
async def test_a_tool_runs_for_whom_it_is(ask: Ask, user: str) -> None:
    for name in ("open_to_all", "orders", "change", "for_bob"):
        answer = await ask(user, "tools/call", {"name": name, "arguments": {}})
        may = name == "open_to_all" or (name, user) in {("orders", "ann"), ("for_bob", "bob")}
        assert ("result" in answer.json) == may, (name, answer.json)


async def test_a_missing_scope_is_403_with_all_that_is_needed_before_anything_runs(ask: Ask) -> None:
    answer = await ask("ann", "tools/call", {"name": "write", "arguments": {}})
    assert answer.status == 403
    assert "orders:read orders:write" in answer.json["error"]["message"]
    assert (await ask("ann", "tools/call", {"name": "read", "arguments": {}})).json["result"]["content"][0][
        "text"
    ] == "orders:read"
    assert (await ask("bob", "resources/read", {"uri": "shop://orders/7"})).status == 200, "hidden comes first"


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
        assert await served.backend.sessions.subscriptions(session_key(client.session_id)) == kept


async def listen(served: Endpoint, user: str, *uris: str) -> Answer:
    params = {"notifications": {"resourceSubscriptions": list(uris)}}
    return await send_sessionless(served, "subscriptions/listen", params, user=user)


async def kept_of(answer: Answer) -> set[str]:
    """Return the resources that are listened to."""
    message = await answer.message()
    answer.close()
    assert message is not None
    return set(message["params"]["notifications"].get("resourceSubscriptions") or ())


async def test_listening_does_not_tell_hidden_resources_from_missing_ones(served: Endpoint) -> None:
    uris = ["shop://orders", "shop://orders/7", "shop://missing", "shop://products"]
    assert await kept_of(await listen(served, "bob", *uris)) == {"shop://products"}
    assert await kept_of(await listen(served, "ann", *uris)) == {*uris} - {"shop://missing"}


async def test_listening_asks_once_for_each_resource_however_many_uris_it_names(
    served: Endpoint, declarations: Declarations
) -> None:
    judged: list[str] = []

    def judge(principal: Principal) -> bool:
        judged.append(principal.subject)
        return only_ann(principal)

    @resource("stock://{number}", visible=judge)
    def stock(number: str) -> str:
        return number

    serve_declared(served, declarations)
    for user, kept in (("ann", 500), ("bob", 0)):
        uris = [f"stock://{number % 500}" for number in range(1000)]
        assert len(await kept_of(await listen(served, user, *uris))) == kept
        assert len(judged) == 1
        judged.clear()
    for uris in ([f"stock://{number}" for number in range(1001)], ["stock://" + "9" * 100_000]):
        answer = await listen(served, "ann", *uris)
        assert (answer.status, answer.error_code) == (400, -32602)
        assert judged == [], "nobody is asked"


async def test_listening_takes_the_scopes_of_what_it_names(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEOPLE, "carl", dataclasses.replace(ANN, subject="carl", scopes=frozenset()))
    for uri, status in (("shop://orders/7", 403), ("shop://orders", 200)):
        answer = await listen(served, "carl", uri)
        assert answer.status == status
    answer.close()


def test_rules_need_a_server_whose_names_can_be_looked_up() -> None:
    with pytest.raises(TypeError, match="access rules need an MCPServer, got Server"):
        Kernel(Server("low")).visibility()


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
    serve_declared(served, declarations if restricted else Declarations())
    result = (await send_sessionless(served, "tools/list", {}, user="bob")).json["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (1000, scope)


@pytest.mark.parametrize(
    "options",
    [
        *({"permission": value} for value in ("view_order", "", [1])),
        *({"scopes": value} for value in ("orders:read", ["orders read"], ['a"b'], [""])),
        {"visible": True},
    ],
    ids=repr,
)
def test_a_rule_that_makes_no_sense_is_refused_where_it_stands(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        tool(**options)(declare)


def test_another_server_has_no_rules_of_ours(settings: Any) -> None:
    declare()
    assert bootstrap.configured_access()
    settings.MCP_TRANSPORT = {"SERVER": "some.server"}
    assert bootstrap.configured_access() == {}
