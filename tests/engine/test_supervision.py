"""Work that lasts goes on, whatever is raised in it, and the log is told, but not flooded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mcp_transport import supervision
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.supervision import Supervised, attempt, log_failure, suppress_and_log


class Work:
    """Raises, turn by turn, what it is given; then it waits for ever."""

    def __init__(self, *raised: BaseException | None) -> None:
        self._raised = list(raised)
        self.is_done = asyncio.Event()

    async def turn(self) -> None:
        if not self._raised:
            self.is_done.set()
            await asyncio.Event().wait()
        if (error := self._raised.pop(0)) is not None:
            raise error


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was paused, without a pause."""
    found: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await real(0)

    monkeypatch.setattr("mcp_transport.supervision.asyncio.sleep", sleep)
    return found


async def done(work: Work, max_pause: float = 4.0) -> Supervised:
    task = Supervised("some work", work.turn, max_pause=max_pause)
    task.start()
    async with asyncio.timeout(60):
        await work.is_done.wait()
    return task


@pytest.mark.parametrize("error", [ValueError("odd"), BackendError("away"), asyncio.CancelledError(), TimeoutError()])
async def test_a_task_goes_on_after_whatever_is_raised_in_it(error: BaseException, pauses: list[float]) -> None:
    task = await done(Work(error, error))
    assert task.failure is error
    await task.stop()


async def test_pauses_grow_to_a_limit_and_begin_anew_after_success(pauses: list[float]) -> None:
    odd = ValueError("odd")
    task = await done(Work(odd, odd, odd, odd, odd, None, odd), max_pause=3.0)
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0, 0.5]
    await task.stop()


async def test_a_turn_that_succeeds_ends_the_failure(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    task = await done(Work(ValueError("odd"), None))
    assert task.failure is None
    assert "some work works again" in caplog.text
    await task.stop()


async def test_a_task_that_is_cancelled_ends_and_says_so() -> None:
    task = await done(Work())
    (running,) = [item for item in asyncio.all_tasks() if item.get_name() == "some work"]
    running.cancel()
    await asyncio.wait([running])
    assert isinstance(task.failure, asyncio.CancelledError)
    await task.stop()


async def test_a_task_that_is_stopped_ends() -> None:
    task = await done(Work())
    await task.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_failure_is_logged_with_its_stack_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("mcp_transport.supervision.time.monotonic", lambda: now)
    for _ in range(100):
        log_failure("some work failed", ValueError("odd"))
        log_failure("some work failed", ValueError("other"))
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)] * 2
    now += 61
    log_failure("some work failed", ValueError("odd"))
    assert len(caplog.records) == 3


def test_failures_without_end_are_not_remembered_without_end(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3000):
        log_failure("some work failed", ValueError(str(number)))
    assert len(supervision._logged_at) <= 1000


def test_a_store_that_is_away_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log_failure("some work failed", BackendError("away"))
    [record] = caplog.records
    assert (record.levelname, record.exc_info, record.getMessage()) == ("WARNING", None, "some work failed: away")


def _raise(error: Exception) -> Callable[[], Any]:
    async def work() -> Any:
        raise error

    return work


@pytest.mark.parametrize("error", [ValueError("odd"), Unreadable("garbage")])
async def test_what_is_odd_is_logged_and_left_out(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert await attempt("one of many cannot be read", _raise(error)(), 7) == 7
    with suppress_and_log("another one cannot be read"):
        await _raise(error)()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_a_store_that_is_away_is_not_left_out() -> None:
    with pytest.raises(BackendError), suppress_and_log("one of many cannot be read"):
        raise BackendError("away")
    with pytest.raises(BackendError):
        await attempt("another one cannot be read", _raise(BackendError("away"))(), 7)
