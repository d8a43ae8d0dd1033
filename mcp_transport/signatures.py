"""What can be declared, and how the SDK is told of it: name, parameters, context and return type."""

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

__all__ = ["Declared", "read", "refusal", "where"]


_METHOD_FAULT: Final = (
    "a method has no instance to be called with while its class is made. Declare the bound method afterwards, as in "
    "tool(Shop().search), or make it a static method"
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a callable says of itself."""

    function: Callable[..., Any]
    """The function that has its annotations: the callable itself, or the one it stands for."""
    name: str
    doc: str | None
    signature: inspect.Signature
    """Its parameters and its return type as the SDK shall see them."""
    contexts: dict[str, type[SDKContext[Any, Any]]]
    """The parameter that takes the context, if there is one, and the class it gets."""
    aliases: dict[str, str]
    """The parameters that clients know by another name, by that name."""
    is_async: bool
    """Is it a coroutine function? Any other may still return an awaitable."""

    def describe(self, run: Any) -> Any:
        """Give `run`, which is called in its place, its name, docstring and signature."""
        functools.update_wrapper(run, self.function)
        run.__name__, run.__doc__, run.__signature__ = self.name, self.doc, self.signature
        annotations = {item.name: item.annotation for item in self.signature.parameters.values()}
        annotations["return"] = self.signature.return_annotation
        run.__annotations__ = {
            name: hint for name, hint in annotations.items() if hint is not inspect.Signature.empty
        }
        return run


def read(function: Any) -> Declared:
    """Read what a callable says of itself.

    Raises:
        DefinitionError: it cannot be served.
    """
    if isinstance(function, classmethod):
        raise refusal(function.__func__, _METHOD_FAULT)
    if not callable(function) or inspect.isclass(_inner(function)):
        raise DefinitionError(f"expected a function to declare, got {function!r}")
    inner, named, signature = _inner(function), _named(function), _signature(function)
    if inspect.isasyncgenfunction(_unwrapped(named)):
        raise refusal(named, GENERATOR_FAULT)
    _refuse_methods(named, signature)
    _refuse_view_decorators(named, signature)
    _refuse_unnamed_parameters(named, signature)
    hints = _hints(named)
    contexts = {name: kind for name in signature.parameters if (kind := _context_class(hints.get(name)))}
    if len(contexts) > 1:
        raise refusal(named, f"the parameters {' and '.join(contexts)} both take the context")
    hints |= dict.fromkeys(contexts, SDKContext)  # the SDK looks for no other class, and not inside Annotated
    annotated = (
        item.replace(annotation=hints.get(name, item.annotation)) for name, item in signature.parameters.items()
    )
    parameters, names = _parameters(named, annotated)
    returns = hints.get("return", inspect.Signature.empty)
    return Declared(
        function=named,
        name=getattr(inner, "__name__", type(inner).__name__),
        doc=named.__doc__ or inner.__doc__,
        signature=signature.replace(parameters=parameters, return_annotation=returns),
        contexts=contexts,
        aliases=names,
        is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
    )


def where(function: Callable[..., Any]) -> str:
    """Name a function as a developer finds it."""
    named = _named(function)
    module = getattr(named, "__module__", None)
    if module is None:  # a method of a builtin class has its class, or an instance of it
        module = getattr(named, "__objclass__", type(getattr(named, "__self__", None))).__module__
    return f"{module}.{getattr(named, '__qualname__', repr(named))}"


def refusal(function: Any, fault: str) -> DefinitionError:
    """Return an error that says where a function stands, and what is wrong with it."""
    named = _named(function)
    code = getattr(_unwrapped(named), "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno}: " if code is not None else ""
    return DefinitionError(f"{place}{where(function)}: {fault}")


def _unwrapped(function: Any) -> Any:
    try:
        return inspect.unwrap(function)
    except ValueError:  # it wraps itself
        return function


def _without_bridges(function: Any) -> Any:
    """Return a callable without asgiref's `async_to_sync`, which hides the signature; it may stand in a partial."""
    if isinstance(function, AsyncToSync):
        return _without_bridges(function.awaitable)
    if isinstance(function, functools.partial):
        return functools.partial(_without_bridges(function.func), *function.args, **function.keywords)
    return function


def _inner(function: Any) -> Any:
    """Return the callable that partials, or `async_to_sync`, were made of."""
    function = _without_bridges(function)
    return function.func if isinstance(function, functools.partial) else function


def _named(function: Any) -> Any:
    """Return the function that has the name and the annotations of a callable."""
    inner = _inner(function)
    return inner if inspect.isroutine(inner) or hasattr(inner, "__wrapped__") else type(inner).__call__


def _signature(function: Any) -> inspect.Signature:
    """Return a callable's parameters without those that a partial has bound, which a client could else replace."""
    function = _without_bridges(function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise refusal(function, str(error)) from error
    bound = function.keywords if isinstance(function, functools.partial) else {}
    return signature.replace(parameters=[item for name, item in signature.parameters.items() if name not in bound])


def _hints(function: Any) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        if "return" in hints:
            hints["return"] = wire_annotation(hints["return"])
    except DefinitionError as error:
        raise refusal(function, str(error)) from error
    except NameError as error:
        raise refusal(
            function,
            f"the annotation {error.name!r} cannot be resolved. Import it at run time, not only where TYPE_CHECKING",
        ) from error
    except Exception as error:  # whatever an annotation that is a text does when it is evaluated
        reason = str(error).partition("\n")[0]
        raise refusal(function, f"an annotation cannot be resolved: {reason}") from error
    return hints


def _parameters(
    function: Any, annotated: Iterable[inspect.Parameter]
) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """Return parameters as the SDK can publish them, and their aliases."""
    try:
        # Arguments are passed by name, and one that needs one may follow one that does not.
        parameters = [translated_parameter(item).replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in annotated]
        return parameters, aliases(parameters)
    except DefinitionError as error:
        raise refusal(function, str(error)) from error


def _context_class(hint: Any) -> type[SDKContext[Any, Any]] | None:
    """Return the class of context that a parameter takes: ours, or a subclass of a project's own."""
    origin = typing.get_origin(hint)
    if origin in (Annotated, Union, types.UnionType):
        arms = typing.get_args(hint)[:1] if origin is Annotated else typing.get_args(hint)
        return next(filter(None, map(_context_class, arms)), None)
    if not isinstance(hint, type) or not issubclass(hint, SDKContext):
        return None
    generic = hint.__pydantic_generic_metadata__["origin"] or hint
    return Context if generic is SDKContext else hint


def _refuse_methods(function: Any, signature: inspect.Signature) -> None:
    """Refuse a function of a class body that wants an instance; the class is not made yet, and has no instance."""
    owner = function.__qualname__.rpartition(".")[0] if inspect.isfunction(function) else ""
    is_in_class = bool(owner) and not owner.endswith("<locals>")
    if is_in_class and next(iter(signature.parameters), None) in ("self", "cls"):
        raise refusal(function, _METHOD_FAULT)


def _refuse_view_decorators(function: Any, signature: inspect.Signature) -> None:
    """Refuse a wrapper that wants what its function does not take, such as the request of a view."""
    if not inspect.isfunction(function) or not hasattr(function, "__wrapped__"):
        return
    for item in inspect.signature(function, follow_wrapped=False).parameters.values():
        is_required = item.default is item.empty and item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
        if is_required and item.name not in signature.parameters:
            raise refusal(
                function,
                f"its decorator wants the argument {item.name!r}, which the function does not have, as decorators of "
                "views do. Leave it out; write permission=, scopes= or visible= to say who may use it",
            )


def _refuse_unnamed_parameters(function: Callable[..., Any], signature: inspect.Signature) -> None:
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    for parameter in signature.parameters.values():
        if parameter.kind in unnamed:
            raise refusal(function, f"the parameter {str(parameter)!r} cannot be passed by name, as arguments are")
