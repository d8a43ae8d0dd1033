"""Callers, told apart by their tokens, and the requests that each of them sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import messages
from tests.bench.wire import Connection, WrongAnswer

PATH = "/mcp"
DIALECTS = ("session", "alone")
"""A session of 2025-11-25, or no session in 2026-07-28."""


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of request of one caller."""

    kind: str
    template: bytes
    """To be filled in with a number."""
    cancel: bytes = b""
    """What a client sends when it gives up; empty where it leaves instead."""


class Caller:
    """One caller, with a session where the dialect has one."""

    def __init__(self, name: str, port: int, dialect: str) -> None:
        self.name, self.port, self.dialect = name, port, dialect
        self._session: dict[str, str] = {}

    async def open(self, connection: Connection) -> None:
        """Open its session."""
        if self.dialect == "alone":
            return
        answer = await connection.ask(self._post(messages.INITIALIZE))
        if messages.outcome(answer).get("result", {}).get("protocolVersion") != messages.SESSIONFUL:
            raise WrongAnswer(f"initialize: {answer.body!r}")
        session_id = answer.header("Mcp-Session-Id")
        self._session = {"Mcp-Session-Id": session_id, "MCP-Protocol-Version": messages.SESSIONFUL}
        confirmed = await connection.ask(self._post(messages.INITIALIZED))
        if confirmed.status != 202:
            raise WrongAnswer(f"notifications/initialized: {confirmed.status} {confirmed.body!r}")

    def call(self, tool: str) -> Target:
        """Build a call of a tool, whose argument and id are its number."""
        params: dict[str, Any] = {"name": tool, "arguments": {"a": messages.FIRST_NUMBER}}
        if self.dialect == "alone":
            params["_meta"] = messages.SESSIONLESS_META
            body = messages.rpc("tools/call", params, id=messages.FIRST_NUMBER)
            headers = {**messages.sessionless_headers(tool), **self._authorization}
            return Target(tool, messages.template(messages.request("POST", PATH, self.port, headers, body)))
        cancel = messages.rpc("notifications/cancelled", {"requestId": messages.FIRST_NUMBER})
        return Target(tool, *(messages.template(self._post(body)) for body in (_call(params), cancel)))

    def ask(self, method: str) -> Target:
        """Build a request without parameters, for which it needs a session."""
        return Target(method, messages.template(self._post(messages.rpc(method, id=messages.FIRST_NUMBER))))

    def health(self) -> Target:
        """Build a request of /healthz."""
        return Target("/healthz", messages.template(messages.request("GET", "/healthz", self.port, {})))

    @property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.name}"}

    def _post(self, body: bytes) -> bytes:
        headers = {**messages.JSON_AND_SSE, **self._authorization, **self._session}
        return messages.request("POST", PATH, self.port, headers, body)


def _call(params: dict[str, Any]) -> bytes:
    return messages.rpc("tools/call", params, id=messages.FIRST_NUMBER)


async def opened(names: Sequence[str], port: int, dialect: str) -> list[Caller]:
    """Open callers, one after the other."""
    callers = [Caller(name, port, dialect) for name in names]
    connection = await Connection.open(port)
    try:
        for caller in callers:
            await caller.open(connection)
    finally:
        connection.close()
    return callers
