"""Memory for bodies (503, 413): what is let in, by whom it is held, when it is free again; and what leaks."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mcp_transport.engine.call import Call
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import ClientDisconnected
from mcp_transport.protocol.memory_estimate import estimate_bytes
from tests.support.client import ENVELOPE, Answer, SessionClient, request, send, send_sessionless, silent, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate

MARK = "marks an argument of these tests"
ARGUMENTS: dict[str, Any] = {MARK: [{} for _ in range(3000)]}
PARAMS = {"name": "blocked", "arguments": ARGUMENTS}
SIZE = estimate_bytes(json.dumps(request("tools/call", PARAMS)).encode())
SMALL = {"name": "add", "arguments": {"a": 1, "b": 2}}


class Session(SessionClient):
    """A session of 2025-11-25."""

    async def hold(self, params: dict[str, Any] = PARAMS, **options: Any) -> Answer:
        return await self.request("tools/call", params, **options)


class Sessionless:
    """A client of 2026-07-28."""

    def __init__(self, endpoint: Endpoint, user: Any = None) -> None:
        self.endpoint, self.user = endpoint, user
        self.headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "blocked"}

    async def open(self) -> None: ...

    async def hold(self, params: dict[str, Any] = PARAMS, **options: Any) -> Answer:
        return await send_sessionless(self.endpoint, "tools/call", params, user=self.user, **options)


Client = Session | Sessionless
Kind = type[Session] | type[Sessionless]


@pytest.fixture(params=[Session, Sessionless])
def kind(request: Any) -> Kind:
    found: Kind = request.param
    return found


async def opened_as(kind: Kind, endpoint: Endpoint, user: Any = None) -> Client:
    client = kind(endpoint, user=user)
    await client.open()
    return client


def refused_with(answer: Answer, status: int = 503) -> str:
    """Assert that an answer refuses for lack of memory; return what it says."""
    assert answer.status == status, answer.body
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)
    message: str = answer.json["error"]["message"]
    return message


async def holding(client: Client, clock: FakeClock, gate: Gate, **options: Any) -> Answer:
    """Make a large call that waits; return its stream."""
    gate.entered.clear()
    return await silent(clock, gate.entered, client.hold(**options))


async def test_a_call_holds_memory_until_it_ends(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    client = await opened_as(kind, endpoint)
    first = await holding(client, clock, gate)
    assert SIZE <= endpoint.budget.reserved_bytes < 1.2 * SIZE
    assert f"of {int(1.5 * SIZE)} bytes" in refused_with(await client.hold(id=2))
    gate.open.set()
    assert await first.text() == "through"
    await until(lambda: not endpoint.budget.reserved_bytes)
    assert (await client.hold(id=3)).status == 200


async def test_a_small_request_is_served_when_nothing_is_left(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    client = await opened_as(kind, build_endpoint(max_bytes_in_flight=int(1.3 * SIZE)), "ann")
    await holding(client, clock, gate)
    refused_with(await client.hold(id=2))
    gate.open.set()
    assert (await client.hold(SMALL, id=3)).status == 200


async def test_one_caller_leaves_room_for_another(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=3 * SIZE, max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    ann, bob = await opened_as(kind, endpoint, "ann"), await opened_as(kind, endpoint, "bob")
    await holding(ann, clock, gate)
    assert "of this caller" in refused_with(await ann.hold(id=2))
    await holding(bob, clock, gate)


@pytest.mark.parametrize(
    ("user", "other", "status"),
    [(None, "192.0.2.2", 200), (None, "192.0.2.1", 503), (None, "::ffff:192.0.2.1", 503), ("ann", "192.0.2.2", 503)],
)
async def test_users_are_told_apart_by_name_and_anonymous_callers_by_address(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, user: str | None, other: str, status: int
) -> None:
    client = Sessionless(build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE)), user)
    await holding(client, clock, gate, peer="192.0.2.1")
    gate.open.set()
    assert (await client.hold(peer=other, id=2)).status == status
    if user:
        assert (await Sessionless(client.endpoint).hold(SMALL, peer="192.0.2.1")).status == 200


async def test_callers_without_credentials_leave_a_part_to_those_with_some(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=int(4.4 * SIZE))
    client = Sessionless(endpoint)
    for number in range(3):
        await holding(client, clock, gate, peer=f"192.0.2.{number}", id=number)
    assert "without credentials" in refused_with(await client.hold(peer="192.0.2.9", id=9))
    await holding(Sessionless(endpoint, user="ann"), clock, gate)
    assert "of all callers" in refused_with(await Sessionless(endpoint, user="bob").hold())


async def test_a_body_that_never_fits_is_too_large(kind: Kind, build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=SIZE // 2)
    answer = await (await opened_as(kind, endpoint)).hold()
    assert f"a caller may use at most {SIZE // 2}" in refused_with(answer, 413)
    assert endpoint.budget.reserved_bytes == 0


async def test_a_body_that_arrives_counts(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=10_000)
    more = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"[" + b" " * 6000
        await more.wait()
        yield b"]"

    arriving = asyncio.ensure_future(send(endpoint, user="ann", chunks=chunks()))
    await until(lambda: endpoint.budget.reserved_bytes)
    assert endpoint.budget.reserved_bytes > 6000
    assert "of all callers" in refused_with(await send(endpoint, user="bob", raw=b" " * 6000))
    more.set()
    assert (await arriving).status == 413, "with what is decoded it is larger"
    assert endpoint.budget.reserved_bytes == 0


async def test_a_body_is_not_read_when_its_length_tells_that_it_has_no_room(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.2 * SIZE))
    await holding(Sessionless(endpoint), clock, gate)

    is_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal is_read
        is_read = True
        yield b""

    refused_with(await send(endpoint, headers={"content-length": str(SIZE // 4)}, chunks=body()))
    assert not is_read


@pytest.mark.parametrize(
    ("end", "status"),
    [(b"", 400), (b"\xff", 400), (b"1" * 5_000_000, 413), (TimeoutError(), 408), (ClientDisconnected(), 0)],
)
async def test_a_body_that_is_refused_holds_nothing(endpoint: Endpoint, end: bytes | Exception, status: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * 5000
        assert endpoint.budget.reserved_bytes > 5000
        if isinstance(end, Exception):
            raise end
        yield end

    if status:
        assert (await send(endpoint, chunks=chunks())).status == status
    else:
        with pytest.raises(ClientDisconnected):
            await send(endpoint, chunks=chunks())
    await send(endpoint, raw=b" " * 9000, headers={"content-type": "text/plain"})
    await send(endpoint, raw=b" " * 9000, headers={"origin": "https://evil.example"})
    assert endpoint.budget.reserved_bytes == 0


async def test_a_body_in_many_small_pieces_counts_for_more(build_endpoint: BuildEndpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b"  "

    refused_with(await send(build_endpoint(max_bytes_in_flight=100_000), chunks=chunks()), 413)


# -- what holds it ----------------------------------------------------------------------------------------


async def test_a_call_whose_client_left_holds_it_in_a_session_alone(
    kind: Kind, endpoint: Endpoint, clock: FakeClock, gate: Gate
) -> None:
    (await holding(await opened_as(kind, endpoint), clock, gate)).close()
    if kind is Session:
        await settle()
        assert endpoint.budget.reserved_bytes >= SIZE
        gate.open.set()
    await until(lambda: not endpoint.budget.reserved_bytes)
    assert gate.cancelled is (kind is Sessionless)


async def test_a_cancelled_call_holds_nothing(client: SessionClient, clock: FakeClock, gate: Gate) -> None:
    await silent(clock, gate.entered, client.request("tools/call", PARAMS, id=7))
    await client.notify("notifications/cancelled", {"requestId": 7})
    await until(lambda: not client.endpoint.budget.reserved_bytes)


async def test_a_batch_holds_it_until_its_last_call_ends(old: SessionClient, gate: Gate) -> None:
    budget = old.endpoint.budget
    small = {"name": "add", "arguments": {"a": 1, "b": 2, **ARGUMENTS}}
    batch = [request("tools/call", small, id=1), request("tools/call", PARAMS, id=2)]
    answer = asyncio.ensure_future(old.post(batch, headers={"accept": "application/json"}))
    await gate.wait(gate.entered)
    assert budget.reserved_bytes > SIZE
    gate.open.set()
    assert len((await answer).json) == 2
    await until(lambda: not budget.reserved_bytes)


@pytest.mark.parametrize("method", ["notifications/progress", "notifications/made-up"])
async def test_a_notification_holds_it_while_it_is_handled(client: SessionClient, method: str) -> None:
    assert (await client.notify(method, {"progressToken": 1, "progress": 1, **ARGUMENTS})).status == 202
    await until(lambda: not client.endpoint.budget.reserved_bytes)


async def test_refusals_are_logged_once_a_while(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mcp_transport.engine")
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    client = Sessionless(endpoint)
    await holding(client, clock, gate)
    caplog.clear()
    for number in range(5):
        refused_with(await client.hold(id=number))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await clock.advance(61.0)
    refused_with(await client.hold())
    assert "5 requests were refused with 503" in caplog.records[-1].getMessage()
    assert endpoint.call_metrics.since_start().refused["503"] == 6


# -- what is not kept -------------------------------------------------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def remembered() -> list[dict[str, Any]]:
    """Return the arguments that anything in the process refers to, but for the ones that the tests send."""
    return [item for item in gc.get_objects() if type(item) is dict and MARK in item and item is not ARGUMENTS]


@pytest.mark.slow
@pytest.mark.blocks_loop("it looks at all objects of the process")
@pytest.mark.parametrize("end", ["success", "cancellation", "failure"])
async def test_arguments_are_gone_when_the_call_ends_though_its_stream_is_not_read(
    kind: Kind, endpoint: Endpoint, clock: FakeClock, gate: Gate, end: str, caplog: Any, no_collector: None
) -> None:
    answer = await holding(await opened_as(kind, endpoint), clock, gate, id=7)
    assert remembered()
    if end == "cancellation":
        next(iter(endpoint.pool.nodes[0].registry.running)).cancel()
    else:
        gate.fails = end == "failure"
        gate.open.set()
    await until(lambda: not endpoint.budget.reserved_bytes)
    caplog.clear()  # what pytest keeps has the stack of a failure
    assert remembered() == []
    assert answer.stream is not None


class Watched(bytes):
    """Bytes that tell when they are gone."""

    freed: asyncio.Event

    def __del__(self) -> None:
        self.freed.set()


async def test_the_bytes_of_a_body_are_gone_when_it_is_decoded(kind: Kind, endpoint: Endpoint, gate: Gate) -> None:
    client = await opened_as(kind, endpoint)
    parameters = {**PARAMS, "arguments": {"blob": "x" * 3000}, **({"_meta": ENVELOPE} if kind is Sessionless else {})}
    bodies = [Watched(json.dumps(request("tools/call", parameters, id=5)).encode())]
    bodies[0].freed = freed = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield bodies.pop()

    headers: dict[str, str | None] = {**client.headers}
    answer = asyncio.ensure_future(send(endpoint, chunks=chunks(), headers=headers))
    await gate.wait(gate.entered)
    assert freed.is_set()
    gate.open.set()
    assert (await answer).status == 200


@pytest.mark.slow
async def test_a_call_is_gone_without_the_collector_when_it_is_over(
    kind: Kind, endpoint: Endpoint, no_collector: None
) -> None:
    client = await opened_as(kind, endpoint)
    await client.hold(SMALL)
    await settle()
    gc.collect()
    for _ in range(20):
        assert (await client.hold(SMALL)).status == 200
        await settle()
    assert gc.collect() < 20


async def test_a_call_whose_handler_cannot_be_told_of_it_is_an_error(
    endpoint: Endpoint, client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: Call) -> Any:
        raise RuntimeError("a header of another time")

    monkeypatch.setattr(Call, "exchange", fail)
    for answer in (await client.request("tools/list"), await send_sessionless(endpoint, "tools/list")):
        assert answer.error_code == -32603
