"""For each kind of item in DynamoDB: each attribute missing, of each other type, and with odd content.

`MCP_GARBAGE=all` tries all of it, which takes some minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, cast

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import DynamoClient, TableSettings
from mcp_transport.backends.dynamodb.items import Address
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Broadcast, ReplyArrived
from mcp_transport.domain.rate_limit import Charge, limits
from mcp_transport.domain.session import InFlightRequest, Session, session_key
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import RequestId
from tests.garbage.items import Raw, odd_items
from tests.garbage.stage import Stage, stage
from tests.garbage.tables import Recorder, Table, address_of, kind_of
from tests.support.dynamodb.backend import build

INBOX, PARTS = "inbox# *", "parts# *#*"
KINDS: Final = (
    "session# record",
    "session# stream#*",
    "session# event#*#*",
    "session# event#*#*#*",
    "session# history#*",
    "session# state#*",
    "session# body#*#*#*",
    "session# subscriptions",
    "caller# #",
    "caller# *#*",
    "nodes *",
    "descriptions *",
    "journal# *",
    INBOX,
    PARTS,
    "broadcasts #",
    "broadcasts *",
    "rate# #",
)
# What its node writes again; nobody has to put it back.
MENDED: Final = ("nodes *", "descriptions *", "broadcasts #", "rate# #", INBOX, PARTS)

# How many odd items of each kind are tried in the short form, and with which kinds both nodes look at them.
SAMPLES: Final = 1
SEED: Final = os.environ.get("MCP_GARBAGE", "1")
WITH_NODES: Final = ("session# stream#*", "nodes *")
# In the long form, they look at each so many.
NODES_AT: Final = 9

(LIMIT,) = limits("session", "5000/day burst 199")
CHARGES: Final = [Charge(LIMIT, "bucket", cost, 3600.0) for cost in (1.0, 0.0)]
LARGE: Final = b'"' + b"x" * 300_000 + b'"'


@pytest.fixture
async def made(table: TableSettings, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with stage(partial(build, table), monkeypatch) as made:
        await add_large_items(made)
        yield made


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(DynamoClient, "call", recorder.recorded(DynamoClient.call))
    return recorder


@pytest.fixture
def items(table: TableSettings) -> Table:
    return Table(table)


async def add_large_items(made: Stage) -> None:
    """Have a call with a body that has written a large event, and a large message between nodes."""
    backend, key = made.one.backend, session_key(made.ann.session_id)
    request = InFlightRequest(request_id="d", digest=b"d", node=made.node, stream="durable", body=LARGE)
    session = await backend.sessions.get(key)
    assert session is not None
    await backend.sessions.enter(key, session.principal, made.node, [request])
    await backend.streams.append(key, "durable", [Event(1, b"{}"), Event(2, LARGE)], writer=made.node)
    await made.two.backend.streams.attach(key, session.principal, "durable", 0, made.two.pool.nodes[0].id)
    await backend.sessions.leave(key, {"early": Ending.OK})
    assert backend.rates is not None
    await backend.rates.settle(CHARGES)
    await made.two.backend.bus.send(made.node, ReplyArrived("nobody", {"text": LARGE.decode()}, None))


class Contract:
    """All operations on the session of `ann`: each succeeds, or raises what the contract names."""

    def __init__(self, made: Stage, backend: Backend, session: Session) -> None:
        self._backend, self._session, self._principal = backend, session, session.principal
        self._key, self._node = session_key(made.ann.session_id), made.node

    async def check(self) -> None:
        sessions, streams, key = self._backend.sessions, self._backend.streams, self._key
        rates, items = self._backend.rates, cast(Any, sessions)
        assert rates is not None
        items._items._remembered.clear()
        await allowed(sessions.get(key))
        await allowed(sessions.in_flight(key))
        await allowed(sessions.history(key))
        await allowed(sessions.read_state(key))
        await allowed(sessions.write_state(key, "colour", b"2"))
        await allowed(sessions.subscriptions(key))
        await allowed(sessions.touch(key, GET_STREAM))
        await allowed(sessions.update(key, log_level="debug"))
        for request_id in ("c", "d", "unknown"):
            await allowed(sessions.cancel(key, self._principal, request_id))
        await allowed(streams.stream_records(key))
        for stream in (GET_STREAM, "durable"):
            await allowed(streams.read(key, stream, 0))
            await allowed(streams.attach(key, self._principal, stream, None, self._node))
            await allowed(streams.checkpoint(key, stream, 1, released_epoch=1))
            await allowed(streams.writer(key, stream))
        await allowed(streams.emit(key, b"{}"))
        await allowed(streams.claim(key, "durable", self._node, self._node))
        await self._call("e")
        assert await rates.settle(CHARGES)
        await self._backend.bus.broadcast(Broadcast("notifications/x", "test://y"))
        await self._backend.bus.broadcasts("")
        await sessions.open(replace(self._session, key=session_key(secrets.token_hex(8))))

    async def _call(self, request_id: RequestId) -> None:
        request = InFlightRequest(request_id=request_id, digest=b"e", node=self._node, stream="durable")
        await allowed(self._backend.sessions.enter(self._key, self._principal, self._node, [request]))
        event, streams = Event(4_000_000_000, b"{}"), self._backend.streams
        await allowed(streams.append(self._key, "durable", [event], writer=self._node))
        await allowed(self._backend.sessions.leave(self._key, {request_id: Ending.OK}, stream="durable"))


async def allowed(work: Awaitable[Any]) -> None:
    """Wait for an operation, which may not find what it looks for, but takes no long time for that."""
    try:
        async with asyncio.timeout(30):
            await work
    except (Unreadable, LookupError):
        pass


def real_item(kind: str, made: Stage, recorder: Recorder, stored: Mapping[Address, Raw]) -> Raw:
    """Return an item of a kind: of the session of `ann`, of the first node, or of all."""
    found = [address for address in recorder.written if kind_of(address) == kind]
    key = session_key(made.ann.session_id)
    mine = [address for address in found if key in address.pk + address.sk] or [
        address for address in found if made.node in (address.pk.rpartition("#")[2], address.sk)
    ]
    address = (mine or found)[-1]
    return stored.get(address) or recorder.written[address] or {}


def place(kind: str, item: Raw, number: int, items: Table) -> Address:
    """Put an item into the table; a message under a new name, since a node reads each once. Return where it is."""
    if kind == INBOX:
        item = {**item, "sk": {"S": f"{item['sk']['S']}-{number}"}}
    if kind == PARTS:
        pk, name = item["pk"]["S"].replace("parts#", "inbox#"), f"{item['sk']['S'].partition('#')[0]}-{number}"
        item = {**item, "sk": {"S": f"{name}#00000"}}
    items.put(item)
    if kind == PARTS:
        items.put({"pk": {"S": pk}, "sk": {"S": name}, "parts": {"N": "1"}})
    return address_of(item)


class Trial:
    """A stage, in which one item after the other is garbage."""

    def __init__(self, made: Stage, items: Table, recorder: Recorder, newcomer: Backend, session: Session) -> None:
        self._made, self._items, self._recorder = made, items, recorder
        self._contract = Contract(made, newcomer, session)
        self._before, self._count = items.all(), 0

    def odd_items(self, kind: str) -> list[tuple[str, Raw]]:
        return list(odd_items(real_item(kind, self._made, self._recorder, self._before)))

    async def check(self, kind: str, what: str, odd: Raw, *, with_nodes: bool) -> None:
        """Put an item into the table, look whether all goes on, and put back what was there."""
        self._count += 1
        try:
            self._recorder.touched = {place(kind, odd, self._count, self._items)}
            await self._contract.check()
            if with_nodes:
                await self.check_nodes()
            self.restore()
            if with_nodes:
                await self._made.check_all_is_as_before()
        except BaseException as error:
            error.add_note(f"{kind}: {what}")
            raise

    async def check_nodes(self) -> None:
        await self._made.beat()
        await self._made.check_owner()
        await self._made.check_others()
        await self._made.check_operators()

    def restore(self) -> None:
        for address in self._recorder.touched:
            if kind_of(address) not in MENDED:
                if address in self._before:
                    self._items.put(self._before[address])
                else:
                    self._items.delete(address)


@pytest.fixture
async def trial(made: Stage, items: Table, recorder: Recorder, table: TableSettings) -> Trial:
    session = await made.one.backend.sessions.get(session_key(made.ann.session_id))
    assert session is not None
    return Trial(made, items, recorder, build(table), session)


async def test_what_is_no_item_of_ours_costs_one_item(trial: Trial, made: Stage, recorder: Recorder) -> None:
    assert recorder.kinds == set(KINDS)
    for kind in KINDS:
        odd = trial.odd_items(kind)
        for what, item in random.Random(f"{kind} {SEED}").sample(odd, SAMPLES):  # noqa: S311
            await trial.check(kind, what, item, with_nodes=kind in WITH_NODES)


if os.environ.get("MCP_GARBAGE") == "all":

    @pytest.mark.parametrize("kind", KINDS)
    async def test_whatever_is_no_item_of_ours_costs_one_item(kind: str, trial: Trial) -> None:
        for number, (what, item) in enumerate(trial.odd_items(kind)):
            await trial.check(kind, what, item, with_nodes=number % NODES_AT == 0)
