"""Inspection of declared functions: the name, parameters, context and return type that the SDK needs."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Union

from asgiref.sync import AsyncToSync
from mcp.server.mcpserver import Context as SDKContext

from mcp_transport.annotation_faults import GENERATOR_FAULT
from mcp_transport.context import Context
from mcp_transport.exceptions import DefinitionError
from mcp_transport.parameters import aliases, translated_parameter
from mcp_transport.return_types import wire_annotation

__all__ = ["DeclaredFunction", "context_class", "definition_error", "inspect_function", "qualified_name"]


_METHOD_FAULT: Final = (
    "a method cannot be declared in the body of its class, since it has no instance there. Declare the bound method "
    "afterwards, as in tool(Shop().search), or use a static method"
)


@dataclass(frozen=True, slots=True)
class DeclaredFunction:
    """The properties of a declared callable."""

    function: Callable[..., Any]
    """The function with the annotations: the callable itself, or the one that it wraps."""
    name: str
    doc: str | None
    signature: inspect.Signature
    """The parameters and the return type, as passed to the SDK."""
    contexts: dict[str, type[SDKContext[Any, Any]]]
    """The parameter that takes the context, if there is one, and its class."""
    aliases: dict[str, str]
    """The names of parameters by alias, for parameters with an alias."""
    is_async: bool
    """Whether it is a coroutine function. Another function may still return an awaitable."""

    def describe(self, run: Any) -> Any:
        """Copy the name, docstring and signature to the wrapper `run`."""
        functools.update_wrapper(run, self.function)
        run.__name__, run.__doc__, run.__signature__ = self.name, self.doc, self.signature
        hints = {item.name: item.annotation for item in self.signature.parameters.values()}
        hints["return"] = self.signature.return_annotation
        run.__annotations__ = {name: hint for name, hint in hints.items() if hint is not inspect.Signature.empty}
        return run


def inspect_function(function: Any) -> DeclaredFunction:
    """Return the properties of a callable.

    Raises:
        DefinitionError: the callable cannot be served.
    """
    if isinstance(function, classmethod):
        raise definition_error(function.__func__, _METHOD_FAULT)
    if not callable(function) or inspect.isclass(_wrapped_callable(function)):
        raise DefinitionError(f"expected a function to declare, got {function!r}")
    inner, target, signature = _wrapped_callable(function), _annotated_function(function), _signature(function)
    if inspect.isasyncgenfunction(_unwrapped(target)):
        raise definition_error(target, GENERATOR_FAULT)
    _check_not_method(target, signature)
    _check_decorators(target, signature)
    _check_parameter_kinds(target, signature)
    hints = _hints(target)
    contexts = {name: kind for name in signature.parameters if (kind := context_class(hints.get(name)))}
    if len(contexts) > 1:
        raise definition_error(target, f"the parameters {' and '.join(contexts)} both take the context")
    hints |= dict.fromkeys(contexts, SDKContext)  # the SDK looks for no other class, and not inside Annotated
    typed = (item.replace(annotation=hints.get(name, item.annotation)) for name, item in signature.parameters.items())
    parameters, names = _parameters(target, typed)
    returns = hints.get("return", inspect.Signature.empty)
    return DeclaredFunction(
        function=target,
        name=getattr(inner, "__name__", type(inner).__name__),
        doc=target.__doc__ or inner.__doc__,
        signature=signature.replace(parameters=parameters, return_annotation=returns),
        contexts=contexts,
        aliases=names,
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
    )


def qualified_name(function: Callable[..., Any]) -> str:
    """Return the dotted path of a function."""
    target = _annotated_function(function)
    module = getattr(target, "__module__", None)
    if module is None:  # a method of a built-in class only refers to its class or to an instance
        module = getattr(target, "__objclass__", type(getattr(target, "__self__", None))).__module__
    return f"{module}.{getattr(target, '__qualname__', repr(target))}"


def definition_error(function: Any, fault: str) -> DefinitionError:
    """Return an error with the file, line and name of a function, and what is wrong with it."""
    target = _annotated_function(function)
    code = getattr(_unwrapped(target), "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno}: " if code is not None else ""
    return DefinitionError(f"{place}{qualified_name(function)}: {fault}")


def _unwrapped(function: Any) -> Any:
    try:
        return inspect.unwrap(function)
    except ValueError:  # it wraps itself
        return function


def _without_async_to_sync(function: Any) -> Any:
    """Return a callable without asgiref's `async_to_sync`, which hides the signature, also inside a partial."""
    if isinstance(function, AsyncToSync):
        return _without_async_to_sync(function.awaitable)
    if isinstance(function, functools.partial):
        return functools.partial(_without_async_to_sync(function.func), *function.args, **function.keywords)
    return function


def _wrapped_callable(function: Any) -> Any:
    """Return the callable inside `functools.partial` and `async_to_sync`."""
    function = _without_async_to_sync(function)
    return function.func if isinstance(function, functools.partial) else function


def _annotated_function(function: Any) -> Any:
    """Return the function with the name and the annotations of a callable."""
    inner = _wrapped_callable(function)
    return inner if inspect.isroutine(inner) or hasattr(inner, "__wrapped__") else type(inner).__call__


def _signature(function: Any) -> inspect.Signature:
    """Return a signature without the parameters bound by a partial, which a client could replace otherwise."""
    function = _without_async_to_sync(function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise definition_error(function, str(error)) from error
    bound = function.keywords if isinstance(function, functools.partial) else {}
    return signature.replace(parameters=[item for name, item in signature.parameters.items() if name not in bound])


def _hints(function: Any) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        if "return" in hints:
            hints["return"] = wire_annotation(hints["return"])
    except DefinitionError as error:
        raise definition_error(function, str(error)) from error
    except NameError as error:
        raise definition_error(
            function,
            f"the annotation {error.name!r} cannot be resolved. Import it at run time, not only where TYPE_CHECKING",
        ) from error
    except Exception as error:  # evaluating a string annotation may raise anything
        reason = str(error).partition("\n")[0]
        raise definition_error(function, f"an annotation cannot be resolved: {reason}") from error
    return hints


def _parameters(function: Any, typed: Iterable[inspect.Parameter]) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """Return parameters in the form that the SDK can publish, and their aliases."""
    try:
        # Keyword-only: arguments are passed by name, and required ones may follow optional ones.
        parameters = [translated_parameter(item).replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in typed]
        return parameters, aliases(parameters)
    except DefinitionError as error:
        raise definition_error(function, str(error)) from error


def context_class(hint: Any) -> type[SDKContext[Any, Any]] | None:
    """Return the class of a context parameter: ours, or a project's subclass; None for any other annotation."""
    origin = typing.get_origin(hint)
    if origin in (Annotated, Union, types.UnionType):
        members = typing.get_args(hint)[:1] if origin is Annotated else typing.get_args(hint)
        return next(filter(None, map(context_class, members)), None)
    if not isinstance(hint, type) or not issubclass(hint, SDKContext):
        return None
    generic = hint.__pydantic_generic_metadata__["origin"] or hint
    return Context if generic is SDKContext else hint


def _check_not_method(function: Any, signature: inspect.Signature) -> None:
    """Raise DefinitionError for a method in a class body, where it has no instance yet."""
    owner = function.__qualname__.rpartition(".")[0] if inspect.isfunction(function) else ""
    is_in_class = bool(owner) and not owner.endswith("<locals>")
    if is_in_class and next(iter(signature.parameters), None) in ("self", "cls"):
        raise definition_error(function, _METHOD_FAULT)


def _check_decorators(function: Any, signature: inspect.Signature) -> None:
    """Raise DefinitionError for a decorator that adds required arguments, such as the request of a view."""
    if not inspect.isfunction(function) or not hasattr(function, "__wrapped__"):
        return
    for item in inspect.signature(function, follow_wrapped=False).parameters.values():
        is_required = item.default is item.empty and item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        if is_required and item.name not in signature.parameters:
            raise definition_error(
                function,
                f"its decorator requires the argument {item.name!r}, which the function does not have, as decorators "
                "for views do. Remove it, and use permission=, scopes= or visible= to restrict access",
            )


def _check_parameter_kinds(function: Callable[..., Any], signature: inspect.Signature) -> None:
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind in unnamed:
            raise definition_error(function, f"the parameter {str(parameter)!r} cannot be passed by name")
