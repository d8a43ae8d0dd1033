"""Look where the suite does not: whether the diagnostic tools of the 2026-07-28 scenarios do their work.

server-stateless calls two tools and asks only what must not appear on their streams; an answer that there is
no such tool meets that, too. These checks call the tools again, and count as part of that scenario.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.conformance.summary import Check
from tests.support.http.client import Client
from tests.support.http.messages import META, SESSIONLESS

SCENARIO = "server-stateless"
SPEC = SESSIONLESS
WANTED = {"test_streaming_elicitation": "notifications/progress", "test_logging_tool": "notifications/message"}


async def call(port: int, tool: str) -> list[dict[str, Any]]:
    """Call a tool as a client that wants progress and log messages; return what came back, or what went wrong."""
    meta = {f"{META}/clientCapabilities": {"elicitation": {}}, f"{META}/logLevel": "debug"}
    try:
        async with Client(port) as client:
            answer = await client.call_alone(tool, meta=meta)
            return await answer.messages() if answer.is_stream else [await answer.json()]
    except (AssertionError, EOFError, OSError, ValueError) as error:
        return [{"problem": repr(error)}]


def check(tool: str, wanted: str, answer: list[dict[str, Any]]) -> Check:
    """Return the check that a tool answered without an error, after one kind of notification."""
    results = [message["result"] for message in answer if "result" in message]
    if not results or results[-1].get("isError"):
        problem = f"{tool} did not answer with a result: {answer}"
    elif not any(message.get("method") == wanted for message in answer):
        problem = f"{tool} sent no {wanted}: {answer}"
    else:
        return {"id": f"probe-{tool}", "status": "SUCCESS"}
    return {"id": f"probe-{tool}", "status": "FAILURE", "errorMessage": problem}


def checks(port: int) -> list[Check]:
    """Return the checks on both diagnostic tools."""
    return [check(tool, method, asyncio.run(call(port, tool))) for tool, method in WANTED.items()]
