"""Tools, prompts and resources as the SDK makes them, refused where clients could not read them."""

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
from mcp_transport.signatures import refusal

__all__ = [
    "advice",
    "made_of",
    "placed",
    "quiet_server",
    "refuse_return",
    "refuse_unlisted",
    "refuse_unpublished",
    "texts",
]


# Options that the SDK takes, and those that this package takes.
_COMMON: Final = ("name", "title", "description", "icons")
_OPTIONS: Final = {
    "tool": (*_COMMON, "meta", "structured_output"),
    "prompt": _COMMON,
    "resource": (*_COMMON, "mime_type", "annotations", "meta"),
}
_ACCESS: Final = ("atomic", "permission", "scopes", "visible")
_HINTS: Final = ("read_only", "destructive", "idempotent", "open_world")
_OWN_OPTIONS: Final = {"tool": (*_HINTS, "input_schema", "durable", *_ACCESS), "prompt": _ACCESS, "resource": _ACCESS}


def advice(**hints: bool | None) -> ToolAnnotations | None:
    """Return what is said of a tool, if anything."""
    try:
        advice = ToolAnnotations(**hints)
    except ValidationError as error:
        raise DefinitionError(f"@tool: {explain(error)}") from error
    return advice if advice.model_dump(exclude_none=True) else None


def made_of(adapted: Callable[..., Any], make: Callable[..., Any], returned: Any = None) -> Any:
    """Call an SDK factory, and say in our words where the function stands and what is wrong if it refuses."""
    parameters = inspect.signature(adapted).parameters.values()
    try:
        made = make(adapted)
    except Exception as error:  # the SDK builds models, and runs the hooks of types
        faults = (*map(parameter_fault, parameters), return_fault(returned))
        reason = explain(error) if isinstance(error, ValidationError) else reason_of(error)
        raise refusal(adapted, next(filter(None, faults), reason)) from error
    for parameter in parameters:
        if fault := parameter_fault(parameter, is_published=True):
            raise refusal(adapted, fault)
    return made


@contextmanager
def placed(function: Callable[..., Any]) -> Iterator[None]:
    """Say where a function stands, whatever its declaration raises."""
    try:
        yield
    except DefinitionError:
        raise
    except Exception as error:
        raise refusal(function, reason_of(error)) from error


def texts(function: Callable[..., Any], kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with translations that were put off made now: lists are kept, and have one language.

    Raises:
        DefinitionError: there is no such option.
    """
    if (unknown := next((name for name in options if name not in _OPTIONS[kind]), None)) is not None:
        raise refusal(function, f"@{kind} has no option {unknown!r}; {_option_instead(kind, unknown)}")
    made = {name: translated(value) for name, value in options.items()}
    if not isinstance(name := made.get("name"), str | None):
        raise refusal(function, f"name must be a text, got {name!r}")
    return made


def _option_instead(kind: str, unknown: str) -> str:
    if kind == "tool" and unknown == "annotations":
        return "write its hints, as in read_only=True"
    known = _OPTIONS[kind] + _OWN_OPTIONS[kind]
    close = get_close_matches(unknown, known, 1)
    return f"write {close[0]}" if close else f"it has {', '.join(known)}"


def refuse_return(function: Callable[..., Any], made: DeclaredTool, returned: Any) -> None:
    """Refuse a return type the SDK would silently turn into its `str()`."""
    if fault := return_fault(returned, is_published=made.fn_metadata.output_schema is not None):
        raise refusal(function, fault)


def refuse_unpublished(function: Callable[..., Any], made: DeclaredTool, input_schema: Any) -> None:
    """Give a tool the schemas that clients read, and refuse what they could not."""
    if not isinstance(input_schema, dict | None):
        raise refusal(function, f"input_schema must be a dict of JSON Schema, got {input_schema!r}")
    chosen = made.parameters if input_schema is None else {"type": "object", **input_schema}
    made.parameters = translated(chosen)
    made.fn_metadata.output_schema = translated(output_schema(made.fn_metadata))
    if fault := header_annotation_fault(made.parameters):
        raise refusal(function, f"invalid x-mcp-header annotation: {fault}")
    if fault := tool_name_fault(made.name):
        raise refusal(function, fault)
    refuse_unlisted(function, quiet_server("check", tools=[made]))


def refuse_unlisted(function: Callable[..., Any], server: MCPServer[Any]) -> None:
    """Refuse what would take the list down that it stands in."""
    if fault := listing_fault(server):
        raise refusal(function, f"it cannot be listed: {fault}")


def quiet_server(name: str, **options: Any) -> MCPServer[Any]:
    """Build an SDK server without letting it configure the root logger, which is the project's."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        return MCPServer(name, **options)
    finally:
        root.removeHandler(guard)
