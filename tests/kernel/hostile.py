"""What hostile clients send, and how little work an answer to it may be."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping
from typing import Any

from mcp_transport.engine.codec import encode
from mcp_transport.kernel import Kernel, Outcome
from mcp_transport.protocol.jsonrpc import Request
from tests.support.kernel import Recorder, exchange
from tests.support.plain_calls import envelope

VERSIONS = ("2025-11-25", "2026-07-28")
MANY = 100_000
LONG = 4_000_000

# Seconds of this thread's processor time. What is tried here took between 0.2 and 20 of them.
AT_ONCE = 0.2
SHORT = 2000
"""Characters of an answer, and of a log line."""


def objects(count: int = MANY) -> list[dict[str, Any]]:
    return [{} for _ in range(count)]


async def at_once(work: Awaitable[Outcome]) -> Outcome:
    """Wait for an outcome, which must take next to no processor time, and be short."""
    began = time.thread_time()
    outcome = await work
    written = encode(outcome.body(1))
    assert time.thread_time() - began < AT_ONCE
    assert len(written) < SHORT
    return outcome


def ask(kernel: Kernel, version: str, method: str, params: Mapping[str, Any]) -> Awaitable[Outcome]:
    meta = params.get("_meta", {})
    whole = {**params, "_meta": {**envelope(version), **meta}} if isinstance(meta, dict) else params
    running = exchange(Recorder(), version)
    return kernel.serve(Request(7, method, whole), version, lambda: running)


def text_of(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error["message"])
    assert outcome.result is not None
    return str(outcome.result["content"][0]["text"])
