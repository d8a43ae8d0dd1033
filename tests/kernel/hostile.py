"""Requests of hostile clients, and limits on the work of a response."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from typing import Any

from mcp_transport.engine.codec import encode
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.jsonrpc import Outcome, Request
from tests.support.kernel import Recorder, exchange
from tests.support.plain_calls import envelope

VERSIONS = ("2025-11-25", "2026-07-28")
MANY = 100_000
LONG = 4_000_000

# Seconds of this thread's CPU time. Before the limits, these requests took between 0.2 and 20 seconds.
AT_ONCE = 0.2
SHORT = 2000
"""Characters of a response, and of a log line."""


def objects(count: int = MANY) -> list[dict[str, Any]]:
    return [{} for _ in range(count)]


async def at_once(work: Awaitable[Outcome]) -> Outcome:
    """Await an outcome, which must take almost no CPU time and be short."""
    began = time.thread_time()
    outcome = await work
    written = encode(outcome.body(1))
    assert time.thread_time() - began < AT_ONCE
    assert len(written) < SHORT
    return outcome


def send(kernel: Kernel, version: str, method: str, params: Mapping[str, Any]) -> Awaitable[Outcome]:
    meta = params.get("_meta", {})
    whole = {**params, "_meta": {**envelope(version), **meta}} if isinstance(meta, dict) else params
    running = exchange(Recorder(), version)
    return kernel.serve(Request(7, method, whole), version, lambda: running)


def text_of(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error["message"])
    assert outcome.result is not None
    return str(outcome.result["content"][0]["text"])
