"""What the tests of the test client call: each thing shows one kind of work or answer."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.utils import translation
from django.utils.translation import gettext
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp_types import (
    Completion,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, Field

from mcp_transport import Context, completion, prompt, resource, server, tool
from mcp_transport.declarations import Declarations

__all__ = ["Crash", "Sure", "both_eras", "declare"]

both_eras = pytest.mark.parametrize("session", [False, True], ids=["2026-07-28", "2025-11-25"])


class Crash(Exception):
    """What no tool means to raise."""


class Sure(BaseModel):
    """The form that is asked for."""

    sure: bool


def declare() -> None:
    """Declare everything, in the registry that is in force."""
    server.declared.restore(_declared())


@cache
def _declared() -> Declarations:
    """Declare everything once, in a registry apart: schemas take their time."""
    before, server.declared = server.declared, Declarations()
    try:
        for declare_some in (_plain, _failing, _of_the_request, _orm, _asking, _not_tools):
            declare_some()
        return server.declared
    finally:
        server.declared = before


def _plain() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @tool
    def echo(name: str, self: int, arguments: list[int]) -> dict[str, Any]:
        """Return the arguments, whose names are those of parameters of the client's method."""
        return {"name": name, "self": self, "arguments": arguments}

    @tool
    def described():  # type: ignore[no-untyped-def]  # that is what it shows
        """Return what no schema describes."""
        return "text"


def _of_the_request() -> None:
    @tool
    def whoami(ctx: Context) -> str:
        """Tell who calls."""
        return ctx.user.get_username() or "-"

    @tool
    def header(name: str, ctx: Context) -> str:
        """Return a header of the request."""
        return ctx.headers.get(name, "-")

    @tool
    def greet() -> list[str]:
        """Tell the active language, and a text in it."""
        return [translation.get_language(), gettext("Yes")]

    @tool(permission="auth.add_group")
    def hidden() -> str:
        """Be there for some."""
        return "seen"

    @tool
    def routed(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Take an argument that a header repeats."""
        return region


def _failing() -> None:
    @tool
    def refuse() -> int:
        """Report an error to the model."""
        raise ToolError("sold out")

    @tool
    def crash() -> int:
        """Break."""
        raise Crash("by accident")

    @tool
    async def crash_late(ctx: Context) -> int:
        """Break in a stream."""
        await ctx.report_progress(1, 2)
        raise Crash("by accident")


def _orm() -> None:
    @tool
    def groups() -> list[str]:
        """List groups."""
        return list(Group.objects.order_by("name").values_list("name", flat=True))

    @tool
    def make_group(name: str) -> Group:
        """Make a group."""
        return Group.objects.create(name=name)

    @tool
    async def count_groups() -> int:
        """Count groups at once."""
        return await Group.objects.acount()

    @tool
    async def report_then_count(ctx: Context) -> int:
        """Speak first, and ask the database then."""
        await ctx.report_progress(0, 2, "begin")
        await ctx.info({"groups": "counting"}, logger_name="shop")
        result = await Group.objects.acount()
        await ctx.report_progress(2, 2)
        return result + await sync_to_async(Group.objects.count)()

    @tool
    def report_from_a_thread(ctx: Context) -> int:
        """Report from synchronous code, between two queries."""
        result = Group.objects.count()
        async_to_sync(ctx.report_progress)(1, 2)
        async_to_sync(ctx.debug)("half")
        return result + Group.objects.count()

    @tool
    async def close_stream(ctx: Context) -> int:
        """Have the client come back for the answer."""
        await ctx.report_progress(1, 2)
        await ctx.close_sse_stream()
        return await Group.objects.acount()


def _asking() -> None:
    @tool
    async def confirm(ctx: Context) -> str | InputRequiredResult:
        """Ask the user."""
        if ctx.protocol_version < "2026-07-28":
            answer = await ctx.elicit("Sure?", Sure)
            return f"{answer.action} {answer.data.sure if answer.action == 'accept' else ''}".strip()
        reply: Any = (ctx.input_responses or {}).get("sure")
        if reply is None:
            form = ElicitRequestFormParams(message="Sure?", requested_schema=Sure.model_json_schema())
            return InputRequiredResult(input_requests={"sure": ElicitRequest(params=form)}, request_state="asked")
        return f"{reply.action} {(reply.content or {}).get('sure', '')}".strip()

    @tool
    def confirm_from_a_thread(ctx: Context) -> list[str]:
        """Ask the user twice, from synchronous code between queries."""
        before = Group.objects.count()
        answers = [async_to_sync(ctx.elicit)("Sure?", Sure).action for _ in range(2)]
        return [*answers, str(Group.objects.count() - before)]

    @tool
    async def write(ctx: Context) -> str | InputRequiredResult:
        """Ask the client's model, and for its folders."""
        if ctx.protocol_version < "2026-07-28":
            written = await ctx.sample("Write.", max_tokens=9)
            return (
                f"{getattr(written.content, 'text', '')} {[str(root.uri) for root in (await ctx.list_roots()).roots]}"
            )
        replies: Any = ctx.input_responses or {}
        if not replies:
            words = [SamplingMessage(role="user", content=TextContent(type="text", text="Write."))]
            params = CreateMessageRequestParams(messages=words, max_tokens=9)
            asked = {"words": CreateMessageRequest(params=params), "roots": ListRootsRequest()}
            return InputRequiredResult(input_requests=asked, request_state="asked")
        return f"{replies['words'].content.text} {[str(root.uri) for root in replies['roots'].roots]}"

    @tool
    async def ask_for_ever(ctx: Context) -> str | InputRequiredResult:
        """Never have enough."""
        form = ElicitRequestFormParams(message="Again?", requested_schema=Sure.model_json_schema())
        return InputRequiredResult(input_requests={"again": ElicitRequest(params=form)}, request_state="asked")


def _not_tools() -> None:
    @resource("shop://hours")
    def hours() -> str:
        """Say when."""
        return "9 to 17"

    @resource("shop://groups/{name}", mime_type="application/json")
    def group(name: str) -> Group:
        """Show a group."""
        result = Group.objects.filter(name=name).first()
        if result is None:
            raise ResourceNotFoundError(f"no group {name}")
        return result

    @resource("shop://logo", mime_type="image/png")
    def logo() -> bytes:
        """Show bytes."""
        return b"\x89PNG"

    @resource("shop://broken")
    def broken() -> str:
        """Break."""
        raise Crash("by accident")

    @prompt
    def praise(name: str, tone: str = "friendly") -> str:
        """Praise."""
        return f"Praise {name}, be {tone}; {Group.objects.count()} groups."

    @completion
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        """Complete from the database."""
        result = [name async for name in Group.objects.values_list("name", flat=True)]
        known = sorted((context.arguments or {}) if context else {})
        return Completion(values=[name for name in result if name.startswith(argument.value)] + known)
