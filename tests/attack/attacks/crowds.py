"""Crowds: ten thousand streams that are opened and dropped, ten thousand calls that sleep."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from tests.attack.attack import FLAT_BYTES, Scene, attack
from tests.attack.stage import AttackedNode
from tests.attack.wire import PATIENCE, Seen, alone, call, get
from tests.support.http.messages import SESSIONFUL
from tests.support.processes import LOOPBACK

CROWD = 10_000
AT_ONCE = 50
LOG_BYTES_EACH = 160
"""A stream that is opened again is an event, with a line in the log; daphne writes one for each request."""
LOOK_SECONDS, BACK_LOOKS = 0.1, 300
"""How often, and how many times, it is looked whether all descriptors are given back."""
PER_SECOND = 250
"""How many of the sleeping calls begin within a second: more would measure how fast a server refuses."""


def open_files(node: AttackedNode) -> int:
    return len([*Path(f"/proc/{node.pid}/fd").iterdir()])


async def all_files_back(scene: Scene, before: int) -> None:
    """Wait until the node has no more descriptors than before, but for a few of the neighbour and the probe."""
    for _ in range(BACK_LOOKS):
        if open_files(scene.node) <= before + 10:
            return
        await asyncio.sleep(LOOK_SECONDS)
    scene.must(False, f"{open_files(scene.node) - before} descriptors are not given back")


async def drop(scene: Scene, raw: bytes, count: int, at_once: int) -> None:
    """Open a stream so many times, some at a time, and drop each with a reset when it has begun."""
    turns = asyncio.Semaphore(at_once)

    async def once() -> None:
        async with turns, asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(LOOPBACK, scene.node.port)
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            scene.seen.append(Seen(f"{head.split()[1].decode()} stream" if b"event-stream" in head else "no stream"))

    await asyncio.gather(*(once() for _ in range(count)))


@attack("200 stream", "429 -32603", "503 -32603", kept_bytes=FLAT_BYTES, max_seconds=180.0)
async def dropped_listeners(scene: Scene) -> None:
    """10,000 streams of `subscriptions/listen`, each dropped when it has begun; nothing of them is kept."""
    before = open_files(scene.node)
    await drop(scene, alone("subscriptions/listen", '"notifications":{"toolsListChanged":true}'), CROWD, AT_ONCE)
    await all_files_back(scene, before)


@attack("200 stream", kept_bytes=FLAT_BYTES, log_bytes=CROWD * LOG_BYTES_EACH, max_seconds=180.0)
async def dropped_get_streams(scene: Scene) -> None:
    """10,000 GET streams of fifty sessions, each dropped when it has begun; nothing of them is kept."""
    before = open_files(scene.node)
    sessions = [await scene.session() for _ in range(AT_ONCE)]
    lines = [(("Mcp-Session-Id", each.session_id), ("MCP-Protocol-Version", SESSIONFUL)) for each in sessions]
    raws = [get(("Accept", "text/event-stream"), *each) for each in lines]
    await asyncio.gather(*(drop(scene, raw, CROWD // AT_ONCE, at_once=1) for raw in raws))
    await scene.close()
    await all_files_back(scene, before)


async def sleep_late(scene: Scene, raw: bytes, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await scene.ask(raw, within=120.0)


@attack("200 result", "429 -32603", "200 -32603", log_bytes=CROWD * LOG_BYTES_EACH, max_seconds=180.0)
async def sleeping_calls(scene: Scene) -> None:
    """10,000 calls within 40 s that sleep for 45: a caller's share runs and waits, the others are refused.

    Those that have waited have a stream by then, and are refused there.
    """
    before = open_files(scene.node)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        raw = call("measure", '{"value":1,"seconds":45}')
        await asyncio.gather(*(sleep_late(scene, raw, number / PER_SECOND) for number in range(CROWD)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    answers = [seen.summary for seen in scene.seen]
    scene.must("200 result" in answers, "no call was served")
    scene.must("429 -32603" in answers, "no call was refused for its caller's share")
    await all_files_back(scene, before)
