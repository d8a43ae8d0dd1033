"""Single requests of 2026-07-28 to an endpoint, and what they are answered with."""

from __future__ import annotations

from typing import Any

from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient, send_sessionless


async def result_of(endpoint: Endpoint, method: str, params: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a request's result; an error fails the test."""
    answer = await send_sessionless(endpoint, method, params, **options)
    assert "result" in answer.json, answer.json
    return answer.json["result"]


async def error_of(endpoint: Endpoint, method: str, params: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a request's JSON-RPC error."""
    answer = await send_sessionless(endpoint, method, params, **options)
    return answer.json["error"]


async def call(endpoint: Endpoint, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a tool's result, which may be a tool error."""
    return await result_of(endpoint, "tools/call", {"name": tool, "arguments": arguments or {}}, **options)


async def returned(endpoint: Endpoint, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a tool's structured content, unwrapped."""
    result = await call(endpoint, tool, arguments, **options)
    assert not result.get("isError"), result
    content = result["structuredContent"]
    return content["result"] if set(content) == {"result"} else content


async def failure(endpoint: Endpoint, tool: str, arguments: dict[str, Any] | None = None, **options: Any) -> str:
    """Return the text of a tool error."""
    result = await call(endpoint, tool, arguments, **options)
    assert result.get("isError"), result
    text: str = result["content"][0]["text"]
    return text


async def listed(endpoint: Endpoint, kind: str, name: str) -> dict[str, Any]:
    """Return one entry of `<kind>/list`."""
    member = {"resources/templates": "resourceTemplates"}.get(kind, kind)
    entries = (await result_of(endpoint, f"{kind}/list"))[member]
    return next(entry for entry in entries if entry["name"] == name)


def text_of(answer: Answer) -> str:
    """Return the first text of a tool's result."""
    text: str = answer.json["result"]["content"][0]["text"]
    return text


async def opened(endpoint: Endpoint, user: Any = None, version: str = "2025-11-25", **options: Any) -> SessionClient:
    """Open a session whose client declares every capability."""
    client = SessionClient(endpoint, version, user=user)
    await client.open(**options)
    return client
