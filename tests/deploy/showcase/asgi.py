"""The site, what a request looks like when it arrives, and a WebSocket that says what it hears."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.deploy.showcase.settings")

from tests.support.cluster.site.asgi import application as _site


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the site, /echo and every path that ends in /live/."""
    if scope["type"] == "websocket":
        await _talk(receive, send)
    elif scope["path"] == "/echo":
        lines = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        body = json.dumps({"headers": lines, "pid": os.getpid()}).encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": body})
    else:
        await _site(scope, receive, send)


async def _talk(receive: Any, send: Any) -> None:
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": event["text"]})
