"""The decorators that declare tools, resources and prompts, and the server built from all declarations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts import Prompt
from mcp_types import Icon

from mcp_transport import conf
from mcp_transport.auth.access import Visible, access_rule
from mcp_transport.batched_tools import adapt_tool
from mcp_transport.batching import Batch
from mcp_transport.declarations import Declarations, DeclaredTool
from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.exceptions import DefinitionError
from mcp_transport.function_adapter import adapt, definition_error, qualified_name
from mcp_transport.kernel import (
    CallLimits,
    apply_spec_corrections,
    non_text_parameters,
    register_session_handlers,
    serve_completions,
    watched,
)
from mcp_transport.parameters import aliases
from mcp_transport.prompt_messages import convert_messages
from mcp_transport.resource_uris import check_variables, normalized
from mcp_transport.sdk_declarations import (
    HINTS,
    build_declaration,
    check_listing,
    check_return_type,
    checked_options,
    locate_errors,
    publish_schemas,
    quiet_server,
    tool_hints,
)
from mcp_transport.tool_limits import TOOL_LIMITS, check_shared, tool_limits

__all__ = ["build_server", "completion", "declared", "prompt", "resource", "tool"]

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


declared = Declarations()


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
    rate_limit: str | Sequence[str] = (),
    atomic: bool = True,
    max_concurrency: int | None = None,
    timeout: float | None = None,
    max_result_bytes: int | None = None,
    circuit_breaker: CircuitBreaker | bool = False,
    batch: Batch | None = None,
    coalesce: bool = False,
    shared: bool = False,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
) -> Callable[[_FunctionT], _FunctionT]: ...
def tool(
    function: _FunctionT | None = None,
    /,
    *,
    input_schema: dict[str, Any] | None = None,
    durable: bool = False,
    rate_limit: str | Sequence[str] = (),
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
    **options: Any,
) -> _FunctionT | Callable[[_FunctionT], _FunctionT]:
    """Declare a function as a tool; its type hints become the schema, its docstring the description.

    `read_only`, `destructive`, `idempotent` and `open_world` are the hints of the specification
    (2025-06-18, schema, ToolAnnotations). `input_schema` replaces the derived schema. If the node that runs a
    `durable` tool is lost, another node runs it again, so it must be safe to run twice. With ATOMIC_REQUESTS, a
    synchronous tool runs in a transaction if `atomic` is True. `rate_limit` is each caller's rate, "10/min", or a
    list. `max_concurrency` calls run in a process at a time; a call ends with an error after `timeout` seconds, and
    with a result of more than `max_result_bytes`. `circuit_breaker` refuses calls while too many fail. With a
    `batch`, the function gets the arguments of several calls in a list, and returns a list of results. With
    `coalesce`, equal calls of a `read_only` tool at the same time share one run; with `shared`, also those of
    different callers. The tool is hidden from callers without `permission` and from those for whom `visible` returns
    False. Callers without `scopes` receive a 403 that names them. The decorated function is returned unchanged.

    Raises:
        DefinitionError: the function cannot be served.
    """
    limits = {name: options.pop(name, None) for name in TOOL_LIMITS} | {"read_only": bool(options.get("read_only"))}
    annotations = tool_hints(**{name: options.pop(name, None) for name in HINTS})
    access, batch = access_rule(permission, scopes, visible), options.pop("batch", None)

    def declare(function: _FunctionT) -> _FunctionT:
        with locate_errors(function):
            adapted, checked_limits = _adapt_tool(function, batch, atomic, tool_limits(function, **limits))
            returned = inspect.signature(adapted).return_annotation
            make = functools.partial(
                DeclaredTool.from_function, annotations=annotations, **checked_options(function, "tool", options)
            )
            declaration = build_declaration(adapted, make, returned)
            declaration.durable, declaration.atomic, declaration.limits = durable, atomic, checked_limits
            check_shared(function, declaration, is_batched=batch is not None)
            if options.get("structured_output") is not False:
                check_return_type(function, declaration, returned)
            publish_schemas(function, declaration, input_schema)
            _register_tool(declaration, adapted, access, rate_limit)
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
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
) -> Callable[[_FunctionT], _FunctionT]: ...
def prompt(
    function: _FunctionT | None = None,
    /,
    *,
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
    **options: Any,
) -> _FunctionT | Callable[[_FunctionT], _FunctionT]:
    """Declare a function as a prompt; it returns a string or a list of messages.

    `atomic`, `permission`, `scopes` and `visible` are as for tools.

    Raises:
        DefinitionError: the function cannot be served.
    """

    access = access_rule(permission, scopes, visible)

    def declare(function: _FunctionT) -> _FunctionT:
        with locate_errors(function):
            adapted = convert_messages(adapt(function, atomic=atomic))
            make = functools.partial(Prompt.from_function, **checked_options(function, "prompt", options))
            declaration = build_declaration(adapted, make)
            if invalid := non_text_parameters(declaration):
                raise definition_error(function, f"arguments of prompts are strings, which {invalid[0]!r} cannot be")
            server = quiet_server("check")
            server.add_prompt(declaration)
            check_listing(function, server)
            _register("prompt", declaration.name, adapted, access)
            declared.prompts[declaration.name] = declaration
        return function

    return declare if function is None else declare(function)


def resource(
    uri: str,
    *,
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
    **options: Any,
) -> Callable[[_FunctionT], _FunctionT]:
    """Declare a function as the resource at `uri`, or as a template when `uri` has variables.

    `atomic`, `permission`, `scopes` and `visible` are as for tools, `options` are name, title, description,
    mime_type, icons, annotations and meta.

    Raises:
        DefinitionError: the function cannot be served.
    """
    if not isinstance(uri, str):
        raise DefinitionError("@resource needs a URI, as in @resource('shop://products')")
    access = access_rule(permission, scopes, visible)

    def declare(function: _FunctionT) -> _FunctionT:
        with locate_errors(function):
            adapted = adapt(function, atomic=atomic)
            options.setdefault("name", adapted.__name__)
            options.setdefault("description", inspect.getdoc(adapted))
            checked = checked_options(function, "resource", options)
            parameters = inspect.signature(adapted).parameters.values()
            if renamed := aliases(parameters):
                alias, name = next(iter(renamed.items()))
                raise definition_error(
                    function, f"the parameter {name!r} cannot have the alias {alias!r}: the URI uses its name"
                )
            names = [item.name for item in parameters if item.annotation is not SDKContext]
            build_declaration(adapted, lambda _: check_variables(uri, names))
            # A temporary server compares the URI with the function's parameters while its location is known.
            server = quiet_server("check")
            build_declaration(adapted, lambda _: server.resource(uri, **checked)(adapted))
            normalized_uri = build_declaration(adapted, lambda _: normalized(uri))
            check_listing(function, server)
            _register("resource", normalized_uri, adapted, access)
            declared.resources[normalized_uri] = adapted, checked
        return function

    return declare


def completion(function: _FunctionT) -> _FunctionT:
    """Declare the project's one function that completes arguments of prompts and resource templates.

    It takes `ref`, `argument`, `context` and optionally a `Context`; it returns an `mcp_types.Completion` or None.

    Raises:
        DefinitionError: the project has one already, or the function cannot be served.
    """
    if declared.completion is not None:
        raise DefinitionError(
            f"@completion is declared twice, by {qualified_name(declared.completion)} and by "
            f"{qualified_name(function)}; a project may have one"
        )
    with locate_errors(function):
        declared.completion = _completer(adapt(function))
    return function


def _completer(adapted: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of ref, argument, context and the request's context that passes on what `adapted` takes."""
    parameters = inspect.signature(adapted).parameters.values()
    context_names = [item.name for item in parameters if item.annotation is SDKContext]
    others = [item for item in parameters if item.name not in context_names]
    if not sum(item.default is inspect.Parameter.empty for item in others) <= 3 <= len(others):
        raise definition_error(adapted, "@completion must take ref, argument, context and optionally a Context")
    names = [item.name for item in others[:3]]

    @functools.wraps(adapted)
    async def complete(ref: Any, argument: Any, context: Any, request: Any) -> Any:
        arguments = zip(names, (ref, argument, context), strict=True)
        return await adapted(**dict(arguments), **dict.fromkeys(context_names, request))

    return complete


def build_server(request_state_keys: tuple[bytes, ...]) -> MCPServer[Any]:
    """Build the SDK server from all declarations."""
    hints = {method: CacheHint(*hint) for method, hint in conf.get("CACHE_HINTS").items()}
    server = quiet_server(
        conf.get("NAME"),
        title=conf.get("TITLE"),
        version=conf.get("VERSION"),
        instructions=conf.get("INSTRUCTIONS"),
        website_url=conf.get("WEBSITE_URL"),
        tools=list(declared.tools.values()),
        cache_hints=hints,
        request_state_security=RequestStateSecurity(keys=request_state_keys, bind_principal=_bound_principal),
    )
    for declaration in declared.prompts.values():
        server.add_prompt(declaration)
    for uri, (function, options) in declared.resources.items():
        server.resource(uri, **options)(function)
    if declared.completion is not None:
        serve_completions(server, declared.completion)
    register_session_handlers(server)
    apply_spec_corrections(server)
    return server


def _bound_principal(ctx: Any) -> str | None:
    """Return the principal that multi round-trip state is bound to; anonymous callers have none."""
    return ctx.request.principal.binding or None


def _adapt_tool(
    function: Callable[..., Any], batch: Batch | None, atomic: bool, limits: CallLimits
) -> tuple[Callable[..., Any], CallLimits]:
    """Adapt the function of a tool; batches take threads for their calls, and a circuit breaker watches each call.

    Raises:
        DefinitionError: the function cannot be served.
    """
    if batch is not None:
        limits = replace(limits, uses_thread=False)
    adapted = adapt_tool(function, batch, atomic=atomic, limits=limits)
    breaker = limits.circuit_breaker
    return (adapted if breaker is None else watched(adapted, breaker, waits=True)), limits


def _register_tool(
    declaration: DeclaredTool, adapted: Callable[..., Any], access: AccessRule | None, rates: str | Sequence[str]
) -> None:
    """Register a tool with its access rule and its rate limits. Raises: DefinitionError."""
    declared.limit_tool(declaration.name, rates)
    _register("tool", declaration.name, adapted, access)
    declared.tools[declaration.name] = declaration


def _register(kind: str, name: str, adapted: Callable[..., Any], access: AccessRule | None) -> None:
    """Record the location and the access rule of a declaration. Raises: DefinitionError, if its name is taken."""
    if (kind, name) in declared.locations:
        raise DefinitionError(
            f"the {kind} {name!r} is declared twice, by {declared.locations[kind, name]} and by "
            f"{qualified_name(adapted)}; rename one of them"
        )
    declared.locations[kind, name] = qualified_name(adapted)
    if access is not None:
        declared.access[kind, name] = access
