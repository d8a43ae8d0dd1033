"""Limits of processes and of what stands around the endpoint."""

from __future__ import annotations

import asyncio
from inspect import signature
from queue import SimpleQueue
from threading import Event

from mcp_transport import conf, signals
from mcp_transport.api.base import _MAX_BODY
from mcp_transport.auth.fetching import MAX_BYTES, WAIT_SECONDS
from mcp_transport.auth.introspection import _MAX_ANSWERS, IntrospectionAuthenticator
from mcp_transport.backends.redis.membership import _LONGEST_PAUSE
from mcp_transport.contrib.audit.values import MAX_ARGUMENT_BYTES
from mcp_transport.engine.body import _FREE
from mcp_transport.engine.budget import _FOR_ANONYMOUS
from mcp_transport.protocol.address import _MOST_HOPS
from mcp_transport.protocol.policy import Policy
from mcp_transport.supervision import _LOG_AGAIN
from mcp_transport.threads import CallThread, run_limited
from tests.limits.cases import Stage, case, tested_by
from tests.support.client import settle

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
    "tests/auth/test_signal_receivers.py",
    "test_what_finds_no_room_is_dropped_with_one_line",
)
tested_by("answers of an authorization server", MAX_BYTES, _INTROSPECTION, "test_callers_are_told_to_come_again")
tested_by(
    "tokens whose introspection is remembered",
    _MAX_ANSWERS,
    "tests/auth/test_introspection_cache.py",
    "test_no_more_than_so_many_answers_are_kept",
)
tested_by(
    "arguments of a call in the audit",
    MAX_ARGUMENT_BYTES,
    "tests/auth/test_audit_entries.py",
    "test_long_arguments_become_a_note",
)
tested_by("the body of a request to the REST API", _MAX_BODY, "tests/api/test_calls.py", "test_odd_body_is_refused")

_FLOOD = "tests/auth/test_introspection_flood.py"
_SUPERVISION = "tests/engine/test_supervision.py"
_BUDGET = "tests/engine/test_memory_budget.py"

tested_by(
    "questions to an introspection endpoint at a time (`MAX_QUESTIONS` in `OPTIONS`), of an event loop",
    signature(IntrospectionAuthenticator).parameters["max_questions"].default,
    _FLOOD,
    "test_made_up_tokens_take_no_more_connections_than_there_may_be",
)
tested_by(
    "the time that such a question waits",
    WAIT_SECONDS,
    _FLOOD,
    "test_made_up_tokens_take_no_more_connections_than_there_may_be",
)
tested_by(
    "failures of a kind in the log",
    60 / _LOG_AGAIN,
    _SUPERVISION,
    "test_a_failure_is_logged_with_its_stack_once_a_minute",
)
tested_by(
    "the pause of a node's task after a failure",
    _LONGEST_PAUSE,
    _SUPERVISION,
    "test_pauses_grow_to_a_limit_and_begin_anew_after_success",
)
tested_by(
    "memory that bodies and what is decoded from them take in a process, as estimated",
    Policy().max_bytes_in_flight,
    _BUDGET,
    "test_a_call_holds_memory_until_it_ends",
)
tested_by(
    "what one caller takes of it",
    Policy().max_bytes_in_flight_per_caller,
    _BUDGET,
    "test_one_caller_leaves_room_for_another",
)
tested_by(
    "the part of it that callers without credentials take together",
    _FOR_ANONYMOUS,
    _BUDGET,
    "test_callers_without_credentials_leave_a_part_to_those_with_some",
)
tested_by("a body that takes nothing of it", _FREE, _BUDGET, "test_a_small_request_is_served_when_nothing_is_left")
tested_by(
    "entries of `X-Forwarded-For` that are looked at",
    _MOST_HOPS,
    "tests/protocol/test_address.py",
    "test_a_long_line_of_trusted_addresses_is_not_walked_to_its_end",
)
