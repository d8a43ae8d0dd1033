"""The fields of Django's models in JSON: which of them are served, of what type, with what value."""

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
    """Return the concrete fields of a model that results may hold."""
    return tuple(filter(is_served, model._meta.concrete_fields))


def is_served(field: models.Field[Any, Any]) -> bool:
    """Tell whether results may hold a field: not if it is binary, nor if it is a user's password hash."""
    return not isinstance(field, models.BinaryField) and not (field.name == "password" and _is_user(field.model))


def unread_fields(instance: models.Model) -> list[str]:
    """Return the served fields whose values only the database knows: deferred, or set to an expression."""
    known = vars(instance)
    names = [field.attname for field in served_fields(type(instance))]
    return [name for name in names if name not in known or hasattr(known[name], "resolve_expression")]


def instance_values(instance: models.Model) -> dict[str, Any]:
    """Return the served fields of a model instance in JSON; what only the database knows is read."""
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
    """Return the type of a field's values in JSON, as pydantic reads it."""
    stored = _stored(field)
    # The database may compute NULL for a generated field, whatever the field says.
    is_nullable = field.null or isinstance(field, models.GeneratedField)
    return _or_none(_kind(stored)) if is_nullable else _kind(stored)


def json_value(field: models.Field[Any, Any], value: Any, instance: Any = None) -> Any:
    """Return the value of a field in the form of `annotation_of`; `instance` is where the value was found."""
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
    # An object of the field's own, such as money or a phone number: as Django's serializers write it where that is
    # text, else as the database has it.
    is_text = _kind(stored) is str
    return _text(stored, value, instance if stored is field else None) if is_text else stored.get_prep_value(value)


@cache
def _plain_type(field: models.Field[Any, Any]) -> type | None:
    """Return the type whose values a field has in JSON as they are; None where each value has to be looked at."""
    stored = _stored(field)
    # A field of a class unknown here is text, whatever its values are.
    kind = _kind(stored) if stored.get_internal_type() in _TYPES else None
    return kind if isinstance(kind, type) else None


def object_type(name: str, members: dict[str, Any]) -> Any:
    """Return the type of a JSON object with these members, which may have any name, unlike a pydantic model's."""
    return cast("Callable[[str, dict[str, Any]], Any]", TypedDict)(name, members)


def _stored(field: Any) -> Any:
    """Return the field that says what a column holds: that of the other model, or of the generated value."""
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
    if instance is None:  # the value of an array, of another model's key or of a row: the field reads from an object
        field = copy.copy(field)
        field.set_attributes_from_name("value")
        instance = SimpleNamespace(**{field.attname: value})
    text = field.value_to_string(instance)
    return None if text is None else str(text)


def _is_user(model: type[models.Model]) -> bool:
    return issubclass(model, AbstractBaseUser) or model._meta.label_lower == settings.AUTH_USER_MODEL.lower()


# -- fields of PostgreSQL ------------------------------------------------------------------------------


def _is_postgres(field: models.Field[Any, Any], name: str) -> bool:
    # Importing the module needs psycopg; where it was not imported, no model has such a field.
    module = sys.modules.get("django.contrib.postgres.fields")
    return module is not None and isinstance(field, getattr(module, name))


def _range_type(field: Any) -> Any:
    bound = _or_none(annotation_of(field.base_field))
    bounds = Literal["[]", "[)", "(]", "()", "empty"]
    return object_type(type(field).__name__.removesuffix("Field"), {"lower": bound, "upper": bound, "bounds": bounds})


def _range_value(field: Any, value: Any) -> dict[str, Any]:
    found = field.get_prep_value(value)  # a pair becomes a range
    if found.isempty:
        return {"lower": None, "upper": None, "bounds": "empty"}
    lower, upper = (json_value(field.base_field, bound) for bound in (found.lower, found.upper))
    return {
        "lower": lower,
        "upper": upper,
        "bounds": ("[" if found.lower_inc else "(") + ("]" if found.upper_inc else ")"),
    }
