"""Declaring tools, resources and prompts, and the server made of every app's declarations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver import MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts import Prompt
from mcp_types import Icon

from mcp_transport import conf
from mcp_transport.auth.access import Visible, access_rule
from mcp_transport.declarations import Declarations, DeclaredTool
from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.exceptions import DefinitionError
from mcp_transport.function_adapter import adapt, refusal, where
from mcp_transport.kernel import (
    apply_spec_corrections,
    non_text_parameters,
    register_session_handlers,
    serve_completions,
)
from mcp_transport.parameters import aliases
from mcp_transport.prompt_messages import answering
from mcp_transport.resource_uris import check_variables, normalized
from mcp_transport.sdk_declarations import (
    advice,
    made_of,
    placed,
    quiet_server,
    refuse_return,
    refuse_unlisted,
    refuse_unpublished,
    texts,
)

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
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
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
    atomic: bool = True,
    permission: str | Sequence[str] = (),
    scopes: Sequence[str] = (),
    visible: Visible | None = None,
    **options: Any,
) -> _FunctionT | Callable[[_FunctionT], _FunctionT]:
    """Declare a function as a tool; its type hints become the schema, its docstring the description.

    `read_only`, `destructive`, `idempotent` and `open_world` are the hints of the specification
    (2025-06-18, schema, ToolAnnotations). `input_schema` is published in place of the derived one. A `durable` tool
    is run again by another node if the one that runs it is lost: it must bear being run twice. Where ATOMIC_REQUESTS
    is set, a synchronous tool runs in a transaction, unless `atomic` is False.
    For a caller without `permission`, or to whom it is not `visible`, the tool does not exist; one whose credentials
    lack `scopes` is told which to get. The decorated function stays what it is.

    Raises:
        DefinitionError: the function cannot be served, and why.
    """
    annotations = advice(
        read_only_hint=read_only, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=open_world
    )
    access = access_rule(permission, scopes, visible)

    def declare(function: _FunctionT) -> _FunctionT:
        with placed(function):
            adapted = adapt(function, atomic=atomic)
            returned = inspect.signature(adapted).return_annotation
            make = functools.partial(
                DeclaredTool.from_function, annotations=annotations, **texts(function, "tool", options)
            )
            made = made_of(adapted, make, returned)
            made.durable, made.atomic = durable, atomic
            if options.get("structured_output") is not False:
                refuse_return(function, made, returned)
            refuse_unpublished(function, made, input_schema)
            _add(declared.tools, made.name, made, "tool", adapted)
            _restrict("tool", made.name, access)
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
        DefinitionError: the function cannot be served, and why.
    """

    access = access_rule(permission, scopes, visible)

    def declare(function: _FunctionT) -> _FunctionT:
        with placed(function):
            adapted = answering(adapt(function, atomic=atomic))
            made = made_of(adapted, functools.partial(Prompt.from_function, **texts(function, "prompt", options)))
            if unfit := non_text_parameters(made):
                raise refusal(function, f"arguments of prompts are texts, which {unfit[0]!r} cannot be")
            server = quiet_server("check")
            server.add_prompt(made)
            refuse_unlisted(function, server)
            _add(declared.prompts, made.name, made, "prompt", adapted)
            _restrict("prompt", made.name, access)
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
        DefinitionError: the function cannot be served, and why.
    """
    if not isinstance(uri, str):
        raise DefinitionError("@resource needs a URI: write @resource('shop://products')")
    access = access_rule(permission, scopes, visible)

    def declare(function: _FunctionT) -> _FunctionT:
        with placed(function):
            adapted = adapt(function, atomic=atomic)
            options.setdefault("name", adapted.__name__)
            options.setdefault("description", inspect.getdoc(adapted))
            made = texts(function, "resource", options)
            parameters = inspect.signature(adapted).parameters.values()
            if renamed := aliases(parameters):
                alias, name = next(iter(renamed.items()))
                raise refusal(
                    function, f"{name!r} cannot have the alias {alias!r}: a URI has the names of the parameters"
                )
            names = [item.name for item in parameters if item.annotation is not SDKContext]
            made_of(adapted, lambda _: check_variables(uri, names))
            # A throw-away server checks the URI against the function's parameters, here where the mistake is.
            server = quiet_server("check")
            made_of(adapted, lambda _: server.resource(uri, **made)(adapted))
            sent = made_of(adapted, lambda _: normalized(uri))
            refuse_unlisted(function, server)
            _add(declared.resources, sent, (adapted, made), "resource", adapted)
            _restrict("resource", sent, access)
        return function

    return declare


def completion(function: _FunctionT) -> _FunctionT:
    """Declare the function that completes arguments of prompts and resource templates; a project has one.

    It takes `ref`, `argument` and `context`, and perhaps a `Context`; it returns an `mcp_types.Completion` or None.

    Raises:
        DefinitionError: there is one already, or the function cannot be served.
    """
    if declared.completion is not None:
        raise DefinitionError(
            f"@completion is declared already, by {where(declared.completion)}, and again by {where(function)}; "
            "a project has one"
        )
    with placed(function):
        declared.completion = _completer(adapt(function))
    return function


def _completer(adapted: Callable[..., Any]) -> Callable[..., Any]:
    """Adapt a function to the four things it may be given: ref, argument, context and the request's own context."""
    parameters = inspect.signature(adapted).parameters.values()
    own = [item.name for item in parameters if item.annotation is SDKContext]
    given = [item for item in parameters if item.name not in own]
    if not sum(item.default is inspect.Parameter.empty for item in given) <= 3 <= len(given):
        raise refusal(adapted, "@completion takes ref, argument and context, and may take a Context")
    names = [item.name for item in given[:3]]

    @functools.wraps(adapted)
    async def complete(ref: Any, argument: Any, context: Any, request: Any) -> Any:
        arguments = zip(names, (ref, argument, context), strict=True)
        return await adapted(**dict(arguments), **dict.fromkeys(own, request))

    return complete


def build_server(request_state_keys: tuple[bytes, ...]) -> MCPServer[Any]:
    """Build the SDK server that serves what is declared."""
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
    for made in declared.prompts.values():
        server.add_prompt(made)
    for uri, (function, options) in declared.resources.items():
        server.resource(uri, **options)(function)
    if declared.completion is not None:
        serve_completions(server, declared.completion)
    register_session_handlers(server)
    apply_spec_corrections(server)
    return server


def _bound_principal(ctx: Any) -> str | None:
    """Seal multi round-trip state to its caller; an anonymous one binds nothing."""
    return ctx.request.principal.binding or None


def _add(known: dict[str, Any], name: str, made: Any, kind: str, adapted: Callable[..., Any]) -> None:
    if name in known:
        raise DefinitionError(
            f"the {kind} {name!r} is declared twice, by {declared.places[kind, name]} and by {where(adapted)}; "
            "give one of them another name"
        )
    known[name] = made
    declared.places[kind, name] = where(adapted)


def _restrict(kind: str, name: str, access: AccessRule | None) -> None:
    if access is not None:
        declared.access[kind, name] = access
