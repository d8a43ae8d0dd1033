"""A client that lies: session ids and event ids nobody gave it, replies without end; and what nobody may read."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Iterator

import pytest

from mcp_transport.protocol.session import session_key
from tests.support.cluster.client import Client
from tests.support.cluster.nodes import Site, numbers, rest, take, until
from tests.support.redis.server import RedisServer

Pair = tuple[int, int]


# -- session ids ------------------------------------------------------------------------------------------


def _flipped(session_id: str) -> Iterator[str]:
    """Yield an id with one bit changed: in the nonce, in what is sealed, in the tag; and the last, unused bits."""
    sealed = base64.urlsafe_b64decode(session_id[1:] + "=" * (-len(session_id[1:]) % 4))
    for place in (0, 11, 12, len(sealed) // 2, len(sealed) - 17, len(sealed) - 16, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        yield "." + base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    last = session_id[-1]
    yield from (session_id[:-1] + other for other in "ABCDEFGHwxyz0189-_" if other != last)


def _forged(session_id: str) -> list[str]:
    """Return ids that are nearly the one given."""
    halves = session_id[: len(session_id) // 2], session_id[len(session_id) // 2 :]
    return [
        *_flipped(session_id),
        session_id[:-1],
        session_id[:-4],
        halves[0],
        "." + halves[1],
        session_id[1:],
        session_id + "A",
        session_id + "=",
        session_id + session_id,
        session_id.swapcase(),
        "." * len(session_id),
        ".",
        "*",
        "A" * 43,
        "{" + session_key(session_id) + "}",
        session_key(session_id),
        session_key(session_id) + ":r",
        "null",
        "0",
        "." + "A" * 600,
        "x" * 4000,
    ]


async def test_forged_session_ids_are_all_the_same_to_every_node(site: Site, client: Client, pair: Pair) -> None:
    real = client.session_id
    stream = await client.get(port=pair[0])
    for forged in _forged(real):
        client.session_id = forged
        for port in pair:
            answers = [
                await client.call("add", {"a": 1, "b": 1}, id=1, port=port),
                await client.get(port=port),
                await client.get("g-0", port=port),
                await client.delete(port=port),
            ]
            bodies = {(answer.status, (await answer.json())["error"]["message"]) for answer in answers}
            assert len(bodies) == 1, forged
            assert next(iter(bodies))[0] == 404, forged
    client.session_id = real
    await (await client.call("whisper", {"text": "still here"}, port=pair[1])).text()
    assert numbers(await take(stream, 1)) == [1]


@pytest.mark.parametrize("strange", ["\x7f", "é", "a b", "\t", "a\x00b".replace("\x00", "\x01")])
async def test_id_of_strange_characters_is_refused(client: Client, pair: Pair, strange: str) -> None:
    client.session_id = strange
    for port in pair:
        for answer in [await client.call("add", {"a": 1, "b": 1}, port=port), await client.get(port=port)]:
            assert answer.status in {400, 404}


# -- event ids --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_id",
    [
        "g-1",
        "g-999999999999999",
        "g-9999999999999999999999999",
        "g--1",
        "g-01",
        "g-1e3",
        "g-",
        "-1",
        "g",
        "x",
        "0123456789abcdef-0",
        "0123456789abcdef-1",
        "!-0",
        "r-0",
        "G-0",
        "g-1-1",
        "g:x-1",
        f"{'a' * 5000}-1",
        "é-1",
    ],
)
async def test_event_ids_that_nobody_sent_are_refused(client: Client, pair: Pair, event_id: str) -> None:
    for port in pair:
        refused = await client.get(event_id, port=port)
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32600)
    stream = await client.get(port=pair[0])  # a refusal has taken nothing over and counted nothing
    await (await client.call("whisper", {"text": "first"}, port=pair[1])).text()
    assert numbers(await take(stream, 1)) == [1]


async def test_event_ids_of_another_session_lead_nowhere(site: Site, client: Client, pair: Pair) -> None:
    """Also of the same principal, of a running call and of one that is over."""
    names = [site.new_name(), site.new_name()]
    async with site.client() as other:
        await other.initialize()
        running, over = [await client.call("count", {"name": name}, port=pair[0]) for name in names]
        await take(running, 1)
        site.let_go(names[1])
        await rest(over)
        for answer, port in itertools.product((running, over), pair):
            stream = (answer.last_event_id or "").partition("-")[0]
            for seq in (0, 1, 2):
                assert (await other.get(f"{stream}-{seq}", port=port)).status == 400
        site.let_go(names[0])
        assert numbers(await rest(running)) == [2, 3, 4]


async def test_who_claims_to_have_seen_the_future_is_told_the_end(site: Site, client: Client, pair: Pair) -> None:
    """An event may be on its way to the log: only when the call is over is the number known to be a lie."""
    name = site.new_name()
    first = await client.call("count", {"name": name}, port=pair[0])
    await take(first, 3)
    stream = (first.last_event_id or "").partition("-")[0]
    second = await client.get(f"{stream}-999999", port=pair[1])
    site.let_go(name)
    assert await rest(second) == []
    await until(lambda: not site.calls_in_flight(client))
    assert (await client.get(f"{stream}-999999", port=pair[1])).status == 400
    assert numbers(await rest(await client.get(f"{stream}-0", port=pair[1]))) == [1, 2, 3, 4]


# -- too much ---------------------------------------------------------------------------------------------


async def test_early_cancels_without_end_are_not_kept_without_end(site: Site, client: Client, pair: Pair) -> None:
    for number in range(150):
        cancelled = await client.notify("notifications/cancelled", {"requestId": number}, port=pair[number % 2])
        assert cancelled.status == 202
    assert site.redis.ask("ZCARD", f"mcp:{{{session_key(client.session_id)}}}:c") <= 100


# -- what nobody may read ---------------------------------------------------------------------------------


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
