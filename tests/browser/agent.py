"""A client of MCP: the official Python SDK's, in a session with one node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult, Implementation

from mcp_transport.domain.session import session_key, short_id

# It logs the session's id, which no log of this project may have.
logging.getLogger("mcp.client.streamable_http").setLevel(logging.WARNING)

STREAM_SECONDS = 300.0


class Agent:
    """The client, and what its requests were answered with."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.key = ""
        self.client: Client
        self.may_answer = asyncio.Event()
        """Set it to let the user answer a question."""
        self._calls: list[asyncio.Task[str]] = []

    @property
    def short_id(self) -> str:
        """Return the name of its session on pages."""
        return short_id(self.key)

    async def answer(self, context: Any, params: Any) -> ElicitResult:
        """Answer a question of a tool, once the test lets the user do so."""
        await self.may_answer.wait()
        return ElicitResult(action="accept", content={"agrees": True})

    async def note(self, response: httpx2.Response) -> None:
        """Look at an answer's head."""
        if response.request.method == "POST":
            self.statuses.append(response.status_code)
        if session_id := response.headers.get("mcp-session-id"):
            self.key = session_key(session_id)

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool; return the text of its result."""
        result = await self.client.call_tool(tool, arguments, progress_callback=_ignore)
        text: str = result.content[0].text  # type: ignore[union-attr]
        return text

    def begin(self, tool: str, **arguments: Any) -> asyncio.Task[str]:
        """Call a tool without waiting; the call is given up when the session is left."""
        self._calls.append(asyncio.create_task(self.call(tool, **arguments)))
        return self._calls[-1]

    def give_up(self) -> None:
        """Wait for no call any more."""
        for call in self._calls:
            call.cancel()


async def _ignore(progress: float, total: float | None, message: str | None) -> None:
    """Take progress, which is told only to who asks for it."""


@asynccontextmanager
async def agent(url: str, name: str, user: str = "", version: str = "1.0") -> AsyncIterator[Agent]:
    """Open a session in the name of a client, and of a user."""
    opened = Agent()
    headers = {"X-User": user} if user else {}
    async with httpx2.AsyncClient(
        headers=headers, event_hooks={"response": [opened.note]}, timeout=STREAM_SECONDS, trust_env=False
    ) as http:
        transport = streamable_http_client(url, http_client=http)
        information = Implementation(name=name, version=version)
        async with Client(
            transport, mode="legacy", client_info=information, elicitation_callback=opened.answer
        ) as opened.client:
            try:
                yield opened
            finally:
                opened.give_up()
