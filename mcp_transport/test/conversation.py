"""The messages of a client, in both eras: what it asks, hears on the way, and is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_transport.kernel import request_headers
from mcp_transport.protocol.errors import HEADER_MISMATCH, INTERNAL_ERROR
from mcp_transport.test.answers import Answers
from mcp_transport.test.http import HTTP, Answer
from mcp_transport.test.results import Log, Progress

__all__ = ["Conversation", "Exchange", "SessionConversation"]

# A call that asks more often than this, or whose stream is closed more often, is taken for one without an end.
_MOST_ROUNDS: Final = 50

_META: Final = "io.modelcontextprotocol"
_BOTH: Final = "application/json, text/event-stream"
_CLIENT: Final = {"name": "mcp_transport.test", "version": "1"}


@dataclass(kw_only=True)
class Exchange:
    """One request under way, and what came of it so far."""

    id: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Mapping[str, Any] = field(default_factory=dict)
    last_event_id: str = ""
    progress: list[Progress] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    answering: list[asyncio.Task[None]] = field(default_factory=list)
    """The questions that are being answered."""
    failure: BaseException | None = None
    """Why the test could not answer a question."""

    def hear(self, method: str, params: Mapping[str, Any]) -> None:
        """Note a notification."""
        if method == "notifications/progress":
            self.progress.append(Progress(params["progress"], params.get("total"), params.get("message")))
        elif method == "notifications/message":
            self.logs.append(Log(params["level"], params.get("data"), params.get("logger")))


class Conversation:
    """Requests that stand alone (2026-07-28)."""

    def __init__(self, http: HTTP, version: str, answers: Answers) -> None:
        self._http, self.version, self._answers = http, version, answers
        self._last_id = 0  # no iterator: Django's TestCase copies what a class sets up
        self._schemas: dict[str, Any] = {}

    async def ask(self, method: str, params: Mapping[str, Any]) -> Exchange:
        """Send a request, answer what the server asks meanwhile, and return what came of it.

        Raises: AssertionError when there is no answer of MCP, or the test has prepared none for a question.
        """
        exchange = Exchange()
        for _ in range(_MOST_ROUNDS):
            response = await self._send(exchange, method, params)
            if exchange.failure is not None:
                raise exchange.failure
            if await self._learns_headers(response, method, params):
                continue
            result = response.get("result", {})
            if result.get("resultType") != "input_required":
                return exchange
            params = {**params, **await self._responses(result)}
        raise AssertionError(f"{method} asked {_MOST_ROUNDS} times, and would do so again: {params}")

    async def begin(self) -> Exchange | None:
        """Return nothing: no request needs another one before it."""
        return None

    async def end(self) -> None:
        """Do nothing: no request leaves anything behind."""

    # -- what differs between the eras -------------------------------------------------------------------

    def _meta(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "progressToken": exchange.id,
            f"{_META}/protocolVersion": self.version,
            f"{_META}/clientCapabilities": self._answers.capabilities,
            f"{_META}/clientInfo": _CLIENT,
            f"{_META}/logLevel": "debug",
        }

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        schema = self._schemas.get(params.get("name", "")) if method == "tools/call" else None
        return {"MCP-Protocol-Version": self.version, **request_headers(method, params, schema)}

    async def _resume(self, exchange: Exchange) -> None:
        raise AssertionError("the stream of the request ended without an answer")

    async def _reply(self, id: Any, outcome: Mapping[str, Any]) -> None:
        raise AssertionError("the server sent a request, which there is not in 2026-07-28")

    # -- one request -------------------------------------------------------------------------------------

    async def _send(self, exchange: Exchange, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self._last_id += 1
        exchange.id, exchange.response = self._last_id, {}
        message = {
            "jsonrpc": "2.0",
            "id": exchange.id,
            "method": method,
            "params": {**params, "_meta": self._meta(exchange)},
        }
        headers = {"Accept": _BOTH, **self._headers(method, params)}
        async with self._http.send("POST", headers, message) as answer:
            exchange.status, exchange.headers = answer.status, answer.headers
            await self._listen(exchange, answer)
        for _ in range(_MOST_ROUNDS):
            if exchange.response:
                await asyncio.gather(*exchange.answering)
                return exchange.response
            await self._resume(exchange)
        raise AssertionError(f"{method} has no answer: its stream ended {_MOST_ROUNDS} times")

    async def _listen(self, exchange: Exchange, answer: Answer) -> None:
        """Read an answer to its end."""
        async for event_id, message in answer.messages():
            exchange.last_event_id = event_id or exchange.last_event_id
            if message is None:
                continue
            if "method" not in message:
                exchange.response = message  # be it without an id, if the request could not be read
            elif "id" in message:
                # Not awaited: what is left of it may have to wait until the tool leaves the test's thread.
                exchange.answering.append(asyncio.ensure_future(self._answer(exchange, message)))
            else:
                exchange.hear(message["method"], message.get("params", {}))

    async def _answer(self, exchange: Exchange, question: Mapping[str, Any]) -> None:
        """Answer a request of the server; what keeps the test from it is raised when the call is over."""
        try:
            outcome = {"result": await self._answers.answer(question["method"], question.get("params", {}))}
        except Exception as error:
            exchange.failure = exchange.failure or error
            outcome = {"error": {"code": INTERNAL_ERROR, "message": "the test has no answer"}}
        await self._reply(question["id"], outcome)

    async def _responses(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a request is sent again with after it was answered with questions."""
        responses = {
            name: await self._answers.answer(question["method"], question.get("params", {}))
            for name, question in (result.get("inputRequests") or {}).items()
        }
        state = {"requestState": result["requestState"]} if "requestState" in result else {}
        return {"inputResponses": responses, **state}

    async def _learns_headers(self, response: Mapping[str, Any], method: str, params: Mapping[str, Any]) -> bool:
        """Read the schema of a tool that wants arguments in headers, too; tell whether it was not known before."""
        mismatch = response.get("error", {}).get("code") == HEADER_MISMATCH
        if not mismatch or method != "tools/call" or params["name"] in self._schemas:
            return False
        listed = (await self.ask("tools/list", {})).response
        tools = listed.get("result", {}).get("tools", ())
        self._schemas[params["name"]] = {tool["name"]: tool["inputSchema"] for tool in tools}.get(params["name"])
        return True


class SessionConversation(Conversation):
    """A session (2025-03-26 to 2025-11-25), which begins with the first request."""

    id: str | None = None

    async def begin(self) -> Exchange | None:
        """Open the session, unless it is open; return what refused it, if so."""
        if self.id is not None:
            return None
        params = {"protocolVersion": self.version, "capabilities": self._answers.capabilities, "clientInfo": _CLIENT}
        opening = await self.ask("initialize", params)
        if "result" not in opening.response:
            return opening
        if (version := opening.response["result"]["protocolVersion"]) != self.version:
            raise AssertionError(f"the server offers {version} in place of {self.version}: see PROTOCOL_VERSIONS")
        self.id = opening.headers["mcp-session-id"]
        await self._post({"method": "notifications/initialized"})
        return None

    async def end(self) -> None:
        """End the session, if it has begun."""
        if self.id is not None:
            async with self._http.send("DELETE", self._headers("", {})):
                self.id = None

    def _meta(self, exchange: Exchange) -> dict[str, Any]:
        return {"progressToken": exchange.id}

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        return {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.version} if self.id is not None else {}

    async def _resume(self, exchange: Exchange) -> None:
        """Fetch the rest of a stream that was closed in the middle of its call."""
        if not exchange.last_event_id:
            await super()._resume(exchange)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": exchange.last_event_id, **self._headers("", {})}
        async with self._http.send("GET", headers) as answer:
            await self._listen(exchange, answer)

    async def _reply(self, id: Any, outcome: Mapping[str, Any]) -> None:
        await self._post({"id": id, **outcome})

    async def _post(self, message: Mapping[str, Any]) -> None:
        """Send what is not answered."""
        headers = {"Accept": _BOTH, **self._headers("", {})}
        async with self._http.send("POST", headers, {"jsonrpc": "2.0", **message}) as answer:
            async for _, refusal in answer.messages():
                raise AssertionError(f"HTTP {answer.status} for {message}: {refusal}")
