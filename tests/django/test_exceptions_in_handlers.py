"""Whatever a handler raises, its caller gets an end, others go on, and nothing else ends."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from mcp_transport import Context, completion, prompt, resource, tool
from tests.django.declared import ERAS, each_era, later, response
from tests.django.raised import KINDS, TELLING, Fail, crash_in, text_of_failure
from tests.support.calls import call, result_of
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

CALL: tuple[str, dict[str, Any]] = ("tools/call", {"name": "wrong", "arguments": {}})
COMPLETE = {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "text", "value": ""}}


class Way(NamedTuple):
    """One in which a request comes to a project's code: what is declared, and how it is asked for."""

    declare: Callable[..., Any]
    handler: Callable[[Fail], Any]
    method: str
    params: dict[str, Any]


def talking(fail: Fail) -> Any:
    """Speak first, so that the answer is a stream by then."""

    async def handle(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        await ctx.info("on its way")
        return str(fail())

    return handle


SYNC = {
    "tool": Way(tool(name="wrong"), lambda fail: lambda: str(fail()), *CALL),
    "resource": Way(
        resource("x://wrong", name="wrong"), lambda fail: lambda: str(fail()), "resources/read", {"uri": "x://wrong"}
    ),
    "template": Way(
        resource("x://wrong/{a}", name="wrong"),
        lambda fail: lambda a: str(fail()),
        "resources/read",
        {"uri": "x://wrong/1"},
    ),
    "prompt": Way(prompt(name="wrong"), lambda fail: lambda: str(fail()), "prompts/get", {"name": "wrong"}),
    "completion": Way(
        completion, lambda fail: lambda ref, argument, context: fail(), "completion/complete", COMPLETE
    ),
}


def asynchronous(way: Way) -> Way:
    return way._replace(handler=lambda fail: later(way.handler(fail)))


WAYS = {
    **SYNC,
    **{f"asynchronous {place}": asynchronous(way) for place, way in SYNC.items()},
    "tool that talks": Way(tool(name="wrong"), talking, *CALL),
}


def declare_others() -> None:
    tool(name="right")(lambda: "done")
    prompt(name="ask")(lambda text: str(text))


@each_era
@pytest.mark.parametrize(
    ("way", "kind"),
    [
        *(("tool that talks", kind) for kind in KINDS),
        *((way, kind) for way in WAYS for kind in TELLING if way != "tool that talks"),
    ],
)
async def test_whatever_a_handler_raises_is_a_failed_request(
    way: str, kind: str, era: str, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    declare, handler, method, params = WAYS[way]
    declare_others()
    declare(handler(KINDS[kind]))
    endpoint = serve()
    answered = text_of_failure(await response(endpoint, era, method, params))
    crash = crash_in(caplog)
    if method == "tools/call":
        assert answered == "Error executing tool wrong"
        assert vars(crash)["tool"] == "wrong"
    assert not (await call(endpoint, "right")).get("isError")


@pytest.mark.parametrize(
    ("kind", "is_async"), [*((kind, False) for kind in KINDS), *((kind, True) for kind in TELLING)]
)
async def test_what_cannot_be_judged_is_hidden_and_takes_no_list_with_it(
    kind: str, is_async: bool, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(principal: Any) -> bool:
        return bool(KINDS[kind]())

    declare_others()
    tool(name="wrong", visible=later(judge) if is_async else judge)(lambda: 1)
    endpoint = serve()
    async with asyncio.timeout(60):
        assert [item["name"] for item in (await result_of(endpoint, "tools/list"))["tools"]] == ["right"]
        crash_in(caplog)
        for era in ERAS:
            error = (await response(endpoint, era, *CALL))["error"]
            missing = await response(endpoint, era, "tools/call", {"name": "missing", "arguments": {}})
            assert (error["message"], error["code"]) == ("Unknown tool: wrong", missing["error"]["code"])


# -- CALL_CONTEXT --------------------------------------------------------------------------------------


class Around:
    """A context manager of a project that fails at one of its ends."""

    def __init__(self, fail: Fail, end: str) -> None:
        self._fail, self._end = fail, end

    def at(self, end: str) -> None:
        if self._end == end:
            self._fail()


class SyncAround(Around):
    def __enter__(self) -> None:
        self.at("enter")

    def __exit__(self, *_: object) -> None:
        self.at("leave")


class AsyncAround(Around):
    async def __aenter__(self) -> None:
        self.at("enter")

    async def __aexit__(self, *_: object) -> None:
        self.at("leave")


around: list[Callable[[], Any]] = []
"""The last one makes the context manager of the next call."""


def call_context(request: Any, principal: Any) -> Any:
    return around[-1]()


@pytest.mark.parametrize(
    ("kind", "manager"),
    [*((kind, SyncAround) for kind in KINDS), *((kind, AsyncAround) for kind in TELLING)],
)
@pytest.mark.parametrize("end", ["enter", "leave"])
async def test_whatever_a_context_manager_raises_costs_its_call_at_most(
    kind: str, end: str, manager: Any, serve: Serve, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{__name__}.call_context"}
    declare_others()
    endpoint = serve()
    around.append(functools.partial(manager, KINDS[kind], end))
    for era in ERAS:
        caplog.clear()
        message = await response(endpoint, era, "tools/call", {"name": "right", "arguments": {}})
        if end == "leave":
            assert message["result"]["content"][0]["text"] == "done"
        else:
            text_of_failure(message)
        crash_in(caplog)
    around.append(functools.partial(manager, int, end))
    assert not (await call(endpoint, "right")).get("isError")
