"""Inspection of the functions of batched tools: what one call takes and returns."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, NotRequired, Required, Union

from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field, RootModel, ValidationError
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import explain
from mcp_transport.parameters import aliases, translated_parameter
from mcp_transport.return_types import wire_annotation
from mcp_transport.signatures import DeclaredFunction, context_class, definition_error, inspect_function

__all__ = ["BatchSignature", "batch_signature"]

_EMPTY: Final = inspect.Parameter.empty
_ABSENT: Final = object()

_FORM: Final = "a batched tool takes one list, as in items: list[Item], and may take contexts: list[Context]"


@dataclass(frozen=True, slots=True)
class BatchSignature:
    """How a batched function is called, and what a single call of the tool looks like."""

    function: DeclaredFunction
    call: DeclaredFunction
    """The single call, as if it were declared itself."""
    items: str
    """The parameter of the items."""
    contexts: str
    """The parameter of the contexts, or ""."""
    context_kind: type[SDKContext[Any, Any]]
    context: str
    """The parameter of a single call that takes its context."""
    build: Callable[[dict[str, Any]], Any]
    """Makes an item of the arguments of a call. Raises: ToolError."""


def batch_signature(function: Callable[..., Any]) -> BatchSignature:
    """Inspect the function of a batched tool.

    Raises:
        DefinitionError: the function cannot be served.
    """
    inspected = inspect_function(function)
    if inspected.contexts:
        name = next(iter(inspected.contexts))
        fault = f"the parameter {name!r} must be annotated with list[Context], since a batch has one for each call"
        raise definition_error(function, fault)
    parameters = inspected.signature.parameters.values()
    contexts = {item.name: kind for item in parameters if (kind := _list_context(item.annotation))}
    others = [item for item in parameters if item.name not in contexts]
    if len(others) != 1 or len(contexts) > 1:
        names = ", ".join(inspected.signature.parameters) or "none"
        raise definition_error(function, f"{_FORM}; its parameters are {names}")
    [items] = others
    kind = _list_item(items.annotation)
    if kind is None:
        raise definition_error(
            function,
            f"{_FORM}; the parameter {items.name!r} must be annotated with list[T], where T is the dataclass, "
            f"TypedDict, pydantic model or type of one call, got {_shown(items.annotation)}",
        )
    try:
        fields, build = _fields(items.name, kind)
        fields = [translated_parameter(item) for item in fields]
        names_by_alias, returned = aliases(fields), _returned(inspected.signature.return_annotation)
    except DefinitionError as error:
        raise definition_error(function, str(error)) from error
    context = "ctx"
    while any(item.name == context for item in fields):
        context += "_"
    fields.append(inspect.Parameter(context, inspect.Parameter.KEYWORD_ONLY, annotation=SDKContext))
    signature = inspect.Signature(fields, return_annotation=returned)
    [[contexts_name, context_kind]] = contexts.items() or [("", SDKContext)]
    return BatchSignature(
        function=inspected,
        call=dataclasses.replace(inspected, signature=signature, aliases=names_by_alias),
        items=items.name,
        contexts=contexts_name,
        context_kind=context_kind,
        context=context,
        build=build,
    )


def _list_item(annotation: Any) -> Any:
    """Return the T of `list[T]`, or None."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else None


def _list_context(annotation: Any) -> type[SDKContext[Any, Any]] | None:
    return context_class(_list_item(annotation))


def _shown(annotation: Any) -> str:
    if annotation is _EMPTY:
        return "no annotation"
    return annotation.__name__ if type(annotation) is type else str(annotation)


def _returned(annotation: Any) -> Any:
    """Return the type of one result."""
    if annotation is inspect.Signature.empty:
        return annotation
    kind = _list_item(annotation)
    if kind is None:
        raise DefinitionError(
            "a batched tool returns a list with one result for each call: annotate it with list[R], where R is the "
            f"type of one result, got {_shown(annotation)}"
        )
    if typing.get_origin(kind) in (Union, types.UnionType):
        results = tuple(item for item in typing.get_args(kind) if not _is_exception(item))
        kind = Union[results] if results else None  # noqa: UP007  # of a tuple built at run time
    return wire_annotation(kind)


def _is_exception(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


# -- the fields of an item -------------------------------------------------------------------------------


_Fields = tuple[list[inspect.Parameter], Callable[[dict[str, Any]], Any]]


def _fields(name: str, kind: Any) -> _Fields:
    """Return the parameters of a call, and what makes an item of their values. Raises: DefinitionError."""
    if not isinstance(kind, type) or typing.get_origin(kind) is not None:
        return [_parameter(name, kind)], lambda values: values[name]
    if is_typeddict(kind):
        return [_key(kind, *item) for item in _hints(kind).items()], _without_absent
    if issubclass(kind, BaseModel) and not issubclass(kind, RootModel):
        fields = kind.model_fields.items()
        build = partial(kind.model_validate, by_alias=False, by_name=True)
        return [_parameter(name, info.annotation, info) for name, info in fields], partial(_build, build)
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)
        members = [item for item in dataclasses.fields(kind) if item.init]
        return [_member(item, hints[item.name]) for item in members], partial(_build, lambda values: kind(**values))
    return [_parameter(name, kind)], lambda values: values[name]


def _hints(kind: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"the annotation {error.name!r} in {kind.__qualname__} cannot be resolved") from error


def _parameter(name: str, hint: Any, default: Any = _EMPTY) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)


def _member(member: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    if member.default_factory is not dataclasses.MISSING:
        return _parameter(member.name, Annotated[hint, Field(default_factory=member.default_factory)])
    return _parameter(member.name, hint, _EMPTY if member.default is dataclasses.MISSING else member.default)


def _key(kind: Any, name: str, hint: Any) -> inspect.Parameter:
    is_required = name in kind.__required_keys__
    while (origin := typing.get_origin(hint)) in (Required, NotRequired, ReadOnly):
        # Of annotations that were strings, the class does not know it.
        is_required = origin is Required or (is_required and origin is not NotRequired)
        hint = typing.get_args(hint)[0]
    return _parameter(name, hint if is_required else Annotated[hint, Field(default_factory=lambda: _ABSENT)])


def _without_absent(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not _ABSENT}


def _build(build: Callable[[dict[str, Any]], Any], values: dict[str, Any]) -> Any:
    """Make an item; a ValueError is about the arguments, as in pydantic."""
    try:
        return build(values)
    except ValidationError as error:
        raise ToolError(explain(error)) from error
    except (ValueError, AssertionError) as error:
        raise ToolError(str(error)) from error
