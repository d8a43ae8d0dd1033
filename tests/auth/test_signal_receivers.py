"""Receivers of the signals: called behind the answer, in order, one after the other; what they do harms nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.dispatch import Signal

from mcp_transport import signals
from mcp_transport.domain.audit_events import SessionClosed, SessionOpened, ToolCalled
from mcp_transport.engine.endpoint import Endpoint
from tests.auth.audited import client, endpoint, received, tools
from tests.support.client import send_sessionless
from tests.support.listeners import AnnsClient, receiving
from tests.support.tools import Gate

__all__ = ["client", "endpoint", "received", "tools"]

pytestmark = pytest.mark.usefixtures("declarations", "tools")


class Slow:
    """A receiver that stands still until it is let go, and notes what it gets."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __enter__(self) -> Slow:
        self.signal.connect(self.receive)
        return self

    def __exit__(self, *reason: object) -> None:
        self.let_go.set()
        signals.settle()
        self.signal.disconnect(self.receive)

    def receive(self, **kwargs: Any) -> None:
        self.entered.set()
        assert self.let_go.wait(5)


async def test_a_slow_receiver_slows_nobody_and_the_order_is_kept(endpoint: Endpoint, received: list[Any]) -> None:
    client = AnnsClient(endpoint)
    with Slow(signals.session_opened) as slow:
        await client.open()
        for b in range(3):
            assert (await client.call("add", {"a": 1, "b": b})).status == 200
        await client.call("refuse")
        assert (await client.delete()).status == 204
        assert slow.entered.wait(5)
        assert len(received) <= 1, "the first one stands in the way of all"
    expected = [SessionOpened, *[ToolCalled] * 4, SessionClosed]
    assert [type(event) for event in received] == expected
    assert [event.outcome for event in received[1:-1]] == ["ok", "ok", "ok", "error"]


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
async def test_a_failing_receiver_breaks_nothing(
    client: AnnsClient, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    def fail(**kwargs: Any) -> None:
        raise kind("a receiver's fault")

    signals.tool_called.connect(fail)
    with receiving() as received:
        assert (await client.call("add", {"a": 1, "b": 2})).status == 200
        signals.settle()
        [error] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert error.exc_info is not None
        assert type(error.exc_info[1]).__name__ == kind.__name__
        signals.tool_called.disconnect(fail)
        await client.call("add", {"a": 1, "b": 2})
    assert len(received) == (2 if kind is RuntimeError else 1), (
        "what no receiver may raise ends the others' turn, once"
    )


async def test_async_receivers_work(client: AnnsClient) -> None:
    got: list[tuple[str, Any]] = []

    async def receive(sender: Any, event: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        got.append((event.tool, sender))

    async def fail(**kwargs: Any) -> None:
        raise RuntimeError("a receiver's fault")

    signals.tool_called.connect(fail)
    signals.tool_called.connect(receive)
    try:
        await client.call("add", {"a": 1, "b": 2})
        await client.call("refuse")
        signals.settle()
    finally:
        signals.tool_called.disconnect(receive)
        signals.tool_called.disconnect(fail)
    assert got == [("add", ToolCalled), ("refuse", ToolCalled)]


async def test_receivers_of_one_kind_of_event_get_no_other(endpoint: Endpoint) -> None:
    got: list[Any] = []

    def receive(event: Any, **kwargs: Any) -> None:
        got.append(event)

    signals.session_closed.connect(receive)
    try:
        client = AnnsClient(endpoint)
        await client.open()
        await client.call("add", {"a": 1, "b": 2})
        await client.delete()
        signals.settle()
    finally:
        signals.session_closed.disconnect(receive)
    assert [type(event) for event in got] == [SessionClosed]


async def test_without_receivers_nothing_is_built(
    client: AnnsClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("mcp_transport.engine.call.audit_call", lambda *args, **options: done.append("built"))
    monkeypatch.setattr(signals._worker, "submit", lambda *args: done.append("sent"))
    await client.call("add", {"a": 1, "b": 2})
    await client.call("secret")
    await client.delete()
    await send_sessionless(endpoint, "tools/call", {"name": "refuse", "arguments": {}})
    assert done == []


async def test_a_receiver_that_comes_during_a_call_does_not_hear_of_it(client: AnnsClient, gate: Gate) -> None:
    answer = await client.call("wait")
    await gate.wait(gate.entered)
    with receiving() as received:
        gate.open.set()
        await answer.text()
    assert received == []


async def test_what_finds_no_room_is_dropped_with_one_line(
    client: AnnsClient, received: list[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals.settle()
    monkeypatch.setattr(signals, "_queue_slots", threading.BoundedSemaphore(2))
    with Slow(signals.tool_called) as slow:
        for b in range(3):
            assert json.loads((await client.call("add", {"a": 1, "b": b})).body)["result"]
        assert slow.entered.wait(5)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "was dropped" in errors[0]
    await client.call("refuse")
    signals.settle()
    assert [event.tool for event in received] == ["add", "add", "refuse"], "there is room again"


async def test_nothing_breaks_while_the_process_ends(
    client: AnnsClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as received:
        ended = ThreadPoolExecutor(1)
        ended.shutdown()
        with monkeypatch.context() as patch:
            patch.setattr(signals, "_worker", ended)
            patch.setattr(signals, "_queue_slots", room := threading.BoundedSemaphore(1))
            assert (await client.call("add", {"a": 1, "b": 2})).status == 200
    assert "an event was dropped: the process is exiting" in caplog.text
    assert room.acquire(blocking=False), "its place is free again"
    assert received == []


@pytest.mark.slow
def test_a_process_that_ends_sends_what_waits() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)  # noqa: S603
    assert (done.stdout.splitlines(), done.stderr) == (["ends", "client", "limit"], "")


PROGRAM = """
import threading
from django.conf import settings
settings.configure()
from mcp_transport import signals
from mcp_transport.domain.audit_events import SessionClosed
from mcp_transport.domain.principal import ANONYMOUS

ends = threading.Event()

def hear(event, **kwargs):
    assert ends.wait(5)
    print(event.reason)

signals.session_closed.connect(hear)
for reason in ("client", "limit"):
    signals.send_in_background(SessionClosed(when=0.0, principal=ANONYMOUS, session="s", reason=reason))
print("ends")
ends.set()
"""
