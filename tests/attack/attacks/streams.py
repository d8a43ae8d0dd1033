"""Streams that are opened and never read."""

from __future__ import annotations

from contextlib import suppress

from tests.attack.attack import Scene, attack, cut_all
from tests.attack.wire import alone, call
from tests.support.cluster.answer import Answer, send
from tests.support.wire import Request

COUNT = 40


@attack("", "200*", "503*")
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
        cut_all(client)


@attack("", "200*", "503*")
async def listeners_that_never_read(scene: Scene) -> None:
    """40 streams of `subscriptions/listen` that never read, and 500 changes of 2 KB for each."""
    answers: list[Answer] = []
    raw = alone("subscriptions/listen", f'"notifications":{{"resourceSubscriptions":["test://{0:02000}"]}}')
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
    request = Request(headers=tuple((n, v) for n, v in lines if n not in ("Content-Length", "Connection")), body=body)
    for _ in range(COUNT):
        answers.append(await send(scene.node.port, request, receive_buffer=2048))
    for _ in range(5):
        await scene.ask(call("announce", '{"count":100,"size":2000}'))
    for answer in answers:
        with suppress(OSError):
            answer.cut()


@attack("", "200*", "404*", "503*")
async def streams_opened_and_dropped(scene: Scene) -> None:
    """400 GET streams of one session, each dropped at once."""
    client = await scene.session()
    for _ in range(400):
        (await client.get()).cut()
    client._answers.clear()
    await scene.ask(call("add", '{"a":1,"b":2}'))
