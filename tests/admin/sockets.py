"""WebSockets of the admin's pages, opened as a browser does: with cookies, from an origin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import Client

from mcp_transport.routing import websocket

__all__ = ["CLOSED", "following", "heard", "socket"]

CLOSED = "websocket.close"


def socket(client: Client, place: str, origin: str = "http://testserver") -> Any:
    """Return a socket that is not open, so far."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    return WebsocketCommunicator(websocket, place, [(b"origin", origin.encode()), (b"cookie", cookies.encode())])


@asynccontextmanager
async def following(client: Client, place: str, cursor: str = "") -> AsyncIterator[Any]:
    """Open a socket, say where the page is, and close it in the end."""
    opened = socket(client, place)
    assert (await opened.connect())[0]
    await opened.send_json_to({"cursor": cursor})
    yield opened
    await opened.disconnect()


async def heard(opened: Any, until: Any = lambda news: True) -> dict[str, Any]:
    """Return the first news that are so."""
    while True:
        news: dict[str, Any] = await opened.receive_json_from(5)
        if until(news):
            return news
