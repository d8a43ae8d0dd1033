"""No session id is logged, told or kept in Redis, whatever its session does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mcp_transport.domain.session import session_key
from tests.support.cluster.nodes import Site, take
from tests.support.http.client import Client
from tests.support.redis.server import RedisServer

Pair = tuple[int, int]


def _everything(server: RedisServer) -> Iterator[bytes]:
    """Yield all names and values in a Redis."""
    reads = {b"string": "GET", b"hash": "HGETALL", b"zset": "ZRANGE", b"list": "LRANGE", b"stream": "XRANGE"}
    reads[b"set"] = "SMEMBERS"
    bounds = {b"zset": (0, -1), b"list": (0, -1), b"stream": ("-", "+")}
    with server.connect(decode_responses=False, protocol=2) as store:
        for key in store.scan_iter(count=1000):
            kind = store.type(key)
            if kind == b"none":  # it has just expired
                continue
            yield key
            yield repr(store.execute_command(reads[kind], key, *bounds.get(kind, ()))).encode()


async def _live(client: Client, name: str, pair: Pair) -> None:
    """Do everything a session can do, and leave it in the middle of it."""
    await client.request("resources/subscribe", {"uri": "test://watched"}, port=pair[1])
    await client.request("logging/setLevel", {"level": "debug"}, port=pair[1])
    await client.call("remember", {"name": "colour", "value": "red"}, port=pair[0])
    await client.notify("notifications/cancelled", {"requestId": "early"}, port=pair[0])
    calls = [await client.call(tool, {"name": name}, id=tool, port=pair[0]) for tool in ("count", "count_durably")]
    calls.append(await client.call("ask", port=pair[0]))
    stream = await client.get(port=pair[0])
    await (await client.call("announce", port=pair[1])).text()
    await (await client.call("whisper", {"text": "hello"}, port=pair[1])).text()
    for answer in (*calls, stream):
        await take(answer, 1)
        answer.cut()
        await client.get(answer.last_event_id, port=pair[1])


async def test_session_ids_are_in_no_log_and_nowhere_in_redis(site: Site, pair: Pair) -> None:
    secrets, name = [], site.new_name()
    for user in ("ann", "eve", ""):
        async with site.client(user) as client, site.client("mallory") as thief:
            await client.initialize(port=pair[0])
            secrets.append(client.session_id)
            await _live(client, name, pair)
            thief.session_id = client.session_id
            for answer in (await thief.get(port=pair[1]), await thief.delete(port=pair[0])):
                assert client.session_id not in (await answer.read()).decode()
            found = await asyncio.to_thread(lambda: b"\n".join(_everything(site.redis)))
            assert session_key(client.session_id).encode() in found
            assert client.session_id.encode() not in found
            assert client.session_id[1:40].encode() not in found
            if user == "eve":
                assert (await client.delete(port=pair[1])).status == 204
    site.let_go(name)
    logs = site.logs()
    assert session_key(secrets[0])[:10].lower() in logs
    for secret in secrets:
        assert secret not in logs
        assert secret[1:40] not in logs
        assert secret[-40:] not in logs
