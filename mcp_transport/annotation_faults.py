"""Error messages for annotations that cannot be served, each with an alternative."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterable, Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Self

from django.db import models
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from mcp.server.mcpserver import Context as SDKContext
from mcp.server.mcpserver.utilities.types import Audio, Image
from mcp_types import CallToolResult, ContentBlock, InputRequiredResult
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError
from typing_extensions import is_typeddict

from mcp_transport.model_fields import is_user
from mcp_transport.return_types import json_schema
from mcp_transport.serialization import RESPONSE_FAULT

__all__ = ["GENERATOR_FAULT", "parameter_fault", "reason_of", "return_fault"]

_CONTENT_TYPES: Final = (CallToolResult, InputRequiredResult, Image, Audio, *typing.get_args(ContentBlock))
_UNTYPED: Final = (inspect.Signature.empty, Any, None, type(None), object)
# Types with a meaningless schema in pydantic, or with a misleading error of the SDK.
_UNSUPPORTED: Final[tuple[Any, ...]] = (type, Self, Final, ClassVar)
GENERATOR_FAULT: Final = "an asynchronous generator cannot be declared; return a list"


# pydantic's error codes for types without a JSON form.
_NO_SCHEMA_CODES: Final = (
    "schema-for-unknown-type",
    "invalid-for-json-schema",
    "invalid-self-type",
    "typed-dict-version",
)
# Values written in place of a type, as in `[str]`, `{"a": int}`, `5`.
_VALUE_TYPES: Final = (list, tuple, dict, set, frozenset, int, float, bool, str, bytes)


def return_fault(annotation: Any, *, is_published: bool = False) -> str:
    """Return what is wrong with a return type, and an alternative; "" if it is fine or its schema is published."""
    if type(annotation) in _VALUE_TYPES:
        return f"the return type is {annotation!r}, which is not a type. {_suggested_type(annotation)}"
    parts = list(_parts(annotation))
    classes = [part for part in parts if isinstance(part, type)]
    if annotation in _UNTYPED or any(issubclass(kind, _CONTENT_TYPES) for kind in classes):
        return ""
    if any(issubclass(kind, HttpResponseBase) for kind in classes):
        return RESPONSE_FAULT
    if any(issubclass(kind, AsyncIterable) for kind in classes):
        return GENERATOR_FAULT
    if not any(part in _UNSUPPORTED for part in parts) and (is_published or json_schema(annotation) is not None):
        return ""
    if reason := _wrong_constraint(annotation):
        return f"the return type {_name(annotation)} is invalid: {reason}"
    return (
        f"the return type {_name(annotation)} has no JSON form. Return a pydantic model, a dataclass, a Django "
        "model, plain data or content blocks, or omit the annotation"
    )


def parameter_fault(parameter: inspect.Parameter, *, is_published: bool = False) -> str:
    """Return what is wrong with a parameter, and an alternative; `is_published` if the SDK has its schema."""
    if parameter.name.startswith("_"):
        return f"the parameter {parameter.name!r} must not start with an underscore; rename it"
    if hasattr(BaseModel, parameter.name) and not callable(getattr(BaseModel, parameter.name)):
        return f"the parameter {parameter.name!r} clashes with an attribute of pydantic's BaseModel; rename it"
    hint = parameter.annotation
    if hint is inspect.Parameter.empty or hint is SDKContext:
        return ""
    name = f"the parameter {parameter.name!r}"
    if type(hint) in _VALUE_TYPES:
        return f"{name} is annotated with {hint!r}, which is not a type. {_suggested_type(hint)}"
    parts = list(_parts(hint))
    if any(isinstance(part, Enum) for part in parts):
        return f"{name} is a Literal of enum members; use the enum, or a Literal of their values"
    if not any(part in _UNSUPPORTED for part in parts) and (is_published or json_schema(hint) is not None):
        return ""
    if reason := _wrong_constraint(hint):
        return f"{name} has an invalid annotation: {reason}"
    return f"{name} cannot be {_name(hint)}, since arguments are JSON. {_alternative(hint)}"


def reason_of(error: Exception) -> str:
    """Return the line of an exception's text with the reason: the last one of a SchemaError, else the first."""
    if isinstance(error, RecursionError):
        return "an option or a schema contains itself"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    if isinstance(error, SchemaError):
        return lines[-1].removeprefix("error: ").removeprefix("SchemaError: ")
    return lines[0]


def _wrong_constraint(hint: Any) -> str:
    """Return what is wrong with the constraints of a JSON type: a pattern, a limit, a hook that raises."""
    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError as error:
        if error.code in _NO_SCHEMA_CODES:
            return ""
        if error.code == "class-not-fully-defined":
            return "a name in its annotations cannot be resolved. Import it at run time, not only if TYPE_CHECKING"
        return reason_of(error)
    except Exception as error:  # a project's hook may raise anything
        return reason_of(error)
    return ""


def _suggested_type(value: Any) -> str:
    """Return which type to use in place of a value."""
    if type(value) in (list, set, tuple, frozenset) and value:
        names = [_name(item) for item in value]
        of = ", ".join(names) if type(value) is tuple else " | ".join(names)
        return f"Use {type(value).__name__}[{of}]"
    if type(value) is dict:
        return "Use dict[str, Any], or a TypedDict with these members"
    return "Use a type, such as int"


def _alternative(hint: Any) -> str:
    for part in _parts(hint):
        if not isinstance(part, type):
            continue
        if issubclass(part, HttpRequest):
            return "Use a context parameter, as in ctx: Context, and ctx.request"
        if (issubclass(part, models.Model) and is_user(part)) or _is_anonymous_user(part):
            return "Use a context parameter, as in ctx: Context, and ctx.user, or the primary key of another user"
        if issubclass(part, models.QuerySet | models.Manager):
            return "Use primary keys, as in ids: list[int], and get the objects in the function"
        if is_typeddict(part):
            return "Use TypedDict from typing_extensions, which pydantic needs before Python 3.12"
        if issubclass(part, models.Model):
            name = part._meta.model_name
            return f"Use its primary key, as in {name}_id: int, and get the object in the function"
    return "Use plain data, a dataclass or a pydantic model"


def _is_anonymous_user(part: type) -> bool:
    # By name: its module contains models, which cannot be imported without django.contrib.auth.
    return (part.__module__, part.__qualname__) == ("django.contrib.auth.models", "AnonymousUser")


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield a type and its type arguments, recursively."""
    yield typing.get_origin(annotation) or annotation
    for argument in typing.get_args(annotation):
        try:
            hash(argument)
        except TypeError:  # an argument of Callable, or a pydantic Field
            continue
        yield from _parts(argument)


def _name(annotation: Any) -> str:
    """Return a type as written in source code."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        is_builtin = annotation.__module__ == "builtins"
        return annotation.__qualname__ if is_builtin else f"{annotation.__module__}.{annotation.__qualname__}"
    return repr(annotation).replace("typing.", "").replace("typing_extensions.", "")
