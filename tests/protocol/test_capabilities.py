from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.protocol.capabilities import all_missing_capabilities, missing_capabilities

FORM, URL = {"mode": "form"}, {"mode": "url"}


@pytest.mark.parametrize(
    ("method", "params", "declared"),
    [
        ("elicitation/create", None, {"elicitation": {}}),
        ("elicitation/create", FORM, {"elicitation": {}}),
        ("elicitation/create", FORM, {"elicitation": {"form": {}}}),
        ("elicitation/create", FORM, {"elicitation": {"form": {}, "url": {}}}),
        ("elicitation/create", URL, {"elicitation": {"url": {}}}),
        ("sampling/createMessage", {}, {"sampling": {}}),
        ("sampling/createMessage", {"tools": []}, {"sampling": {}}),
        ("sampling/createMessage", {"tools": [{"name": "t"}]}, {"sampling": {"tools": {}}}),
        ("roots/list", None, {"roots": {}}),
        ("roots/list", None, {"roots": {"listChanged": True}}),
        ("ping", None, {}),
        ("ping", None, None),
    ],
)
def test_a_client_that_declared_enough_lacks_nothing(
    method: str, params: dict[str, Any] | None, declared: dict[str, Any] | None
) -> None:
    assert missing_capabilities(method, params, declared) == {}


@pytest.mark.parametrize(
    ("method", "params", "declared", "missing"),
    [
        ("elicitation/create", None, None, {"elicitation": {}}),
        ("elicitation/create", FORM, {"sampling": {}}, {"elicitation": {}}),
        ("elicitation/create", URL, {}, {"elicitation": {"url": {}}}),
        ("elicitation/create", URL, {"elicitation": {}}, {"elicitation": {"url": {}}}),
        ("elicitation/create", URL, {"elicitation": {"form": {}}}, {"elicitation": {"url": {}}}),
        ("elicitation/create", FORM, {"elicitation": {"url": {}}}, {"elicitation": {"form": {}}}),
        ("sampling/createMessage", None, {"roots": {}}, {"sampling": {}}),
        ("sampling/createMessage", {"tools": [{}]}, {"sampling": {}}, {"sampling": {"tools": {}}}),
        ("sampling/createMessage", {"toolChoice": {"mode": "auto"}}, {}, {"sampling": {"tools": {}}}),
        ("roots/list", None, {"elicitation": {}}, {"roots": {}}),
    ],
)
def test_what_a_client_did_not_declare_is_named_as_it_would_declare_it(
    method: str, params: dict[str, Any] | None, declared: dict[str, Any] | None, missing: dict[str, Any]
) -> None:
    assert missing_capabilities(method, params, declared) == missing


def test_several_questions_name_everything_a_client_lacks() -> None:
    form = ("elicitation/create", {"mode": "form"})
    url = ("elicitation/create", {"mode": "url"})
    roots = ("roots/list", None)
    assert all_missing_capabilities([url, form], {}) == {"elicitation": {"url": {}, "form": {}}}
    assert all_missing_capabilities([form, url, roots], {"elicitation": {}}) == {
        "elicitation": {"url": {}, "form": {}},
        "roots": {},
    }
    assert all_missing_capabilities([url], {}) == {"elicitation": {"url": {}}}
    assert all_missing_capabilities([form, roots], {"elicitation": {}, "roots": {}}) == {}
