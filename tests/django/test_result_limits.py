"""MAX_RESULT_BYTES: results and messages beyond it are refused, and what is lazy is read no further than it goes."""

from __future__ import annotations

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
from tests.django.declared import each_era, each_mode, later, response, returning
from tests.support.calls import call, failure, opened, returned, text_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

LIMIT = 10_000
MANY = "x" * LIMIT
CALL: tuple[str, dict[str, Any]] = ("tools/call", {"name": "wrong", "arguments": {}})
COMPLETE = {"ref": {"type": "ref/prompt", "name": "wrong"}, "argument": {"name": "text", "value": ""}}


@pytest.fixture(autouse=True)
def small_results(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": LIMIT}


async def refused(serve: Serve, era: str) -> str:
    """Return what the tool `wrong` is answered with, an error; other tools go on."""
    tool(name="right")(lambda: "done")
    endpoint = serve()
    result = (await response(endpoint, era, *CALL))["result"]
    assert result["isError"]
    assert not (await call(endpoint, "right")).get("isError")
    said: str = result["content"][0]["text"]
    return said


# -- results ---------------------------------------------------------------------------------------------


def number_list() -> list[int]:
    return list(range(LIMIT))


def refusal() -> str:
    raise ToolError(MANY)


def protocol_error() -> str:
    raise MCPError(-31000, MANY, MANY)


LARGE: dict[str, Any] = {
    "text": returning(MANY, str),
    "text of a coroutine": returning(MANY, str, is_async=True),
    "numbers": number_list,
    "result of the SDK": returning(CallToolResult(content=[TextContent(type="text", text=MANY)])),
    "tool error": refusal,
    "protocol error": protocol_error,
}


@each_era
@pytest.mark.parametrize("handler", LARGE.values(), ids=LARGE)
async def test_a_result_that_is_too_large_is_a_tool_error(handler: Any, era: str, serve: Serve, caplog: Any) -> None:
    tool(name="wrong")(handler)
    expected = rf"Error executing tool wrong: the result has \d{{5,}} bytes, at most {LIMIT} can be sent"
    assert re.fullmatch(expected, await refused(serve, era))
    assert "MAX_RESULT_BYTES" in caplog.text and MANY not in caplog.text


@each_era
async def test_other_results_that_are_too_large_are_errors(era: str, serve: Serve) -> None:
    resource("x://large", name="large")(lambda: MANY)
    resource("x://large/{a}", name="template")(lambda a: MANY)
    prompt(name="wrong")(lambda: MANY)
    completion(lambda ref, argument, context: Completion(values=[MANY]))
    endpoint = serve()
    for method, params in (
        ("resources/read", {"uri": "x://large"}),
        ("resources/read", {"uri": "x://large/1"}),
        ("prompts/get", {"name": "wrong"}),
        ("completion/complete", COMPLETE),
    ):
        error = (await response(endpoint, era, method, params))["error"]
        assert error["code"] == -32603
        assert re.fullmatch(rf"the result has \d{{5}} bytes, at most {LIMIT} can be sent", error["message"])


async def test_a_result_that_just_fits_is_sent(serve: Serve) -> None:
    @tool(structured_output=False)
    def fills(count: int) -> str:
        return "x" * count

    client = await opened(serve())
    empty = len((await client.call("fills", {"count": 0}, id=10)).body)
    assert len((await client.call("fills", {"count": LIMIT - empty}, id=11)).body) == LIMIT
    assert (await client.call("fills", {"count": LIMIT - empty + 1}, id=12)).json["result"]["isError"]


async def test_a_hundred_megabytes_are_refused_by_default(serve: Serve, settings: Any) -> None:
    settings.MCP_TRANSPORT = {}
    tool(name="large", structured_output=False)(lambda: "x" * 100_000_000)
    assert "at most 8388608 can be sent" in await failure(serve(), "large")


# -- what is lazy ----------------------------------------------------------------------------------------

read: list[str] = []
"""The names of the threads in which something was read."""


def endless() -> Iterator[int]:
    for number in itertools.count():
        read.append(threading.current_thread().name)
        yield number


@dataclass
class Row:
    text: str


def generator() -> Iterator[int]:
    yield from endless()


def returned_generator() -> list[int]:
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


@each_era
@pytest.mark.parametrize(
    "handler",
    [
        *(generator, returned_generator, later(returned_generator), mapped, of_dicts, of_rows, of_generators),
        *(within, with_generators_that_do_not_end),
    ],
)
async def test_what_never_ends_is_read_in_the_thread_as_far_as_a_result_may_go(
    handler: Any, era: str, serve: Serve
) -> None:
    read.clear()
    tool(name="wrong")(handler)
    expected = f"Error executing tool wrong: the result has more than {LIMIT} bytes, at most {LIMIT} can be sent"
    assert await refused(serve, era) == expected
    assert set(read) == {"mcp-call"}
    assert len(read) < LIMIT


@each_era
async def test_resources_and_prompts_that_never_end_are_errors(era: str, serve: Serve) -> None:
    resource("x://endless")(generator)
    prompt(name="endless")(generator)
    endpoint = serve()
    for method, params in (("resources/read", {"uri": "x://endless"}), ("prompts/get", {"name": "endless"})):
        error = (await response(endpoint, era, method, params))["error"]
        assert f"more than {LIMIT} bytes" in error["message"]


@each_mode
async def test_what_is_lazy_and_fits_is_read_whole_in_the_thread(is_async: bool, serve: Serve) -> None:
    read.clear()

    def fits() -> list[int]:
        return itertools.islice(endless(), 100)  # type: ignore[return-value]

    def generated() -> Iterator[int]:
        yield from itertools.islice(endless(), 100)

    tool(name="fits")(later(fits) if is_async else fits)
    tool(generated)
    for name in ("fits", "generated"):
        assert await returned(serve(), name) == list(range(100))
    assert set(read) == {"mcp-call"}


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
async def test_a_message_that_is_too_large_fails_where_it_is_sent(sends: Any, serve: Serve) -> None:
    refusals: list[str] = []

    @tool
    async def wrong(ctx: Context, goes_on: bool) -> str:
        try:
            await sends(ctx)
        except MCPError as error:
            refusals.append(str(error))
            if not goes_on:
                raise
        return "went on"

    client = await opened(serve())
    answer = await client.call("wrong", {"goes_on": False})
    assert answer.json["result"]["isError"]
    assert text_of(answer) == f"Error executing tool wrong: {refusals[0]}"
    assert "can be sent" in refusals[0]
    assert text_of(await client.call("wrong", {"goes_on": True})) == "went on"


async def test_sessionless_calls_send_no_message_that_is_too_large(serve: Serve) -> None:
    tool(name="wrong")(reports)
    assert "a message has" in await refused(serve, "2026-07-28")
