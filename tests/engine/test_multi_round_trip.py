"""2026-07-28, multi round-trip requests: the state that a client carries is sealed, and comes back as it was."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, send_sessionless, text_of
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate


async def confirm(endpoint: Endpoint, state: str | None = None, what: str = "it", **options: Any) -> Answer:
    params: dict[str, Any] = {"name": "confirm", "arguments": {"what": what}}
    if state is not None:
        answers = {"name": {"action": "accept", "content": {"name": "Ann"}}}
        params |= {"requestState": state, "inputResponses": answers}
    meta: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    return await send_sessionless(endpoint, "tools/call", params, meta=meta, **options)


async def first_round(endpoint: Endpoint, **options: Any) -> str:
    result = (await confirm(endpoint, **options)).json["result"]
    assert result["resultType"] == "input_required"
    assert result["inputRequests"]["name"]["method"] == "elicitation/create"
    sealed: str = result["requestState"]
    return sealed


async def test_a_client_that_cannot_be_asked_is_told_what_it_lacks(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/call", {"name": "confirm", "arguments": {}})
    assert (answer.status, answer.error_code) == (400, -32021)
    assert answer.json["error"]["data"] == {"requiredCapabilities": {"elicitation": {}}}


def assert_refused(answer: Answer, gate: Gate) -> None:
    assert answer.error_code == -32602
    assert gate.runs == 1, "only the first round ran"
    assert b"plain" not in answer.body


async def test_the_state_is_sealed_and_comes_back_as_it_was_on_any_node(
    endpoint: Endpoint, build_endpoint: BuildEndpoint
) -> None:
    sealed = await first_round(endpoint)
    assert "plain" not in sealed
    for node in (endpoint, build_endpoint()):
        assert text_of((await confirm(node, sealed, id=2)).json) == "the state was plain it"


@pytest.mark.parametrize("position", [0, 3, 20, -20, -1])
async def test_a_changed_state_is_refused(endpoint: Endpoint, gate: Gate, position: int) -> None:
    sealed = list(await first_round(endpoint))
    sealed[position] = "A" if sealed[position] != "A" else "B"
    assert_refused(await confirm(endpoint, "".join(sealed)), gate)


@pytest.mark.parametrize("state", ["", "plain it", "v1.", "v1.AAAA", "é" * 10])
async def test_a_state_that_was_never_sealed_is_refused(endpoint: Endpoint, gate: Gate, state: str) -> None:
    await first_round(endpoint)
    assert_refused(await confirm(endpoint, state), gate)


@pytest.mark.parametrize("options", [{"user": "bob"}, {"user": None}, {"user": "ann", "what": "another"}], ids=str)
async def test_a_state_belongs_to_its_principal_and_its_arguments(
    endpoint: Endpoint, gate: Gate, options: dict[str, Any]
) -> None:
    sealed = await first_round(endpoint, user="ann")
    assert_refused(await confirm(endpoint, sealed, **options), gate)


async def test_an_expired_state_is_refused(endpoint: Endpoint, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = await first_round(endpoint)
    tomorrow = SimpleNamespace(time=lambda: time.time() + 24 * 3600)
    monkeypatch.setattr("mcp.server.request_state.time", tomorrow)
    assert_refused(await confirm(endpoint, sealed), gate)
