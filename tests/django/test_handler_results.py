"""Results and messages that cannot be sent: their callers are told so, and what is lazy is read no further."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Completion, TextContent

from mcp_transport import Context, completion, prompt, resource, tool
from tests.django.test_misbehaving_handlers import CALL, COMPLETE, ERAS, declare_others, ended, templated
from tests.support.calls import call, failure, opened, returned

pytestmark = pytest.mark.usefixtures("declarations")

LIMIT = 10_000
MANY = "x" * LIMIT


@pytest.fixture(autouse=True)
def small_results(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": LIMIT}


@dataclass
class Row:
    text: str


# -- results ---------------------------------------------------------------------------------------------


def text() -> str:
    return MANY


async def text_async() -> str:
    return MANY


def number_list() -> list[int]:
    return list(range(LIMIT))


def result() -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=MANY)])


def refusal() -> str:
    raise ToolError(MANY)


def protocol_error() -> str:
    raise MCPError(-31000, MANY, MANY)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("handler", [text, text_async, number_list, result, refusal, protocol_error])
async def test_a_result_that_is_too_large_is_a_tool_error(handler: Any, era: str, serve: Any, caplog: Any) -> None:
    declare_others()
    tool(name="wrong")(handler)
    endpoint = serve()
    message = await ended(endpoint, era, *CALL)
    assert message["result"]["isError"]
    said = message["result"]["content"][0]["text"]
    assert re.fullmatch(
        rf"Error executing tool wrong: the result has \d{{5,}} bytes, at most {LIMIT} can be sent", said
    )
    assert "MAX_RESULT_BYTES" in caplog.text and MANY not in caplog.text
    assert not (await call(endpoint, "right")).get("isError")


@pytest.mark.parametrize("era", ERAS)
async def test_other_results_that_are_too_large_are_errors(era: str, serve: Any) -> None:
    resource("x://large")(text)
    resource("x://large/{a}")(templated(text))
    prompt(name="large")(text)

    @completion
    def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[MANY])

    endpoint = serve()
    for method, params in (
        ("resources/read", {"uri": "x://large"}),
        ("resources/read", {"uri": "x://large/1"}),
        ("prompts/get", {"name": "large"}),
        ("completion/complete", {**COMPLETE, "ref": {"type": "ref/prompt", "name": "large"}}),
    ):
        error = (await ended(endpoint, era, method, params))["error"]
        assert error["code"] == -32603
        assert re.fullmatch(rf"the result has \d{{5}} bytes, at most {LIMIT} can be sent", error["message"])


async def test_a_result_that_just_fits_is_sent(serve: Any) -> None:
    @tool(structured_output=False)
    def fills(count: int) -> str:
        return "x" * count

    endpoint = serve()
    client = await opened(endpoint)
    empty = len((await client.call("fills", {"count": 0}, id=10)).body)
    assert len((await client.call("fills", {"count": LIMIT - empty}, id=11)).body) == LIMIT
    assert (await client.call("fills", {"count": LIMIT - empty + 1}, id=12)).json["result"]["isError"]


async def test_a_hundred_megabytes_are_refused_by_default(serve: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = {}
    tool(name="large", structured_output=False)(lambda: "x" * 100_000_000)
    assert "at most 8388608 can be sent" in await failure(serve(), "large")


# -- what is lazy ----------------------------------------------------------------------------------------

read: list[str] = []


def endless() -> Iterator[int]:
    for number in itertools.count():
        read.append(threading.current_thread().name)
        yield number


def generator() -> Iterator[int]:
    yield from endless()


def returned_generator() -> list[int]:
    return endless()  # type: ignore[return-value]


async def asynchronous() -> list[int]:
    return endless()  # type: ignore[return-value]


def mapped() -> list[str]:
    return map(str, endless())  # type: ignore[return-value]


def of_dicts() -> list[Any]:
    return ({"text": "x" * 100, "n": number} for number in endless())  # type: ignore[return-value]


def of_rows() -> list[Row]:
    return (Row("x" * 100) for number in endless())  # type: ignore[return-value]


def of_generators() -> list[list[int]]:
    return (itertools.islice(endless(), 10) for _ in endless())  # type: ignore[return-value]


def within() -> dict[str, list[int]]:
    return {"numbers": endless()}  # type: ignore[dict-item]


def with_generators_that_do_not_end() -> list[Any]:
    return (endless() for _ in endless())  # type: ignore[return-value]


ENDLESS = (
    generator,
    returned_generator,
    asynchronous,
    mapped,
    of_dicts,
    of_rows,
    of_generators,
    within,
    with_generators_that_do_not_end,
)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("handler", ENDLESS)
async def test_what_never_ends_is_read_in_the_thread_as_far_as_a_result_may_go(
    handler: Any, era: str, serve: Any
) -> None:
    read.clear()
    declare_others()
    tool(name="wrong")(handler)
    endpoint = serve()
    said = (await ended(endpoint, era, *CALL))["result"]["content"][0]["text"]
    assert said == f"Error executing tool wrong: the result has more than {LIMIT} bytes, at most {LIMIT} can be sent"
    assert set(read) == {"mcp-call"}
    assert len(read) < LIMIT
    assert not (await call(endpoint, "right")).get("isError")


@pytest.mark.parametrize("era", ERAS)
async def test_resources_and_prompts_that_never_end_are_errors(era: str, serve: Any) -> None:
    resource("x://endless")(generator)
    prompt(name="endless")(generator)
    endpoint = serve()
    for method, params in (("resources/read", {"uri": "x://endless"}), ("prompts/get", {"name": "endless"})):
        error = (await ended(endpoint, era, method, params))["error"]
        assert f"more than {LIMIT} bytes" in error["message"]


async def test_what_is_lazy_and_fits_is_sent_whole(serve: Any) -> None:
    @tool
    def fits() -> list[int]:
        return (number for number in range(100))  # type: ignore[return-value]

    assert await returned(serve(), "fits") == list(range(100))


# -- what has no form ------------------------------------------------------------------------------------


class Opaque:
    def __repr__(self) -> str:
        raise SystemExit("no word")


def opaque() -> list[Any]:
    return [Opaque()]


def in_a_result() -> CallToolResult:
    return CallToolResult(content=[], structured_content={"a": Opaque()})


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["again"] = found
    return found


def deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


def asynchronous_generator() -> Any:
    async def numbers() -> Any:
        yield 1

    return [numbers()]


async def future() -> Any:
    return {"a": asyncio.get_running_loop().create_future()}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("handler", [opaque, in_a_result, circle, deep, asynchronous_generator, future])
async def test_what_cannot_be_written_is_answered_with_a_failure(handler: Any, era: str, serve: Any) -> None:
    declare_others()
    tool(name="wrong")(handler)
    endpoint = serve()
    message = await ended(endpoint, era, *CALL)
    assert message.get("error", {}).get("code") == -32603 or message["result"]["isError"], message
    assert not (await call(endpoint, "right")).get("isError")


# -- messages besides the result -------------------------------------------------------------------------


async def reports(ctx: Context) -> None:
    await ctx.report_progress(1, 2, MANY)


async def logs(ctx: Context) -> None:
    await ctx.error({"text": MANY})


async def asks(ctx: Context) -> None:
    await ctx.elicit_form(MANY, {"type": "object", "properties": {}})


async def announces(ctx: Context) -> None:
    await ctx.notify_resource_updated("x://" + "x" * 100_000)


@pytest.mark.parametrize("sends", [reports, logs, asks, announces])
async def test_a_message_that_is_too_large_fails_where_it_is_sent(sends: Any, serve: Any) -> None:
    refused: list[str] = []

    @tool
    async def wrong(ctx: Context) -> str:
        try:
            await sends(ctx)
        except MCPError as error:
            refused.append(str(error))
            raise
        return "sent"

    @tool
    async def goes_on(ctx: Context) -> str:
        try:
            await sends(ctx)
        except MCPError:
            return "went on"
        return "sent"

    client = await opened(serve())
    answer = await client.call("wrong")
    assert answer.json["result"]["isError"]
    assert answer.json["result"]["content"][0]["text"] == f"Error executing tool wrong: {refused[0]}"
    assert "can be sent" in refused[0]
    assert (await client.call("goes_on")).json["result"]["content"][0]["text"] == "went on"


async def test_sessionless_calls_send_no_message_that_is_too_large(serve: Any) -> None:
    @tool
    async def wrong(ctx: Context) -> None:
        await reports(ctx)

    message = await ended(serve(), "2026-07-28", *CALL)
    assert "a message has" in message["result"]["content"][0]["text"]


# -- completions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("count", "total", "said"), [(250, None, 250), (250, 1000, 1000), (100, None, None)])
async def test_a_completion_has_a_hundred_values_and_says_how_many_there_are(
    count: int, total: int | None, said: int | None, era: str, serve: Any
) -> None:
    @completion
    def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[str(number) for number in range(count)], total=total)

    declare_others()
    found = (await ended(serve(), era, "completion/complete", COMPLETE))["result"]["completion"]
    assert found["values"] == [str(number) for number in range(100)]
    assert (found.get("total"), found.get("hasMore")) == (said, True if said else None)
