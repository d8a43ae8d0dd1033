"""`application = mount(get_asgi_application())`: the endpoint in front of Django's handler, the fastest setup."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from mcp_transport.adapters.asgi import Receive, Scope, Send, serve

__all__ = ["MOUNTED", "mount"]

MOUNTED: Final[set[str]] = set()
"""The paths of mounted applications in this process, which `mcp_deploy` compares."""

Application = Callable[[Any, Any, Any], Awaitable[None]]


def mount(inner: Application, path: str = "/mcp") -> Application:
    """Serve `path`, with and without a trailing slash, and health and metadata paths; pass other requests to `inner`.

    Django's middleware does not run for `path`; the Host, Origin and identity of a request are checked all the same.
    """
    # Imported here: an asgi.py may import this module before it sets up Django.
    from django.core.handlers.asgi import get_script_prefix
    from django.urls import set_script_prefix

    from mcp_transport import prewarm
    from mcp_transport.bootstrap import ERROR_REPLY, Misconfigured, endpoint
    from mcp_transport.discovery import discover
    from mcp_transport.health import report
    from mcp_transport.process import startup
    from mcp_transport.well_known import metadata

    discover()  # reports errors in declarations before the first request, also under a management command
    MOUNTED.add(path.rstrip("/"))
    paths = {path.rstrip("/"), path.rstrip("/") + "/"}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            prewarm.begin_before_requests(scope["type"])
            await inner(scope, receive, send)
        elif (local := _local_path(scope["path"], prefix := get_script_prefix(scope))) in paths:
            if prefix.strip("/"):
                set_script_prefix(prefix)  # as in Django's handler, for `reverse` in tools
            try:
                served = endpoint()
            except Misconfigured:
                await _send(send, ERROR_REPLY.status, ERROR_REPLY.headers, ERROR_REPLY.body)
            else:
                if not startup.is_prepared:
                    prewarm.begin()
                await serve(served, scope, receive, send)
        elif (health := await report(local)) is not None:
            await _send_json(send, *health)
        elif local.startswith("/.well-known/") and (reply := metadata(scope["method"], local)) is not None:
            await _send(send, reply.status, reply.headers, reply.body)
        else:
            await inner(scope, receive, send)

    return application


def _local_path(path: str, prefix: str) -> str:
    """Return a path without the project's prefix, which some servers and proxies have already removed."""
    prefix = prefix.rstrip("/")
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


async def _send_json(send: Send, status: int, body: object) -> None:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    await _send(send, status, headers, json.dumps(body).encode())


async def _send(send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
    lines = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if status != 204:  # RFC 9110, 8.6
        lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
