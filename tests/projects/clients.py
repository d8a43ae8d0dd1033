"""The official client of both eras, and a visitor on sockets of its own, who leaves when it pleases."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
from mcp import Client, MCPDeprecationWarning, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.projects.project import Site
from tests.support.http.client import Client as SocketClient
from tests.support.http.network import SocketAnswer
from tests.support.http.request import Request

LEGACY = "legacy"
WSGI_CONNECTIONS = 4
"""At a time: such servers keep others waiting, or refuse them."""
CALL_SECONDS = 30.0


@dataclass
class Outcome:
    """What became of a call."""

    text: str = ""
    is_error: bool = False
    protocol_error: str = ""
    progress: list[float] = field(default_factory=list)

    @property
    def value(self) -> Any:
        """Return the value that the text stands for, or the text."""
        try:
            return json.loads(self.text)
        except ValueError:
            return self.text or self.protocol_error


@dataclass
class Caller:
    """The official client, and the log messages that came."""

    client: Client
    logs: list[Any] = field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> Outcome:
        """Call a tool; a JSON-RPC error, or none at all, is an outcome, too."""
        outcome = Outcome()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            outcome.progress.append(progress)

        try:
            async with asyncio.timeout(CALL_SECONDS):
                result = await self.client.call_tool(tool, arguments, progress_callback=on_progress)
        except MCPError as error:
            outcome.protocol_error = f"{error.error.code} {error.error.message}"
        except TimeoutError:
            outcome.protocol_error = f"no answer within {CALL_SECONDS:g} s"
        else:
            outcome.is_error = bool(result.is_error)
            outcome.text = getattr(result.content[0], "text", "") if result.content else ""
        return outcome


@asynccontextmanager
async def caller(site: Site, path: str, era: str, **options: Any) -> AsyncIterator[Caller]:
    """Connect the official client; `headers` come on top of what proves who calls."""
    more = options.pop("headers", {})
    headers = {**site.headers(**options), **more}
    limits = httpx2.Limits(max_connections=None if site.project.streams else WSGI_CONNECTIONS)
    made: list[Caller] = []

    async def on_log(params: Any) -> None:
        made[0].logs.append(params.data)

    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, limits=limits, trust_env=False, verify=False) as http,
        Client(
            streamable_http_client(site.url(path), http_client=http),
            mode=era,
            logging_callback=on_log,
            log_level="info",
            cache=None,
        ) as client,
    ):
        made.append(Caller(client))
        if era == LEGACY:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MCPDeprecationWarning)
                await client.set_logging_level("info")
        yield made[0]


class Visitor(SocketClient):
    """A client that comes to one path of a site, and may leave in the middle of a call."""

    def __init__(self, site: Site, path: str, **options: Any) -> None:
        headers = site.headers(**options)
        super().__init__(site.port, headers=headers)
        self.path = site.path(path)

    async def send(self, request: Request, *arguments: Any, **options: Any) -> SocketAnswer:
        """Send any request to the path."""
        return await super().send(replace(request, path=self.path), *arguments, **options)
