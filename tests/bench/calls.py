"""Calls with a short answer, in a session and without one, and the opening of sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bench import messages
from tests.bench.clients import Client, Querying, confirm
from tests.bench.load import Start
from tests.bench.stage import Facts, Stage, close_all
from tests.bench.wire import Answer, WrongAnswer


async def in_session(stage: Stage) -> Facts:
    """Have each client call `add` in a session of its own."""
    return await _calls(stage, stage.server.session)


async def alone(stage: Stage) -> Facts:
    """Have each client call `add` without a session."""
    return await _calls(stage, stage.server.alone)


async def query(stage: Stage) -> Facts:
    """Have each client call a tool that makes one query by the ORM's asynchronous methods, without a session."""
    return await _calls(stage, Querying)


async def _calls(stage: Stage, kind: type[Client] | None) -> Facts:
    clients = await stage.clients(kind)
    try:
        return await stage.drive([adding(client) for client in clients])
    finally:
        close_all(clients)


def adding(client: Client) -> Start:
    """Call `add` and check the sum."""

    def start(number: int, done: Callable[[], None]) -> None:
        def check(message: Any) -> None:
            messages.check_sum(message, number)
            done()

        client.add(number, check)

    return start


async def sessions(stage: Stage) -> Facts:
    """Have each client open one session after the other, and leave them; say what one takes of memory."""
    clients = await stage.clients(stage.server.session)
    opened: list[str] = []
    redis = stage.process.redis
    try:
        before, stored = stage.process.memory(), redis.used_memory() if redis else 0
        facts = await stage.drive([_opening(client, opened) for client in clients])
        after, kept = stage.process.memory(), redis.used_memory() if redis else 0
    finally:
        close_all(clients)
    if len(set(opened)) != len(opened):
        raise WrongAnswer(f"{len(opened)} sessions have {len(set(opened))} ids")
    facts["server_kib"] = (after - before) / len(opened) / 1024
    return {**facts, "redis_kib": (kept - stored) / len(opened) / 1024} if redis else facts


def _opening(client: Client, opened: list[str]) -> Start:
    """Open a session on a connection that is there: `initialize`, then `notifications/initialized`."""
    initialize = messages.request("POST", client.path, client.port, messages.JSON_AND_SSE, messages.INITIALIZE)
    connection = client.connection

    def start(_: int, done: Callable[[], None]) -> None:
        def confirmed(answer: Answer) -> None:
            confirm(answer)
            done()

        def initialized(answer: Answer) -> None:
            client.enter(answer)
            opened.append(client.session_id)
            connection.send(client.post(messages.INITIALIZED), confirmed)

        connection.send(initialize, initialized)

    return start
