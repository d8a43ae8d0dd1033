"""Declaring tools, resources and prompts, and the server made of every app's declarations."""

from __future__ import annotations

import functools
import inspect
import logging
import typing
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from mcp.server.mcpserver.exceptions import InvalidSignature
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.types import Audio, Image
from mcp_types import CallToolResult, ContentBlock, Icon, InputRequiredResult, ToolAnnotations
from pydantic import Field
from pydantic.errors import PydanticUserError

from mcp_transport import conf
from mcp_transport.context import Context
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import (
    adopt_context,
    conform,
    header_annotation_fault,
    sessionful_features,
)
from mcp_transport.serialization import reads_database, to_wire, wire_annotation

__all__ = ["build_server", "completion", "declared", "prompt", "resource", "tool"]

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


class Declarations:
    """What the apps' `mcp.py` modules have declared, in order."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        self.prompts: dict[str, Prompt] = {}
        self.resources: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
        self.completion: Callable[..., Any] | None = None


declared = Declarations()


class DeclaredTool(Tool):
    """A tool, and what this package alone knows of it."""

    durable: bool = Field(default=False, exclude=True)


@overload
def tool(function: _FunctionT, /) -> _FunctionT: ...
@overload
def tool(
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    read_only: bool | None = None,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    open_world: bool | None = None,
    icons: list[Icon] | None = None,
    meta: dict[str, Any] | None = None,
    structured_output: bool | None = None,
    input_schema: dict[str, Any] | None = None,
    durable: bool = False,
) -> Callable[[_FunctionT], _FunctionT]: ...
def tool(
    function: _FunctionT | None = None,
    /,
    *,
    read_only: bool | None = None,
    destructive: bool | None = None,
    idempotent: bool | None = None,
    open_world: bool | None = None,
    input_schema: dict[str, Any] | None = None,
    durable: bool = False,
    **options: Any,
) -> _FunctionT | Callable[[_FunctionT], _FunctionT]:
    """Declare a function as a tool; its type hints become the schema, its docstring the description.

    `read_only`, `destructive`, `idempotent` and `open_world` are the hints of the specification
    (2025-06-18, schema, ToolAnnotations). `input_schema` is published in place of the derived one. A `durable` tool
    is run again by another node if the one that runs it is lost: it must bear being run twice.
    The decorated function stays what it is.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """
    hints = ToolAnnotations(
        read_only_hint=read_only, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=open_world
    )
    annotations = hints if hints.model_dump(exclude_none=True) else None

    def declare(function: _FunctionT) -> _FunctionT:
        made = _made(function, DeclaredTool.from_function, annotations=annotations, **options)
        made.durable = durable
        if options.get("structured_output") is not False:
            _refuse_unserialisable(function, made)
        if input_schema is not None:
            made.parameters = input_schema
        if fault := header_annotation_fault(made.parameters):
            raise DefinitionError(f"{_where(function)}: invalid x-mcp-header annotation: {fault}")
        _add(declared.tools, made.name, made, "tool")
        return function

    return declare if function is None else declare(function)


@overload
def prompt(function: _FunctionT, /) -> _FunctionT: ...
@overload
def prompt(
    *,
    name: str | None = None,
    title: str | None = None,
    description: str | None = None,
    icons: list[Icon] | None = None,
) -> Callable[[_FunctionT], _FunctionT]: ...
def prompt(function: _FunctionT | None = None, /, **options: Any) -> _FunctionT | Callable[[_FunctionT], _FunctionT]:
    """Declare a function as a prompt; it returns a string or a list of messages.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """

    def declare(function: _FunctionT) -> _FunctionT:
        made = _made(function, Prompt.from_function, **options)
        _add(declared.prompts, made.name, made, "prompt")
        return function

    return declare if function is None else declare(function)


def resource(uri: str, **options: Any) -> Callable[[_FunctionT], _FunctionT]:
    """Declare a function as the resource at `uri`, or as a template when `uri` has variables.

    `options` are name, title, description, mime_type, icons, annotations and meta.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """
    if not isinstance(uri, str):
        raise DefinitionError("@resource needs a URI: write @resource('shop://products')")

    def declare(function: _FunctionT) -> _FunctionT:
        options.setdefault("name", function.__name__)
        options.setdefault("description", inspect.getdoc(function))
        adapted = adapt(function)
        # A throw-away server checks the URI against the function's parameters, here where the mistake is.
        _made(function, lambda _, **__: _quiet_server("check").resource(uri, **options)(adapted))
        _add(declared.resources, uri, (adapted, options), "resource")
        return function

    return declare


def completion(function: _FunctionT) -> _FunctionT:
    """Declare the function that completes arguments of prompts and resource templates; a project has one.

    It takes `ref`, `argument` and `context` and returns an `mcp_types.Completion` or None.

    Raises:
        DefinitionError: there is one already.
    """
    if declared.completion is not None:
        raise DefinitionError(f"@completion is declared already, by {_where(declared.completion)}")
    declared.completion = adapt(function)
    return function


def build_server(request_state_keys: tuple[bytes, ...]) -> MCPServer[Any]:
    """Build the SDK server that serves what is declared."""
    hints = {method: CacheHint(*hint) for method, hint in conf.get("CACHE_HINTS").items()}
    server = _quiet_server(
        conf.get("NAME"),
        title=conf.get("TITLE"),
        version=conf.get("VERSION"),
        instructions=conf.get("INSTRUCTIONS"),
        website_url=conf.get("WEBSITE_URL"),
        tools=list(declared.tools.values()),
        cache_hints=hints,
        request_state_security=RequestStateSecurity(keys=request_state_keys, bind_principal=_bound_principal),
    )
    for made in declared.prompts.values():
        server.add_prompt(made)
    for uri, (function, options) in declared.resources.items():
        server.resource(uri, **options)(function)
    if declared.completion is not None:
        server.completion()(declared.completion)  # type: ignore[no-untyped-call]
    sessionful_features(server)
    conform(server)
    return server


def _bound_principal(ctx: Any) -> str | None:
    """Seal multi round-trip state to its caller; an anonymous one binds nothing."""
    return ctx.request.principal or None


def adapt(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Wrap a declared function for the SDK: threads, Django's connections, our context, Django's types."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"{_where(function)}: the annotation {error.name!r} cannot be resolved") from error
    contexts = [name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, SDKContext)]
    is_async = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        for name in contexts:
            if isinstance(kwargs.get(name), SDKContext):
                kwargs[name] = adopt_context(kwargs[name], Context)
        if not is_async:
            return await _in_thread(lambda: to_wire(function(*args, **kwargs)))
        result = await function(*args, **kwargs)
        return await _in_thread(lambda: to_wire(result)) if reads_database(result) else to_wire(result)

    if "return" in hints:
        hints["return"] = wire_annotation(hints["return"])
    signature = inspect.signature(function)
    _refuse_unnamed_parameters(function, signature)
    parameters = [
        item.replace(annotation=hints.get(item.name, item.annotation)) for item in signature.parameters.values()
    ]
    returns = hints.get("return", inspect.Signature.empty)
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=returns)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


def _refuse_unnamed_parameters(function: Callable[..., Any], signature: inspect.Signature) -> None:
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind in unnamed:
            raise DefinitionError(
                f"{_where(function)}: the parameter {str(parameter)!r} cannot be passed by name, as arguments are"
            )


def _in_thread(work: Callable[[], Any]) -> Coroutine[Any, Any, Any]:
    """Run synchronous work off the loop, with fresh database connections before and none left open after."""

    def run() -> Any:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    return sync_to_async(run, thread_sensitive=False, executor=_threads(conf.get("TOOL_THREADS")))()


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="mcp-tool")


def _made(function: Callable[..., Any], make: Callable[..., Any], **options: Any) -> Any:
    """Call an SDK factory, and say where the function stands if it refuses."""
    if not callable(function):
        raise DefinitionError(f"expected a function to declare, got {function!r}")
    try:
        return make(adapt(function), **options)
    except DefinitionError:
        raise
    except (InvalidSignature, PydanticUserError, ValueError, TypeError) as error:
        raise DefinitionError(f"{_where(function)}: {error}") from error


_RENDERED = (CallToolResult, InputRequiredResult, Image, Audio, *typing.get_args(ContentBlock))


def _refuse_unserialisable(function: Callable[..., Any], made: Tool) -> None:
    """Refuse a return type the SDK would silently turn into its `str()`."""
    returned = inspect.signature(made.fn).return_annotation
    if made.output_schema is not None or made.fn_metadata.output_model is not None or _is_rendered(returned):
        return
    raise DefinitionError(
        f"{_where(function)}: the return type {returned!r} has no JSON form. Return a pydantic model, a dataclass, a "
        "Django model, plain data or content blocks, or leave the annotation out"
    )


def _is_rendered(annotation: Any) -> bool:
    if annotation in (inspect.Signature.empty, Any, None, type(None), object):
        return True
    arguments = typing.get_args(annotation)
    if arguments:
        return any(_is_rendered(argument) for argument in arguments)
    return isinstance(annotation, type) and issubclass(annotation, _RENDERED)


def _add(known: dict[str, Any], name: str, made: Any, kind: str) -> None:
    if name in known:
        raise DefinitionError(f"the {kind} {name!r} is declared twice; give one of them another name")
    known[name] = made


def _where(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"


def _quiet_server(name: str, **options: Any) -> MCPServer[Any]:
    """Build an SDK server without letting it configure the root logger, which is the project's."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        return MCPServer(name, **options)
    finally:
        root.removeHandler(guard)
