from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.targets import LISTEN, Target, listen_uris, request_target


@pytest.mark.parametrize(
    ("method", "params", "target"),
    [
        ("tools/call", {"name": "add"}, ("tool", "add")),
        ("prompts/get", {"name": "ask"}, ("prompt", "ask")),
        ("resources/read", {"uri": "shop://a"}, ("resource", "shop://a")),
        ("resources/subscribe", {"uri": "shop://a"}, ("resource", "shop://a")),
        ("resources/unsubscribe", {"uri": "shop://a"}, ("resource", "shop://a")),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "ask"}}, ("prompt", "ask")),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "shop://{a}"}}, ("template", "shop://{a}")),
        ("completion/complete", {"ref": "ask"}, None),
        ("completion/complete", {}, None),
        ("tools/call", None, None),
        ("tools/call", {"name": 7}, None),
        ("tools/call", {"uri": "add"}, None),
        ("resources/read", {"name": "shop://a"}, None),
        ("tools/list", {"name": "add"}, None),
        (LISTEN, {"notifications": {"resourceSubscriptions": ["shop://a"]}}, None),
    ],
)
def test_the_target_of_a_request(method: str, params: Any, target: Target | None) -> None:
    assert request_target(Request(1, method, params)) == target


@pytest.mark.parametrize(
    ("params", "uris"),
    [
        (None, []),
        ({"notifications": ["a"]}, []),
        ({"notifications": {"resourceSubscriptions": "a"}}, []),
        ({"notifications": {"resourceSubscriptions": []}}, []),
        ({"notifications": {"resourceSubscriptions": ["b", "a", "b"]}}, ["b", "a"]),
        ({"notifications": {"resourceSubscriptions": ["a", 7, None, "a"]}}, ["a", 7]),
    ],
)
def test_the_uris_of_a_subscription(params: Any, uris: list[Any]) -> None:
    assert listen_uris(Request(1, LISTEN, params)) == uris
