"""Limits of processes and of what stands around the endpoint."""

from __future__ import annotations

import asyncio
from queue import SimpleQueue
from threading import Event

from mcp_transport import conf, signals
from mcp_transport.api.base import _MAX_BODY
from mcp_transport.auth.fetching import MAX_BYTES
from mcp_transport.auth.introspection import _MAX_ANSWERS
from mcp_transport.contrib.audit.values import MAX_ARGUMENT_BYTES
from mcp_transport.threads import CallThread, run_limited
from tests.engine.client import settle
from tests.limits.cases import Stage, case, tested_by

_INTROSPECTION = "tests/auth/test_introspection.py"


@case("synchronous tools that run at a time", conf.SETTINGS["TOOL_THREADS"].default)
async def threads(stage: Stage) -> None:
    begun, returns = SimpleQueue[int](), Event()

    def work() -> None:
        begun.put(1)
        returns.wait(5)

    async def call() -> None:
        async with CallThread():
            await run_limited(work, 2, print)

    calls = [asyncio.create_task(call()) for _ in range(3)]
    for _ in range(2):
        await asyncio.to_thread(begun.get, timeout=5)
    await settle()
    assert begun.empty()
    returns.set()
    await asyncio.gather(*calls)
    assert begun.qsize() == 1


tested_by(
    "events that wait for receivers of signals",
    signals._MOST_WAITING,
    "tests/auth/test_signals.py",
    "test_what_finds_no_room_is_dropped_with_one_line",
)
tested_by("answers of an authorization server", MAX_BYTES, _INTROSPECTION, "test_callers_are_told_to_come_again")
tested_by(
    "tokens whose introspection is remembered",
    _MAX_ANSWERS,
    _INTROSPECTION,
    "test_no_more_than_so_many_answers_are_kept",
)
tested_by(
    "arguments of a call in the audit",
    MAX_ARGUMENT_BYTES,
    "tests/auth/test_audit.py",
    "test_long_arguments_become_a_note",
)
tested_by("the body of a request to the REST API", _MAX_BODY, "tests/api/test_calls.py", "test_odd_body_is_refused")
