"""The JSON form of Django model fields: which fields are sent, their types and their values."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import json
import sys
import uuid
from collections.abc import Callable
from functools import cache
from types import GenericAlias, SimpleNamespace
from typing import Any, Final, Literal, cast

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from typing_extensions import TypedDict

__all__ = [
    "annotation_of",
    "instance_values",
    "is_served",
    "is_user",
    "json_value",
    "object_type",
    "served_fields",
    "unread_fields",
]

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


@cache
def served_fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    """Return the concrete fields of a model that may be part of results."""
    return tuple(filter(is_served, model._meta.concrete_fields))


def is_served(field: models.Field[Any, Any]) -> bool:
    """Return whether a field may be part of results: not if it is binary, or a user's password hash."""
    return not isinstance(field, models.BinaryField) and not (field.name == "password" and is_user(field.model))


def unread_fields(instance: models.Model) -> list[str]:
    """Return the served fields that need a query: deferred, or set to an expression."""
    values = vars(instance)
    names = [field.attname for field in served_fields(type(instance))]
    return [name for name in names if name not in values or hasattr(values[name], "resolve_expression")]


def instance_values(instance: models.Model) -> dict[str, Any]:
    """Return the JSON values of the served fields of a model instance; unread fields are fetched."""
    values = {}
    for name, field, plain in _plan(type(instance)):
        value = getattr(instance, name)
        if hasattr(value, "resolve_expression"):  # Django reads a deferred field by itself
            instance.refresh_from_db(fields=[name])
            value = getattr(instance, name)
        values[name] = value if value is None or type(value) is plain else json_value(field, value, instance)
    return values


@cache
def _plan(model: type[models.Model]) -> tuple[tuple[str, models.Field[Any, Any], type | None], ...]:
    return tuple((field.attname, field, _plain_type(field)) for field in served_fields(model))


def annotation_of(field: models.Field[Any, Any]) -> Any:
    """Return the type annotation of a field's JSON values, for pydantic."""
    stored = _stored(field)
    # A generated field may be NULL even if its `null` is False.
    is_nullable = field.null or isinstance(field, models.GeneratedField)
    return _or_none(_kind(stored)) if is_nullable else _kind(stored)


def json_value(field: models.Field[Any, Any], value: Any, instance: Any = None) -> Any:
    """Return a field's value as the type of `annotation_of`; `instance` is the object with the value, if any."""
    if value is None or type(value) is _plain_type(field):
        return value
    if isinstance(value, enum.Enum):
        return json_value(field, value.value, instance)
    stored = _stored(field)
    if _is_postgres(stored, "ArrayField"):
        return [json_value(stored.base_field, item) for item in value]
    if _is_postgres(stored, "RangeField"):
        return _range_value(stored, value)
    if isinstance(stored, models.FileField):
        return getattr(value, "name", value)
    if isinstance(stored, models.JSONField):
        return json.loads(json.dumps(value, cls=stored.encoder)) if stored.encoder else value
    if _is_postgres(stored, "HStoreField"):
        return value
    # A custom object, such as money or a phone number: as text like Django's serializers, or as the database value.
    is_text = _kind(stored) is str
    return _text(stored, value, instance if stored is field else None) if is_text else stored.get_prep_value(value)


@cache
def _plain_type(field: models.Field[Any, Any]) -> type | None:
    """Return the type whose values a field sends unchanged; None if every value needs a conversion."""
    stored = _stored(field)
    # A field of an unknown class is sent as text, whatever its values are.
    kind = _kind(stored) if stored.get_internal_type() in _TYPES else None
    return kind if isinstance(kind, type) else None


def object_type(name: str, members: dict[str, Any]) -> Any:
    """Return a TypedDict with these members, whose names are unrestricted, unlike those of a pydantic model."""
    return cast("Callable[[str, dict[str, Any]], Any]", TypedDict)(name, members)


def _stored(field: Any) -> Any:
    """Return the field that defines a column: the target of a foreign key, or a generated field's output."""
    while isinstance(field, models.ForeignKey | models.GeneratedField):
        field = field.target_field if isinstance(field, models.ForeignKey) else field.output_field
    return field


def _kind(field: Any) -> Any:
    if _is_postgres(field, "ArrayField"):
        return GenericAlias(list, (_or_none(annotation_of(field.base_field)),))
    if _is_postgres(field, "RangeField"):
        return _range_type(field)
    if _is_postgres(field, "HStoreField"):
        return dict[str, str | None]
    return _TYPES.get(field.get_internal_type(), str)


def _or_none(kind: Any) -> Any:
    return kind if kind is Any else kind | None


def _text(field: Any, value: Any, instance: Any) -> str | None:
    if instance is None:  # an item of an array, a foreign key or a column: value_to_string() needs an object
        field = copy.copy(field)
        field.set_attributes_from_name("value")
        instance = SimpleNamespace(**{field.attname: value})
    text = field.value_to_string(instance)
    return None if text is None else str(text)


def is_user(model: type[models.Model]) -> bool:
    """Return whether a model is one of users."""
    return issubclass(model, AbstractBaseUser) or model._meta.label_lower == settings.AUTH_USER_MODEL.lower()


# -- fields of PostgreSQL ------------------------------------------------------------------------------


def _is_postgres(field: models.Field[Any, Any], name: str) -> bool:
    # Importing the module needs psycopg; if it has not been imported, no model has such a field.
    module = sys.modules.get("django.contrib.postgres.fields")
    return module is not None and isinstance(field, getattr(module, name))


def _range_type(field: Any) -> Any:
    bound = _or_none(annotation_of(field.base_field))
    bounds = Literal["[]", "[)", "(]", "()", "empty"]
    return object_type(type(field).__name__.removesuffix("Field"), {"lower": bound, "upper": bound, "bounds": bounds})


def _range_value(field: Any, value: Any) -> dict[str, Any]:
    interval = field.get_prep_value(value)  # a pair becomes a range
    if interval.isempty:
        return {"lower": None, "upper": None, "bounds": "empty"}
    lower, upper = (json_value(field.base_field, bound) for bound in (interval.lower, interval.upper))
    return {
        "lower": lower,
        "upper": upper,
        "bounds": ("[" if interval.lower_inc else "(") + ("]" if interval.upper_inc else ")"),
    }
