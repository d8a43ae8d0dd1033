"""PREWARM: what the project does before a process is ready, and how `/readyz` tells."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test import AsyncClient, Client

from mcp_transport import bootstrap, prewarm
from mcp_transport.asgi import mount
from mcp_transport.process import startup, warm_up
from mcp_transport.process.warm_up import WARMING_UP, WarmUp

GATE = threading.Event()
SEEN: list[Any] = []
FAILURES: list[BaseException] = []

OK, UNAVAILABLE = (200, {"status": "ok"}), {"status": "unavailable"}


def note() -> None:
    SEEN.append((threading.current_thread().name, connection.connection is not None))
    if FAILURES:
        raise FAILURES.pop()


async def anote() -> None:
    SEEN.append(asyncio.get_running_loop())
    if FAILURES:
        raise FAILURES.pop()


@functools.wraps(anote)
def wrapped() -> Awaitable[None]:
    return anote()


def wait() -> None:
    SEEN.append("waits")
    GATE.wait(60)


async def await_for_ever() -> None:
    SEEN.append("waits")
    if len(SEEN) == 1:
        await asyncio.Event().wait()


@functools.wraps(await_for_ever)
def wrapped_for_ever() -> Awaitable[None]:
    return await_for_ever()


def needs(argument: int) -> None: ...


@pytest.fixture(autouse=True)
async def cold(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Make this a process that has not begun, and that is none of a test run."""
    SEEN.clear()
    FAILURES.clear()
    GATE.clear()
    monkeypatch.setattr(prewarm, "_is_test_run", lambda: False)
    monkeypatch.setattr(prewarm, "drain_before_sigterm", lambda drain: None)
    monkeypatch.setattr(prewarm, "_warm_up", fresh := WarmUp(prewarm._warm))
    monkeypatch.setattr(startup, "is_prepared", False)
    monkeypatch.setattr(startup, "freeze_gc", lambda: None)
    monkeypatch.setattr(warm_up, "_FIRST_PAUSE_SECONDS", 0.001)
    yield
    GATE.set()
    await fresh.stop("draining")
    if bootstrap._endpoint is not None:
        await bootstrap.endpoint().pool.stop()


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    def configure(*names: str, **others: Any) -> None:
        settings.MCP_TRANSPORT = {"PREWARM": [f"{__name__}.{name}" for name in names], **others}

    return configure


async def ready() -> tuple[int, Any]:
    response = await AsyncClient().get("/readyz")
    return response.status_code, response.json()


async def until_ready(expected: tuple[int, Any] = OK) -> None:
    async with asyncio.timeout(60):
        while await ready() != expected:  # noqa: ASYNC110 (what a load balancer does)
            await asyncio.sleep(0.001)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (a state without an event)
            await asyncio.sleep(0.001)


def because(reason: str) -> tuple[int, Any]:
    return 503, {**UNAVAILABLE, "reason": reason}


@pytest.mark.parametrize("name", ["note", "anote", "wrapped"])
async def test_a_function_runs_once_before_the_process_is_ready(configure: Callable[..., None], name: str) -> None:
    configure(name)
    assert await ready() == because(WARMING_UP)
    await until_ready()
    await ready()
    expected = ("mcp-call", False) if name == "note" else asyncio.get_running_loop()
    assert [expected] == SEEN
    assert len(bootstrap.endpoint().pool.nodes) == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        *((name, error) for name in ("note", "anote", "wrapped") for error in (ValueError, SystemExit)),
        *((name, asyncio.CancelledError) for name in ("note", "anote", "wrapped")),
        ("note", StopIteration),  # which no coroutine can raise
    ],
)
async def test_a_function_that_fails_is_tried_again(
    configure: Callable[..., None], name: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    configure("note", name)
    FAILURES.extend([error("secret"), error("secret")])
    await until_ready()
    assert len(SEEN) == 4
    assert "this process is not ready: PREWARM[" in caplog.text


async def test_the_body_says_which_function_fails_and_not_why(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warm_up, "_FIRST_PAUSE_SECONDS", 1000.0)
    configure("note", "anote")
    FAILURES.append(ValueError("the password is 1234"))
    await ready()
    await until_ready(because("warming up: PREWARM[0] failed, and is tried again"))
    assert "raise FAILURES.pop()" in caplog.text, "the log has the traceback"
    assert "the password is 1234" not in caplog.text
    assert len(SEEN) == 1, "the next function waits for this one"


async def test_a_function_that_hangs_in_a_thread_keeps_one_thread(configure: Callable[..., None]) -> None:
    configure("wait", PREWARM_TIMEOUT_SECONDS=0.01)
    await ready()
    await until_ready(because("warming up: PREWARM[0] did not end within 0.01 s, and is tried again"))
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert SEEN == ["waits"]
    assert (await AsyncClient().get("/healthz")).status_code == 200
    GATE.set()
    await until_ready()
    assert SEEN == ["waits"]


@pytest.mark.parametrize("name", ["await_for_ever", "wrapped_for_ever"])
async def test_a_coroutine_that_hangs_is_cancelled_and_tried_again(configure: Callable[..., None], name: str) -> None:
    configure(name, PREWARM_TIMEOUT_SECONDS=0.01)
    await until_ready()
    assert SEEN == ["waits"] * 2


async def test_a_call_that_comes_early_is_answered(configure: Callable[..., None]) -> None:
    configure("wait")
    await ready()
    response = await AsyncClient().post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, "application/json")
    assert response.status_code in (400, 404, 406)  # from the endpoint, without waiting for PREWARM
    assert await ready() == because(WARMING_UP)


async def test_a_call_begins_the_warm_up_too(configure: Callable[..., None]) -> None:
    configure("note")
    await AsyncClient().post("/mcp", {}, "application/json")
    await until_ready()
    assert SEEN == [("mcp-call", False)]


@pytest.mark.parametrize("is_known", [True, False])
async def test_the_lifespan_begins_it_and_is_passed_on(configure: Callable[..., None], is_known: bool) -> None:
    configure("note")

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        assert scope == {"type": "lifespan"}
        if not is_known:
            raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")

    try:
        await mount(inner)({"type": "lifespan"}, None, None)
    except ValueError:
        assert not is_known
    assert not startup.is_prepared, "the first request looks whether SIGTERM is still handled"
    await until(lambda: prewarm.unready_reason() == "" and bool(SEEN))
    assert await ready() == OK
    assert SEEN == [("mcp-call", False)]


async def test_it_stops_with_the_process(configure: Callable[..., None]) -> None:
    configure("wait")
    await ready()
    await until(lambda: bool(SEEN))
    async with asyncio.timeout(60):
        await prewarm.drain_and_stop(False)
    assert await ready() == because("draining")


async def test_faulty_settings_are_the_reason(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"PREWARM": ["no.such.function"]}
    await ready()
    await until_ready(because("misconfigured"))
    await prewarm.drain_and_stop(False)


def test_under_wsgi_it_runs_in_a_thread(configure: Callable[..., None]) -> None:
    configure("note", "anote", "wait")
    response = Client().get("/readyz")
    assert (response.status_code, response.json()) == because(WARMING_UP)
    GATE.set()
    for _ in range(60_000):
        if Client().get("/readyz").status_code == 200:
            break
        threading.Event().wait(0.001)
    assert [SEEN[0], SEEN[2]] == [("mcp-call", False), "waits"]
    assert bootstrap.endpoint().pool.nodes == ()


def test_a_test_run_of_a_project_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert hasattr(mail, "outbox")
    assert prewarm._is_test_run()
    startup.is_prepared = False
    assert Client().get("/readyz").status_code == 200
    assert startup.is_prepared
