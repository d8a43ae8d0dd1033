"""Django's values as results: their schema when a tool is declared, plain data when it returns."""

from __future__ import annotations

import re
import types
import typing
from collections import Counter, OrderedDict, defaultdict
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    Sequence,
    Set,
)
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import PurePath
from typing import Annotated, Any, Final, NewType, Union
from uuid import UUID

from django.contrib.auth.hashers import get_hashers_by_algorithm
from django.db import models
from django.db.models.query import RawQuerySet
from django.utils.functional import Promise
from pydantic import BaseModel, Field

from mcp_transport import conf, querysets
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import TooLarge
from mcp_transport.model_fields import annotation_of, instance_values, object_type, served_fields, unread_fields

__all__ = ["reads_database", "to_wire", "wire_annotation"]

_LISTS: Final = (list, set, frozenset, Sequence, Collection, Iterable, Iterator, Generator)
_QUERYSETS: Final = (models.QuerySet, models.Manager, RawQuerySet)
_LAZY: Final = (*_QUERYSETS, Iterator)
_BARE: Final[dict[type, Any]] = {
    **dict.fromkeys((dict, Mapping, MutableMapping, OrderedDict, defaultdict, Counter), dict[str, Any]),
    **dict.fromkeys((*_LISTS, MutableSequence, Set), list[Any]),
    tuple: tuple[Any, ...],
}
_VALUES: Final = (date, time, timedelta, Decimal, UUID, Enum, PurePath, tuple)
_TEXTS: Final = (str, bytes, bytearray, memoryview, Promise, BaseModel, Enum, type, IPv4Network, IPv6Network)
_NUMBERS: Final = frozenset({int, bool, float, type(None)})

# Characters up to which nobody asks how long a text may be.
_LONG: Final = 64 * 1024

# Django's form of a password hash: the algorithm, then its parameters (django.contrib.auth.hashers).
_HASH: Final = re.compile(r"([\w-]{1,40})\$\S+")


def wire_annotation(annotation: Any) -> Any:
    """Replace types in a return annotation that have no JSON Schema of their own; leave the rest as it is.

    Raises:
        DefinitionError: a model has a field that cannot be served.
    """
    return _without_django(_spelled_out(annotation))


def _spelled_out(annotation: Any) -> Any:
    """Return the annotation of a whole result in a form of which the SDK derives a schema."""
    if typing.get_origin(annotation) is Annotated:
        kind, *metadata = typing.get_args(annotation)
        return Annotated[_spelled_out(kind), *metadata]
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return annotation
    if annotation in _BARE:
        return _BARE[annotation]
    # The SDK looks for members in any class, but not behind a new name for it.
    return NewType(annotation.__name__, annotation) if issubclass(annotation, _VALUES) else annotation


def _without_django(annotation: Any) -> Any:
    origin: Any = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if isinstance(origin or annotation, type) and issubclass(origin or annotation, _QUERYSETS):
        return list[Any]  # rows may be objects, lists or single values, which the annotation does not tell
    if isinstance(annotation, type) and issubclass(annotation, models.Model):
        return dict[str, Any] if annotation is models.Model else _schema(annotation)
    replaced = tuple(map(_without_django, arguments))
    if origin in (Iterator, Generator):
        return types.GenericAlias(list, replaced[:1])
    if origin is None or all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return annotation
    if origin in (Union, types.UnionType):
        return Union[replaced]  # noqa: UP007  # of a tuple made at run time
    return types.GenericAlias(list, replaced[:1]) if origin in _LISTS else origin[replaced]


def reads_database(value: Any) -> bool:
    """Tell whether `to_wire` may query the database: for what is lazy, or for fields that only the database knows."""
    if type(value) in _NUMBERS or isinstance(value, str):
        return False
    if isinstance(value, _LAZY):
        return True
    if isinstance(value, models.Model):
        return bool(unread_fields(value))
    if isinstance(value, dict):
        return any(map(reads_database, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(reads_database, value))
    return isinstance(value, Mapping) or _is_read(value)


def to_wire(value: Any) -> Any:
    """Replace model instances and querysets by plain data, also in lists and dicts; what is lazy is read.

    A member of a dict that holds a password hash is left out.

    Raises:
        DefinitionError: a password hash stands where it cannot be left out, or something asynchronous.
        TooLarge: what is lazy is larger than a result may be, perhaps without an end.
    """
    if type(value) in _NUMBERS:
        return value
    if isinstance(value, str):
        return _sent_text(value)
    if isinstance(value, models.Model):
        return {name: to_wire(item) for name, item in instance_values(value).items()}
    if isinstance(value, _QUERYSETS):
        return _read(querysets.read(value))
    if isinstance(value, list | tuple | set | frozenset):
        return _items(value)
    if isinstance(value, dict):
        return _members(value)
    if isinstance(value, Mapping):
        return _members(dict(value))
    if _is_read(value):
        return _read(value)
    if isinstance(value, AsyncIterable | Awaitable):
        raise DefinitionError(
            f"a result holds {type(value).__name__}, which cannot be sent; await it, or return a list"
        )
    return str(value) if isinstance(value, Promise) else value


def _is_read(value: Any) -> bool:
    """Tell whether a value is sent as the list of its items: a range, a deque, a view, any sequence or iterator."""
    if not isinstance(value, Iterable) or isinstance(value, _TEXTS):
        return False
    # What pydantic knows how to write is no list, though it can be iterated over.
    return not (is_dataclass(type(value)) or hasattr(value, "__get_pydantic_core_schema__"))


def _read(items: Iterable[Any]) -> list[Any]:
    limit, size, found = conf.get("MAX_RESULT_BYTES"), 0, []
    for item in items:
        found.append(wired := to_wire(item))
        size += 1 + _least_size(wired)
        if size > limit:
            raise TooLarge("the result", f"more than {limit}", limit)
    return found


def _least_size(value: Any) -> int:
    """Return a number of bytes that a value takes as JSON at least, without writing it."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() // 4
    if isinstance(value, list | tuple | set | frozenset):
        return sum(1 + _least_size(item) for item in value)
    if isinstance(value, BaseModel) or is_dataclass(value):
        value = getattr(value, "__dict__", None)
    return sum(1 + _least_size(item) for item in value.values()) if isinstance(value, dict) else 1


def _items(value: Collection[Any]) -> Any:
    items = [to_wire(item) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return value._make(items) if hasattr(value, "_make") else items


def _members(value: dict[Any, Any]) -> dict[Any, Any]:
    # The keys of a JSON object are texts; the schema of `dict` says so.
    members = {
        str(name) if type(name) is int else name: to_wire(item)
        for name, item in value.items()
        if not _is_password_hash(item) and not _is_password_hash(name)
    }
    is_same = len(members) == len(value) and all(name in members and members[name] is value[name] for name in value)
    return value if is_same else members


def _sent_text(value: str) -> str:
    if len(value) > _LONG and len(value) > (limit := conf.get("MAX_RESULT_BYTES")):
        raise TooLarge("the result", f"more than {limit}", limit)  # before it is copied, twice
    if _is_password_hash(value):
        raise DefinitionError("a result holds the hash of a password, which is never part of a result")
    return value


def _is_password_hash(value: Any) -> bool:
    if not isinstance(value, str) or value.find("$", 0, 41) < 0 or (found := _HASH.fullmatch(value)) is None:
        return False
    return found[1] in get_hashers_by_algorithm()


@cache
def _schema(model: type[models.Model]) -> Any:
    members = {field.attname: _member(model, field) for field in served_fields(model)}
    schema = object_type(model.__name__, members)
    schema.__doc__, schema.__module__ = model.__doc__, model.__module__
    return schema


def _member(model: type[models.Model], field: models.Field[Any, Any]) -> Any:
    try:
        return Annotated[annotation_of(field), Field(description=str(field.help_text) or None)]
    except Exception as error:
        raise DefinitionError(f"the field {field.name!r} of {model._meta.label} cannot be served: {error}") from error
