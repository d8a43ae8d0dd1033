"""Parameters in the form that the SDK can publish: with evaluated translations, and their aliases."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, TypeVar

from django.db import models
from django.db.models.query import RawQuerySet
from django.utils.functional import LazyObject, Promise
from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from mcp_transport.exceptions import DefinitionError

__all__ = ["aliases", "translated", "translated_form", "translated_parameter"]

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_TEXT_ATTRIBUTES: Final = ("title", "description", "examples", "deprecated", "json_schema_extra")
_LAZY_TYPES: Final = (models.QuerySet, models.Manager, RawQuerySet, LazyObject)


def translated_parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    """Evaluate a parameter's lazy translations, and move a default of `Field` to its annotation.

    Raises:
        DefinitionError: the default would be read from the database at declaration time.
    """
    default, hint = parameter.default, parameter.annotation
    _check_default(parameter.name, default)
    if isinstance(default, FieldInfo):
        hint = Annotated[Any if hint is inspect.Parameter.empty else hint, default]
        default = inspect.Parameter.empty if default.is_required() or default.default_factory else default.default
    if isinstance(default, Promise):
        default = str(default)
    for info in list(_infos(hint)):
        _check_default(parameter.name, info.default)
        if texts := _translated_texts(info):
            hint = Annotated[hint, texts]
    return parameter.replace(annotation=hint, default=default)


def _check_default(name: str, default: Any) -> None:
    if issubclass(type(default), _LAZY_TYPES):  # isinstance() would evaluate a lazy object
        raise DefinitionError(
            f"the default of the parameter {name!r} is {type(default).__name__}, which would be evaluated once, at "
            "import time. Use None, and evaluate it in the function"
        )


def aliases(parameters: Iterable[inspect.Parameter]) -> dict[str, str]:
    """Return the names of parameters by alias, for parameters with an alias.

    Raises:
        DefinitionError: two parameters have the same alias, or an alias is not a string or not possible.
    """
    names: dict[str, str] = {}
    for parameter in parameters:
        alias = parameter.name
        for info in _infos(parameter.annotation):
            if not isinstance(info.alias, str | None):
                raise DefinitionError(f"the alias of parameter {parameter.name!r} must be a str, got {info.alias!r}")
            alias = info.alias or alias
        if alias in names:
            both = f"{names[alias]} and {parameter.name}"
            raise DefinitionError(f"the parameters {both} have the same name or alias {alias!r}; change one of them")
        if alias != parameter.name and hasattr(BaseModel, parameter.name):
            # The SDK gives such parameters an alias itself, since their name would hide a method of its model.
            raise DefinitionError(f"the parameter {parameter.name!r} cannot have an alias; rename the parameter")
        names[alias] = parameter.name
    return {alias: name for alias, name in names.items() if alias != name}


def _infos(hint: Any) -> Iterator[FieldInfo]:
    if typing.get_origin(hint) is Annotated:
        yield from (item for item in typing.get_args(hint)[1:] if isinstance(item, FieldInfo))


def translated_form(model: type[_ModelT]) -> type[_ModelT]:
    """Return a form's model with lazy translations in its fields evaluated, or the same model if there are none."""
    fields: dict[str, Any] = {
        name: Annotated[info.annotation, info, texts]
        for name, info in model.model_fields.items()
        if (texts := _translated_texts(info))
    }
    return create_model(model.__name__, __base__=model, **fields) if fields else model


def _translated_texts(info: FieldInfo) -> FieldInfo | None:
    """Return a field to merge into `info` that has its evaluated translations; None if there are none."""
    values = {name: getattr(info, name) for name in _TEXT_ATTRIBUTES}
    texts = translated(values)
    field: FieldInfo | None = Field(**texts) if texts is not values else None
    return field


def translated(value: Any) -> Any:
    """Return plain data with lazy translations evaluated, or the same object if there are none."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, dict):
        members = {translated(name): translated(item) for name, item in value.items()}
        # By identity, since a lazy translation is equal to its string.
        pairs = zip(members.items(), value.items(), strict=False)
        is_same = len(members) == len(value) and all(new[0] is old[0] and new[1] is old[1] for new, old in pairs)
        return value if is_same else members
    if isinstance(value, list | tuple):
        items = [translated(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
