"""Batches of calls without a server: who shares a run, who is answered with what, and what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_transport.batching import Batch, Batcher, BatchFailed, checked_results
from mcp_transport.exceptions import DefinitionError
from tests.support.clock import settle

ENDINGS = ("results", "errors", "raise", "too few", "cancel itself", "cancelled elements", "exit")


class RunError(Exception):
    """What a whole run fails with."""


class ItemError(Exception):
    """What one call fails with."""


@dataclass(eq=False)
class Run:
    """One run of the function: what it was called with, and how it shall end."""

    items: list[Any]
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    ending: str = "results"
    is_stubborn: bool = False
    is_cancelled = has_ended = False

    async def carry_out(self) -> Sequence[Any]:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            if not self.is_stubborn:
                raise
        finally:
            self.has_ended = True
        match self.ending:
            case "raise":
                raise RunError
            case "too few":
                return self.items[1:]
            case "cancel itself":
                raise asyncio.CancelledError
            case "exit":
                raise SystemExit(1)
            case "errors":
                return [ItemError(item) if item % 2 else item for item in self.items]
            case "cancelled elements":
                return [asyncio.CancelledError() if item % 2 else item for item in self.items]
        return list(self.items)


class Stage:
    """A batcher, its runs, and the calls that a schedule makes."""

    def __init__(self, batch: Batch, endings: Sequence[str] = ("results",)) -> None:
        self.endings = endings
        self.runs: list[Run] = []
        self.batcher = Batcher[int](batch, self.run)
        self.calls: list[asyncio.Task[Any]] = []
        self.cancelled: set[int] = set()
        self.keys: list[int] = []

    async def run(self, items: list[int]) -> Sequence[Any]:
        self.runs.append(Run(items, ending=self.endings[len(self.runs) % len(self.endings)]))
        return await self.runs[-1].carry_out()

    def call(self, key: int) -> None:
        number = len(self.calls)
        self.keys.append(key)
        self.calls.append(asyncio.ensure_future(self.batcher.call(key, number)))

    def cancel(self, number: int) -> None:
        if self.calls and not (call := self.calls[number % len(self.calls)]).done() and call.cancel():
            self.cancelled.add(number % len(self.calls))

    def release(self, number: int) -> None:
        if self.runs:
            self.runs[number % len(self.runs)].gate.set()

    def waiting(self, run: Run) -> list[int]:
        return [number for number in run.items if not self.calls[number].done()]

    async def finish(self) -> None:
        async with asyncio.timeout(60):
            while not all(call.done() for call in self.calls):
                for run in self.runs:
                    run.gate.set()
                await asyncio.sleep(0)
        await settle()


def kind_of(stage: Stage, number: int) -> str:
    """Return how a call ended, which has exactly one answer."""
    call = stage.calls[number]
    if call.cancelled():
        return "cancelled"
    if (error := call.exception()) is None:
        assert call.result() == number
        return "result"
    if isinstance(error, ItemError):
        assert error.args == (number,)
    return type(error).__name__


def check_runs(stage: Stage) -> None:
    answered = Counter(number for run in stage.runs for number in run.items)
    assert not [number for number, times in answered.items() if times > 1]
    for run in stage.runs:
        assert run.has_ended
        assert 1 <= len(run.items) <= stage.batcher._batch.max_size
        assert len({stage.keys[number] for number in run.items}) == 1
        kinds = Counter(kind_of(stage, number) for number in run.items)
        originals = sum(kinds[name] for name in ("RunError", "DefinitionError"))
        assert originals <= 1
        if kinds["BatchFailed"]:
            assert originals + kinds["RuntimeError"] == 1, "one call has the error that the others refer to"
        if run.is_cancelled:
            assert set(kinds) == {"cancelled"}, "only a run that nobody waits for is cancelled"
    for number in range(len(stage.calls)):
        kind = kind_of(stage, number)
        assert (kind == "cancelled") <= (number in stage.cancelled), (
            "no call is cancelled by another one's cancellation"
        )
        assert answered[number] or kind == "cancelled"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 1)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("release"), st.integers(0, 30)),
        st.tuples(st.just("stubborn"), st.integers(0, 30)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(
    STEPS,
    st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from([0, 0.2, 60_000]),
)
def test_each_call_has_one_answer_and_nothing_is_left(
    steps: list[Any], endings: list[str], max_size: int, max_wait_ms: float
) -> None:
    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
        stage = Stage(Batch(max_size=max_size, max_wait_ms=max_wait_ms), endings)
        for name, *arguments in steps:
            if name == "turn":
                for _ in range(arguments[0]):
                    await asyncio.sleep(0)
            elif name == "stubborn":
                if stage.runs:
                    stage.runs[arguments[0] % len(stage.runs)].is_stubborn = True
            else:
                getattr(stage, name)(*arguments)
        await settle()
        for run in stage.runs:
            assert run.has_ended or stage.waiting(run), "a run that nobody waits for goes on"
        if max_wait_ms == 60_000:
            for pending in list(stage.batcher._loops.get(asyncio.get_running_loop(), {}).values()):
                stage.batcher._start(asyncio.get_running_loop(), pending)
        await stage.finish()
        check_runs(stage)
        assert not stage.batcher._loops.get(asyncio.get_running_loop())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        counts = stage.batcher.metrics.counts()
        assert counts.waits.calls == sum(size * times for size, times in counts.sizes.items())

    unexpected: list[Any] = []
    asyncio.run(play())
    assert not unexpected


# -- single properties -----------------------------------------------------------------------------------


async def test_calls_of_the_same_iteration_share_a_run_and_those_of_another_key_do_not() -> None:
    stage = Stage(Batch(max_size=3, max_wait_ms=0))
    for key in (0, 0, 1, 0, 0):
        stage.call(key)
    await settle()
    assert sorted(run.items for run in stage.runs) == [[0, 1, 3], [2], [4]]
    await stage.finish()


async def test_a_batch_that_is_not_full_waits_for_the_time_of_its_first_call() -> None:
    stage = Stage(Batch(max_size=3, max_wait_ms=20))
    stage.call(0)
    await settle()
    stage.call(0)
    await settle()
    assert not stage.runs
    await stage.finish()
    assert [run.items for run in stage.runs] == [[0, 1]]
    assert stage.batcher.metrics.counts().waits.seconds >= 0.02


async def test_a_call_that_is_cancelled_before_the_run_is_not_in_it() -> None:
    stage = Stage(Batch(max_size=3, max_wait_ms=60_000))
    stage.call(0)
    stage.call(0)
    await settle()
    stage.cancel(0)
    await settle()
    stage.call(0)
    stage.call(0)
    await stage.finish()
    assert [run.items for run in stage.runs] == [[1, 2, 3]]


async def test_a_batch_that_every_call_has_left_does_not_run() -> None:
    stage = Stage(Batch(max_size=2, max_wait_ms=5))
    stage.call(0)
    await settle()
    stage.cancel(0)
    await stage.finish()
    assert not stage.batcher._loops[asyncio.get_running_loop()]
    assert not stage.runs


async def test_the_last_call_that_leaves_waits_until_the_run_has_cleaned_up() -> None:
    left = asyncio.Event()

    async def run(items: list[int]) -> list[int]:
        try:
            await asyncio.Event().wait()
        finally:
            await settle()
            left.set()
        return items

    batcher = Batcher[int](Batch(max_wait_ms=0), run)
    call = asyncio.ensure_future(batcher.call(None, 1))
    await settle()
    call.cancel()
    await asyncio.wait([call])
    assert left.is_set()


async def test_the_run_has_the_context_of_the_first_call_that_waits_when_it_starts() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen: list[Any] = []

    async def run(items: list[int]) -> list[int]:
        seen.append((items, variable.get()))
        return items

    async def call(number: int) -> int:
        variable.set(number)
        result: int = await batcher.call(None, number)
        return result

    batcher = Batcher[int](Batch(max_size=4, max_wait_ms=5), run)
    calls = [asyncio.ensure_future(call(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    assert await asyncio.gather(*calls[1:]) == [2, 3]
    batcher = Batcher[int](Batch(max_wait_ms=0), run, lambda context: Context())
    await call(4)
    assert seen == [([2, 3], 2), ([4], 0)]


async def test_a_failed_run_has_one_call_raise_its_exception_and_the_others_refer_to_it() -> None:
    stage = Stage(Batch(max_size=3, max_wait_ms=0), ["raise"])
    for _ in range(3):
        stage.call(0)
    await settle()
    stage.release(0)
    await stage.finish()
    first, *others = [call.exception() for call in stage.calls]
    assert isinstance(first, RunError)
    assert all(isinstance(error, BatchFailed) and error.__cause__ is first for error in others)


@pytest.mark.parametrize(
    ("results", "fault"),
    [([1], "expected 2, got 1"), ([1, 2, 3], "expected 2, got 3"), (None, "expected a list of 2, got NoneType")],
)
def test_results_that_do_not_fit_say_what_was_expected(results: Any, fault: str) -> None:
    with pytest.raises(DefinitionError, match=fault):
        checked_results(results, 2)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_size": 0}, "max_size must be an integer, 1 or more, got 0"),
        ({"max_size": True}, "max_size must be an integer, 1 or more, got True"),
        ({"max_wait_ms": -1}, "max_wait_ms must be a number from 0 to 60000, got -1"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms must be a number from 0 to 60000, got nan"),
        ({"max_wait_ms": "10"}, "max_wait_ms must be a number from 0 to 60000, got '10'"),
        ({"across_callers": 1}, "across_callers must be True or False, got 1"),
    ],
)
def test_impossible_batches_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(DefinitionError, match=fault):
        Batch(**options)
