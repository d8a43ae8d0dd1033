"""A server of the official SDK, for `manage.py mcp_call`."""

from __future__ import annotations

import asyncio
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.utilities.types import Image
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    InputRequiredResult,
    ToolAnnotations,
)

server: MCPServer[Any] = MCPServer("called", log_level="ERROR")
READ_ONLY = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=READ_ONLY)
async def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    And nothing else.
    """
    return a + b


@server.tool()
async def echo(value: Any) -> str:
    """Return what was sent."""
    return f"{type(value).__name__} {value}"


@server.tool()
async def sell() -> str:
    """Report an error."""
    raise ToolError("Sold \x1b[31mout.")


@server.tool()
async def refuse() -> str:
    """Refuse the request."""
    raise MCPError(-32000, "not \x1b[2Jtoday")


@server.tool()
async def draw() -> Any:
    """Return a picture."""
    return ["a \x1b]0;title\x07picture:\u202e", Image(data=b"png", format="png")]


@server.tool()
async def header(name: str, ctx: Context) -> str:
    """Return a header of the request."""
    request: Any = ctx.request_context.request
    return str(request.headers.get(name))


@server.tool()
async def count(steps: int, ctx: Context, total: float | None = None, text: str = "") -> str:
    """Report progress."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, total, text)
    return "counted"


@server.tool()
async def wait(folder: str, ctx: Context) -> str:
    """Report progress, then wait to be cancelled, and write a file then."""
    await ctx.report_progress(1, 2)
    (Path(folder) / "begun").touch()
    try:
        await asyncio.Event().wait()
    finally:
        (Path(folder) / "cancelled").touch()
    return "unreachable"


@server.tool()
async def log(level: str, text: str, ctx: Context) -> str:
    """Send a log message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await ctx.log(level, text)  # type: ignore[arg-type]
    return "logged"


@server.tool()
async def ask(form: dict[str, Any], ctx: Context) -> str | InputRequiredResult:
    """Ask the user to fill in a form."""
    return _asked(ElicitRequestFormParams(message="Fill \x1b[1min:", requested_schema=form), ctx)


@server.tool()
async def send_to(url: str, ctx: Context) -> str | InputRequiredResult:
    """Ask the user to visit an address."""
    return _asked(ElicitRequestURLParams(message="Log in.", url=url), ctx)


def _asked(params: Any, ctx: Context) -> str | InputRequiredResult:
    if not ctx.input_responses:
        return InputRequiredResult(input_requests={"asked": ElicitRequest(params=params)})
    return ctx.input_responses["asked"].model_dump_json(include={"action", "content"}, exclude_none=True)


@contextmanager
def running() -> Iterator[str]:
    """Serve from a thread; return the URL."""
    app = server.streamable_http_app()
    served = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        served.should_exit = True
        thread.join()
