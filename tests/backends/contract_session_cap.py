"""The contract of backends that limit the sessions of a principal."""

from __future__ import annotations

import asyncio

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.session import session_key
from tests.support.backends import (
    ANN,
    BOB,
    KEY,
    OTHER_KEY,
    POLICY,
    THIRD_KEY,
    UNKNOWN_KEY,
    HandClock,
    ended,
    in_flight,
    index_of,
    session,
)

FOURTH_KEY = UNKNOWN_KEY
MANY = [session_key(f"many-{number}") for number in range(40)]


async def alive(backend: Backend, *keys: str) -> list[str]:
    """Return the keys that have a session."""
    return [key for key in keys if await backend.sessions.get(key) is not None]


class SessionCapContract:
    """`POLICY` allows three sessions."""

    async def index(self, backend: Backend) -> None:
        """Let the backend write when sessions were last used."""

    async def fill(self, backend: Backend, clock: HandClock, *busy: str) -> None:
        """Open three sessions, some of them busy."""
        for key in (KEY, OTHER_KEY, THIRD_KEY):
            assert await backend.sessions.open(session(clock, key)) == ()
            if key in busy:
                await backend.sessions.enter(key, ANN, "n1", [in_flight(1)])
            clock.advance(1)

    async def test_over_the_cap_a_principals_idlest_session_makes_room(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await self.fill(backend, clock)
        await backend.sessions.touch(KEY)
        await self.index(backend)
        assert await backend.sessions.open(session(clock, FOURTH_KEY)) == (OTHER_KEY,)

    async def test_a_change_of_its_record_does_not_make_a_session_less_idle(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await self.fill(backend, clock)
        await backend.sessions.update(KEY, initialized=True)
        await self.index(backend)
        assert await backend.sessions.open(session(clock, FOURTH_KEY)) == (KEY,)

    async def test_a_session_with_a_running_call_does_not_make_room(self, backend: Backend, clock: HandClock) -> None:
        await self.fill(backend, clock, KEY, OTHER_KEY, THIRD_KEY)
        await backend.sessions.leave(THIRD_KEY, ended(1))
        assert await backend.sessions.open(session(clock, FOURTH_KEY)) == (THIRD_KEY,)

    async def test_when_all_are_busy_there_is_no_room(self, backend: Backend, clock: HandClock) -> None:
        await self.fill(backend, clock, KEY, OTHER_KEY, THIRD_KEY)
        for _ in range(3):
            with pytest.raises(NoRoom):
                await backend.sessions.open(session(clock, FOURTH_KEY))
        assert await alive(backend, KEY, OTHER_KEY, THIRD_KEY, FOURTH_KEY) == [KEY, OTHER_KEY, THIRD_KEY]
        if backend.index is not None:
            assert (await index_of(backend).page()).total == 3
        await backend.sessions.leave(OTHER_KEY, ended(1))
        assert await backend.sessions.open(session(clock, FOURTH_KEY)) == (OTHER_KEY,)

    async def test_a_busy_session_that_ends_makes_room(self, backend: Backend, clock: HandClock) -> None:
        await self.fill(backend, clock, KEY, OTHER_KEY, THIRD_KEY)
        await backend.sessions.close(KEY, ANN)
        assert await backend.sessions.open(session(clock, FOURTH_KEY)) == ()

    async def test_principals_and_expired_sessions_do_not_count_for_each_other(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await self.fill(backend, clock, KEY, OTHER_KEY, THIRD_KEY)
        assert await backend.sessions.open(session(clock, FOURTH_KEY, BOB)) == ()
        clock.advance(POLICY.session_ttl)
        assert await backend.sessions.open(session(clock, session_key("five"))) == ()

    @pytest.mark.parametrize("busy", [(), (KEY,), (KEY, THIRD_KEY)])
    async def test_however_many_are_opened_at_once_the_cap_holds(
        self, backend: Backend, clock: HandClock, busy: tuple[str, ...]
    ) -> None:
        await self.fill(backend, clock, *busy)

        async def open_one(key: str) -> None:
            for idle in await backend.sessions.open(session(clock, key)):
                await backend.sessions.close(idle, None)

        await asyncio.gather(*(open_one(key) for key in MANY))
        living = await alive(backend, KEY, OTHER_KEY, THIRD_KEY, *MANY)
        assert len(living) == 3
        assert set(busy) <= set(living)
