"""The backend contract for subscriptions to resources."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.domain.node_messages import Broadcast
from tests.support.backends import ANN, KEY, OTHER_KEY, POLICY, UNKNOWN_KEY, HandClock, session

MOST, BYTES = 3, 100
UPDATED = "notifications/resources/updated"


async def subscribe(backend: Backend, *uris: str, key: str = KEY, subscribed: bool = True) -> list[bool]:
    """Subscribe to some URIs, or unsubscribe from them; return which of them fit."""
    return [await backend.sessions.subscribe(key, uri, subscribed, MOST, BYTES) for uri in uris]


class SubscriptionContract:
    """Subscriptions are stored beside the record, limited by number and bytes, and end with their session."""

    async def test_a_new_session_has_no_subscriptions(self, opened: Backend) -> None:
        assert await opened.sessions.subscriptions(KEY) == frozenset()

    async def test_subscriptions_are_kept_once_and_until_they_are_taken_back(self, opened: Backend) -> None:
        assert await subscribe(opened, "a", "b", "a") == [True] * 3
        assert await opened.sessions.subscriptions(KEY) == {"a", "b"}
        assert await subscribe(opened, "a", "a", "never", subscribed=False) == [True] * 3
        assert await opened.sessions.subscriptions(KEY) == {"b"}
        assert await subscribe(opened, "b", subscribed=False) == [True]
        assert await opened.sessions.subscriptions(KEY) == frozenset()
        assert await subscribe(opened, "c") == [True]
        assert await opened.sessions.subscriptions(KEY) == {"c"}

    async def test_subscriptions_have_a_limit(self, opened: Backend) -> None:
        assert await subscribe(opened, "a", "b", "c", "d", "a") == [True, True, True, False, True]
        assert await opened.sessions.subscriptions(KEY) == {"a", "b", "c"}
        await subscribe(opened, "a", subscribed=False)
        assert await subscribe(opened, "d") == [True]

    @pytest.mark.parametrize("letter", ["x", "\u00e9", "\u6f22"])
    async def test_subscriptions_have_so_many_bytes(self, opened: Backend, letter: str) -> None:
        each = len(letter.encode())
        long, short = letter * (60 // each), letter * (40 // each)
        rest = "x" * (BYTES - len((long + short).encode()))
        assert await subscribe(opened, long, short, *([rest] if rest else [])) == [True] * (2 + bool(rest))
        assert await subscribe(opened, "y", long, subscribed=False) == [True, True]
        assert await subscribe(opened, long + "yy", long) == [False, True]
        assert long in await opened.sessions.subscriptions(KEY)

    async def test_subscriptions_that_do_not_fit_any_more_can_be_taken_back(self, opened: Backend) -> None:
        await subscribe(opened, "a", "b", "c")
        assert await opened.sessions.subscribe(KEY, "a", True, 1, 1), "it is there"
        assert not await opened.sessions.subscribe(KEY, "d", True, 1, 1)
        assert await opened.sessions.subscribe(KEY, "a", False, 1, 1)
        assert await opened.sessions.subscriptions(KEY) == {"b", "c"}

    async def test_each_session_has_subscriptions_of_its_own(self, opened: Backend, clock: HandClock) -> None:
        await opened.sessions.open(session(clock, OTHER_KEY))
        await subscribe(opened, "a")
        await subscribe(opened, "b", key=OTHER_KEY)
        assert await opened.sessions.subscriptions(KEY) == {"a"}
        assert await opened.sessions.subscriptions(OTHER_KEY) == {"b"}

    async def test_an_unknown_session_subscribes_to_nothing(self, opened: Backend) -> None:
        assert await subscribe(opened, "a", key=UNKNOWN_KEY) == [True]
        assert await opened.sessions.subscriptions(UNKNOWN_KEY) == frozenset()

    async def test_subscriptions_end_with_their_session(self, opened: Backend, clock: HandClock) -> None:
        await subscribe(opened, "a")
        assert await opened.sessions.close(KEY, ANN)
        assert await opened.sessions.subscriptions(KEY) == frozenset()

    async def test_subscriptions_live_as_long_as_their_session(self, opened: Backend, clock: HandClock) -> None:
        await subscribe(opened, "a")
        for use in (lambda: opened.sessions.enter(KEY, ANN, "n1"), lambda: opened.sessions.touch(KEY)) * 2:
            clock.advance(POLICY.session_ttl * 0.6)
            assert await use()
        assert await opened.sessions.subscriptions(KEY) == {"a"}
        clock.advance(POLICY.session_ttl + 1)
        assert await opened.sessions.subscriptions(KEY) == frozenset()

    async def test_a_change_is_told_to_those_who_subscribed(self, opened: Backend) -> None:
        await subscribe(opened, "a")
        assert await opened.streams.emit(KEY, b"{}", Broadcast(UPDATED, "b", "000000000000001-00000")) is None
        assert await opened.streams.emit(KEY, b"{}", Broadcast(UPDATED, "a", "000000000000002-00000")) is not None
        await subscribe(opened, "a", subscribed=False)
        assert await opened.streams.emit(KEY, b"{}", Broadcast(UPDATED, "a", "000000000000003-00000")) is None
        assert await opened.streams.emit(KEY, b"{}", Broadcast(UPDATED, "", "000000000000004-00000")) is not None

    async def test_a_record_is_as_large_with_subscriptions_as_without(self, opened: Backend) -> None:
        before = await opened.sessions.get(KEY)
        await subscribe(opened, "a", "b")
        assert await opened.sessions.get(KEY) == before
