"""Prompts, resource templates and completions are called with texts; what these cannot be is the caller's mistake."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from mcp_types import Completion, GetPromptResult, PromptMessage, TextContent
from pydantic import BaseModel, BeforeValidator, Field, PlainValidator

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from tests.support.calls import opened
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


@pytest.fixture(params=["2025-11-25", "2026-07-28"])
def ask(request: pytest.FixtureRequest, serve: Any) -> Ask:
    """Ask the declarations' endpoint in one of the eras; return the JSON-RPC response."""

    async def in_session(method: str, params: dict[str, Any]) -> dict[str, Any]:
        client = await opened(serve())
        answer: dict[str, Any] = (await client.request(method, params)).json
        return answer

    async def alone(method: str, params: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = (await send_sessionless(serve(), method, params)).json
        return answer

    return in_session if request.param == "2025-11-25" else alone


class Size(BaseModel):
    width: int


class Shade(enum.Enum):
    NONE = "[]"


def declare_prompt(is_async: bool) -> None:
    def order(number: int, due: date = date(2026, 1, 1), *, ctx: Context) -> str:
        return f"order {number + 1} of {due.year}"

    async def order_later(number: int, due: date = date(2026, 1, 1), *, ctx: Context) -> str:
        return order(number, due, ctx=ctx)

    prompt(name="order")(order_later if is_async else order)


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"number": "7", "colour": "red"}, "Prompt order takes no argument 'colour'"),
        ({"number": "7", "c" * 5000: "red"}, f"Prompt order takes no argument '{'c' * 200}...'"),
        ({"number": "7", "ctx": "mine"}, "Prompt order takes no argument 'ctx'"),
        ({"number": "seven"}, "Prompt order number: Input should be a valid integer"),
        ({"number": "9" * 5000}, "Prompt order number: Unable to parse input string as an integer"),
        ({"number": "7", "due": "soon"}, "Prompt order due: Input should be a valid date"),
        ({}, "Prompt order needs number"),
    ],
)
async def test_a_prompt_says_which_argument_is_wrong(
    ask: Ask, caplog: pytest.LogCaptureFixture, is_async: bool, arguments: dict[str, str], text: str
) -> None:
    declare_prompt(is_async)
    caplog.set_level(logging.WARNING)
    error = (await ask("prompts/get", {"name": "order", "arguments": arguments}))["error"]
    assert error["code"] == -32602
    assert error["message"].startswith(text)
    assert len(error["message"]) < 500
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_prompt_is_given_its_arguments_as_its_types_say(ask: Ask, is_async: bool) -> None:
    declare_prompt(is_async)
    given = {"number": "7", "due": "2027-02-03"}
    [message] = (await ask("prompts/get", {"name": "order", "arguments": given}))["result"]["messages"]
    assert message["content"]["text"] == "order 8 of 2027"


async def test_a_prompt_that_fails_is_no_mistake_of_its_caller(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    @prompt
    def broken(size: str) -> str:
        return str(Size.model_validate({"width": size}))

    error = (await ask("prompts/get", {"name": "broken", "arguments": {"size": "wide"}}))["error"]
    assert error == {"code": -32603, "message": "Internal server error"}
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


@pytest.mark.parametrize(
    "kind",
    [list[str], dict[str, int], Size, tuple[int, ...], list[int] | None, Annotated[list[str], Field(max_length=2)]],
)
def test_a_prompt_with_an_argument_that_no_text_can_be_is_refused(kind: Any) -> None:
    async def tagged(tags: Any) -> str:
        return str(tags)

    tagged.__annotations__["tags"] = kind
    with pytest.raises(DefinitionError, match="tagged: arguments of prompts are texts, which 'tags' cannot be"):
        prompt(tagged)


@pytest.mark.parametrize(
    "kind", [str, int, bool, date, Literal["a", "b"], list[str] | str, str | None, Any, Size | str]
)
def test_a_prompt_with_an_argument_that_a_text_can_be_is_declared(kind: Any) -> None:
    async def tagged(tags: Any) -> str:
        return str(tags)

    tagged.__annotations__["tags"] = kind
    assert prompt(tagged) is tagged


Names = Annotated[list[str], BeforeValidator(lambda text: text.split(","))]


async def test_a_prompt_with_a_validator_that_reads_a_text_is_given_what_it_makes(ask: Ask) -> None:
    @prompt
    def tagged(tags: Names, others: Annotated[list[str], PlainValidator(list)]) -> str:
        return f"{tags} {others}"

    answer = await ask("prompts/get", {"name": "tagged", "arguments": {"tags": "a,b", "others": "cd"}})
    assert answer["result"]["messages"][0]["content"]["text"] == "['a', 'b'] ['c', 'd']"


SAID = PromptMessage(role="assistant", content=TextContent(type="text", text="a"))


@pytest.mark.parametrize(
    "value", [SAID, [SAID], (SAID,), GetPromptResult(messages=[SAID])], ids=["message", "list", "tuple", "result"]
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_prompt_may_return_messages_of_the_protocol(ask: Ask, value: Any, is_async: bool) -> None:
    async def later() -> Any:
        return value

    prompt(name="said")(later if is_async else lambda: value)
    [message] = (await ask("prompts/get", {"name": "said"}))["result"]["messages"]
    assert message == {"role": "assistant", "content": {"type": "text", "text": "a"}}


Note = Annotated[str, Field(max_length=20)]
TEXTS = ('{"a": 1}', "[]", "null", "1", '["a"]', '"a"', "true", "")


@pytest.mark.parametrize(
    "kind",
    [str, str | None, str | int, Note, Note | None, str | list[str], Size | str, Any, object, Literal[TEXTS]],
    ids=str,
)
@pytest.mark.parametrize("text", TEXTS)
async def test_a_text_that_is_valid_by_the_schema_of_a_tool_is_taken_as_it_is(ask: Ask, kind: Any, text: str) -> None:
    def noted(note: Any) -> str:
        return repr(note)

    noted.__annotations__["note"] = kind
    tool(noted)
    assert await said(ask, "noted", {"note": text}) == repr(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[str], '["a"]', ["a"]),
        (list[str] | None, "null", None),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Size, '{"width": 1}', Size(width=1)),
        (int | None, "null", None),
        (int, "1", 1),
        (bool, "true", True),
        (date, "2026-11-29", date(2026, 11, 29)),
        (Shade, "[]", Shade.NONE),
        (Literal["1", 1], "1", "1"),
        (bytes, "[]", b"[]"),
    ],
    ids=str,
)
async def test_a_text_for_what_no_text_is_may_be_its_json(ask: Ask, kind: Any, text: str, value: Any) -> None:
    def noted(note: Any) -> str:
        return repr(note)

    noted.__annotations__["note"] = kind
    tool(noted)
    assert await said(ask, "noted", {"note": text}) == repr(value)


async def test_a_text_without_an_annotation_is_a_text(ask: Ask) -> None:
    tool(name="noted")(lambda note: repr(note))
    assert await said(ask, "noted", {"note": "[1]"}) == "'[1]'"


async def said(ask: Ask, name: str, arguments: dict[str, Any]) -> str:
    text: str = (await ask("tools/call", {"name": name, "arguments": arguments}))["result"]["content"][0]["text"]
    return text


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_resource_whose_variable_is_of_the_wrong_type_does_not_exist(
    ask: Ask, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def order(number: int) -> str:
        return f"order {number}"

    async def order_later(number: int) -> str:
        return order(number)

    resource("shop://orders/{number}", name="order")(order_later if is_async else order)
    caplog.set_level(logging.WARNING)
    [content] = (await ask("resources/read", {"uri": "shop://orders/7"}))["result"]["contents"]
    assert content["text"] == "order 7"
    wrong = (await ask("resources/read", {"uri": "shop://orders/seven"}))["error"]
    missing = (await ask("resources/read", {"uri": "shop://orders"}))["error"]
    assert wrong["message"] == "Unknown resource: shop://orders/seven"
    assert (wrong["code"], missing["code"]) in [(-32002, -32002), (-32602, -32602)]
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    ("count", "total", "has_more", "sent"),
    [
        (99, None, None, (99, None, None)),
        (100, None, None, (100, None, None)),
        (101, None, None, (100, 101, True)),
        (250, None, None, (100, 250, True)),
        (250, 4000, False, (100, 4000, True)),
        (2, 4000, True, (2, 4000, True)),
    ],
)
async def test_a_completion_sends_a_hundred_values_and_says_of_how_many(
    ask: Ask, count: int, total: int | None, has_more: bool | None, sent: tuple[int, int | None, bool | None]
) -> None:
    @completion
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[str(number) for number in range(count)], total=total, has_more=has_more)

    @prompt
    def greet(name: str) -> str:
        return name

    params = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": ""}}
    found = (await ask("completion/complete", params))["result"]["completion"]
    assert (len(found["values"]), found.get("total"), found.get("hasMore")) == sent
