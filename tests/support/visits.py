"""Clients of MCP that have a name, and the addresses of their sessions in the admin."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.endpoint import Endpoint
from tests.support.client import Answer, SessionClient, request, send

__all__ = ["LIST", "Visitor", "aside", "elsewhere", "ids", "messages", "page", "status_of_ping"]

LIST = "/admin/mcp_transport/session/"


class Visitor(SessionClient):
    """A client with a name of its own, of a user, if one is named."""

    def __init__(
        self, endpoint: Endpoint, name: Any = "test", user: str = "", *, version: str = "2025-11-25", agent: str = ""
    ) -> None:
        super().__init__(endpoint, version, User(pk=7, username=user) if user else None)
        self.name, self.agent = name, agent

    async def open(self, capabilities: dict[str, Any] | None = None) -> Answer:
        info = {"name": self.name, "version": "1"}
        params = {"protocolVersion": self.version, "capabilities": capabilities or {}, "clientInfo": info}
        headers: dict[str, str | None] = {"user-agent": self.agent}
        answer = await send(self.endpoint, body=request("initialize", params), headers=headers, user=self.user)
        assert answer.status == 200, answer.body
        self.session_id = answer.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized")).status == 202
        return answer

    @property
    def key(self) -> str:
        return session_key(self.session_id)

    @property
    def short_id(self) -> str:
        return short_id(self.key)

    def url(self, view: str = "change") -> str:
        return f"{LIST}{self.key}/{view}/"


@async_to_sync
async def status_of_ping(visitor: Visitor) -> int:
    try:
        return (await visitor.request("ping")).status
    finally:
        await visitor.endpoint.pool.stop()


def page(response: Any, status: int = 200) -> str:
    assert response.status_code == status, response
    text: str = response.content.decode()
    return text


def ids(response: Any) -> list[str]:
    """Return the short ids that a list shows, in order."""
    return re.findall(r'class="field-id" scope="row"><a href="[^"]+">(\w+)</a>', page(response))


def messages(response: Any) -> list[str]:
    """Return what a page says after a redirect."""
    found = re.findall(r'<li class="(?:success|warning)">(.*?)</li>', page(response))
    return [html.unescape(text) for text in found]


async def aside(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a sync view as an ASGI server does: it comes back to this loop for what is async."""
    return await sync_to_async(work)(*args, **options)


async def elsewhere(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a sync view as in a process that serves no MCP: each of its operations has a loop of its own."""

    def run() -> Any:
        try:
            return work(*args, **options)
        finally:  # Django never closes connections to a database in memory
            for connection in connections.all(initialized_only=True):
                BaseDatabaseWrapper.close(connection)

    return await asyncio.to_thread(run)
