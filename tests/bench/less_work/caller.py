"""One caller of 2026-07-28 with several connections."""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from tests.bench import messages
from tests.bench.overload.callers import PATH
from tests.bench.wire import Connection

__all__ = ["Line"]

_numbers = itertools.count(1)


class Line:
    """A connection of the one caller, for one call at a time."""

    def __init__(self, connection: Connection, port: int) -> None:
        self.connection, self._port = connection, port

    @classmethod
    async def open(cls, port: int) -> Line:
        """Connect."""
        return cls(await Connection.open(port), port)

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; return its structured result, or None for a failure or a refusal."""
        params = {"name": tool, "arguments": arguments, "_meta": messages.SESSIONLESS_META}
        body = messages.rpc("tools/call", params, id=next(_numbers))
        headers = {**messages.sessionless_headers(tool), "Authorization": "Bearer one"}
        answer = await self.connection.ask(messages.request("POST", PATH, self._port, headers, body))
        result = orjson.loads(_json(answer.body)).get("result") or {}
        return None if result.get("isError") else result.get("structuredContent")


def _json(body: bytes) -> bytes:
    """Return the last message of an answer, which may be a stream."""
    return body if body.startswith(b"{") else body[body.rfind(b"data: ") + 6 :].strip()
