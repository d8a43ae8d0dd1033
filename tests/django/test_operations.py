"""What operators do with sessions: here, on a node, and from a loop that serves nobody, as a view under WSGI has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from mcp_transport import Context, bootstrap, tool
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import BackendError
from mcp_transport.operators import service
from tests.support.client import SessionClient
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

pytestmark = pytest.mark.usefixtures("declarations")

_T = TypeVar("_T")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


REDIS = pytest.param("redis", marks=pytest.mark.servers)


@pytest.fixture(params=["memory", "cache", REDIS])
def backend(request: pytest.FixtureRequest, settings: Any, tmp_path: Any) -> str:
    kind: str = request.param
    if kind == "cache":
        location = {"LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 10_000}}
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", **location}}
    elif kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.cli("FLUSHALL")
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}}
    return kind


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def endpoint(backend: str, gate: Gate) -> AsyncIterator[Endpoint]:
    @tool
    async def wait(ctx: Context) -> str:
        await ctx.session.set("cart", [1])
        await gate.pass_through()
        return "through"

    endpoint = bootstrap.endpoint()
    yield endpoint
    gate.open.set()
    await endpoint.pool.stop()


@pytest.fixture
async def client(endpoint: Endpoint) -> SessionClient:
    client = SessionClient(endpoint)
    await client.open()
    return client


async def elsewhere(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run work on a loop of its own in a thread of its own, as async_to_sync does under WSGI."""
    return await asyncio.wait_for(asyncio.to_thread(lambda: asyncio.run(work())), 10)


async def begin(client: SessionClient, gate: Gate) -> asyncio.Task[Any]:
    """Have a call run."""
    task = asyncio.ensure_future(client.call("wait", id=7))
    await gate.wait(gate.entered)
    return task


async def test_sessions_are_listed_and_found(client: SessionClient) -> None:
    key = session_key(client.session_id)
    assert service.can_list()
    page = await service.sessions()
    assert ([session.key for session in page.sessions], page.total) == ([key], 1)
    assert (await service.sessions(query=SessionQuery(user="nobody"))).total == 0
    for name in (key, key.lower(), short_id(key), key[:4]):
        assert (await service.find_session(name)).key == key
    with pytest.raises(LookupError, match="No session has an ID that starts with '~'"):
        await service.find_session("~")
    await SessionClient(client.endpoint).open()
    with pytest.raises(LookupError, match="More than one session"):
        await service.find_session("")


async def looked_into(client: SessionClient) -> Any:
    detail = await service.session_detail(session_key(client.session_id))
    assert detail is not None
    return detail


async def test_a_session_is_looked_into(client: SessionClient, gate: Gate) -> None:
    task = await begin(client, gate)
    detail = await looked_into(client)
    assert (detail.session.protocol_version, detail.session.client_info["name"]) == ("2025-11-25", "test")
    assert [flight.request_id for flight in detail.calls] == [7]
    assert detail.state_keys == ("cart",)
    stream = await client.get()
    streams = {item.name: item for item in (await looked_into(client)).streams}
    assert (streams["g"].ended, bool(streams["g"].holder)) == (False, True)
    stream.close()
    gate.open.set()
    await task


async def test_ending_a_session_stops_its_calls_and_leaves_nothing(client: SessionClient, gate: Gate) -> None:
    task, key = await begin(client, gate), session_key(client.session_id)
    assert await service.end_session(key)
    await gate.wait(gate.left)
    assert gate.cancelled
    await task
    assert await service.session_detail(key) is None
    assert not await service.end_session(key)
    assert not await service.cancel_call(key, 7)
    assert (await client.request("ping")).status == 404


async def test_a_call_is_cancelled_by_its_very_id(client: SessionClient, gate: Gate) -> None:
    task, key = await begin(client, gate), session_key(client.session_id)
    assert not await service.cancel_call(key, "7")
    assert not await service.cancel_call(key, 8)
    assert await service.cancel_call(key, 7)
    await gate.wait(gate.left)
    assert gate.cancelled
    await task
    async with asyncio.timeout(60):  # it leaves the books behind its answer
        while (detail := await service.session_detail(key)) and detail.calls:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(0)
    assert not await service.cancel_call(key, 7)
    assert (await client.request("ping")).status == 200, "the session goes on"


# What is in one process is reached by its own loop.
@pytest.mark.parametrize("backend", [REDIS], indirect=True)
async def test_a_loop_that_serves_nobody_has_the_same_powers(client: SessionClient, gate: Gate) -> None:
    task, key = await begin(client, gate), session_key(client.session_id)
    assert (await elsewhere(service.sessions)).total == 1
    assert await elsewhere(lambda: service.cancel_call(key, 7))
    await gate.wait(gate.left)
    await task
    assert [node.name for node in await elsewhere(service.nodes)] == [node.id for node in client.endpoint.pool.nodes]
    assert await elsewhere(lambda: service.end_session(key))
    assert (await client.request("ping")).status == 404


@pytest.mark.parametrize("backend", [REDIS], indirect=True)
async def test_a_loop_that_serves_nobody_leaves_no_connection(
    client: SessionClient, redis_server: RedisServer
) -> None:
    before = redis_server.cli("CLIENT", "LIST").count("\n")
    for _ in range(3):
        await elsewhere(service.sessions)
    assert redis_server.cli("CLIENT", "LIST").count("\n") == before


async def test_a_store_that_is_away_is_said_so(client: SessionClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise BackendError("away")

    monkeypatch.setattr(client.endpoint.backend.index, "page", away)
    with pytest.raises(BackendError):
        await service.sessions()


async def test_traffic_has_the_calls_of_a_node_that_has_ended(
    client: SessionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under WSGI a node ends with its request."""
    await client.request("ping")
    metrics = client.endpoint.call_metrics
    now = metrics._now
    monkeypatch.setattr(metrics, "_now", lambda: now() + 60)  # the interval of the call is over
    assert (await service.traffic()).processes == 1
    await client.endpoint.pool.stop()
    after = await service.traffic()
    if client.endpoint.backend.shares_streams:
        assert after.processes == 0, "it leaves with its lease"
    else:
        assert (after.processes, after.opened, [*after.operations]) == (1, 1, ["ping"])
