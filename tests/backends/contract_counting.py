"""The contract of backends that count a caller's sessions."""

from __future__ import annotations

from mcp_transport.backends.base import Backend
from mcp_transport.domain.session import session_key
from tests.support.backends import HandClock, session


class CountingContract:
    """Sessions count for the caller that opened them."""

    async def test_anonymous_sessions_count_by_the_address_that_opened_them(
        self, backend: Backend, clock: HandClock
    ) -> None:
        addresses = ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1")
        keys = [session_key(f"anonymous {number}") for number in range(len(addresses))]
        for key, address in zip(keys, addresses, strict=True):
            assert await backend.sessions.open(session(clock, key, "", address=address)) == ()
            assert await backend.sessions.touch(key)
        (idle,) = await backend.sessions.open(session(clock, session_key("one more"), "", address="192.0.2.1"))
        assert idle in keys[:3]
        assert await backend.sessions.close(idle, "") is not None
        assert await backend.sessions.open(session(clock, session_key("last"), "", address="2001:db8::2")) == ()
