"""What is sent and what must come back, in each dialect of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.bench.wire import Answer, WrongAnswer, data_of

SESSIONFUL = "2025-11-25"
SESSIONLESS = "2026-07-28"
META = "io.modelcontextprotocol"
ADDEND = 7
FIRST_NUMBER = 1_000_000
"""Call numbers have seven digits, so that requests of one kind have one length."""

_PLACE = b"1000000"
_INFO = {"name": "bench", "version": "1"}
JSON_AND_SSE = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def request(method: str, path: str, port: int, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """Build an HTTP request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{k}: {v}" for k, v in headers.items())]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def rpc(method: str, params: Mapping[str, Any] | None = None, id: int | None = None) -> bytes:
    """Build a JSON-RPC request, or a notification without an id."""
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    return orjson.dumps({name: value for name, value in message.items() if value is not None})


INITIALIZE = rpc("initialize", {"protocolVersion": SESSIONFUL, "capabilities": {}, "clientInfo": _INFO}, id=0)
INITIALIZED = rpc("notifications/initialized")


def add(meta: Mapping[str, Any] | None = None, tool: str = "add") -> bytes:
    """Build the body of a call of `add`, or of another tool that adds, numbered 1000000."""
    return _call(tool, {"a": FIRST_NUMBER, "b": ADDEND}, meta or {})


def count(steps: int, pause: float, meta: Mapping[str, Any] | None = None) -> bytes:
    """Build the body of a call of `count` that asks for progress, numbered 1000000."""
    return _call("count", {"steps": steps, "pause": pause}, {"progressToken": FIRST_NUMBER, **(meta or {})})


def _call(name: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]) -> bytes:
    params = {"name": name, "arguments": arguments, **({"_meta": meta} if meta else {})}
    return rpc("tools/call", params, id=FIRST_NUMBER)


SESSIONLESS_META = {
    f"{META}/protocolVersion": SESSIONLESS,
    f"{META}/clientCapabilities": {},
    f"{META}/clientInfo": _INFO,
}


def sessionless_headers(tool: str) -> dict[str, str]:
    """Return the headers of a tool call of 2026-07-28."""
    own = {"MCP-Protocol-Version": SESSIONLESS, "Mcp-Method": "tools/call", "Mcp-Name": tool}
    return {**JSON_AND_SSE, **own}


def template(numbered: bytes) -> bytes:
    """Turn a request that is numbered 1000000 into one to be filled in with `% {b"n": number}`."""
    return numbered.replace(b"%", b"%%").replace(_PLACE, b"%(n)d")


# -- what must come back


def outcome(answer: Answer) -> Any:
    """Return the last JSON-RPC message of an answer, be it JSON or a stream."""
    body = answer.body
    if not body.startswith(b"{"):
        body = data_of(body[max(body.rfind(b"data:"), 0) :])
    if answer.status != 200 or not body:
        raise WrongAnswer(f"{answer.status or 'the connection broke'}: {answer.head!r} {answer.body[:500]!r}")
    return orjson.loads(body)


def check_sum(message: Any, number: int) -> None:
    """Raise where a message is not the answer to call `number` of `add`."""
    if message.get("id") != number or _value(message) != number + ADDEND:
        raise WrongAnswer(f"the answer to {number} + {ADDEND}, call {number}, is {message}")


def check_count(message: Any, number: int, steps: int) -> None:
    """Raise where a message is not the answer to call `number` of `count`."""
    if message.get("id") != number or _value(message) != steps:
        raise WrongAnswer(f"the answer to call {number}, which counts to {steps}, is {message}")


def check_progress(message: Any, number: int, step: int) -> None:
    """Raise where a message is not the progress of call `number` at `step`."""
    params = message.get("params", {})
    if params.get("progressToken") != number or params.get("progress") != step:
        raise WrongAnswer(f"progress {step} of call {number} is {message}")


def _value(message: Any) -> Any:
    """Return what a tool gave back; some servers wrap it into an object of one member."""
    try:
        result = message["result"]
        value = orjson.loads(result["content"][0]["text"])
    except (LookupError, TypeError, ValueError):
        return None
    if result.get("isError"):
        return None
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
