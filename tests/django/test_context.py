"""What a running tool knows and may do; the sessionful client of the engine's tests calls it."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from mcp.shared.exceptions import MCPError
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel

from mcp_transport import Context, tool
from tests.support.calls import call, opened, returned, text_of
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")


class Name(BaseModel):
    name: str


# -- who calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_user_is_djangos(is_async, serve):
    def who(ctx: Context) -> str:
        return f"{type(ctx.user).__name__} {ctx.user.get_username()} {ctx.user.is_authenticated}"

    async def who_async(ctx: Context) -> str:
        return who(ctx)

    tool(name="who")(who_async if is_async else who)
    ann = User(pk=7, username="ann")
    assert await returned(serve(), "who", user=ann) == "User ann True"
    assert await returned(serve(), "who") == "AnonymousUser  False"
    assert text_of(await (await opened(serve(), user=ann)).call("who")) == "User ann True"


async def test_anonymous_user_is_djangos_even_if_the_framework_passed_none(serve):
    seen = []

    @tool
    def look(ctx: Context) -> None:
        seen.append(ctx.user)

    await call(serve(), "look")
    assert seen == [AnonymousUser()]


async def test_request_is_described(serve):
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

    alone = await returned(serve(), "describe", headers={"User-Agent": "tests"}, id="a-1")
    assert alone == {
        "agent": "tests",
        "names": True,
        "version": "2026-07-28",
        "id": "a-1",
        "sampling": False,
        "session": False,
        "cancelled": False,
    }
    client = await opened(serve())
    inside = (await client.call("describe", id=9, headers={"User-Agent": "tests"})).json["result"][
        "structuredContent"
    ]
    assert inside == {**alone, "version": "2025-11-25", "id": "9", "sampling": True, "session": True}


# -- log messages and progress ---------------------------------------------------------------------------

LEVELS = ["debug", "info", "notice", "warning", "error"]


@pytest.fixture
def talkative(declarations: Any) -> None:
    @tool
    async def talk(ctx: Context) -> None:
        for level in LEVELS:
            await getattr(ctx, level)({"said": level}, logger_name="shop")
        await ctx.log("critical", "by name")


@pytest.mark.usefixtures("talkative")
async def test_log_methods_send_their_level(serve):
    *logs, answer = await (await (await opened(serve())).call("talk")).messages()
    assert "result" in answer
    assert [item["method"] for item in logs] == ["notifications/message"] * 6
    assert [item["params"] for item in logs] == [
        *({"level": level, "data": {"said": level}, "logger": "shop"} for level in LEVELS),
        {"level": "critical", "data": "by name"},
    ]


@pytest.mark.usefixtures("talkative")
async def test_session_hears_only_the_level_it_set(serve):
    client = await opened(serve())
    assert (await client.request("logging/setLevel", {"level": "warning"})).status == 200
    *logs, _ = await (await client.call("talk")).messages()
    assert [item["params"]["level"] for item in logs] == ["warning", "error", "critical"]


@pytest.mark.usefixtures("talkative")
async def test_request_of_2026_hears_only_the_level_it_names(serve):
    silent = await send_sessionless(serve(), "tools/call", {"name": "talk", "arguments": {}})
    assert silent.stream is None
    meta = {"io.modelcontextprotocol/logLevel": "error"}
    answer = await send_sessionless(serve(), "tools/call", {"name": "talk", "arguments": {}}, meta=meta)
    *logs, _ = await answer.messages()
    assert [item["params"]["level"] for item in logs] == ["error", "critical"]


async def test_progress_is_reported(serve):
    @tool
    async def work(ctx: Context) -> None:
        await ctx.report_progress(1, 2, "half")

    first, _ = await (await (await opened(serve())).call("work")).messages()
    assert first["params"] == {"progressToken": "p", "progress": 1, "total": 2, "message": "half"}


# -- questions to the client -----------------------------------------------------------------------------


async def test_sample_asks_the_clients_model(serve):
    @tool
    async def write(ctx: Context) -> str:
        answer = await ctx.sample("Hello?", max_tokens=5, temperature=0.5)
        return f"{answer.model}: {answer.content.text}"

    client = await opened(serve())
    answer = await client.call("write")
    question = await answer.message()
    assert question["method"] == "sampling/createMessage"
    assert question["params"]["messages"] == [{"role": "user", "content": {"type": "text", "text": "Hello?"}}]
    assert (question["params"]["maxTokens"], question["params"]["temperature"]) == (5, 0.5)
    written = {"role": "assistant", "content": {"type": "text", "text": "Hi."}, "model": "m"}
    await client.reply(question["id"], written)
    assert (await answer.message())["result"]["content"][0]["text"] == "m: Hi."


async def test_sample_takes_messages(serve):
    @tool
    async def write(ctx: Context) -> str:
        messages = [SamplingMessage(role="assistant", content=TextContent(type="text", text="And?"))]
        return (await ctx.sample(messages, max_tokens=5)).model

    client = await opened(serve())
    answer = await client.call("write")
    question = await answer.message()
    assert question["params"]["messages"][0]["role"] == "assistant"
    await client.reply(question["id"], {"role": "assistant", "content": {"type": "text", "text": ""}, "model": "m"})
    assert (await answer.message())["result"]["content"][0]["text"] == "m"


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_elicit_asks_the_user(action, serve):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

    @tool
    async def by_schema(ctx: Context) -> str:
        answer = await ctx.elicit_form("Name?", schema)
        return f"{answer.action} {(answer.content or {}).get('name')}"

    @tool
    async def by_model(ctx: Context) -> str:
        answer = await ctx.elicit("Name?", Name)
        return f"{answer.action} {answer.data.name if answer.action == 'accept' else None}"

    client = await opened(serve())
    for name in ("by_schema", "by_model"):
        answer = await client.call(name)
        question = await answer.message()
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == "Name?"
        assert question["params"]["requestedSchema"]["properties"]["name"]["type"] == "string"
        await client.reply(
            question["id"], {"action": action, **({"content": {"name": "Ann"}} if action == "accept" else {})}
        )
        expected = "accept Ann" if action == "accept" else f"{action} None"
        assert (await answer.message())["result"]["content"][0]["text"] == expected


async def test_roots_are_listed(serve):
    @tool
    async def roots(ctx: Context) -> list[str]:
        return [str(root.uri) for root in (await ctx.list_roots()).roots]

    client = await opened(serve())
    answer = await client.call("roots")
    question = await answer.message()
    assert question["method"] == "roots/list"
    await client.reply(question["id"], {"roots": [{"uri": "file:///home/ann"}]})
    assert (await answer.message())["result"]["structuredContent"]["result"] == ["file:///home/ann"]


@pytest.fixture
def curious(declarations: Any) -> None:
    @tool
    async def ask(kind: str, ctx: Context) -> str:
        try:
            match kind:
                case "sampling":
                    await ctx.sample("?", max_tokens=1)
                case "elicitation":
                    await ctx.elicit_form("?", {"type": "object", "properties": {}})
                case "roots":
                    await ctx.list_roots()
        except MCPError as error:
            return f"{error.error.code} {error.error.message}"
        return "asked"


@pytest.mark.usefixtures("curious")
@pytest.mark.parametrize("kind", ["sampling", "elicitation", "roots"])
async def test_client_is_asked_only_for_what_it_declared(kind, serve):
    client = await opened(serve(), capabilities={})
    text = text_of(await client.call("ask", {"kind": kind}))
    assert kind in text
    assert "did not declare" in text


@pytest.mark.usefixtures("curious")
@pytest.mark.parametrize("kind", ["sampling", "elicitation", "roots"])
async def test_in_2026_a_question_points_to_input_required(kind, serve):
    capabilities = {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}, "elicitation": {}, "roots": {}}}
    assert "InputRequiredResult" in await returned(serve(), "ask", {"kind": kind}, meta=capabilities)


@pytest.mark.usefixtures("curious")
async def test_clients_refusal_is_an_error_of_the_question(serve):
    client = await opened(serve())
    answer = await client.call("ask", {"kind": "roots"})
    question = await answer.message()
    await client.post({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32603, "message": "No disk."}})
    assert (await answer.message())["result"]["content"][0]["text"] == "-32603 No disk."


# -- synchronous tools -----------------------------------------------------------------------------------


async def test_sync_tool_sees_that_it_was_cancelled(serve):
    started, seen = threading.Event(), threading.Event()

    @tool
    def work(ctx: Context) -> str:
        started.set()
        for _ in range(500):
            if ctx.cancelled:
                seen.set()
                return "stopped"
            threading.Event().wait(0.01)
        return "never told"

    client = await opened(serve())
    running = asyncio.ensure_future(client.call("work", id=5))
    assert await asyncio.to_thread(started.wait, 5)
    await client.notify("notifications/cancelled", {"requestId": 5})
    assert await asyncio.to_thread(seen.wait, 5)
    async with asyncio.timeout(5):
        assert (await running).status == 200


async def test_sync_tool_talks_to_the_client_through_async_to_sync(serve):
    @tool
    def work(ctx: Context) -> str:
        async_to_sync(ctx.report_progress)(1, 2)
        async_to_sync(ctx.info)("half")
        async_to_sync(ctx.session.set)("step", 1)
        answer = async_to_sync(ctx.elicit_form)(
            "Name?", {"type": "object", "properties": {"name": {"type": "string"}}}
        )
        return f"{answer.content['name']} {async_to_sync(ctx.session.get)('step')}"

    client = await opened(serve())
    answer = await client.call("work")
    progress, log, question = [await answer.message() for _ in range(3)]
    assert (progress["method"], log["method"]) == ("notifications/progress", "notifications/message")
    await client.reply(question["id"], {"action": "accept", "content": {"name": "Ann"}})
    assert (await answer.message())["result"]["content"][0]["text"] == "Ann 1"
