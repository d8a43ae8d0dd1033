"""Django models and querysets as tool results: their schema when a tool is declared, their values when it returns."""

from __future__ import annotations

import datetime
import decimal
import types
import typing
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Final, Union

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from pydantic import BaseModel, Field, create_model

__all__ = ["reads_database", "to_wire", "wire_annotation"]

# Django's internal type of a field -> the Python type of its values.
_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(
        ["AutoField", "BigAutoField", "SmallAutoField", "IntegerField", "BigIntegerField", "SmallIntegerField"], int
    ),
    **dict.fromkeys(["PositiveIntegerField", "PositiveBigIntegerField", "PositiveSmallIntegerField"], int),
    **dict.fromkeys(["CharField", "TextField", "SlugField", "EmailField", "URLField", "FilePathField"], str),
    **dict.fromkeys(["GenericIPAddressField", "IPAddressField", "FileField", "ImageField"], str),
    "BooleanField": bool,
    "DateField": datetime.date,
    "DateTimeField": datetime.datetime,
    "DecimalField": decimal.Decimal,
    "DurationField": datetime.timedelta,
    "FloatField": float,
    "JSONField": Any,
    "TimeField": datetime.time,
    "UUIDField": uuid.UUID,
}
_LISTS: Final = (list, tuple, set, frozenset, Sequence, Collection, Iterable, Iterator)


def wire_annotation(annotation: Any) -> Any:
    """Replace Django types in a return annotation by types that have a JSON Schema; leave the rest as it is."""
    if isinstance(annotation, type) and issubclass(annotation, models.Model):
        return _schema(annotation)
    if isinstance(annotation, type) and issubclass(annotation, models.QuerySet | models.Manager):
        return list[dict[str, Any]]  # QuerySet[Product] is plain QuerySet at run time: the model is not known
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None or not _mentions_model(annotation):
        return annotation
    replaced = tuple(wire_annotation(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return Union[replaced]  # noqa: UP007  # of a tuple made at run time
    return list[replaced[0]] if origin in _LISTS else origin[replaced]  # type: ignore[valid-type]


def reads_database(value: Any) -> bool:
    """Tell whether `to_wire` would query the database: for a queryset, or for fields that were deferred."""
    if isinstance(value, models.QuerySet | models.Manager):
        return True
    if isinstance(value, models.Model):
        return bool(value.get_deferred_fields())
    if isinstance(value, dict):
        return any(map(reads_database, value.values()))
    return isinstance(value, list | tuple) and any(map(reads_database, value))


def to_wire(value: Any) -> Any:
    """Replace model instances and querysets by plain data, also in lists and dicts; querysets are read."""
    if isinstance(value, models.Model):
        return _values(value)
    if isinstance(value, models.Manager):
        value = value.all()
    if isinstance(value, models.QuerySet):
        return [to_wire(item) for item in value]
    if isinstance(value, list | tuple):
        items = [to_wire(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, dict):
        members = {name: to_wire(item) for name, item in value.items()}
        return members if any(members[name] is not value[name] for name in value) else value
    return value


def _mentions_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, models.Model | models.QuerySet):
        return True
    return any(_mentions_model(argument) for argument in typing.get_args(annotation))


@cache
def _schema(model: type[models.Model]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field in _served_fields(model):
        kind = _type_of(field)
        description = str(field.help_text) or None
        fields[field.attname] = (
            kind | None if field.null and kind is not Any else kind,
            Field(description=description),
        )
    return create_model(model.__name__, __doc__=model.__doc__, **fields)


def _type_of(field: models.Field[Any, Any]) -> Any:
    if isinstance(field, models.ForeignKey):
        return _type_of(field.target_field)
    return _TYPES.get(field.get_internal_type(), str)


def _served_fields(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """Return the concrete fields, without binary ones and without a user's password hash."""
    secret = {"password"} if issubclass(model, AbstractBaseUser) else set()
    return [
        field
        for field in model._meta.concrete_fields
        if not isinstance(field, models.BinaryField) and field.name not in secret
    ]


def _values(instance: models.Model) -> dict[str, Any]:
    return {field.attname: _value(instance, field) for field in _served_fields(type(instance))}


def _value(instance: models.Model, field: models.Field[Any, Any]) -> Any:
    value = getattr(instance, field.attname)
    if value is None or not isinstance(field, models.FileField):
        known = isinstance(field, models.ForeignKey) or field.get_internal_type() in _TYPES
        return value if value is None or known else field.value_to_string(instance)
    return value.name
