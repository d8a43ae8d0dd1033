"""The messages of a client: its requests, and the notifications and requests of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_transport.kernel import request_headers
from mcp_transport.protocol.errors import HEADER_MISMATCH, INTERNAL_ERROR
from mcp_transport.test.answers import Answers
from mcp_transport.test.http import HTTP, Response
from mcp_transport.test.results import Log, Progress

__all__ = ["Conversation", "Exchange", "SessionConversation"]

# A call with more rounds of input or more closed streams than this counts as endless.
_MAX_ROUNDS: Final = 50

_META: Final = "io.modelcontextprotocol"
_JSON_OR_EVENTS: Final = "application/json, text/event-stream"
_CLIENT: Final = {"name": "mcp_transport.test", "version": "1"}


@dataclass(kw_only=True)
class Exchange:
    """One request, and the messages that were received in response."""

    id: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    response: Mapping[str, Any] = field(default_factory=dict)
    last_event_id: str = ""
    progress: list[Progress] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    reply_tasks: list[asyncio.Task[None]] = field(default_factory=list)
    """Replies to requests of the server, in progress."""
    failure: BaseException | None = None
    """Why the test could not answer a request of the server."""

    def record_notification(self, method: str, params: Mapping[str, Any]) -> None:
        """Record a notification."""
        if method == "notifications/progress":
            self.progress.append(Progress(params["progress"], params.get("total"), params.get("message")))
        elif method == "notifications/message":
            self.logs.append(Log(params["level"], params.get("data"), params.get("logger")))


class Conversation:
    """Sessionless requests (2026-07-28)."""

    def __init__(self, http: HTTP, version: str, answers: Answers) -> None:
        self._http, self.version, self._answers = http, version, answers
        self._last_id = 0  # no iterator: Django's TestCase copies class attributes
        self._schemas: dict[str, Any] = {}

    async def request(self, method: str, params: Mapping[str, Any]) -> Exchange:
        """Send a request, answer the server's own requests, and return the exchange.

        Raises: AssertionError if there is no MCP response, or no prepared answer to a request of the server.
        """
        exchange = Exchange()
        for _ in range(_MAX_ROUNDS):
            response = await self._send(exchange, method, params)
            if exchange.failure is not None:
                raise exchange.failure
            if await self._loads_header_schema(response, method, params):
                continue
            result = response.get("result", {})
            if result.get("resultType") != "input_required":
                return exchange
            params = {**params, **await self._responses(result)}
        raise AssertionError(f"{method} asked for input {_MAX_ROUNDS} times without a result: {params}")

    async def open(self) -> Exchange | None:
        """Return None: sessionless requests need no initialization."""
        return None

    async def close(self) -> None:
        """Do nothing: there is no session to end."""

    # -- differences between sessionless and session-based revisions -------------------------------------

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
        raise AssertionError("the stream of the request ended without a response")

    async def _reply(self, id: Any, outcome: Mapping[str, Any]) -> None:
        raise AssertionError("the server sent a request, which 2026-07-28 does not have")

    # -- one request -------------------------------------------------------------------------------------

    async def _send(self, exchange: Exchange, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        self._last_id += 1
        exchange.id, exchange.response = self._last_id, {}
        members = {**params, "_meta": self._meta(exchange)}
        message = {"jsonrpc": "2.0", "id": exchange.id, "method": method, "params": members}
        headers = {"Accept": _JSON_OR_EVENTS, **self._headers(method, params)}
        async with self._http.send("POST", headers, message) as response:
            exchange.status, exchange.headers = response.status, response.headers
            await self._listen(exchange, response)
        for _ in range(_MAX_ROUNDS):
            if exchange.response:
                await asyncio.gather(*exchange.reply_tasks)
                return exchange.response
            await self._resume(exchange)
        raise AssertionError(f"{method} has no response: its stream ended {_MAX_ROUNDS} times")

    async def _listen(self, exchange: Exchange, response: Response) -> None:
        """Read all messages of a response."""
        async for event_id, message in response.messages():
            exchange.last_event_id = event_id or exchange.last_event_id
            if message is None:
                continue
            if "method" not in message:
                exchange.response = message  # without an id if the request could not be parsed
            elif "id" in message:
                # Not awaited: the reply may have to wait until the tool releases the test's thread.
                exchange.reply_tasks.append(asyncio.ensure_future(self._answer(exchange, message)))
            else:
                exchange.record_notification(message["method"], message.get("params", {}))

    async def _answer(self, exchange: Exchange, incoming: Mapping[str, Any]) -> None:
        """Answer a request of the server; a failure is raised at the end of the call."""
        try:
            outcome = {"result": await self._answers.answer(incoming["method"], incoming.get("params", {}))}
        except Exception as error:
            exchange.failure = exchange.failure or error
            outcome = {"error": {"code": INTERNAL_ERROR, "message": "the test has no answer"}}
        await self._reply(incoming["id"], outcome)

    async def _responses(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with which a request is repeated after `input_required`."""
        responses = {
            name: await self._answers.answer(incoming["method"], incoming.get("params", {}))
            for name, incoming in (result.get("inputRequests") or {}).items()
        }
        state = {"requestState": result["requestState"]} if "requestState" in result else {}
        return {"inputResponses": responses, **state}

    async def _loads_header_schema(self, response: Mapping[str, Any], method: str, params: Mapping[str, Any]) -> bool:
        """Load the schema of a tool with arguments in headers; tell whether the request should be repeated."""
        mismatch = response.get("error", {}).get("code") == HEADER_MISMATCH
        if not mismatch or method != "tools/call" or params["name"] in self._schemas:
            return False
        tools_list = (await self.request("tools/list", {})).response
        tools = tools_list.get("result", {}).get("tools", ())
        self._schemas[params["name"]] = {tool["name"]: tool["inputSchema"] for tool in tools}.get(params["name"])
        return True


class SessionConversation(Conversation):
    """A session (2025-03-26 to 2025-11-25), opened by the first request."""

    id: str | None = None

    async def open(self) -> Exchange | None:
        """Open the session unless it is open; return the exchange if it was refused."""
        if self.id is not None:
            return None
        params = {"protocolVersion": self.version, "capabilities": self._answers.capabilities, "clientInfo": _CLIENT}
        exchange = await self.request("initialize", params)
        if "result" not in exchange.response:
            return exchange
        if (version := exchange.response["result"]["protocolVersion"]) != self.version:
            raise AssertionError(f"the server offers {version} in place of {self.version}: see PROTOCOL_VERSIONS")
        self.id = exchange.headers["mcp-session-id"]
        await self._post({"method": "notifications/initialized"})
        return None

    async def close(self) -> None:
        """End the session, if it is open."""
        if self.id is not None:
            async with self._http.send("DELETE", self._headers("", {})):
                self.id = None

    def _meta(self, exchange: Exchange) -> dict[str, Any]:
        return {"progressToken": exchange.id}

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        return {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.version} if self.id is not None else {}

    async def _resume(self, exchange: Exchange) -> None:
        """Resume a stream that was closed in the middle of its call."""
        if not exchange.last_event_id:
            await super()._resume(exchange)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": exchange.last_event_id, **self._headers("", {})}
        async with self._http.send("GET", headers) as response:
            await self._listen(exchange, response)

    async def _reply(self, id: Any, outcome: Mapping[str, Any]) -> None:
        await self._post({"id": id, **outcome})

    async def _post(self, message: Mapping[str, Any]) -> None:
        """Send a message that gets no response."""
        headers = {"Accept": _JSON_OR_EVENTS, **self._headers("", {})}
        async with self._http.send("POST", headers, {"jsonrpc": "2.0", **message}) as response:
            async for _, refusal in response.messages():
                raise AssertionError(f"HTTP {response.status} for {message}: {refusal}")
