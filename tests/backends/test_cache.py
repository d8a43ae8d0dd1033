from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches

from mcp_transport.backends.base import Backend
from mcp_transport.backends.cache import CacheBackend
from mcp_transport.domain.history import Ending
from mcp_transport.exceptions import BackendError
from tests.backends.caches import BOUND, FILES, LOCMEM, Build, FailingCache, PausingCache
from tests.backends.contract import BackendContract, assert_refuses_everything
from tests.support.backends import (
    ANN,
    KEY,
    OTHER_KEY,
    POLICY,
    STREAM,
    HandClock,
    ended,
    events,
    in_flight,
    session,
)


class TestLocMem(BackendContract):
    @pytest.fixture
    def backend(self, build: Build) -> Backend:
        return Backend.of(build({"BACKEND": LOCMEM}))


@pytest.mark.slow  # the contract once more; a cache in memory is tested each time
class TestFiles(BackendContract):
    @pytest.fixture
    def backend(self, build: Build, tmp_path: Path) -> Backend:
        return Backend.of(build({"BACKEND": FILES, "LOCATION": str(tmp_path)}))


# -- what other processes see ------------------------------------------------------------------------


@pytest.fixture
def files(build: Build, tmp_path: Path) -> tuple[CacheBackend, CacheBackend]:
    """Two backends over one cache, as two processes have them."""
    configuration = {"BACKEND": FILES, "LOCATION": str(tmp_path)}
    return build(configuration), build(configuration)


async def test_another_process_knows_a_session_its_state_and_its_end(
    files: tuple[CacheBackend, CacheBackend], clock: HandClock
) -> None:
    here, there = files
    stored = session(clock)
    await here.open(stored)
    await here.write_state(KEY, "a", b"1")
    assert await there.get(KEY) == stored
    assert await there.read_state(KEY) == {"a": b"1"}
    assert [item.key for item in (await there.page()).sessions] == [KEY]
    await there.close(KEY, ANN)
    await assert_refuses_everything(Backend.of(here), KEY)


async def test_another_process_does_not_know_its_streams(
    files: tuple[CacheBackend, CacheBackend], clock: HandClock
) -> None:
    here, there = files
    await here.open(session(clock))
    await here.enter(KEY, ANN, "n1")
    await here.append(KEY, STREAM, events(1))
    with pytest.raises(LookupError):
        await there.attach(KEY, ANN, STREAM, 0, "n2")


@pytest.mark.parametrize(
    ("backend", "shared"),
    [(LOCMEM, False), ("django.core.cache.backends.dummy.DummyCache", False), (FILES, True)],
)
def test_it_says_whether_other_processes_see_its_sessions(build: Build, backend: str, shared: bool) -> None:
    built = build({"BACKEND": backend})
    assert built.shares_sessions is shared
    assert built.shares_streams is False
    assert Backend.of(built).index is built


async def test_only_the_alias_it_was_given_is_used(build: Build, clock: HandClock) -> None:
    backend = build({"BACKEND": LOCMEM})
    FailingCache.failing = FailingCache.operations  # the default alias
    try:
        await backend.open(session(clock))
        assert await backend.get(KEY)
    finally:
        FailingCache.failing = frozenset()


async def test_keys_of_the_cache_do_not_change_with_the_release(build: Build, clock: HandClock) -> None:
    location = uuid4().hex
    backend = build({"BACKEND": LOCMEM, "LOCATION": location})
    await backend.open(session(clock))
    assert caches["mcp"].get(f"mcp:{KEY}") is not None
    await backend.close(KEY, ANN)
    assert caches["mcp"].get(f"mcp:{KEY}") is None


async def test_nothing_of_a_closed_session_outlives_its_time_to_live(build: Build, clock: HandClock) -> None:
    backend = build({"BACKEND": LOCMEM})
    for key in (KEY, OTHER_KEY):
        await backend.open(session(clock, key))
        await backend.write_state(key, "a", b"1")
        await backend.enter(key, ANN, "n1", [in_flight(1)])
        await backend.close(key, ANN)
        await backend.write_state(key, "a", b"1")
    clock.advance(POLICY.session_ttl + 1)
    kept = {name: caches["mcp"].get(name) for key in (KEY, OTHER_KEY) for name in _entries(key)}
    assert {name for name, value in kept.items() if value is not None} == set()
    assert backend._local == {}


def _entries(key: str) -> list[str]:
    stored = [name.split(":", 2)[2] for name in vars(caches["mcp"])["_cache"]]  # without prefix and version
    return [name for name in stored if key in name]


# -- a cache that does not answer --------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[CacheBackend, HandClock], Awaitable[object]]] = {
    "ping": lambda backend, clock: backend.ping(),
    "open": lambda backend, clock: backend.open(session(clock, OTHER_KEY)),
    "get": lambda backend, clock: backend.get(KEY),
    "enter": lambda backend, clock: backend.enter(KEY, ANN, "n1", [in_flight(1)]),
    "enter an unknown one": lambda backend, clock: backend.enter(OTHER_KEY, ANN, "n1"),
    "leave with errors": lambda backend, clock: backend.leave(KEY, ended(9, ending=Ending.ERROR)),
    "update": lambda backend, clock: backend.update(KEY, initialized=True),
    "touch": lambda backend, clock: backend.touch(KEY),
    "close": lambda backend, clock: backend.close(KEY, ANN),
    "attach": lambda backend, clock: backend.attach(KEY, ANN, "g", None, "n1"),
    "emit": lambda backend, clock: backend.emit(KEY, b"{}"),
    "sessions": lambda backend, clock: backend.page(),
    "read_state": lambda backend, clock: backend.read_state(KEY),
    "write_state": lambda backend, clock: backend.write_state(KEY, "a", b"1"),
}


@pytest.fixture
def failing() -> Iterator[Callable[..., None]]:
    """Return a function that makes some operations of the cache fail from now on; without names, all."""

    def fail(*names: str) -> None:
        FailingCache.failing = frozenset(names) or FailingCache.operations

    yield fail
    FailingCache.failing = frozenset()


@pytest.fixture
async def broken(build: Build, clock: HandClock) -> CacheBackend:
    """A backend with one session, over a cache that a test may break."""
    backend = build({"BACKEND": "tests.backends.caches.FailingCache"})
    await backend.open(session(clock))
    await backend.enter(KEY, ANN, "n1", [in_flight(9)])
    return backend


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_cache_that_fails_is_the_stores_fault_and_no_absent_session(
    broken: CacheBackend, clock: HandClock, failing: Callable[..., None], operation: str
) -> None:
    failing()
    with pytest.raises(BackendError, match="'mcp'") as caught:
        await OPERATIONS[operation](broken, clock)
    assert "secret-host" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_when_the_cache_answers_again_the_session_is_there(
    broken: CacheBackend, failing: Callable[..., None]
) -> None:
    failing()
    with pytest.raises(BackendError):
        await broken.get(KEY)
    FailingCache.failing = frozenset()
    assert await broken.get(KEY)
    assert await broken.enter(KEY, ANN, "n1", [in_flight(1)])


async def test_a_request_that_was_refused_for_the_cache_is_not_in_flight(
    broken: CacheBackend, failing: Callable[..., None]
) -> None:
    failing("set")
    with pytest.raises(BackendError):
        await broken.enter(KEY, ANN, "n1", [in_flight(1)])
    FailingCache.failing = frozenset()
    again = await broken.enter(KEY, ANN, "n1", [in_flight(1)])
    assert again is not None
    assert again.running == ()


async def test_what_needs_no_record_goes_on_without_the_cache(
    broken: CacheBackend, failing: Callable[..., None]
) -> None:
    await broken.enter(KEY, ANN, "n1", [in_flight(1)])
    failing()
    assert await broken.append(KEY, STREAM, events(1), holder="n1")
    assert await broken.read(KEY, STREAM, 0) == (tuple(events(1)), 0)
    await broken.checkpoint(KEY, STREAM, 1)
    await broken.leave(KEY, ended(1, 9))
    assert await broken.in_flight(KEY) == ()


async def test_an_alias_that_cannot_be_made_is_the_stores_fault(build: Build) -> None:
    backend = build({"BACKEND": "tests.backends.caches.NoSuchCache"})
    with pytest.raises(BackendError):
        await backend.ping()


# -- writes that meet --------------------------------------------------------------------------------


async def meet(backend: CacheBackend, first: Awaitable[object], second: Awaitable[object]) -> None:
    """Pause `first` before it writes the record, run `second` as far as possible, then let both end."""
    PausingCache.pause_before(f"mcp:{KEY}")
    one = asyncio.ensure_future(first)
    assert await asyncio.to_thread(PausingCache.reached.wait, BOUND)
    two = asyncio.ensure_future(second)
    # A backend that makes `second` wait is right too, so this ends either way.
    await asyncio.wait([two], timeout=0.1)
    PausingCache.proceed.set()
    async with asyncio.timeout(BOUND):
        await asyncio.gather(one, two)


@pytest.fixture
async def pausing(build: Build, clock: HandClock) -> CacheBackend:
    """A backend with one session, over a cache that can pause before it writes."""
    backend = build({"BACKEND": "tests.backends.caches.PausingCache"})
    await backend.open(session(clock))
    await backend.enter(KEY, ANN, "n1", [in_flight(9)])
    return backend


@pytest.mark.parametrize(
    "use",
    [
        lambda backend: backend.touch(KEY),
        lambda backend: backend.enter(KEY, ANN, "n1", [in_flight(1)]),
        lambda backend: backend.update(KEY, initialized=True),
        lambda backend: backend.leave(KEY, ended(9, ending=Ending.ERROR)),
        lambda backend: backend.attach(KEY, ANN, "g", None, "n1"),
    ],
    ids=["touch", "enter", "update", "leave", "attach"],
)
async def test_a_session_closed_while_its_record_is_written_stays_closed(
    pausing: CacheBackend, use: Callable[[CacheBackend], Awaitable[object]]
) -> None:
    await meet(pausing, use(pausing), pausing.close(KEY, ANN))
    await assert_refuses_everything(Backend.of(pausing), KEY)
    assert (await pausing.page()).total == 0


async def test_a_subscription_is_not_lost_to_a_request_that_enters_meanwhile(pausing: CacheBackend) -> None:
    entering = pausing.enter(KEY, ANN, "n1", [in_flight(1)])
    await meet(pausing, entering, pausing.subscribe(KEY, "test://new", True, 9, 99))
    found = await pausing.get(KEY)
    assert found is not None
    assert await pausing.subscriptions(KEY) == {"test://new"}
    assert found.requests == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda backend: backend.enter(KEY, ANN, "n1", [in_flight(1)]),
        lambda backend: backend.attach(KEY, ANN, "g", None, "n1"),
        lambda backend: backend.touch(KEY),
    ],
    ids=["enter", "attach", "touch"],
)
async def test_what_was_admitted_just_before_the_close_leaves_nothing_here(
    pausing: CacheBackend, monkeypatch: pytest.MonkeyPatch, use: Callable[[CacheBackend], Awaitable[object]]
) -> None:
    modify = pausing.modify

    async def modify_as_another_closes(*args: Any) -> object:
        changed = await modify(*args)
        await pausing.close(KEY, ANN)
        return changed

    monkeypatch.setattr(pausing, "modify", modify_as_another_closes)
    await use(pausing)
    assert pausing._local == {}
    assert (dict(pausing._writing_now), pausing._closed_meanwhile) == ({}, set())
