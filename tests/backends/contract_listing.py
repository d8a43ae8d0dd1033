"""The backend contract for listing sessions: pages, live sessions, filters."""

from __future__ import annotations

from mcp_transport.backends.base import Backend
from mcp_transport.backends.records import Page
from mcp_transport.domain.session_query import SessionQuery
from tests.backends.contract_operators import OperatorContract
from tests.support.backends import ANN, BOB, KEY, OTHER_KEY, POLICY, THIRD_KEY, HandClock, index_of, session


class ListingContract(OperatorContract):
    """The contract of backends that list sessions; others have no index."""

    async def test_sessions_are_listed_last_seen_first_page_by_page(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            assert backend.index is None
            return
        assert await index_of(backend).page() == Page((), 0)
        for key, principal in ((KEY, ANN), (OTHER_KEY, BOB), (THIRD_KEY, "")):
            await backend.sessions.open(session(clock, key, principal))
            clock.advance(1)
        await backend.sessions.touch(KEY)
        await backend.sessions.update(OTHER_KEY, initialized=True)  # a change is no use: the order stays
        page = await index_of(backend).page()
        assert ([item.key for item in page.sessions], page.total) == ([KEY, THIRD_KEY, OTHER_KEY], 3)
        assert page.sessions[0] == await backend.sessions.get(KEY)
        second = await index_of(backend).page(offset=1, limit=1)
        assert ([item.key for item in second.sessions], second.total) == ([THIRD_KEY], 3)
        assert await index_of(backend).page(offset=3) == Page((), 3)

    async def test_only_live_sessions_are_listed(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return  # the test before this one has seen it say so
        short = session(clock, KEY, ends=clock() + 90)
        await backend.sessions.open(short)
        await backend.sessions.open(session(clock, OTHER_KEY))
        await backend.sessions.open(session(clock, THIRD_KEY))
        await backend.sessions.close(THIRD_KEY, None)
        clock.advance(80)
        await backend.sessions.touch(OTHER_KEY)
        await backend.sessions.touch(KEY)  # the last one used, and the first one to end
        clock.advance(11)
        page = await index_of(backend).page()
        assert ([item.key for item in page.sessions], page.total) == ([OTHER_KEY], 1)

    async def test_sessions_are_found_by_what_is_known_of_them(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        claude, cursor = {"name": "Claude", "version": "1"}, {"name": "Cursor", "version": "2"}
        await backend.sessions.open(session(clock, KEY, ANN, user="ann", client_info=claude, address="192.0.2.7"))
        clock.advance(1)
        await backend.sessions.open(
            session(clock, OTHER_KEY, BOB, user="bob", client_info=claude, address="192.0.2.8")
        )
        clock.advance(1)
        await backend.sessions.open(
            session(clock, THIRD_KEY, user="", client_info=cursor, protocol_version="2025-03-26")
        )
        await backend.sessions.enter(THIRD_KEY, ANN, "n3")
        await self.index(backend)
        for query, keys in {
            SessionQuery(text="an"): {KEY},
            SessionQuery(text="a"): {OTHER_KEY, KEY},
            SessionQuery(text="CLAUDE"): {OTHER_KEY, KEY},
            SessionQuery(text="192.0.2."): {OTHER_KEY, KEY},
            SessionQuery(text="192.0.2.8"): {OTHER_KEY},
            SessionQuery(text=KEY[:10].lower()): {KEY},
            SessionQuery(text="aude"): {OTHER_KEY, KEY},
            SessionQuery(text="sor 2"): {THIRD_KEY},
            SessionQuery(text="ob"): {OTHER_KEY},
            SessionQuery(text="aude", user="bob"): {OTHER_KEY},
            SessionQuery(text="0.2.8"): set(),
            SessionQuery(text="nobody"): set(),
            SessionQuery(anonymous=True): {THIRD_KEY},
            SessionQuery(anonymous=True, client="Claude 1"): set(),
            SessionQuery(keys=frozenset({KEY, THIRD_KEY})): {KEY, THIRD_KEY},
            SessionQuery(keys=frozenset({KEY}), user="bob"): set(),
            SessionQuery(keys=frozenset()): set(),
            SessionQuery(user="bob"): {OTHER_KEY},
            SessionQuery(client="Claude 1"): {OTHER_KEY, KEY},
            SessionQuery(client="Claude 1", user="ann"): {KEY},
            SessionQuery(client="Cursor 2", user="ann"): set(),
            SessionQuery(protocol_version="2025-03-26"): {THIRD_KEY},
            SessionQuery(node="n3"): {THIRD_KEY},
            SessionQuery(node="n4"): set(),
            SessionQuery(text="c", node="n3"): {THIRD_KEY},
            SessionQuery(text="c", user="ann"): {KEY},
        }.items():
            page = await index_of(backend).page(query=query)
            assert {item.key for item in page.sessions} == keys, query
            assert (page.total, page.is_exact) == (len(keys), True), query
        page = await index_of(backend).page(0, 1, SessionQuery(client="Claude 1"))
        assert ([item.key for item in page.sessions], page.total) == ([OTHER_KEY], 2), "last seen first"
        page = await index_of(backend).page(1, 1, SessionQuery(client="Claude 1"))
        assert ([item.key for item in page.sessions], page.total) == ([KEY], 2)

    async def test_what_sessions_can_be_filtered_by_is_counted(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        page, counted = await index_of(backend).page_and_facets(0, 10, SessionQuery(), "-created")
        assert (page, {name: values for name, values in counted.items() if name not in ("state", "age")}) == (
            Page((), 0),
            {"user": (), "client": (), "protocol_version": (), "node": ()},
        )
        claude = {"name": "Claude", "version": "1"}
        await backend.sessions.open(session(clock, KEY, ANN, user="ann", client_info=claude, initialized=True))
        await backend.sessions.enter(KEY, ANN, "n1")
        clock.advance(70)
        await backend.sessions.open(session(clock, OTHER_KEY, BOB, user="", client_info=claude))
        await backend.sessions.open(session(clock, THIRD_KEY, user="", client_info={}, initialized=True))
        for key, principal in ((OTHER_KEY, BOB), (THIRD_KEY, ANN)):
            await backend.sessions.enter(key, principal, "n1")
        await self.index(backend)
        page, counted = await index_of(backend).page_and_facets(0, 10, SessionQuery(user="ann"), "-created")
        assert [item.key for item in page.sessions] == [KEY]
        assert {name: dict(values) for name, values in counted.items() if name not in ("state", "age")} == {
            "user": {"": 2, "ann": 1},
            "client": {"Claude 1": 2},
            "protocol_version": {"2025-11-25": 3},
            "node": {"n1": 3},
        }
        if "state" in counted:  # which an index that has no counts of its own leaves out
            states = {value: count for value, count in counted["state"] if count}
            assert states == dict.fromkeys(("opening", "active", "idle"), 1)
            assert dict(counted["age"]) == {"hour": 3, "day": 3, "over-day": 0, "over-week": 0}
        for key in (KEY, OTHER_KEY, THIRD_KEY):
            await backend.sessions.close(key, None)
        await backend.sessions.ping()
        _, counted = await index_of(backend).page_and_facets(0, 10, SessionQuery(), "-created")
        assert [counted[name] for name in ("user", "client", "protocol_version")] == [(), (), ()]

    async def test_sessions_that_are_over_are_not_found(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        for key in (KEY, OTHER_KEY, THIRD_KEY):
            await backend.sessions.open(session(clock, key, user="ann", client_info={"name": "Claude"}))
        await self.index(backend)
        await backend.sessions.close(KEY, None)
        clock.advance(POLICY.session_ttl - 1)
        await backend.sessions.touch(THIRD_KEY)
        clock.advance(2)
        for query in (SessionQuery(text="ann"), SessionQuery(user="ann"), SessionQuery(client="Claude")):
            page = await index_of(backend).page(query=query)
            assert ([item.key for item in page.sessions], page.total) == ([THIRD_KEY], 1), query
