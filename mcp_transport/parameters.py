"""Parameters as the SDK can publish them: their texts made, their aliases known."""

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
_TEXTS: Final = ("title", "description", "examples", "deprecated", "json_schema_extra")
_READ: Final = (models.QuerySet, models.Manager, RawQuerySet, LazyObject)


def translated_parameter(parameter: inspect.Parameter) -> inspect.Parameter:
    """Make a parameter's translations that were put off, and move a default of `Field` to its annotation.

    Raises:
        DefinitionError: its default would be read from the database while it is declared.
    """
    default, hint = parameter.default, parameter.annotation
    _refuse_lazy(parameter.name, default)
    if isinstance(default, FieldInfo):
        hint = Annotated[Any if hint is inspect.Parameter.empty else hint, default]
        default = inspect.Parameter.empty if default.is_required() or default.default_factory else default.default
    if isinstance(default, Promise):
        default = str(default)
    for info in list(_infos(hint)):
        _refuse_lazy(parameter.name, info.default)
        if made := _translated_texts(info):
            hint = Annotated[hint, made]
    return parameter.replace(annotation=hint, default=default)


def _refuse_lazy(name: str, default: Any) -> None:
    if issubclass(type(default), _READ):  # not isinstance, which reads a lazy object
        raise DefinitionError(
            f"the default of the parameter {name!r} is {type(default).__name__}, which is read where it is declared. "
            "Write None, and read it in the function"
        )


def aliases(parameters: Iterable[inspect.Parameter]) -> dict[str, str]:
    """Return the parameters that are passed by another name.

    Raises:
        DefinitionError: two are passed by the same one, or one cannot have another name, or has one that is no text.
    """
    known: dict[str, str] = {}
    for parameter in parameters:
        passed = parameter.name
        for info in _infos(parameter.annotation):
            if not isinstance(info.alias, str | None):
                raise DefinitionError(
                    f"the alias of the parameter {parameter.name!r} must be a str, got {info.alias!r}"
                )
            passed = info.alias or passed
        if passed in known:
            both = f"{known[passed]} and {parameter.name}"
            raise DefinitionError(f"the parameters {both} are both passed as {passed!r}; give one another alias")
        if passed != parameter.name and hasattr(BaseModel, parameter.name):
            # The SDK needs the alias for itself: the name would hide a method of its model.
            raise DefinitionError(f"the parameter {parameter.name!r} cannot have an alias; give it another name")
        known[passed] = parameter.name
    return {alias: name for alias, name in known.items() if alias != name}


def _infos(hint: Any) -> Iterator[FieldInfo]:
    if typing.get_origin(hint) is Annotated:
        yield from (item for item in typing.get_args(hint)[1:] if isinstance(item, FieldInfo))


def translated_form(model: type[_ModelT]) -> type[_ModelT]:
    """Return a form's model with the translations in its fields made, the same one where there are none."""
    fields: dict[str, Any] = {
        name: Annotated[info.annotation, info, made]
        for name, info in model.model_fields.items()
        if (made := _translated_texts(info))
    }
    return create_model(model.__name__, __base__=model, **fields) if fields else model


def _translated_texts(info: FieldInfo) -> FieldInfo | None:
    """Return the texts of a field, made, in a field that is to stand behind it; None where they are texts already."""
    found = {name: getattr(info, name) for name in _TEXTS}
    made = translated(found)
    field: FieldInfo | None = Field(**made) if made is not found else None
    return field


def translated(value: Any) -> Any:
    """Return plain data with translations that were put off made now; the same object where there are none."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, dict):
        members = {translated(name): translated(item) for name, item in value.items()}
        # A translation is equal to its text, so keys are compared by identity.
        pairs = zip(members.items(), value.items(), strict=False)
        is_same = len(members) == len(value) and all(new[0] is old[0] and new[1] is old[1] for new, old in pairs)
        return value if is_same else members
    if isinstance(value, list | tuple):
        items = [translated(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
