"""What a running tool knows of its request, says to its client and asks it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from mcp.shared.exceptions import MCPError
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel

from mcp_transport import Context, tool
from tests.django.declared import each_mode, later
from tests.support.calls import opened, returned, text_of
from tests.support.client import Answer, SessionClient, send_sessionless
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


class Name(BaseModel):
    name: str


NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ALL: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}, "elicitation": {}, "roots": {}}}
WRITTEN = {"role": "assistant", "content": {"type": "text", "text": "Hi."}, "model": "m"}
ANSWERS: dict[str, Any] = {
    "accept": {"action": "accept", "content": {"name": "Ann"}},
    "decline": {"action": "decline"},
}


# -- who calls, and with what --------------------------------------------------------------------------


@each_mode
async def test_user_is_djangos(is_async: bool, serve: Serve) -> None:
    observed: list[Any] = []

    def who(ctx: Context) -> str:
        observed.append(ctx.user)
        return f"{type(ctx.user).__name__} {ctx.user.get_username()} {ctx.user.is_authenticated}"

    tool(later(who) if is_async else who)
    ann = User(pk=7, username="ann")
    assert await returned(serve(), "who", user=ann) == "User ann True"
    assert await returned(serve(), "who") == "AnonymousUser  False"
    assert text_of(await (await opened(serve(), user=ann)).call("who")) == "User ann True"
    assert observed == [ann, AnonymousUser(), ann]


async def test_request_is_described(serve: Serve) -> None:
    @tool
    def describe(ctx: Context) -> dict[str, Any]:
        capabilities = ctx.client_capabilities
        return {
            "agent": ctx.headers["user-agent"],
            "names": all(name == name.lower() for name in ctx.headers),
            "version": ctx.protocol_version,
            "id": ctx.request_id,
            "sampling": bool(capabilities and capabilities.sampling is not None),
            "session": ctx.session.exists,
            "cancelled": ctx.cancelled,
        }

    agent = {"agent": "tests", "names": True, "cancelled": False}
    alone = {"version": "2026-07-28", "id": "a-1", "sampling": False, "session": False}
    inside = {"version": "2025-11-25", "id": "9", "sampling": True, "session": True}
    assert await returned(serve(), "describe", headers={"User-Agent": "tests"}, id="a-1") == agent | alone
    answer = await (await opened(serve())).call("describe", id=9, headers={"User-Agent": "tests"})
    assert answer.json["result"]["structuredContent"] == agent | inside


# -- log messages and progress ---------------------------------------------------------------------------

LEVELS = ["debug", "info", "notice", "warning", "error"]


@pytest.fixture
def talkative(declarations: Any) -> None:
    @tool
    async def talk(ctx: Context) -> None:
        for level in LEVELS:
            await getattr(ctx, level)({"said": level}, logger_name="shop")
        await ctx.log("critical", "by name")
        await ctx.report_progress(1, 2, "half")


async def received(answer: Answer) -> list[str]:
    """Return the levels of the messages that were logged."""
    result = [item["params"] for item in await answer.messages() if item.get("method") == "notifications/message"]
    return [params["level"] for params in result]


@pytest.mark.usefixtures("talkative")
async def test_log_methods_send_their_level_and_progress_is_reported(serve: Serve) -> None:
    *logs, progress, answer = await (await (await opened(serve())).call("talk")).messages()
    assert "result" in answer
    assert [item["params"] for item in logs] == [
        *({"level": level, "data": {"said": level}, "logger": "shop"} for level in LEVELS),
        {"level": "critical", "data": "by name"},
    ]
    assert progress["params"] == {"progressToken": "p", "progress": 1, "total": 2, "message": "half"}


@pytest.mark.usefixtures("talkative")
async def test_a_client_hears_only_the_level_it_set_or_named_in_a_request_of_2026(serve: Serve) -> None:
    client = await opened(serve())
    assert (await client.request("logging/setLevel", {"level": "warning"})).status == 200
    assert await received(await client.call("talk")) == ["warning", "error", "critical"]
    params: dict[str, Any] = {"name": "talk", "arguments": {}}
    assert (await send_sessionless(serve(), "tools/call", params)).stream is None
    meta = {"io.modelcontextprotocol/logLevel": "error"}
    assert await received(await send_sessionless(serve(), "tools/call", params, meta=meta)) == ["error", "critical"]


# -- questions to the client -----------------------------------------------------------------------------


async def questions_of(client: SessionClient, tool_name: str, reply: Any) -> tuple[Any, str]:
    """Call a tool that asks once, and reply; return the question, and the text of the result."""
    answer = await client.call(tool_name)
    question = await answer.message()
    assert question is not None
    await client.reply(question["id"], reply)
    return question, await answer.text()


async def test_sample_asks_the_clients_model(serve: Serve) -> None:
    @tool
    async def write(ctx: Context) -> str:
        answer = await ctx.sample("Hello?", max_tokens=5, temperature=0.5)
        return f"{answer.model}: {getattr(answer.content, 'text', '')}"

    @tool
    async def write_on(ctx: Context) -> str:
        messages = [SamplingMessage(role="assistant", content=TextContent(type="text", text="And?"))]
        return (await ctx.sample(messages, max_tokens=5)).model

    client = await opened(serve())
    question, said = await questions_of(client, "write", WRITTEN)
    assert (question["method"], said) == ("sampling/createMessage", "m: Hi.")
    assert question["params"]["messages"] == [{"role": "user", "content": {"type": "text", "text": "Hello?"}}]
    assert (question["params"]["maxTokens"], question["params"]["temperature"]) == (5, 0.5)
    question, said = await questions_of(client, "write_on", WRITTEN)
    assert (question["params"]["messages"][0]["role"], said) == ("assistant", "m")


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_elicit_asks_the_user(action: str, serve: Serve) -> None:
    @tool
    async def by_schema(ctx: Context) -> str:
        answer = await ctx.elicit_form("Name?", NAME)
        return f"{answer.action} {(answer.content or {}).get('name')}"

    @tool
    async def by_model(ctx: Context) -> str:
        answer = await ctx.elicit("Name?", Name)
        return f"{answer.action} {answer.data.name if answer.action == 'accept' else None}"

    client = await opened(serve())
    for name in ("by_schema", "by_model"):
        question, said = await questions_of(client, name, ANSWERS.get(action, {"action": action}))
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", "Name?")
        assert question["params"]["requestedSchema"]["properties"]["name"]["type"] == "string"
        assert said == ("accept Ann" if action == "accept" else f"{action} None")


async def test_roots_are_listed(serve: Serve) -> None:
    @tool
    async def roots(ctx: Context) -> str:
        return " ".join(str(root.uri) for root in (await ctx.list_roots()).roots)

    question, said = await questions_of(await opened(serve()), "roots", {"roots": [{"uri": "file:///home/ann"}]})
    assert (question["method"], said) == ("roots/list", "file:///home/ann")


@pytest.fixture
def curious(declarations: Any) -> None:
    questions: dict[str, Callable[[Context], Any]] = {
        "sampling": lambda ctx: ctx.sample("?", max_tokens=1),
        "elicitation": lambda ctx: ctx.elicit_form("?", {"type": "object", "properties": {}}),
        "roots": lambda ctx: ctx.list_roots(),
    }

    @tool
    async def ask(kind: str, ctx: Context) -> str:
        try:
            await questions[kind](ctx)
        except MCPError as error:
            return f"{error.error.code} {error.error.message}"
        return "asked"


@pytest.mark.usefixtures("curious")
@pytest.mark.parametrize("kind", ["sampling", "elicitation", "roots"])
async def test_client_is_asked_only_for_what_it_declared_and_not_at_all_in_2026(kind: str, serve: Serve) -> None:
    text = text_of(await (await opened(serve(), capabilities={})).call("ask", {"kind": kind}))
    assert kind in text and "did not declare" in text
    assert "InputRequiredResult" in await returned(serve(), "ask", {"kind": kind}, meta=ALL)


@pytest.mark.usefixtures("curious")
async def test_clients_refusal_is_an_error_of_the_question(serve: Serve) -> None:
    client = await opened(serve())
    answer = await client.call("ask", {"kind": "roots"})
    question = await answer.message()
    assert question is not None
    await client.post({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32603, "message": "No disk."}})
    assert await answer.text() == "-32603 No disk."


# -- synchronous tools -----------------------------------------------------------------------------------


async def test_sync_tool_sees_that_it_was_cancelled(serve: Serve) -> None:
    started, observed = threading.Event(), threading.Event()

    @tool
    def work(ctx: Context) -> str:
        started.set()
        for _ in range(500):
            if ctx.cancelled:
                observed.set()
                return "stopped"
            threading.Event().wait(0.01)
        return "never told"

    client = await opened(serve())
    running = asyncio.ensure_future(client.call("work", id=5))
    assert await asyncio.to_thread(started.wait, 5)
    await client.notify("notifications/cancelled", {"requestId": 5})
    assert await asyncio.to_thread(observed.wait, 5)
    async with asyncio.timeout(60):
        assert (await running).status == 200


async def test_sync_tool_talks_to_the_client_through_async_to_sync(serve: Serve) -> None:
    @tool
    def work(ctx: Context) -> str:
        async_to_sync(ctx.report_progress)(1, 2)
        async_to_sync(ctx.info)("half")
        async_to_sync(ctx.session.set)("step", 1)
        answer = async_to_sync(ctx.elicit_form)("Name?", NAME)
        return f"{(answer.content or {})['name']} {async_to_sync(ctx.session.get)('step')}"

    client = await opened(serve())
    answer = await client.call("work")
    progress, log, question = [await answer.message() or {} for _ in range(3)]
    assert (progress["method"], log["method"]) == ("notifications/progress", "notifications/message")
    await client.reply(question["id"], ANSWERS["accept"])
    assert await answer.text() == "Ann 1"
