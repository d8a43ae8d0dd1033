"""Sessions: many, expired, with large replies, with fat subscriptions; streams that nobody reads."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

from tests.attack.attack import FLAT_BYTES, REFUSED, Scene, attack
from tests.attack.wire import alone, call, get, in_session, repeated, session_call, session_request
from tests.support.http.client import Client
from tests.support.http.messages import SESSIONFUL, rpc
from tests.support.http.network import Network, SocketAnswer
from tests.support.http.request import Request

SIZE = 4_000_000


async def _asked(scene: Scene, client: Client) -> str:
    """Have the server ask the client something; return the question's id."""
    answer = await client.call("ask")
    async with asyncio.timeout(10):
        while (message := await answer.next_message()) is not None:
            if message.get("method") == "elicitation/create":
                return str(message["id"])
    raise AssertionError("the server asked nothing")


@attack("202*", *REFUSED, "404*", short=True, watched=-1)
async def large_replies(scene: Scene) -> None:
    """12 replies of 4 MB to one question, to another node where there is one; most of them late."""
    client = await scene.session()
    question = await _asked(scene, client)
    reply = f'{{"jsonrpc":"2.0","id":{json.dumps(question)},"result":{{"action":"accept","content":{{"x":'
    raw = in_session(client, f"{reply}{repeated('{}', SIZE)}}}}}}}".encode())
    other = len(scene.stage.nodes) - 1
    await asyncio.gather(*(scene.ask(raw, node=other) for _ in range(12)))


@attack("202*", *REFUSED, "404*")
async def wrong_replies(scene: Scene) -> None:
    """Replies of 4 MB of a wrong shape: as a result, as an error, to questions that nobody asked."""
    client = await scene.session()
    question = json.dumps(await _asked(scene, client))
    wrong = repeated("1", SIZE)
    bodies = [f'"id":{question},"result":{{"action":{wrong}}}', f'"id":"x","result":{{"action":{wrong}}}']
    bodies += [f'"id":{question},"error":{{"code":1,"message":"a","data":{wrong}}}', f'"id":{wrong},"result":{{}}']
    for body in bodies:
        await scene.ask(in_session(client, f'{{"jsonrpc":"2.0",{body}}}'.encode()))


@attack("202*", *REFUSED, "404*")
async def forged_replies(scene: Scene) -> None:
    """Replies to questions, and resumption of events, that were never sent."""
    client = await scene.session()
    question = await _asked(scene, client)
    for id in (1, "1", question[:-1], question + "A", question.swapcase(), "", "x" * 4000, None, [1]):
        await scene.ask(in_session(client, {"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}))
    lines = (("Mcp-Session-Id", client.session_id), ("MCP-Protocol-Version", SESSIONFUL))
    for event in ("g-1", "g-99999999999999999999", "x", "-1", "é", "a" * 5000 + "-1"):
        await scene.ask(get(*lines, ("Last-Event-ID", event)))


@attack("200 result", "400 -32600", short=True)
async def retries_at_once(scene: Scene) -> None:
    """20 times two equal requests at once: a retry meets the request that it repeats.

    Of more the last one would get the answer, and the others the id to come back with for it.
    """
    client = await scene.session()
    for number in range(1, 21):
        raw = session_request(client, "ping", id=number)
        await asyncio.gather(*(scene.ask(raw, within=5) for _ in range(2)))


@attack("200*", "404*", "503*", settings={"SESSION_TTL_SECONDS": 2})
async def calls_of_expired_sessions(scene: Scene) -> None:
    """50 calls whose clients have left and whose session has expired."""
    client = await scene.session()
    calls = (session_call(client, "sleep", '{"seconds":60}', id=number) for number in range(1, 51))
    await scene.ask_all(calls, at_once=50, within=1)
    scene.seen.clear()  # the clients left
    await asyncio.sleep(8)
    running = await scene.ask(call("sleeping"))
    scene.must(running.text == "0", f"{running.text} calls go on without a session")


@attack("200*", "400*", "429*", "503*", "404*", settings={"MAX_SESSIONS_PER_PRINCIPAL": 10})
async def more_busy_sessions_than_allowed(scene: Scene) -> None:
    """40 sessions of one caller, each with a call under way, where 10 are allowed."""
    calls, clients = [], []
    for _ in range(40):
        client = Client(scene.node.port, headers={"X-User": "mallory"})
        clients.append(client)
        try:
            await client.initialize()
        except AssertionError:
            continue
        calls.append(asyncio.ensure_future(scene.ask(session_call(client, "sleep", '{"seconds":8}', id=1000))))
        await asyncio.sleep(0.02)
    opened = [client for client in clients if client.session_id]
    living = [(await client.request("ping")).status == 200 for client in opened]
    scene.must(sum(living) <= 10, f"{sum(living)} sessions live")
    for client in clients:
        client.cut()
    await asyncio.gather(*calls)


@attack("200*", *REFUSED)
async def fat_subscriptions(scene: Scene) -> None:
    """300 subscriptions of 2 KB, then 100 pings; with Redis, what a ping reads is counted."""
    client = await scene.session()
    uris = [f"test://{number}{'x' * 2000}" for number in range(300)]
    await scene.ask_all(
        session_request(client, "resources/subscribe", {"uri": uri}, id=n) for n, uri in enumerate(uris)
    )
    accepted = sum(seen.summary == "200 result" for seen in scene.seen)
    before = _redis_output(scene)
    await scene.ask_all((session_request(client, "ping", id=f"p{number}") for number in range(100)), at_once=10)
    each = (_redis_output(scene) - before) / 100
    scene.must(each < 64 * 1024, f"a ping reads {each:.0f} bytes from Redis, with {accepted} subscriptions")


def _redis_output(scene: Scene) -> int:
    redis = scene.stage.redis
    return int(redis.ask("INFO", "stats")["total_net_output_bytes"]) if redis is not None else 0


@attack(*REFUSED, "200*")
async def listen_to_many(scene: Scene) -> None:
    """`subscriptions/listen` with 300,000 URIs, and with 40,000 hidden ones, each of them twice."""
    for uris in ([f"test://{n}" for n in range(200_000)], [f"hidden://{n % 20_000}" for n in range(40_000)]):
        filter_ = f'"notifications":{{"resourceSubscriptions":{json.dumps(uris)}}}'
        seen = await scene.ask(alone("subscriptions/listen", filter_), within=10)
        scene.must("without answer" not in seen.summary, f"{len(uris)} URIs were taken")


# Two lines are logged of each session.
@attack("200*", "202*", "204*", "404*", "400*", kept_bytes=FLAT_BYTES, log_bytes=512 * 1024)
async def many_sessions(scene: Scene) -> None:
    """400 sessions, each with a call, cancels of nothing, and a DELETE; all counters are back afterwards."""
    for _ in range(50):
        await asyncio.gather(*(_live(scene) for _ in range(8)))


async def _live(scene: Scene) -> None:
    async with Client(scene.node.port, headers={"X-User": "mallory"}) as client:
        await client.initialize()
        requests: list[Any] = [
            rpc("ping", None, 1),
            rpc("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, 2),
        ]
        requests += [rpc("notifications/cancelled", {"requestId": n}, None) for n in (1, 99, "x")]
        for message in requests:
            await scene.ask(in_session(client, message))
        lines = (("Mcp-Session-Id", client.session_id), ("MCP-Protocol-Version", SESSIONFUL))
        await scene.ask(get(*lines, method="DELETE"))


@attack("200*", "503*")
async def calls_in_flight(scene: Scene) -> None:
    """1000 calls of a tool that sleeps, all at once."""
    await scene.ask_all([call("sleep", '{"seconds":3}')] * 1000, at_once=1000, within=30)


# -- streams that are opened and never read

COUNT = 40


@attack("200*", "503*")
async def streams_that_never_read(scene: Scene) -> None:
    """40 GET streams of sessions that never read, and 500 changes of 2 KB for each."""
    clients = [await scene.session() for _ in range(COUNT)]
    uri = f"test://{0:02000}"
    for client in clients:
        client.receive_buffer = 2048
        await client.get()
        await client.request("resources/subscribe", {"uri": uri})
    for _ in range(5):
        await scene.ask(call("announce", '{"count":100,"size":2000}'))
    for client in clients:
        client.cut()


@attack("200*", "503*")
async def listeners_that_never_read(scene: Scene) -> None:
    """40 streams of `subscriptions/listen` that never read, and 500 changes of 2 KB for each."""
    answers: list[SocketAnswer] = []
    raw = alone("subscriptions/listen", f'"notifications":{{"resourceSubscriptions":["test://{0:02000}"]}}')
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
    request = Request(headers=tuple((n, v) for n, v in lines if n not in ("Content-Length", "Connection")), body=body)
    for _ in range(COUNT):
        answers.append(await Network(scene.node.port, receive_buffer=2048).send(request))
    for _ in range(5):
        await scene.ask(call("announce", '{"count":100,"size":2000}'))
    for answer in answers:
        with suppress(OSError):
            answer.cut()


@attack("200*", "404*", "503*")
async def streams_opened_and_dropped(scene: Scene) -> None:
    """400 GET streams of one session, each dropped at once."""
    client = await scene.session()
    for _ in range(400):
        (await client.get()).cut()
    client.forget()
    await scene.ask(call("add", '{"a":1,"b":2}'))
