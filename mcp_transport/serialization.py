"""Conversion of results, including Django's objects, to plain data that can be sent as JSON."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import AsyncIterable, Awaitable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import tzinfo
from decimal import Decimal
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from django.contrib.auth.hashers import get_hashers_by_algorithm
from django.db import models
from django.db.models.fields.files import FieldFile
from django.db.models.query import RawQuerySet
from django.http.response import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django.utils.functional import LazyObject, Promise, empty
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_jsonable_python

from mcp_transport import conf, querysets
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import TooLarge
from mcp_transport.model_fields import instance_values, unread_fields
from mcp_transport.threads import in_thread

__all__ = ["RESPONSE_FAULT", "reads_database", "to_wire", "to_wire_async"]

_QUERYSETS: Final = (models.QuerySet, models.Manager, RawQuerySet)
_LAZY: Final = (*_QUERYSETS, Iterator)
_TEXTS: Final = (str, bytes, bytearray, memoryview, Promise, BaseModel, Enum, type, IPv4Network, IPv6Network)
_COLLECTIONS: Final = (list, tuple, set, frozenset)
_NUMBERS: Final = frozenset({int, bool, type(None)})

RESPONSE_FAULT: Final = "return the data, not a response"

# The size of the largest integer that Python converts to text (sys.int_info.default_max_str_digits), in bits.
_MAX_INTEGER_BITS: Final = 14_000

# Strings up to this length are sent without comparing them with MAX_RESULT_BYTES.
_UNCHECKED_TEXT_CHARACTERS: Final = 64 * 1024

# A password hash of Django: the algorithm, then its parameters (django.contrib.auth.hashers).
_HASH: Final = re.compile(r"([\w-]{1,40})\$\S+")


async def to_wire_async(value: Any) -> Any:
    """Call `to_wire`, in a thread if it may query the database."""
    return await in_thread(lambda: to_wire(value)) if reads_database(value) else to_wire(value)


def reads_database(value: Any) -> bool:
    """Return whether `to_wire` may query the database, for lazy objects and for unread model fields."""
    kind: Any = type(value)  # for mypy, a class is not Hashable
    if kind in _NUMBERS or kind is float or issubclass(kind, str):
        return False
    if issubclass(kind, LazyObject) or isinstance(value, _LAZY):
        return True
    if isinstance(value, models.Model):
        return bool(unread_fields(value))
    if isinstance(value, dict):
        return any(map(reads_database, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(reads_database, value))
    if names := _unchecked_members(kind):
        return any(reads_database(getattr(value, name, None)) for name in names)
    return isinstance(value, Mapping) or _is_sent_as_list(value)


def to_wire(value: Any) -> Any:
    """Replace model instances, querysets and lazy objects by plain data, at any depth.

    Members of a dict that are password hashes are dropped.

    Raises:
        DefinitionError: the value is asynchronous, or is a password hash that cannot be dropped.
        ToolError: a number cannot be represented in JSON.
        TooLarge: an iterable exceeds MAX_RESULT_BYTES, or is infinite.
    """
    kind = type(value)
    if kind in _NUMBERS:
        return value if kind is not int or value.bit_length() <= _MAX_INTEGER_BITS else _raise_number_too_long()
    if kind is float:
        return _finite_number(value)
    if issubclass(kind, LazyObject):
        return to_wire(_unwrapped(value))
    if isinstance(value, str):
        return _checked_text(value)
    if isinstance(value, list | tuple | set | frozenset):
        return _items(value)
    if isinstance(value, dict):
        return _members(dict(value.lists()) if isinstance(value, MultiValueDict) else value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Replace an object of any other class."""
    if isinstance(value, models.Model):
        return {name: to_wire(item) for name, item in instance_values(value).items()}
    if isinstance(value, _QUERYSETS):
        return _read(querysets.read(value))
    if isinstance(value, Mapping):
        return _members(dict(value))
    kind: Any = type(value)
    if names := _unchecked_members(kind):
        return _record(value, names)
    if isinstance(value, FieldFile):
        return value.name
    if isinstance(value, HttpResponseBase):
        raise ToolError(RESPONSE_FAULT)
    if _is_sent_as_list(value):
        return _read(value)
    if isinstance(value, AsyncIterable | Awaitable):
        kind = type(value).__name__
        raise DefinitionError(f"a result contains {kind}, which cannot be sent; await it, or return a list")
    if isinstance(value, Promise):
        return to_wire(_evaluated(value))
    return value if isinstance(value, Enum) else _plain_value(value)


def _plain_value(value: Any) -> Any:
    """Replace a single value that pydantic does not support, such as a NumPy number."""
    if isinstance(value, Decimal | float):
        return _finite_number(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, tzinfo):
        return str(value)
    return to_wire(value.tolist()) if hasattr(value, "dtype") else value


def _evaluated(value: Promise) -> Any:
    """Evaluate a proxy of `django.utils.functional.lazy`: a string, bytes or a list."""
    # A private method of Django's proxy; str() would return a string for all types.
    cast = getattr(value, "_proxy____cast", None)
    return str(value) if cast is None else cast()


def _raise_number_too_long() -> Any:
    raise ToolError("a result contains an integer of more than 4300 digits, which cannot be sent")


def _finite_number(value: Any) -> Any:
    with suppress(ValueError):  # raised for a signaling Decimal
        if math.isfinite(value):
            return value
    raise ToolError(f"a result contains {value}, which is not a JSON number")


def _unwrapped(value: Any) -> Any:
    """Return the object of a LazyObject, such as `request.user`."""
    if value._wrapped is empty:
        value._setup()
    return value._wrapped


@cache
def _unchecked_members(kind: Any) -> tuple[str, ...]:
    """Return the members of a dataclass or a model whose values are not validated to be plain data."""
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(field.name for field in kind.__attrs_attrs__)
    if issubclass(kind, BaseModel):
        names = [name for name, field in kind.model_fields.items() if not _is_checked(field)]
        return (*names, "__pydantic_extra__") if kind.model_config.get("extra") == "allow" else tuple(names)
    return ()


def _is_checked(field: FieldInfo) -> bool:
    return field.annotation in (str, int, bool) and not isinstance(field.default, Promise)


def _record(value: Any, names: tuple[str, ...]) -> Any:
    """Replace members of an object. Its strings are not searched for password hashes: its class chose the members."""
    members = {name: getattr(value, name) for name in names if hasattr(value, name)}
    serialized = {name: item if isinstance(item, str) else to_wire(item) for name, item in members.items()}
    if hasattr(type(value), "__attrs_attrs__"):
        return serialized  # pydantic does not support attrs classes
    changed = {name: item for name, item in serialized.items() if item is not members[name]}
    if not changed:
        return value
    result = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(result, name, item)  # the class may be frozen
    return result


def _is_sent_as_list(value: Any) -> bool:
    """Return whether a value is sent as a list of its items: a range, a deque, a view, any sequence or iterator."""
    if not isinstance(value, Iterable) or isinstance(value, _TEXTS):
        return False
    # Types with a pydantic schema have their own form, even if they are iterable.
    return not (is_dataclass(type(value)) or hasattr(value, "__get_pydantic_core_schema__"))


def _read(items: Iterable[Any]) -> list[Any]:
    limit, size, result = conf.get("MAX_RESULT_BYTES"), 0, []
    for item in items:
        result.append(serialized := to_wire(item))
        size += 1 + _min_json_bytes(serialized)
        if size > limit:
            raise TooLarge("the result", f"more than {limit}", limit)
    return result


def _min_json_bytes(value: Any) -> int:
    """Return a lower bound of a value's size as JSON in bytes, without serializing it."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() // 4
    if isinstance(value, list | tuple | set | frozenset):
        return sum(1 + _min_json_bytes(item) for item in value)
    if isinstance(value, BaseModel) or is_dataclass(value):
        value = getattr(value, "__dict__", None)
    return sum(1 + _min_json_bytes(item) for item in value.values()) if isinstance(value, dict) else 1


def _items(value: Collection[Any]) -> Any:
    items = [to_wire(item) for item in value]
    # A subclass may store its items where pydantic does not find them, like ErrorList of forms.
    if type(value) in _COLLECTIONS and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return value._make(items) if hasattr(value, "_make") else items


def _members(value: dict[Any, Any]) -> dict[Any, Any]:
    members = {
        name if type(name) is str else _key(name): to_wire(item)
        for name, item in value.items()
        if not _is_password_hash(item) and not _is_password_hash(name)
    }
    if type(value) is not dict or len(members) != len(value):
        return members
    # By identity, since a lazy translation is equal to its string.
    pairs = zip(members.items(), value.items(), strict=True)
    return value if all(new[0] is old[0] and new[1] is old[1] for new, old in pairs) else members


def _key(name: Any) -> Any:
    """Return the string that represents a dict's key in a JSON object."""
    if isinstance(name, tuple):
        return name  # pydantic serializes tuples itself
    if isinstance(name, Promise | tzinfo) or hasattr(name, "dtype"):
        name = to_wire(name)
    try:
        return next(iter(to_jsonable_python({name: None})))
    except PydanticSerializationError:
        return name


def _checked_text(value: str) -> str:
    if len(value) > _UNCHECKED_TEXT_CHARACTERS and len(value) > (limit := conf.get("MAX_RESULT_BYTES")):
        raise TooLarge("the result", f"more than {limit}", limit)  # before it is copied, twice
    if _is_password_hash(value):
        raise DefinitionError("a result contains a password hash, which must not be sent")
    return value


def _is_password_hash(value: Any) -> bool:
    if not isinstance(value, str) or value.find("$", 0, 41) < 0 or (match := _HASH.fullmatch(value)) is None:
        return False
    return match[1] in get_hashers_by_algorithm()
