"""Builds the SDK's tools, prompts and resources, and checks that clients can read them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Final

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import ValidationError

from mcp_transport.annotation_faults import parameter_fault, reason_of, return_fault
from mcp_transport.declarations import DeclaredTool
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import explain, header_annotation_fault, listing_fault, output_schema, tool_name_fault
from mcp_transport.parameters import translated
from mcp_transport.signatures import definition_error
from mcp_transport.tool_limits import TOOL_LIMITS

__all__ = [
    "HINTS",
    "build_declaration",
    "check_listing",
    "check_return_type",
    "checked_options",
    "locate_errors",
    "publish_schemas",
    "quiet_server",
    "tool_hints",
]


# The options passed to the SDK, and those of this package.
_COMMON: Final = ("name", "title", "description", "icons")
_OPTIONS: Final = {
    "tool": (*_COMMON, "meta", "structured_output"),
    "prompt": _COMMON,
    "resource": (*_COMMON, "mime_type", "annotations", "meta"),
}
_ACCESS: Final = ("atomic", "permission", "scopes", "visible")
HINTS: Final = ("read_only", "destructive", "idempotent", "open_world")
"""The options of `@tool` that are hints."""
_OWN_OPTIONS: Final = {
    "tool": (*HINTS, "input_schema", "durable", "batch", "rate_limit", *TOOL_LIMITS, *_ACCESS),
    "prompt": _ACCESS,
    "resource": _ACCESS,
}


def tool_hints(**hints: bool | None) -> ToolAnnotations | None:
    """Return the annotations of a tool, or None if no hint is set."""
    try:
        annotations = ToolAnnotations(**{f"{name}_hint": value for name, value in hints.items()})
    except ValidationError as error:
        raise DefinitionError(f"@tool: {explain(error)}") from error
    return annotations if annotations.model_dump(exclude_none=True) else None


def build_declaration(adapted: Callable[..., Any], make: Callable[..., Any], returned: Any = None) -> Any:
    """Call a factory of the SDK, and turn its exceptions into a DefinitionError with the function's location."""
    parameters = inspect.signature(adapted).parameters.values()
    try:
        declaration = make(adapted)
    except Exception as error:  # the SDK builds pydantic models, which call hooks of the project's types
        faults = (*map(parameter_fault, parameters), return_fault(returned))
        reason = explain(error) if isinstance(error, ValidationError) else reason_of(error)
        raise definition_error(adapted, next(filter(None, faults), reason)) from error
    for parameter in parameters:
        if fault := parameter_fault(parameter, is_published=True):
            raise definition_error(adapted, fault)
    return declaration


@contextmanager
def locate_errors(function: Callable[..., Any]) -> Iterator[None]:
    """Turn any exception of a declaration into a DefinitionError with the function's location."""
    try:
        yield
    except DefinitionError:
        raise
    except Exception as error:
        raise definition_error(function, reason_of(error)) from error


def checked_options(function: Callable[..., Any], kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a declaration with lazy translations evaluated, since lists are cached in one language.

    Raises:
        DefinitionError: an option is unknown, or the name is not a string.
    """
    if (unknown := next((name for name in options if name not in _OPTIONS[kind]), None)) is not None:
        raise definition_error(function, f"@{kind} has no option {unknown!r}; {_option_hint(kind, unknown)}")
    checked = {name: translated(value) for name, value in options.items()}
    if not isinstance(name := checked.get("name"), str | None):
        raise definition_error(function, f"name must be a string, got {name!r}")
    return checked


def _option_hint(kind: str, unknown: str) -> str:
    if kind == "tool" and unknown == "annotations":
        return "use its hints, as in read_only=True"
    names = _OPTIONS[kind] + _OWN_OPTIONS[kind]
    close = get_close_matches(unknown, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"valid options are {', '.join(names)}"


def check_return_type(function: Callable[..., Any], declaration: DeclaredTool, returned: Any) -> None:
    """Raise DefinitionError for a return type whose values the SDK would send as their `str()`."""
    if fault := return_fault(returned, is_published=declaration.fn_metadata.output_schema is not None):
        raise definition_error(function, fault)


def publish_schemas(function: Callable[..., Any], declaration: DeclaredTool, input_schema: Any) -> None:
    """Set the published schemas of a tool, and raise DefinitionError if clients could not read them."""
    if not isinstance(input_schema, dict | None):
        raise definition_error(function, f"input_schema must be a dict of JSON Schema, got {input_schema!r}")
    schema = declaration.parameters if input_schema is None else {"type": "object", **input_schema}
    declaration.parameters = translated(schema)
    declaration.fn_metadata.output_schema = translated(output_schema(declaration.fn_metadata))
    if fault := header_annotation_fault(declaration.parameters):
        raise definition_error(function, f"invalid x-mcp-header annotation: {fault}")
    if fault := tool_name_fault(declaration.name):
        raise definition_error(function, fault)
    check_listing(function, quiet_server("check", tools=[declaration]))


def check_listing(function: Callable[..., Any], server: MCPServer[Any]) -> None:
    """Raise DefinitionError for a declaration with which its list could not be sent."""
    if fault := listing_fault(server):
        raise definition_error(function, f"it cannot be listed: {fault}")


def quiet_server(name: str, **options: Any) -> MCPServer[Any]:
    """Build an SDK server without its configuration of the root logger, which belongs to the project."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        return MCPServer(name, **options)
    finally:
        root.removeHandler(guard)
