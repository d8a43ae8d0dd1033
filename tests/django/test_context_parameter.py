"""The parameter that takes the context, in every form of annotation, wherever there may be one."""

# ruff: noqa: UP007, UP045  (each way to write a union is tested)
from __future__ import annotations

from typing import Annotated, Any, Optional, Union

import pytest
from mcp.server.mcpserver import Context as SDKContext
from mcp_types import Completion

from mcp_transport import Context, completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from tests.django.declared import each_mode, later
from tests.support.calls import listed, opened, result_of, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


class Own(Context):
    """A project's own context."""


CONTEXTS: dict[str, Any] = {
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
COMPLETE = {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "name", "value": "ann"}}


def described(name: str, context: Any) -> str:
    return f"{name} {type(context).__name__} {context.user} {context.protocol_version}"


@pytest.mark.parametrize("hint", CONTEXTS.values(), ids=CONTEXTS)
@each_mode
async def test_each_kind_of_function_gets_the_context_however_it_asks_for_it(
    hint: Any, is_async: bool, serve: Serve
) -> None:
    def ask(name: str, *, request: Any = None) -> str:
        return described(name, request)

    def complete(ref: Any, argument: Any, context: Any, *, request: Any = None) -> Completion:
        return Completion(values=[described(argument.value, request)])

    for function in (ask, complete):
        function.__annotations__["request"] = hint
    declared = later(ask) if is_async else ask
    tool(name="ask")(declared)
    prompt(name="ask")(declared)
    resource("shop://{name}")(declared)
    completion(later(complete) if is_async else complete)

    expected = f"ann {'Own' if 'Own' in str(hint) else 'Context'} AnonymousUser 2026-07-28"
    assert list((await listed(serve(), "tools", "ask"))["inputSchema"]["properties"]) == ["name"]
    assert [item["name"] for item in (await listed(serve(), "prompts", "ask"))["arguments"]] == ["name"]
    assert await returned(serve(), "ask", {"name": "ann"}) == expected
    result = await result_of(serve(), "prompts/get", {"name": "ask", "arguments": {"name": "ann"}})
    assert result["messages"][0]["content"]["text"] == expected
    result = await result_of(serve(), "resources/read", {"uri": "shop://ann"})
    assert result["contents"][0]["text"] == expected
    result = await result_of(serve(), "completion/complete", COMPLETE)
    assert result["completion"]["values"] == [expected]


async def test_completion_in_a_session_gets_that_sessions_context(serve: Serve) -> None:
    @completion
    async def complete(ctx: Context, ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[argument.value, ctx.protocol_version, ctx.session.short_id])

    client = await opened(serve())
    result = (await client.request("completion/complete", COMPLETE)).json["result"]["completion"]["values"]
    assert result[:2] == ["ann", "2025-11-25"]
    assert result[2]


async def test_completion_without_a_context_is_called_as_ever(serve: Serve) -> None:
    @completion
    async def complete(what: Any, part: Any, known: Any = None) -> Completion:
        return Completion(values=[part.value, str(known)])

    assert (await result_of(serve(), "completion/complete", COMPLETE))["completion"]["values"] == ["ann", "None"]


def test_what_cannot_take_the_context_or_is_called_otherwise_is_refused(declarations: Any) -> None:
    def twice(a: Context, b: Context | None = None) -> Any: ...
    def static(ctx: Context) -> Any: ...

    here = r"test_context_parameter\..*"
    with pytest.raises(DefinitionError, match=f"{here}twice: the parameters a and b both take the context"):
        tool(twice)
    with pytest.raises(DefinitionError, match=f"{here}static: .*Context"):
        resource("shop://version")(static)
    for function in (lambda ref: None, lambda ref, argument, context, more: None, lambda: None):
        with pytest.raises(DefinitionError, match="@completion must take ref, argument, context"):
            completion(function)
    assert declarations.completion is None
