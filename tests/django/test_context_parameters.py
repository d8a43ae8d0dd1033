"""The parameter that takes the context, in every form of annotation, wherever there may be one."""

# ruff: noqa: UP007, UP045  (each way to write a union is tested)
from typing import Annotated, Any, Optional, Union

import pytest
from mcp.server.mcpserver import Context as SDKContext
from mcp_types import Completion

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from tests.support.calls import listed, opened, result_of, returned

pytestmark = pytest.mark.usefixtures("declarations")


class Own(Context):
    """A project's own context."""

    def greet(self) -> str:
        return f"hello {self.protocol_version}"


CONTEXTS = {
    "plain": Context,
    "optional": Context | None,
    "Optional": Optional[Context],
    "Union": Union[None, Context],
    "annotated": Annotated[Context, "the request"],
    "annotated optional": Annotated[Context | None, "the request"],
    "optional annotated": Annotated[Context, "the request"] | None,
    "string": "Context",
    "string optional": "Context | None",
    "string annotated": "Annotated[Context | None, 'the request']",
    "the SDK's": SDKContext,
    "the SDK's with parameters": SDKContext[Any, Any],
    "the SDK's optional": SDKContext | None,
    "subclass": Own,
    "subclass optional": Own | None,
}
COMPLETE = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "ann"}}
each_context = pytest.mark.parametrize("hint", CONTEXTS.values(), ids=CONTEXTS)
each_mode = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def asking(hint: Any, is_async: bool) -> Any:
    """Return a function whose keyword-only parameter `request` has an annotation."""

    def ask(name: str, *, request=None) -> str:
        return f"{name} {type(request).__name__} {request.user} {request.protocol_version}"

    async def ask_later(name: str, *, request=None) -> str:
        return ask(name, request=request)

    function = ask_later if is_async else ask
    function.__annotations__["request"] = hint
    return function


def answer(hint: Any) -> str:
    kind = "Own" if "Own" in str(hint) else "Context"
    return f"ann {kind} AnonymousUser 2026-07-28"


@each_context
@each_mode
async def test_tool_gets_the_context_however_it_asks_for_it(hint, is_async, serve):
    tool(name="ask")(asking(hint, is_async))
    assert list((await listed(serve(), "tools", "ask"))["inputSchema"]["properties"]) == ["name"]
    assert await returned(serve(), "ask", {"name": "ann"}) == answer(hint)


@each_context
@each_mode
async def test_prompt_gets_the_context_however_it_asks_for_it(hint, is_async, serve):
    prompt(name="ask")(asking(hint, is_async))
    assert [item["name"] for item in (await listed(serve(), "prompts", "ask"))["arguments"]] == ["name"]
    found = await result_of(serve(), "prompts/get", {"name": "ask", "arguments": {"name": "ann"}})
    assert found["messages"][0]["content"]["text"] == answer(hint)


@each_context
@each_mode
async def test_resource_template_gets_the_context_however_it_asks_for_it(hint, is_async, serve):
    resource("shop://{name}")(asking(hint, is_async))
    found = await result_of(serve(), "resources/read", {"uri": "shop://ann"})
    assert found["contents"][0]["text"] == answer(hint)


@each_context
@each_mode
async def test_completion_gets_the_context_however_it_asks_for_it(hint, is_async, serve):
    ask = asking(hint, False)

    def complete(ref, argument, context, *, request=None) -> Completion:
        return Completion(values=[ask(argument.value, request=request)])

    async def complete_later(ref, argument, context, *, request=None) -> Completion:
        return complete(ref, argument, context, request=request)

    function = complete_later if is_async else complete
    function.__annotations__["request"] = hint
    completion(function)
    found = await result_of(serve(), "completion/complete", COMPLETE)
    assert found["completion"]["values"] == [answer(hint)]


async def test_completion_in_a_session_gets_that_sessions_context(serve):
    @completion
    async def complete(ctx: Context, ref, argument, context) -> Completion:
        return Completion(values=[argument.value, ctx.protocol_version, ctx.session.short_id])

    client = await opened(serve())
    found = (await client.request("completion/complete", COMPLETE)).json["result"]["completion"]["values"]
    assert found[:2] == ["ann", "2025-11-25"]
    assert found[2]


async def test_completion_without_a_context_is_called_as_ever(serve):
    @completion
    async def complete(what, part, known=None) -> Completion:
        return Completion(values=[part.value, str(known)])

    assert (await result_of(serve(), "completion/complete", COMPLETE))["completion"]["values"] == ["ann", "None"]


@pytest.mark.parametrize(
    "function", [lambda ref: None, lambda ref, argument, context, more: None, lambda: None], ids=["1", "4", "0"]
)
def test_completion_that_cannot_be_called_is_refused(function, declarations):
    with pytest.raises(DefinitionError, match="@completion takes ref, argument and context"):
        completion(function)
    assert declarations.completion is None


def test_second_parameter_for_the_context_is_refused():
    def ask(a: Context, b: Context | None = None) -> str: ...

    with pytest.raises(
        DefinitionError, match=r"test_context_parameters\..*ask: the parameters a and b both take the context"
    ):
        tool(ask)
