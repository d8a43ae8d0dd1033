"""Look where the suite does not: whether the diagnostic tools of the 2026-07-28 scenarios do their work.

server-stateless calls two tools and asks only what must not appear on their streams; an answer that there is
no such tool meets that, too. These checks call the tools again, and count as part of that scenario.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.conformance.summary import Check

SCENARIO = "server-stateless"
SPEC = "2026-07-28"
META = "io.modelcontextprotocol"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def messages(body: str) -> list[dict[str, Any]]:
    """Return the JSON-RPC messages of an answer, be it JSON or an event stream."""
    if body.startswith("{"):
        return [json.loads(body)]
    data = [line.removeprefix("data:").strip() for line in body.splitlines() if line.startswith("data:")]
    return [json.loads(text) for text in data if text]


def request(url: str, tool: str) -> urllib.request.Request:
    """Return the call of a tool without arguments, by a client that wants progress and log messages."""
    meta = {
        f"{META}/protocolVersion": SPEC,
        f"{META}/clientInfo": {"name": "conformance-probe", "version": "1.0"},
        f"{META}/clientCapabilities": {"elicitation": {}},
        f"{META}/logLevel": "debug",
        "progressToken": "probe",
    }
    params = {"name": tool, "arguments": {}, "_meta": meta}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": SPEC,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    return urllib.request.Request(url, body, headers)  # noqa: S310


def call(url: str, tool: str, seconds: float) -> list[dict[str, Any]]:
    """Call a tool and return the messages that came back, or what came instead."""
    try:
        with OPENER.open(request(url, tool), timeout=seconds) as answer:
            return messages(answer.read().decode())
    except urllib.error.HTTPError as error:
        return [{"status": error.code, "body": error.read().decode(errors="replace")}]
    except (OSError, ValueError) as error:
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


def checks(url: str, seconds: float) -> list[Check]:
    """Return the checks on both diagnostic tools."""
    wanted = {
        "test_streaming_elicitation": "notifications/progress",
        "test_logging_tool": "notifications/message",
    }
    return [check(tool, method, call(url, tool, seconds)) for tool, method in wanted.items()]
