"""SECRET_KEY and SECRET_KEY_FALLBACKS: what was sealed with a retired key still opens, and nobody else's does."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from mcp_transport import Context, bootstrap, tool
from tests.support.calls import call, opened
from tests.support.client import send_sessionless
from tests.support.project import Serve

OLD, NEW = "the old key", "the new key"
ELICITS: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}


def test_keys_differ_by_purpose_and_come_newest_first(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old", b"older", "new"]
    ring = bootstrap.derived_keys("replies")
    assert len(ring) == len(set(ring)) == 3
    assert all(len(key) == 32 for key in ring)
    assert set(ring).isdisjoint(bootstrap.derived_keys("request-state"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    assert bootstrap.derived_keys("replies") == ring[1:2]


@pytest.fixture
def ask(declarations: Any) -> None:
    """A tool that asks by returning, and remembers its question in the sealed state."""

    @tool
    def ask(ctx: Context) -> Any:
        if ctx.input_responses is None:
            form = ElicitRequestFormParams(message="Sure?", requested_schema={"type": "object", "properties": {}})
            return InputRequiredResult(
                input_requests={"sure": ElicitRequest(params=form)}, request_state="plain text"
            )
        return f"{ctx.request_state}: {getattr(ctx.input_responses['sure'], 'action', None)}"


async def sealed(endpoint: Any, **options: Any) -> str:
    result = await call(endpoint, "ask", meta=ELICITS, **options)
    assert result["resultType"] == "input_required"
    assert "plain text" not in result["requestState"]
    state: str = result["requestState"]
    return state


async def answer_with(endpoint: Any, state: str, **options: Any) -> Any:
    """Return the text of the result, or the error's code."""
    responses = {"sure": {"action": "accept", "content": {}}}
    params = {"name": "ask", "arguments": {}, "requestState": state, "inputResponses": responses}
    answer = (await send_sessionless(endpoint, "tools/call", params, meta=ELICITS, **options)).json
    return answer["result"]["content"][0]["text"] if "result" in answer else answer["error"]["code"]


@pytest.mark.usefixtures("ask")
async def test_state_is_sealed_with_the_newest_key_and_opens_with_a_retired_one(settings: Any, serve: Serve) -> None:
    settings.SECRET_KEY = OLD
    old = await sealed(serve())
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    new = await sealed(serve())
    assert await answer_with(serve(), old) == "plain text: accept"
    settings.SECRET_KEY_FALLBACKS = []
    assert [await answer_with(serve(), state) for state in (old, new)] == [-32602, "plain text: accept"]


@pytest.mark.usefixtures("ask")
async def test_state_is_bound_to_its_user(serve: Serve) -> None:
    ann, bob = User(pk=1, username="ann"), User(pk=2, username="bob")
    state = await sealed(serve(), user=ann)
    answers = [await answer_with(serve(), state, user=user) for user in (ann, bob, None)]
    assert answers == ["plain text: accept", -32602, -32602]


async def test_question_sent_before_a_key_rotation_can_still_be_answered(
    declarations: Any, settings: Any, serve: Serve
) -> None:
    """The proof in the id of a server's request is made with a key of the same ring."""

    @tool
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit_form("Sure?", {"type": "object", "properties": {}})).action

    settings.SECRET_KEY = OLD
    client = await opened(serve())
    answer = await client.call("ask")
    question = await answer.message()
    assert question is not None
    node: Any = await client.endpoint.pool.node()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    node._keys = bootstrap.derived_keys("replies")  # as after a restart of the process that takes the reply
    assert (await client.reply(question["id"], {"action": "accept", "content": {}})).status == 202
    assert await answer.text() == "accept"
