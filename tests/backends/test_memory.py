from __future__ import annotations

from collections import deque

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.history import Ending
from tests.backends.contract import BackendContract
from tests.backends.contract_counting import CountingContract
from tests.backends.contract_session_cap import SessionCapContract
from tests.support.backends import (
    ANN,
    BOB,
    KEY,
    OTHER_KEY,
    POLICY,
    STREAM,
    THIRD_KEY,
    UNKNOWN_KEY,
    HandClock,
    ended,
    events,
    in_flight,
    session,
)


class TestMemory(BackendContract, CountingContract, SessionCapContract):
    @pytest.fixture
    def backend(self, clock: HandClock) -> Backend:
        return Backend.of(MemoryBackend(POLICY, clock))


@pytest.fixture
def backend(clock: HandClock) -> MemoryBackend:
    return MemoryBackend(POLICY, clock)


def left_behind(backend: MemoryBackend) -> dict[str, object]:
    """Return the data that the backend still has, by the name of its attribute."""
    containers = vars(backend)
    return {name: held for name, held in containers.items() if isinstance(held, dict | list | set | deque) and held}


async def use(backend: MemoryBackend, key: str) -> None:
    """Store data of every kind in a session."""
    await backend.enter(key, ANN, "n1", [in_flight(1)])
    await backend.cancel(key, ANN, 2)
    await backend.write_state(key, "a", b"1")
    await backend.append(key, STREAM, events(1, end=True), holder="n1")
    await backend.attach(key, ANN, "g", None, "n1")
    await backend.emit(key, b"{}")


def test_it_says_that_it_is_one_process_own() -> None:
    backend = MemoryBackend(POLICY, HandClock())
    assert (backend.shares_sessions, backend.shares_streams, backend.restores_sessions) == (False, False, False)


async def test_nothing_is_left_of_closed_sessions(backend: MemoryBackend, clock: HandClock) -> None:
    await backend.start("n1", lambda message: None)
    for key in (KEY, OTHER_KEY):
        await backend.open(session(clock, key))
        await use(backend, key)
    await backend.close(KEY, ANN)
    await backend.close(OTHER_KEY, None)
    await backend.stop("n1")
    assert left_behind(backend) == {}


async def test_removing_what_never_was_leaves_nothing(backend: MemoryBackend) -> None:
    await backend.remove(KEY)
    assert left_behind(backend) == {}


async def test_nothing_is_left_by_what_comes_after_the_close(backend: MemoryBackend, clock: HandClock) -> None:
    await backend.open(session(clock))
    await use(backend, KEY)
    await backend.close(KEY, ANN)
    await backend.leave(KEY, ended(1, ending=Ending.ERROR))
    await backend.append(KEY, STREAM, events(2))
    await backend.checkpoint(KEY, STREAM, 2)
    await backend.emit(KEY, b"{}")
    await backend.touch(KEY)
    await backend.enter(KEY, ANN, "n1", [in_flight(3)])
    await backend.attach(KEY, ANN, "g", None, "n1")
    await backend.write_state(KEY, "a", b"1")
    await backend.update(KEY, initialized=True)
    await backend.cancel(KEY, ANN, 3)
    assert left_behind(backend) == {}


async def test_opening_and_closing_again_and_again_takes_no_memory(backend: MemoryBackend, clock: HandClock) -> None:
    await backend.open(session(clock))
    for _ in range(200):
        await backend.open(session(clock, OTHER_KEY))
        await backend.close(OTHER_KEY, ANN)
        clock.advance(0.1)
    held = [value for value in left_behind(backend).values() if isinstance(value, dict | list | set | deque)]
    assert max(len(value) for value in held) < 20


async def test_probing_for_unknown_sessions_leaves_nothing(backend: MemoryBackend) -> None:
    for number in range(50):
        key = f"{UNKNOWN_KEY[:20]}{number:06}"
        await backend.enter(key, ANN, "n1", [in_flight(1)])
        await backend.attach(key, ANN, "g", None, "n1")
        await backend.cancel(key, ANN, 1)
        await backend.touch(key)
        await backend.emit(key, b"{}")
        await backend.append(key, STREAM, events(1), holder="n1")
        await backend.write_state(key, "a", b"1")
    assert left_behind(backend) == {}


async def test_what_expired_goes_when_another_session_is_used(backend: MemoryBackend, clock: HandClock) -> None:
    await backend.open(session(clock))
    await use(backend, KEY)
    await backend.open(session(clock, OTHER_KEY))
    clock.advance(POLICY.session_ttl + 1)
    await backend.open(session(clock, THIRD_KEY, BOB))
    await backend.enter(THIRD_KEY, BOB, "n1")
    assert backend._state == {}
    assert list(backend._sessions) == [THIRD_KEY]
    assert backend._owned == {BOB: {THIRD_KEY: None}}
    assert list(backend._local) == [THIRD_KEY]


async def test_a_session_at_its_absolute_end_goes_behind_ones_that_live(
    backend: MemoryBackend, clock: HandClock
) -> None:
    await backend.open(session(clock, KEY, ends=clock() + 10))
    await backend.open(session(clock, OTHER_KEY))
    await backend.touch(OTHER_KEY)
    await backend.touch(KEY)
    clock.advance(10)
    await backend.open(session(clock, THIRD_KEY))
    assert KEY not in backend._sessions
    assert KEY not in backend._owned[ANN]


async def test_streams_that_are_over_and_early_cancellations_go_in_time(
    backend: MemoryBackend, clock: HandClock
) -> None:
    await backend.open(session(clock))
    await use(backend, KEY)
    clock.advance(POLICY.stream_keep + 1)
    await backend.enter(KEY, ANN, "n1")
    _, local = backend._local[KEY]
    assert set(local.logs) == {"g"}
    assert local.cancels == {}
