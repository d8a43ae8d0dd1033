"""Sentences about annotations that cannot be served, each with what to write instead."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterable, Iterator
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Self

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
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

from mcp_transport.return_types import json_schema
from mcp_transport.serialization import RESPONSE_FAULT

__all__ = ["GENERATOR_FAULT", "parameter_fault", "reason_of", "return_fault"]

_RENDERED: Final = (CallToolResult, InputRequiredResult, Image, Audio, *typing.get_args(ContentBlock))
_UNTYPED: Final = (inspect.Signature.empty, Any, None, type(None), object)
# What pydantic describes without knowing, or the SDK refuses in words about itself.
_NEVER: Final[tuple[Any, ...]] = (type, Self, Final, ClassVar)
GENERATOR_FAULT: Final = "the values of an asynchronous generator cannot be sent; return a list"


# pydantic's codes for types that have no form in JSON.
_WITHOUT_FORM: Final = (
    "schema-for-unknown-type",
    "invalid-for-json-schema",
    "invalid-self-type",
    "typed-dict-version",
)
# What is written in place of a type: `[str]`, `{"a": int}`, `5`.
_VALUES: Final = (list, tuple, dict, set, frozenset, int, float, bool, str, bytes)


def return_fault(annotation: Any, *, is_published: bool = False) -> str:
    """Say what to return in place of a type that has no JSON form, unless its schema is published."""
    if type(annotation) in _VALUES:
        return f"the return type is {annotation!r}, which is no type. {_type_instead(annotation)}"
    parts = list(_parts(annotation))
    classes = [part for part in parts if isinstance(part, type)]
    if annotation in _UNTYPED or any(issubclass(kind, _RENDERED) for kind in classes):
        return ""
    if any(issubclass(kind, HttpResponseBase) for kind in classes):
        return RESPONSE_FAULT
    if any(issubclass(kind, AsyncIterable) for kind in classes):
        return GENERATOR_FAULT
    if not any(part in _NEVER for part in parts) and (is_published or json_schema(annotation) is not None):
        return ""
    if reason := _wrong_constraint(annotation):
        return f"the return type {_name(annotation)} cannot be built: {reason}"
    return (
        f"the return type {_name(annotation)} has no JSON form. Return a pydantic model, a dataclass, a Django "
        "model, plain data or content blocks, or leave the annotation out"
    )


def parameter_fault(parameter: inspect.Parameter, *, is_published: bool = False) -> str:
    """Say what to take in place of a parameter that no argument can be, also if its schema is published."""
    if parameter.name.startswith("_"):
        return f"the parameter {parameter.name!r} begins with an underscore; give it another name"
    if hasattr(BaseModel, parameter.name) and not callable(getattr(BaseModel, parameter.name)):
        return f"the parameter {parameter.name!r} has the name of an attribute of pydantic's; give it another name"
    hint = parameter.annotation
    if hint is inspect.Parameter.empty or hint is SDKContext:
        return ""
    if type(hint) in _VALUES:
        return f"the parameter {parameter.name!r} is annotated with {hint!r}, which is no type. {_type_instead(hint)}"
    parts = list(_parts(hint))
    if any(isinstance(part, Enum) for part in parts):
        return f"the parameter {parameter.name!r} is a Literal of members of an enum; take the enum, or their values"
    if not any(part in _NEVER for part in parts) and (is_published or json_schema(hint) is not None):
        return ""
    if reason := _wrong_constraint(hint):
        return f"the parameter {parameter.name!r} cannot be built: {reason}"
    named = f"the parameter {parameter.name!r} cannot be {_name(hint)}"
    return f"{named}, since arguments are JSON. {_instead(hint)}"


def reason_of(error: Exception) -> str:
    """Return the line of an error that says what is wrong, which is the last one where a validator is built."""
    if isinstance(error, RecursionError):
        return "an option or a schema holds itself"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return (
        lines[-1].removeprefix("error: ").removeprefix("SchemaError: ")
        if isinstance(error, SchemaError)
        else lines[0]
    )


def _wrong_constraint(hint: Any) -> str:
    """Say what is wrong with an annotation whose type has a form in JSON: a pattern, a limit, a hook that raises."""
    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError as error:
        if error.code in _WITHOUT_FORM:
            return ""
        if error.code == "class-not-fully-defined":
            return "a name in its annotations cannot be resolved. Import it at run time, not only where TYPE_CHECKING"
        return reason_of(error)
    except Exception as error:  # whatever a hook of a project's own raises
        return reason_of(error)
    return ""


def _type_instead(value: Any) -> str:
    """Say which type to write in place of a value."""
    if type(value) in (list, set, tuple, frozenset) and value:
        names = [_name(item) for item in value]
        of = ", ".join(names) if type(value) is tuple else " | ".join(names)
        return f"Write {type(value).__name__}[{of}]"
    if type(value) is dict:
        return "Write dict[str, Any], or a TypedDict with these members"
    return "Write a type, as in int"


def _instead(hint: Any) -> str:
    for part in _parts(hint):
        if not isinstance(part, type):
            continue
        if issubclass(part, HttpRequest):
            return "Take the context, as in ctx: Context, and use ctx.request"
        if issubclass(part, AbstractBaseUser) or _is_user_model(part) or _is_anonymous_user(part):
            return "Take the context, as in ctx: Context, and use ctx.user, or take another user's key"
        if issubclass(part, models.QuerySet | models.Manager):
            return "Take keys, as in ids: list[int], and get the objects in the function"
        if is_typeddict(part):
            return "Take TypedDict from typing_extensions, which pydantic needs before Python 3.12"
        if issubclass(part, models.Model):
            name = part._meta.model_name
            return f"Take its key, as in {name}_id: int, and get the object in the function"
    return "Take plain data, a dataclass or a pydantic model"


def _is_anonymous_user(part: type) -> bool:
    # By name: its module has models, which a project without django.contrib.auth must not import.
    return (part.__module__, part.__qualname__) == ("django.contrib.auth.models", "AnonymousUser")


def _is_user_model(kind: type) -> bool:
    return issubclass(kind, models.Model) and kind._meta.label_lower == settings.AUTH_USER_MODEL.lower()


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield a type, and those it is made of."""
    yield typing.get_origin(annotation) or annotation
    for argument in typing.get_args(annotation):
        try:
            hash(argument)
        except TypeError:  # of Callable, or a pydantic Field
            continue
        yield from _parts(argument)


def _name(annotation: Any) -> str:
    """Return a type as it is written."""
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        is_builtin = annotation.__module__ == "builtins"
        return annotation.__qualname__ if is_builtin else f"{annotation.__module__}.{annotation.__qualname__}"
    return repr(annotation).replace("typing.", "").replace("typing_extensions.", "")
