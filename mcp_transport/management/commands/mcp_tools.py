"""List the tools, show the schema of one, or call one from the shell."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import module_has_submodule

from mcp_transport import bootstrap, conf
from mcp_transport.management.terminal import write_result
from mcp_transport.management.tool_arguments import add_tool_arguments, tool_arguments
from mcp_transport.management.tool_text import plain, result_lines
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest, Reply

_VERSION = "2026-07-28"

# Declared so that a tool's requests to the client are returned as its result, to be printed.
_CAPABILITIES: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}


class Command(BaseCommand):
    """Handles single requests in this process, without a server."""

    help = "List the MCP tools of this project, show the schema of one, or call one."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list the tools")
        listing.add_argument("--json", action="store_true", help="print the complete tools/list result")
        show = verbs.add_parser("show", help="show a tool's description and schemas")
        show.add_argument("name")
        call = verbs.add_parser("call", help="call a tool and print its result")
        call.add_argument("name")
        add_tool_arguments(call)
        call.add_argument("--user", help="username to call the tool as")
        call.add_argument("--json", action="store_true", help="print the complete result")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        getattr(self, f"_{verb}")(**options)

    def _list(self, **options: Any) -> None:
        tools = _result("tools/list", {})["tools"]
        write_result(self.stdout, options, tools, _list_lines(tools) if tools else _no_tools())

    def _show(self, *, name: str, **options: Any) -> None:
        tools = {tool["name"]: tool for tool in _result("tools/list", {})["tools"]}
        if name not in tools:
            raise _no_such_tool(name, tools)
        self.stdout.write(json.dumps(tools[name], indent=2))

    def _call(self, *, name: str, user: str | None, **options: Any) -> None:
        params = {"name": name, "arguments": tool_arguments(options["pairs"], options["arguments"])}
        caller = _find_user(user) if user else None
        try:
            result = _result("tools/call", params, caller)
        except CommandError:
            names = [tool["name"] for tool in _result("tools/list", {}, caller)["tools"]]
            if name not in names:
                raise _no_such_tool(name, names) from None
            raise
        write_result(self.stdout, options, result, _lines(result))
        if result.get("resultType") == "input_required":
            raise CommandError(f"The tool {name!r} requests input, which this command cannot provide.")
        if result.get("isError"):
            raise CommandError(f"The tool {name!r} reported an error.")


def _no_such_tool(name: str, names: Iterable[str]) -> CommandError:
    return CommandError(f"There is no tool {name!r}. Tools: {', '.join(names) or 'none'}.")


def _list_lines(tools: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(tool["name"]) for tool in tools)
    for tool in tools:
        summary = (tool.get("description") or "").strip().partition("\n")[0]
        yield f"{tool['name']:{width}}  {summary}".rstrip()


def _no_tools() -> Iterator[str]:
    """Yield the places that were searched for tools, and modules outside the installed apps."""
    if (server := conf.get("SERVER")) is not None:
        yield f"The server of MCP_TRANSPORT['SERVER'], {server}, has no tools."
        return
    yield "No tools are declared. Searched for mcp.py in the installed apps:"
    for app in apps.get_app_configs():
        has_module = module_has_submodule(app.module, "mcp") if app.module is not None else False
        yield f"  {app.name}{': mcp.py declares no tool' if has_module else ''}"
    for place in _uninstalled_modules():
        yield f"{place} is not in an app of INSTALLED_APPS. Is {'.'.join(place.parent.parts)!r} missing there?"


def _uninstalled_modules() -> list[Path]:
    """Return each mcp.py up to two directories below manage.py that is not in an installed app."""
    installed = {Path(app.path).resolve() for app in apps.get_app_configs()}
    roots = dict.fromkeys((Path(sys.argv[0]).resolve().parent, Path.cwd()))
    return [
        path.relative_to(root)
        for root in roots
        for pattern in ("*/mcp.py", "*/*/mcp.py")
        for path in sorted(root.glob(pattern))
        if path.parent.resolve() not in installed
    ]


def _find_user(name: str) -> Any:
    model = get_user_model()
    try:
        return model._default_manager.get_by_natural_key(name)
    except model.DoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None


def _lines(result: dict[str, Any]) -> list[str]:
    """Return a result as lines of text."""
    if result.get("resultType") == "input_required":
        requests = result.get("inputRequests", {}).values()
        texts = [request.get("params", {}).get("message", request["method"]) for request in requests]
        return [*map(plain, texts)]
    return result_lines(result)


@async_to_sync
async def _result(method: str, params: dict[str, Any], user: Any = None) -> dict[str, Any]:
    """Send one request through an endpoint of this process. Raises: CommandError, with the server's message."""
    try:
        endpoint = bootstrap.private_endpoint(restricted=user is not None)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    meta = {
        "io.modelcontextprotocol/protocolVersion": _VERSION,
        "io.modelcontextprotocol/clientCapabilities": _CAPABILITIES,
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {
        "host": "localhost",
        "content-type": "application/json",
        "accept": "application/json",
        "mcp-protocol-version": _VERSION,
        "mcp-method": method,
        **({"mcp-name": params["name"]} if "name" in params else {}),
    }
    request = HTTPRequest(method="POST", headers=Headers(headers.items()), user=user, streaming=False)
    try:
        reply = await endpoint.handle(request, _chunks(json.dumps(message).encode()))
    finally:
        await endpoint.pool.stop(report=False)
    body = json.loads(reply.body) if isinstance(reply, Reply) else {}
    if "result" not in body:
        raise CommandError(body["error"]["message"])
    result: dict[str, Any] = body["result"]
    return result


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body
