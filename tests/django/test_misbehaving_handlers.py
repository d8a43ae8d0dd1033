"""Handlers that do what handlers should not: their callers get an end, others go on, and nothing else ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mcp_transport import Context, completion, prompt, resource, tool
from tests.django.test_crashes import records as records  # the fixture
from tests.support.calls import call, opened, result_of
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations")

SECRET = "hunter2"
ERAS = ("2025-11-25", "2026-07-28")

Fail = Callable[[], Any]


class Unheard(BaseException):
    """One that nobody catches."""


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


class UnspeakableExit(SystemExit):
    def __str__(self) -> str:
        raise SystemExit(SECRET)

    __repr__ = __str__


def _raise(error: BaseException) -> Any:
    raise error


def _recur() -> Any:
    return _recur() + 1


KINDS: dict[str, Fail] = {
    "exit": lambda: sys.exit(SECRET),
    "exit with a code": lambda: sys.exit(0),
    "interrupt": lambda: _raise(KeyboardInterrupt(SECRET)),
    "cancelled": lambda: _raise(asyncio.CancelledError(SECRET)),
    "future cancelled": lambda: _raise(concurrent.futures.CancelledError(SECRET)),
    "generator exit": lambda: _raise(GeneratorExit(SECRET)),
    "unheard": lambda: _raise(Unheard(SECRET)),
    "group": lambda: _raise(ExceptionGroup(SECRET, [ValueError(SECRET)])),
    "base group": lambda: _raise(BaseExceptionGroup(SECRET, [SystemExit(SECRET), KeyboardInterrupt()])),
    "group of cancelled": lambda: _raise(BaseExceptionGroup(SECRET, [asyncio.CancelledError(SECRET)])),
    "stop": lambda: next(iter([])),
    "asynchronous stop": lambda: _raise(StopAsyncIteration(SECRET)),
    "recursion": _recur,
    "memory": lambda: _raise(MemoryError(SECRET)),
    "timeout": lambda: _raise(TimeoutError(SECRET)),
    "broken pipe": lambda: _raise(BrokenPipeError(32, SECRET)),
    "unspeakable": lambda: _raise(Unspeakable(SECRET)),
    "unspeakable exit": lambda: _raise(UnspeakableExit(SECRET)),
    "huge text": lambda: _raise(RuntimeError(SECRET * 1_000_000)),
}


# -- each way in which a request comes to a project's code -------------------------------------------------


def _tool(name: str, function: Any) -> None:
    tool(name=name)(function)


def _resource(uri: str, function: Any) -> None:
    resource(uri)(function)


def plain(fail: Fail) -> Any:
    def handle() -> str:
        return str(fail())

    return handle


def plain_async(fail: Fail) -> Any:
    async def handle() -> str:
        await asyncio.sleep(0)
        return str(fail())

    return handle


def talking(fail: Fail) -> Any:
    """Speak first, so that the answer is a stream by then."""

    async def handle(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        await ctx.info("on its way")
        return str(fail())

    return handle


def templated(inner: Any) -> Any:
    if asyncio.iscoroutinefunction(inner):

        async def handle(a: str) -> str:
            return str(await inner())

    else:

        def handle(a: str) -> str:  # type: ignore[misc]
            return str(inner())

    return handle


def completing(inner: Any) -> Any:
    if asyncio.iscoroutinefunction(inner):

        async def handle(ref: Any, argument: Any, context: Any) -> Any:
            return await inner()

    else:

        def handle(ref: Any, argument: Any, context: Any) -> Any:
            return inner()

    return handle


CALL: tuple[str, dict[str, Any]] = ("tools/call", {"name": "wrong", "arguments": {}})
COMPLETE = {"ref": {"type": "ref/prompt", "name": "ask"}, "argument": {"name": "text", "value": ""}}
PLACES: dict[str, tuple[Callable[[Any], Any], str, dict[str, Any]]] = {
    "tool": (lambda function: _tool("wrong", function), *CALL),
    "resource": (lambda function: _resource("x://wrong", function), "resources/read", {"uri": "x://wrong"}),
    "template": (
        lambda function: _resource("x://wrong/{a}", templated(function)),
        "resources/read",
        {"uri": "x://wrong/1"},
    ),
    "prompt": (lambda function: prompt(name="wrong")(function), "prompts/get", {"name": "wrong"}),
    "completion": (lambda function: completion(completing(function)), "completion/complete", COMPLETE),
}
WAYS: dict[str, tuple[str, Callable[[Fail], Any]]] = {
    **{place: (place, plain) for place in PLACES},
    **{f"asynchronous {place}": (place, plain_async) for place in PLACES},
    "tool that talks": ("tool", talking),
}


def declare_others() -> None:
    @tool
    def right() -> str:
        return "done"

    @prompt
    def ask(text: str) -> str:
        return text


async def ended(endpoint: Any, era: str, method: str, params: dict[str, Any]) -> Any:
    """Return the response to a request, which must come."""
    meta = {"progressToken": "p"}
    async with asyncio.timeout(10):
        if era == "2026-07-28":
            answer = await send_sessionless(endpoint, method, params, meta=meta)
        else:
            answer = await (await opened(endpoint)).request(method, {**params, "_meta": meta})
        return answer.json if answer.stream is None else (await answer.messages())[-1]


def text_of_failure(message: dict[str, Any]) -> str:
    if "error" in message:
        assert message["error"]["code"] == -32603, message
        return str(message["error"]["message"])
    assert message["result"]["isError"], message
    [content] = message["result"]["content"]
    return str(content["text"])


def crash_in(kept: list[logging.LogRecord]) -> logging.LogRecord:
    [record] = [record for record in kept if record.exc_info]
    assert record.levelno == logging.ERROR
    return record


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_handler_raises_is_a_failed_request(
    kind: str, way: str, era: str, serve: Any, records: Any
) -> None:
    place, wrapped = WAYS[way]
    declare, method, params = PLACES[place]
    declare_others()
    declare(wrapped(KINDS[kind]))
    endpoint = serve()
    answered = text_of_failure(await ended(endpoint, era, method, params))
    assert SECRET not in answered
    if place == "tool":
        assert answered == "Error executing tool wrong"
        assert crash_in(records).tool == "wrong"  # type: ignore[attr-defined]
    assert SECRET not in crash_in(records).getMessage()
    assert await call(endpoint, "right") == await call(endpoint, "right")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_judged_is_hidden_and_takes_no_list_with_it(
    kind: str, is_async: bool, serve: Any, records: Any
) -> None:
    def judge(principal: Any) -> bool:
        return bool(KINDS[kind]())

    async def judge_async(principal: Any) -> bool:
        return bool(KINDS[kind]())

    declare_others()
    tool(name="wrong", visible=judge_async if is_async else judge)(lambda: 1)
    endpoint = serve()
    async with asyncio.timeout(10):
        assert [item["name"] for item in (await result_of(endpoint, "tools/list"))["tools"]] == ["right"]
        crash_in(records)
        for era in ERAS:
            message = await ended(endpoint, era, *CALL)
            unknown = await ended(endpoint, era, "tools/call", {"name": "missing", "arguments": {}})
            assert message["error"]["message"] == "Unknown tool: wrong"
            assert message["error"]["code"] == unknown["error"]["code"]


class Around:
    """A context manager of a project that fails at one of its ends."""

    def __init__(self, fail: Fail, end: str) -> None:
        self._fail, self._end = fail, end

    def enter(self) -> None:
        if self._end == "enter":
            self._fail()

    def leave(self) -> None:
        if self._end == "leave":
            self._fail()


class SyncAround(Around):
    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()


class AsyncAround(Around):
    async def __aenter__(self) -> None:
        self.enter()

    async def __aexit__(self, *_: object) -> None:
        self.leave()


around: list[Any] = []


def call_context(request: Any, principal: Any) -> Any:
    return around[-1]()


@pytest.mark.parametrize("manager", [SyncAround, AsyncAround])
@pytest.mark.parametrize("end", ["enter", "leave"])
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_context_manager_raises_costs_its_call_at_most(
    kind: str, end: str, manager: Any, serve: Any, settings: Any, records: Any
) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{__name__}.call_context"}
    declare_others()
    endpoint = serve()
    around.append(functools.partial(manager, KINDS[kind], end))
    for era in ERAS:
        message = await ended(endpoint, era, "tools/call", {"name": "right", "arguments": {}})
        if end == "leave":
            assert message["result"]["content"][0]["text"] == "done"
        else:
            assert SECRET not in text_of_failure(message)
        crash_in(records)
        records.clear()
    around.append(functools.partial(manager, int, end))
    assert not (await call(endpoint, "right")).get("isError")
