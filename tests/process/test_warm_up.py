"""The warm-up repeats each step until it succeeds; until then it has a reason not to be ready; it can be stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from mcp_transport.process import warm_up as module
from mcp_transport.process.warm_up import WARMING_UP, WarmUp

Step = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(module, "_MAX_PAUSE_SECONDS", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (a state without an event)
            await asyncio.sleep(0.001)


class Stage:
    """A warm-up of one step, and the attempts of that step, each of which ends as the test says."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[None]] = []
        self.cancelled = 0
        self.stubborn = False
        self.seconds: float | None = 60.0
        self.cancels = True
        self.warm_up = WarmUp(self._work)

    async def _work(self, warm_up: WarmUp, has_node: bool) -> None:
        assert has_node
        await warm_up.until_done("PREWARM[0]", self._step, seconds=self.seconds, cancels=self.cancels)

    async def _step(self) -> None:
        attempt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.attempts.append(attempt)
        while True:
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.stubborn:
                    raise

    async def reached(self, attempts: int) -> asyncio.Future[None]:
        await until(lambda: len(self.attempts) >= attempts)
        return self.attempts[attempts - 1]

    async def warm(self) -> None:
        await until(lambda: self.warm_up.reason == "")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    before = asyncio.all_tasks()
    stage = Stage()
    yield stage
    stage.stubborn = False
    await stage.warm_up.stop("draining")
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


async def test_it_is_warm_when_the_step_has_succeeded_and_begins_once(stage: Stage) -> None:
    assert stage.warm_up.reason == ""  # a process that has not begun: a test run
    stage.warm_up.begin()
    assert stage.warm_up.reason == WARMING_UP
    stage.warm_up.begin()
    (await stage.reached(1)).set_result(None)
    await stage.warm()
    stage.warm_up.begin()
    assert (stage.warm_up.reason, len(stage.attempts)) == ("", 1)


async def test_a_step_that_fails_is_named_and_tried_again(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.warm_up.begin()
    for number in (1, 2, 3):
        (await stage.reached(number)).set_exception(RuntimeError("no catalogue"))
    fourth = await stage.reached(4)
    assert stage.warm_up.reason == "warming up: PREWARM[0] failed, and is tried again"
    fourth.set_result(None)
    await stage.warm()
    failures = [record.message for record in caplog.records if record.exc_info]
    assert len(failures) == 3
    # Where exceptions are redacted, their class follows.
    expected = "this process is not ready: PREWARM[0] failed, and is tried again"
    assert all(failure.startswith(expected) for failure in failures)


async def test_a_step_that_hangs_is_cancelled_and_tried_again(stage: Stage) -> None:
    stage.seconds = 0.01
    stage.warm_up.begin()
    await stage.reached(1)
    await until(lambda: stage.cancelled == 1)
    assert stage.warm_up.reason == "warming up: PREWARM[0] did not end within 0.01 s, and is tried again"
    (await stage.reached(2)).set_result(None)
    await stage.warm()


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_step_that_cannot_be_ended_is_not_started_twice(stage: Stage, cancels: bool) -> None:
    stage.seconds, stage.stubborn, stage.cancels = 0.001, True, cancels
    stage.warm_up.begin()
    first = await stage.reached(1)
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert len(stage.attempts) == 1
    assert bool(stage.cancelled) is cancels
    first.set_result(None)  # late, and good all the same
    await stage.warm()


async def test_it_stops_in_the_middle_of_a_step(stage: Stage) -> None:
    stage.warm_up.begin()
    await stage.reached(1)
    await stage.warm_up.stop("draining")
    await until(lambda: stage.cancelled == 1)
    assert stage.warm_up.reason == "draining"
    stage.warm_up.begin()
    assert stage.warm_up.reason == "draining"


async def test_it_stops_in_a_pause(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 1000.0)
    stage.warm_up.begin()
    (await stage.reached(1)).set_exception(RuntimeError)
    await until(lambda: "failed" in stage.warm_up.reason)
    await stage.warm_up.stop("draining")
    assert stage.warm_up.reason == "draining"


async def test_a_warm_process_does_not_become_unready_by_the_stop_of_its_warm_up(stage: Stage) -> None:
    stage.warm_up.begin()
    (await stage.reached(1)).set_result(None)
    await stage.warm()
    await stage.warm_up.stop("draining")
    assert stage.warm_up.reason == ""  # the node has a reason of its own


def test_it_begins_again_if_its_loop_ended_before_it() -> None:
    ran = []

    async def work(warm_up: WarmUp, has_node: bool) -> None:
        ran.append(1)
        if len(ran) == 1:
            await asyncio.Event().wait()

    warm_up = WarmUp(work)

    async def begin(until_reason: str) -> None:
        warm_up.begin()
        await until(lambda: len(ran) > 0 and warm_up.reason == until_reason)

    asyncio.run(begin(WARMING_UP))
    asyncio.run(begin(""))
    assert len(ran) == 2


def test_without_a_loop_it_runs_in_a_thread() -> None:
    ended, nodes = threading.Event(), []

    async def work(warm_up: WarmUp, has_node: bool) -> None:
        nodes.append(has_node)
        await asyncio.to_thread(ended.wait, 60)

    warm_up = WarmUp(work)
    for _ in range(2):
        warm_up.begin_in_thread()
    assert warm_up.reason == WARMING_UP
    ended.set()
    asyncio.run(until(lambda: warm_up.reason == ""))
    assert nodes == [False]


async def test_an_error_outside_the_steps_is_a_reason_too(caplog: pytest.LogCaptureFixture) -> None:
    failures = [RuntimeError("no such table")]

    async def work(warm_up: WarmUp, has_node: bool) -> None:
        if failures:
            raise failures.pop()

    warm_up = WarmUp(work)
    warm_up.begin()
    await until(lambda: warm_up.reason == "")
    assert "this process is not ready: the warm-up failed" in caplog.text
