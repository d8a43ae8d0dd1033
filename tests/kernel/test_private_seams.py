"""Each private or provisional part of the SDK that this package touches has a test of its own, named after it."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from mcp.server.runner import ServerRunner, _extract_meta
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types import CallToolResult
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics_of_otel

import mcp_transport
from tests.support.kernel import Recorder, exchange

PACKAGE = Path(mcp_transport.__file__).parent
FILES = [*(PACKAGE / "kernel").rglob("*.py"), *(PACKAGE / "client").rglob("*.py"), PACKAGE / "sdk_declarations.py"]
PROVISIONAL = ("mcp.server.", "mcp.shared.", "mcp.client.", "mcp_types.methods", "mcp_types.version")
PUBLIC = ("mcp.server.mcpserver", "mcp.server.mcpserver.exceptions")

# What is imported, with the parameters that are passed, or the members that are read.
IMPORTED: dict[str, tuple[str, ...]] = {
    "mcp.client.caching:CacheConfig": (),
    "mcp.client.extension:ClientExtension": (),
    "mcp.client.session:ElicitationFnT": (),
    "mcp.client.session:ListRootsFnT": (),
    "mcp.client.session:LoggingFnT": (),
    "mcp.client.session:MessageHandlerFnT": (),
    "mcp.client.session:SamplingFnT": (),
    "mcp.client.streamable_http:streamable_http_client": ("url", "http_client"),
    "mcp.server._otel:OpenTelemetryMiddleware": ("__call__",),
    "mcp.server.connection:Connection": ("outbound", "protocol_version", "session_id", "from_envelope", "for_loop"),
    "mcp.server.connection:allowed_log_levels": ("protocol_version", "meta"),
    "mcp.server.context:CallNext": (),
    "mcp.server.context:HandlerResult": (),
    "mcp.server.context:ServerMiddleware": ("__call__",),
    "mcp.server.context:ServerRequestContext": (
        "protocol_version",
        "method",
        "params",
        "request_id",
        "meta",
        "request",
    ),
    "mcp.server.elicitation:ElicitSchemaModelT": (),
    "mcp.server.elicitation:ElicitationResult": (),
    "mcp.server.lowlevel.server:NotificationOptions": ("prompts_changed", "resources_changed", "tools_changed"),
    "mcp.server.lowlevel.server:Server": ("lifespan", "get_tool_input_schema", "add_request_handler"),
    "mcp.server.mcpserver.prompts:Prompt": ("fn", "context_kwarg", "arguments"),
    "mcp.server.mcpserver.resources:ResourceManager": ("get_resource",),
    "mcp.server.mcpserver.resources:ResourceTemplate": ("matches", "fn", "context_kwarg", "uri_template"),
    "mcp.server.mcpserver.tools:Tool": ("run", "fn_metadata", "context_kwarg", "resolved_params", "annotations"),
    "mcp.server.mcpserver.tools:ToolManager": ("get_tool",),
    "mcp.server.mcpserver.utilities.func_metadata:FuncMetadata": (
        *("arg_model", "output_schema", "output_model", "wrap_output"),
        *("convert_result", "validate_arguments", "pre_parse_json"),
    ),
    "mcp.server.mcpserver.utilities.func_metadata:StrictJsonSchema": ("ser_schema",),
    "mcp.server.mcpserver.utilities.func_metadata:_inline_root_ref": ("schema",),
    "mcp.server.mcpserver.utilities.func_metadata:func_metadata": ("func", "skip_names", "structured_output"),
    "mcp.server.models:InitializationOptions": (),
    "mcp.server.request_state:RequestStateBoundary": ("__call__",),
    "mcp.server.runner:ServerRunner": (
        "server",
        "connection",
        "lifespan_state",
        "init_options",
        "on_request",
        "on_notify",
    ),
    "mcp.server.runner:_extract_meta": ("params",),
    "mcp.server.runner:aclose_shielded": ("connection",),
    "mcp.server.subscriptions:ListenHandler": ("bus", "max_subscriptions", "close"),
    "mcp.server.subscriptions:ServerEvent": (),
    "mcp.shared.dispatcher:CallOptions": (),
    "mcp.shared.dispatcher:Dispatcher": (),
    "mcp.shared.exceptions:MCPError": ("code", "message", "data"),
    "mcp.shared.inbound:InboundLadderRejection": ("code", "message", "data"),
    "mcp.shared.inbound:NAME_BEARING_METHODS": ("get",),
    "mcp.shared.inbound:classify_inbound_request": ("body", "headers", "supported_modern_versions"),
    "mcp.shared.inbound:encode_header_value": ("value",),
    "mcp.shared.inbound:find_invalid_x_mcp_header": ("input_schema",),
    "mcp.shared.inbound:mcp_param_headers": ("header_map", "arguments"),
    "mcp.shared.inbound:validate_mcp_param_headers": ("input_schema", "arguments", "headers"),
    "mcp.shared.inbound:x_mcp_header_map": ("input_schema",),
    "mcp.shared.jsonrpc_dispatcher:JSONRPCDispatcher": ("read_stream", "write_stream", "send_raw_request"),
    "mcp.shared.message:ServerMessageMetadata": (
        *("related_request_id", "request_context", "close_sse_stream", "can_send_request"),
    ),
    "mcp.shared.subscriptions:ResourceUpdated": ("uri",),
    "mcp.shared.subscriptions:event_from_wire": ("method", "params"),
    "mcp.shared.subscriptions:event_to_notification": ("event", "meta"),
    "mcp.shared.transport_context:TransportContext": ("kind", "can_send_request", "headers"),
    "mcp.shared.uri_template:UriTemplate": ("parse", "variable_names"),
    "mcp_types.methods:SPEC_CLIENT_METHODS": ("__contains__",),
    "mcp_types.methods:SPEC_CLIENT_NOTIFICATION_METHODS": ("__contains__",),
    "mcp_types.methods:serialize_server_result": ("method", "version", "data"),
    "mcp_types.methods:validate_client_request": ("method", "version", "params"),
    "mcp_types.version:HANDSHAKE_PROTOCOL_VERSIONS": ("__iter__",),
}


def add(a: int) -> dict[str, int]:
    return {"a": a}


def hello() -> str:
    return "hello"


def served() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("private")
    server.add_tool(add)
    server.prompt(name="greet")(hello)
    server.resource("private://fixed")(hello)

    @server.resource("private://{number}")
    def numbered(number: str) -> str:
        return number

    return server


def runner() -> ServerRunner[Any]:
    connection = Connection.from_envelope("2026-07-28", None, None)
    return ServerRunner(served()._lowlevel_server, connection, None)


def composes_middleware() -> bool:
    """Return whether the runner composes requests and notifications with the method that `_Runner` overrides."""
    calls = [inspect.getsource(getattr(ServerRunner, name)) for name in ("_on_request", "_on_notify")]
    return all("self._compose_server_middleware(_inner)" in text for text in calls)


def copies_context() -> bool:
    parts = {"request_context": None, "mcp_server": served(), "input_params": None, "subscriptions": None}
    context: Any = Context(**parts)  # type: ignore[arg-type]
    return all(getattr(context, f"_{name}") is value for name, value in parts.items())


def closes_exit_stack() -> bool:
    stack = AsyncExitStack()
    was_empty = not stack._exit_callbacks  # type: ignore[attr-defined]
    stack.callback(print)
    return was_empty and bool(stack._exit_callbacks)  # type: ignore[attr-defined]


def makes_context() -> bool:
    context = runner()._make_context(exchange(Recorder()), "tools/call", {"name": "add"}, None, "2026-07-28")
    return (context.method, context.params, context.request_id) == ("tools/call", {"name": "add"}, 7)


PRIVATE: dict[str, Callable[[], Any]] = {
    "_lowlevel_server": lambda: isinstance(served()._lowlevel_server, Server),
    "_mcp_server": lambda: isinstance(FastMCP("private")._mcp_server, Server) and copies_context(),
    "_tool_manager": lambda: served()._tool_manager.get_tool("add"),
    "_prompt_manager": lambda: served()._prompt_manager.get_prompt("greet"),
    "_resource_manager": lambda: served()._resource_manager.get_resource,
    "_resources": lambda: "private://fixed" in served()._resource_manager._resources,
    "_templates": lambda: served()._resource_manager._templates["private://{number}"].matches("private://1"),
    "_subscriptions": lambda: callable(getattr(served()._subscriptions, "subscribe", None)) and copies_context(),
    "_request_context": copies_context,
    "_input_params": copies_context,
    "_handle_call_tool": lambda: (
        (server := served())._handle_call_tool == server._lowlevel_server.get_request_handler("tools/call").handler  # type: ignore[union-attr]
    ),
    "_make_context": makes_context,
    "_serialize": lambda: runner()._serialize("tools/call", "2026-07-28", CallToolResult(content=[]))["resultType"],
    "_extract_meta": lambda: _extract_meta({"_meta": {"progressToken": 1}}) == {"progress_token": 1},
    "_compose_server_middleware": composes_middleware,
    "_exit_callbacks": closes_exit_stack,
    "_output_adapter": lambda: FuncMetadata._output_adapter(metadata := func_metadata(add), metadata.output_model),
    "_inline_root_ref": lambda: func_metadata(add).output_schema["type"] == "object",  # type: ignore[index]
    "_otel": lambda: OpenTelemetryMiddleware in map(type, served()._lowlevel_server.middleware),
    "_TRACER_PROVIDER": lambda: "_TRACER_PROVIDER" in vars(trace),
    "_METER_PROVIDER": lambda: "_METER_PROVIDER" in vars(metrics_of_otel),
}
"""What must be true of each private part."""


def imports() -> Iterator[tuple[str, str]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(PROVISIONAL):
                yield from ((str(node.module), alias.name) for alias in node.names if node.module not in PUBLIC)


def private_names() -> set[str]:
    """Return the private attributes that are read from other objects, overridden or imported."""
    own = {
        node.attr
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    read = {
        node.attr
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    imported = {part for module, name in imports() for part in (*module.split("."), name)}
    names = {name for name in read | imported if name.startswith("_") and not name.startswith("__")}
    return names - (own - set(PRIVATE)) - {"_check", "_close"}


def test_each_imported_part_of_the_sdk_is_listed() -> None:
    assert {f"{module}:{name}" for module, name in imports()} == set(IMPORTED)


def test_each_private_part_of_the_sdk_is_listed() -> None:
    assert private_names() <= set(PRIVATE)


@pytest.mark.parametrize("part", IMPORTED)
def test_an_imported_part_is_where_it_was_and_takes_what_is_passed(part: str) -> None:
    module, name = part.split(":")
    found = getattr(importlib.import_module(module), name)
    fields = {*getattr(found, "model_fields", ()), *getattr(found, "__dataclass_fields__", ())}
    parameters = set(inspect.signature(found).parameters) if IMPORTED[part] and callable(found) else set()
    assert set(IMPORTED[part]) <= parameters | fields | set(dir(found))


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_part_is_what_it_was(name: str) -> None:
    assert PRIVATE[name]()


def test_the_dispatcher_takes_the_id_of_a_request_from_its_options() -> None:
    """As `client.dispatcher` passes it: `opts["request_id"]` of `JSONRPCDispatcher.send_raw_request`."""
    assert [*inspect.signature(JSONRPCDispatcher.send_raw_request).parameters][:4] == [
        "self",
        "method",
        "params",
        "opts",
    ]
    assert "request_id" in inspect.getsource(JSONRPCDispatcher.send_raw_request)


@pytest.fixture
def fast() -> None:
    """Run these tests once: they build no kernel."""
