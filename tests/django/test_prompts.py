"""@prompt: arguments are texts, read as the function's types say; what they cannot be is the caller's mistake."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage
from mcp_types import GetPromptResult, PromptMessage, TextContent
from pydantic import BaseModel, BeforeValidator, Field, PlainValidator

from mcp_transport import Context, prompt
from mcp_transport.exceptions import DefinitionError
from tests.django.declared import each_era, each_mode, later, response, returning
from tests.support.calls import listed, result_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


class Size(BaseModel):
    width: int


async def got(endpoint: Any, era: str, **arguments: str) -> Any:
    return await response(endpoint, era, "prompts/get", {"name": "made", "arguments": arguments})


async def test_prompt_is_described_and_its_text_becomes_a_users_message(serve: Serve) -> None:
    def praise(thing: str, tone: str = "plain") -> str:
        """Praise something."""
        return f"Praise {thing}, {tone}."

    assert prompt(praise) is praise and prompt(name="again")(praise) is praise
    described = await listed(serve(), "prompts", "praise")
    assert described["description"] == "Praise something."
    assert [(item["name"], item["required"]) for item in described["arguments"]] == [("thing", True), ("tone", False)]
    result = await result_of(serve(), "prompts/get", {"name": "praise", "arguments": {"thing": "tea"}})
    assert result["messages"] == [{"role": "user", "content": {"type": "text", "text": "Praise tea, plain."}}]


async def test_prompt_with_options_returns_messages_and_takes_the_context(serve: Serve) -> None:
    @prompt(name="talk", title="Talk", description="A dialogue.")
    async def dialogue(ctx: Context) -> list[Any]:
        return [UserMessage("Hello?"), AssistantMessage(f"Hello, {ctx.protocol_version}.")]

    described = await listed(serve(), "prompts", "talk")
    assert (described["title"], described["description"]) == ("Talk", "A dialogue.")
    assert not described.get("arguments")
    messages = (await result_of(serve(), "prompts/get", {"name": "talk"}))["messages"]
    said = [(item["role"], item["content"]["text"]) for item in messages]
    assert said == [("user", "Hello?"), ("assistant", "Hello, 2026-07-28.")]


MESSAGE = PromptMessage(role="assistant", content=TextContent(type="text", text="a"))


@each_mode
@pytest.mark.parametrize(
    "value",
    [MESSAGE, [MESSAGE], (MESSAGE,), GetPromptResult(messages=[MESSAGE])],
    ids=["message", "list", "tuple", "result"],
)
async def test_a_prompt_may_return_messages_of_the_protocol(value: Any, is_async: bool, serve: Serve) -> None:
    prompt(returning(value, is_async=is_async))
    [message] = (await got(serve(), "2026-07-28"))["result"]["messages"]
    assert message == {"role": "assistant", "content": {"type": "text", "text": "a"}}


# -- arguments ---------------------------------------------------------------------------------------


@each_era
@each_mode
async def test_arguments_are_read_as_types_say_and_a_wrong_one_is_named(
    era: str, is_async: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def made(number: int, due: date = date(2026, 1, 1), *, ctx: Context) -> str:
        return f"order {number + 1} of {due.year}"

    prompt(later(made) if is_async else made)
    endpoint = serve()
    [message] = (await got(endpoint, era, number="7", due="2027-02-03"))["result"]["messages"]
    assert message["content"]["text"] == "order 8 of 2027"
    caplog.clear()
    wrong: list[tuple[dict[str, str], str]] = [
        ({"number": "7", "colour": "red"}, "Prompt made takes no argument 'colour'"),
        ({"number": "7", "c" * 5000: "red"}, f"Prompt made takes no argument '{'c' * 200}...'"),
        ({"number": "7", "ctx": "mine"}, "Prompt made takes no argument 'ctx'"),
        ({"number": "seven"}, "Prompt made number: Input should be a valid integer"),
        ({"number": "9" * 5000}, "Prompt made number: Unable to parse input string as an integer"),
        ({"number": "7", "due": "soon"}, "Prompt made due: Input should be a valid date"),
        ({}, "Prompt made needs number"),
    ]
    for arguments, text in wrong:
        error = (await got(endpoint, era, **arguments))["error"]
        assert error["code"] == -32602
        assert error["message"].startswith(text) and len(error["message"]) < 500
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@each_era
async def test_a_prompt_that_fails_is_no_mistake_of_its_caller(
    era: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    prompt(name="made")(lambda size: str(Size.model_validate({"width": size})))
    assert (await got(serve(), era, size="wide"))["error"] == {"code": -32603, "message": "Internal server error"}
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


def tagged(kind: Any) -> Any:
    async def tagged(tags: Any) -> str:
        return str(tags)

    tagged.__annotations__["tags"] = kind
    return tagged


@pytest.mark.parametrize(
    "kind",
    [list[str], dict[str, int], Size, tuple[int, ...], list[int] | None, Annotated[list[str], Field(max_length=2)]],
    ids=str,
)
def test_an_argument_that_no_text_can_be_is_refused(kind: Any) -> None:
    with pytest.raises(DefinitionError, match="tagged: arguments of prompts are strings, which 'tags' cannot be"):
        prompt(tagged(kind))


def test_an_argument_that_a_text_can_be_is_taken(declarations: Any) -> None:
    kinds = (str, int, bool, date, Literal["a", "b"], list[str] | str, str | None, Any, Size | str)
    for number, kind in enumerate(kinds):
        prompt(name=str(number))(tagged(kind))
    assert len(declarations.prompts) == len(kinds)


async def test_a_validator_that_reads_a_text_gives_what_it_makes_of_it(serve: Serve) -> None:
    names = BeforeValidator(lambda text: text.split(","))

    def made(tags: Annotated[list[str], names], others: Annotated[list[str], PlainValidator(list)]) -> str:
        return f"{tags} {others}"

    made.__annotations__["tags"] = Annotated[list[str], names]
    prompt(made)
    answer = await got(serve(), "2026-07-28", tags="a,b", others="cd")
    assert answer["result"]["messages"][0]["content"]["text"] == "['a', 'b'] ['c', 'd']"
