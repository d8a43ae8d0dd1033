"""The same with more of it: clients, workers, sessions in the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.bench.calls import adding
from tests.bench.clients import Client
from tests.bench.load import drive, no_collections, numbers, quantile
from tests.bench.messages import check_sum
from tests.bench.stage import Facts, Stage, close_all
from tests.bench.wire import now

WORKER_CLIENTS = 64
_SETTLING_SECONDS = 0.2


async def clients(stage: Stage) -> Facts:
    """Have 1, 4, 16 ... clients call `add`; say what they get, and what holding them takes."""
    facts: Facts = {}
    await _visits(stage, stage.scale.connections)  # a process grows with its first clients, for all that follow
    for count in stage.scale.client_counts:
        found = {**await _held(stage, count), **await _visits(stage, count)}
        facts |= {f"{count} {name}": value for name, value in found.items()}
    return facts


async def _held(stage: Stage, count: int) -> Facts:
    """Measure clients that stay: their calls, the server's memory and connections for them."""
    await _settled(stage)
    before = stage.process.memory()
    clients = await stage.clients(stage.server.session, count)
    try:
        kib = (stage.process.memory() - before) / count / 1024
        calls = [adding(client) for client in clients]
        timings = await drive(calls, stage.scale.seconds / 2, stage.scale.warm_up / 2)
        connections = stage.process.connections()
        for client in clients:
            client.rest()
        resting = await _settled(stage)
    finally:
        close_all(clients)
    return {**timings.facts(), "kib": kib, "connections": connections, "resting": resting}


async def _settled(stage: Stage) -> int:
    """Return how many connections the server holds when it has noticed which were closed."""
    before, held = -1, stage.process.connections()
    while held != before:
        await asyncio.sleep(_SETTLING_SECONDS)
        before, held = held, stage.process.connections()
    return held


async def _visits(stage: Stage, count: int) -> Facts:
    """Measure clients that come, call once and leave: connections, handshake, call, end."""
    over, seconds, took = False, stage.scale.seconds / 2, list[float]()

    async def visit() -> None:
        began = now()
        kind = stage.server.session
        assert kind is not None
        client = await kind(stage.process.port, stage.server.path).open()
        answered = asyncio.get_running_loop().create_future()
        number = next(numbers)
        client.add(number, answered.set_result)
        check_sum(await answered, number)
        client.close()
        took.append(now() - began)

    async def visitor() -> None:
        while not over:
            await visit()

    with no_collections():
        began = now()
        visitors = asyncio.gather(*(visitor() for _ in range(count)))
        await asyncio.wait([visitors], timeout=seconds)
        over = True
        await visitors
        lasted = now() - began
    return {"visits": len(took) / lasted, "visit_p50": quantile(took, 0.5) * 1000}


async def workers(stage: Stage) -> Facts:
    """Have 64 clients call `add`, as many as several workers need to be busy."""
    return await _calls(replace(stage, scale=replace(stage.scale, connections=WORKER_CLIENTS)))


async def stored(stage: Stage) -> Facts:
    """Fill the store with sessions, and measure calls in between."""
    facts: Facts = {}
    there = 0
    for count in stage.scale.stored_sessions:
        await stage.session_ids(count - there)
        there = count
        facts[f"{count}"] = (await _calls(stage))["rate"]
    return facts


async def _calls(stage: Stage) -> Facts:
    clients = await stage.clients(Client)
    try:
        return await stage.drive([adding(client) for client in clients])
    finally:
        close_all(clients)
