"""Memory for bodies: what is let in, by whom it is held, and when it is free again."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import ClientGone
from mcp_transport.protocol.weight import weigh
from tests.support.client import (
    ENVELOPE,
    Answer,
    SessionClient,
    request,
    send,
    send_sessionless,
    silent,
    until,
)
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate

MARK = "marks an argument of these tests"
ARGUMENTS: dict[str, Any] = {MARK: [{} for _ in range(3000)]}
PARAMS = {"name": "blocked", "arguments": ARGUMENTS}
SIZE = weigh(json.dumps(request("tools/call", PARAMS)).encode())
HELD = {"name": "blocked", "arguments": {"small": 1}}


def remembered() -> list[dict[str, Any]]:
    """Return the arguments that anything in the process refers to, but for the ones that the tests send."""
    return [item for item in gc.get_objects() if type(item) is dict and MARK in item and item is not ARGUMENTS]


class Session(SessionClient):
    """A session of 2025-11-25."""

    async def hold(self, params: dict[str, Any] = PARAMS, **options: Any) -> Answer:
        return await self.request("tools/call", params, **options)


class Sessionless:
    """A client of 2026-07-28."""

    def __init__(self, endpoint: Endpoint, user: Any = None) -> None:
        self.endpoint, self.user = endpoint, user

    async def open(self) -> None:
        pass

    async def hold(self, params: dict[str, Any] = PARAMS, **options: Any) -> Answer:
        return await send_sessionless(self.endpoint, "tools/call", params, user=self.user, **options)


Kind = type[Session] | type[Sessionless]


@pytest.fixture(params=[Session, Sessionless])
def kind(request: Any) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(autouse=True)
async def nothing_is_held(build_endpoint: BuildEndpoint, gate: Gate) -> AsyncIterator[None]:
    yield
    gate.open.set()


def refused_with(answer: Answer, status: int = 503) -> str:
    """Assert that an answer refuses for lack of memory; return what it says."""
    assert answer.status == status, answer.body
    if status == 503:
        assert answer.headers["retry-after"] == "2"
    message: str = answer.json["error"]["message"]
    return message


async def holding(client: Any, clock: FakeClock, gate: Gate, **options: Any) -> Answer:
    """Make a large call that waits; return its stream."""
    return await silent(clock, gate.entered, client.hold(**options))


async def test_a_call_holds_memory_until_it_ends(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    client = kind(endpoint)
    await client.open()
    first = await holding(client, clock, gate)
    assert SIZE <= endpoint.budget.held < 1.2 * SIZE
    said = refused_with(await client.hold(id=2))
    assert "of this caller" in said
    assert str(int(1.5 * SIZE)) in said
    gate.open.set()
    assert await first.text() == "through"
    await until(lambda: not endpoint.budget.held)
    assert (await client.hold(id=3)).status == 200


async def test_a_small_request_is_served_when_nothing_is_left(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=int(1.3 * SIZE))
    client = kind(endpoint, user="ann")
    await client.open()
    await holding(client, clock, gate)
    refused_with(await client.hold(id=2))
    gate.open.set()
    assert (await client.hold({"name": "add", "arguments": {"a": 1, "b": 2}}, id=3)).status == 200


async def test_one_caller_leaves_room_for_another(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=3 * SIZE, max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    ann, bob = kind(endpoint, user="ann"), kind(endpoint, user="bob")
    await ann.open()
    await bob.open()
    await holding(ann, clock, gate)
    assert "of this caller" in refused_with(await ann.hold(id=2))
    gate.entered.clear()
    await holding(bob, clock, gate)


@pytest.mark.parametrize(("other", "status"), [("192.0.2.2", 200), ("192.0.2.1", 503), ("::ffff:192.0.2.1", 503)])
async def test_anonymous_callers_are_told_apart_by_address(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, other: str, status: int
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    client = Sessionless(endpoint)
    await holding(client, clock, gate, peer="192.0.2.1")
    gate.open.set()
    assert (await client.hold(peer=other, id=2)).status == status


async def test_a_user_is_one_caller_from_all_addresses(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.5 * SIZE))
    client = Sessionless(endpoint, user="ann")
    await holding(client, clock, gate, peer="192.0.2.1")
    refused_with(await client.hold(peer="192.0.2.2", id=2))
    assert (await Sessionless(endpoint).hold(HELD | {"name": "add"}, peer="192.0.2.1")).status == 200


async def test_callers_without_credentials_leave_a_part_to_those_with_some(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=int(4.4 * SIZE))
    client = Sessionless(endpoint)
    for number in range(3):
        gate.entered.clear()
        await holding(client, clock, gate, peer=f"192.0.2.{number}", id=number)
    assert "without credentials" in refused_with(await client.hold(peer="192.0.2.9", id=9))
    gate.entered.clear()
    await holding(Sessionless(endpoint, user="ann"), clock, gate)
    assert "of all callers" in refused_with(await Sessionless(endpoint, user="bob").hold())


async def test_a_body_that_never_fits_is_too_large(kind: Kind, build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=SIZE // 2)
    client = kind(endpoint)
    await client.open()
    answer = await client.hold()
    assert f"a caller may take {SIZE // 2}" in refused_with(answer, 413)
    assert "retry-after" not in answer.headers
    assert endpoint.budget.held == 0


# -- bodies that arrive -----------------------------------------------------------------------------------


async def test_a_body_that_arrives_counts(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=10_000)
    more = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"[" + b" " * 6000
        await more.wait()
        yield b"]"

    arriving = asyncio.ensure_future(send(endpoint, user="ann", chunks=chunks()))
    await until(lambda: endpoint.budget.held)
    assert endpoint.budget.held > 6000
    assert "of all callers" in refused_with(await send(endpoint, user="bob", raw=b" " * 6000))
    more.set()
    assert (await arriving).status == 413, "with what is decoded it is larger"
    assert endpoint.budget.held == 0


async def test_a_body_is_not_read_when_its_length_tells_that_it_has_no_room(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_bytes_in_flight_per_caller=int(1.2 * SIZE))
    client = Sessionless(endpoint)
    await holding(client, clock, gate)

    is_read = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal is_read
        is_read = True
        yield b""

    headers: dict[str, str | None] = {"content-length": str(SIZE // 4)}
    refused_with(await send(endpoint, headers=headers, chunks=body()))
    assert not is_read


@pytest.mark.parametrize(
    ("end", "status"), [(b"", 400), (b"\xff", 400), (b"1" * 5_000_000, 413), (TimeoutError(), 408), (ClientGone(), 0)]
)
async def test_a_body_that_is_refused_holds_nothing(endpoint: Endpoint, end: bytes | Exception, status: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b" " * 5000
        assert endpoint.budget.held > 5000
        if isinstance(end, Exception):
            raise end
        yield end

    if status:
        assert (await send(endpoint, chunks=chunks())).status == status
    else:
        with pytest.raises(ClientGone):
            await send(endpoint, chunks=chunks())
    assert endpoint.budget.held == 0


async def test_a_body_in_many_small_pieces_counts_for_more(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(max_bytes_in_flight=100_000)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3000):
            yield b"  "

    refused_with(await send(endpoint, chunks=chunks()), 413)


async def test_what_is_refused_before_its_body_is_read_holds_nothing(endpoint: Endpoint) -> None:
    await send(endpoint, raw=b" " * 9000, headers={"content-type": "text/plain"})
    await send(endpoint, raw=b" " * 9000, headers={"origin": "https://evil.example"})
    assert endpoint.budget.held == 0


# -- what holds it ----------------------------------------------------------------------------------------


async def test_a_call_whose_client_left_holds_it_in_a_session(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint()
    client = Session(endpoint)
    await client.open()
    answer = await holding(client, clock, gate)
    answer.close()
    await until(lambda: True)
    assert endpoint.budget.held >= SIZE
    gate.open.set()
    await until(lambda: not endpoint.budget.held)


async def test_a_call_whose_client_left_holds_nothing_without_a_session(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint()
    answer = await holding(Sessionless(endpoint), clock, gate)
    answer.close()
    await until(lambda: not endpoint.budget.held)
    assert gate.cancelled


async def test_a_cancelled_call_holds_nothing(build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate) -> None:
    endpoint = build_endpoint()
    client = Session(endpoint)
    await client.open()
    await holding(client, clock, gate, id=7)
    await client.notify("notifications/cancelled", {"requestId": 7})
    await until(lambda: not endpoint.budget.held)


async def test_a_batch_holds_it_until_its_last_call_ends(build_endpoint: BuildEndpoint, gate: Gate) -> None:
    endpoint = build_endpoint()
    client = SessionClient(endpoint, version="2025-03-26")
    await client.open()
    batch = [
        request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2, **ARGUMENTS}}, id=1),
        request("tools/call", PARAMS, id=2),
    ]
    answer = asyncio.ensure_future(client.post(batch, headers={"accept": "application/json"}))
    await gate.wait(gate.entered)
    assert endpoint.budget.held > SIZE
    gate.open.set()
    assert len((await answer).json) == 2
    await until(lambda: not endpoint.budget.held)


@pytest.mark.parametrize("method", ["notifications/progress", "notifications/made-up"])
async def test_a_notification_holds_it_while_it_is_handled(endpoint: Endpoint, method: str) -> None:
    client = SessionClient(endpoint)
    await client.open()
    assert (await client.notify(method, {"progressToken": 1, "progress": 1, **ARGUMENTS})).status == 202
    await until(lambda: not endpoint.budget.held)


async def test_refusals_are_logged_once_a_while(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, caplog: Any
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
    assert endpoint.meter.since_start().refused["503"] == 6


# -- arguments are not kept ---------------------------------------------------------------------------------


@pytest.mark.blocks_loop("it looks at all objects of the process")
@pytest.mark.parametrize("end", ["success", "cancellation", "failure"])
async def test_arguments_are_gone_when_the_call_ends_though_its_stream_is_not_read(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, end: str, caplog: Any
) -> None:
    endpoint = build_endpoint()
    client = kind(endpoint)
    await client.open()
    gc.collect()
    gc.disable()
    try:
        answer = await holding(client, clock, gate, id=7)
        assert remembered()
        if end == "cancellation":
            next(iter(endpoint.nodes[0].running)).cancel()
        else:
            gate.fails = end == "failure"
            gate.open.set()
        await until(lambda: not endpoint.budget.held)
        caplog.clear()  # what pytest keeps has the stack of a failure
        assert remembered() == []
    finally:
        gc.enable()
    assert answer.stream is not None


async def test_the_bytes_of_a_body_are_gone_when_it_is_decoded(
    kind: Kind, build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint()
    client = kind(endpoint)
    await client.open()
    freed = asyncio.Event()
    parameters = {**PARAMS, "arguments": {"blob": "x" * 3000}}
    if kind is Sessionless:
        parameters["_meta"] = ENVELOPE
    body = Watched(json.dumps(request("tools/call", parameters, id=5)).encode())
    body.freed = freed

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal body
        piece, body = body, None  # type: ignore[assignment]
        yield piece

    headers = client.headers if isinstance(client, Session) else {"mcp-protocol-version": "2026-07-28"}
    headers = {**headers, "mcp-method": "tools/call", "mcp-name": "blocked"}
    if isinstance(client, Session):
        headers = client.headers
    answer = asyncio.ensure_future(send(endpoint, chunks=chunks(), headers=headers))
    await gate.wait(gate.entered)
    assert freed.is_set()
    gate.open.set()
    assert (await answer).status == 200


class Watched(bytes):
    """Bytes that tell when they are gone."""

    freed: asyncio.Event

    def __del__(self) -> None:
        self.freed.set()
