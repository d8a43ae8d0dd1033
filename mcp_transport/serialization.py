"""Django's values as results: plain data, when a function returns."""

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

__all__ = ["RESPONSE_FAULT", "reads_database", "sent", "to_wire"]

_QUERYSETS: Final = (models.QuerySet, models.Manager, RawQuerySet)
_LAZY: Final = (*_QUERYSETS, Iterator)
_TEXTS: Final = (str, bytes, bytearray, memoryview, Promise, BaseModel, Enum, type, IPv4Network, IPv6Network)
_COLLECTIONS: Final = (list, tuple, set, frozenset)
_NUMBERS: Final = frozenset({int, bool, type(None)})

RESPONSE_FAULT: Final = "return the data, not a response"

# Bits up to which Python writes an integer (sys.int_info.default_max_str_digits).
_LONGEST: Final = 14_000

# Characters up to which nobody asks how long a text may be.
_LONG: Final = 64 * 1024

# Django's form of a password hash: the algorithm, then its parameters (django.contrib.auth.hashers).
_HASH: Final = re.compile(r"([\w-]{1,40})\$\S+")


async def sent(value: Any) -> Any:
    """Do what `to_wire` does, in a thread where it may query the database."""
    return await in_thread(lambda: to_wire(value)) if reads_database(value) else to_wire(value)


def reads_database(value: Any) -> bool:
    """Tell whether `to_wire` may query the database: for what is lazy, or for fields that only the database knows."""
    kind: Any = type(value)  # mypy: a class is no Hashable
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
    if names := _open_members(kind):
        return any(reads_database(getattr(value, name, None)) for name in names)
    return isinstance(value, Mapping) or _is_read(value)


def to_wire(value: Any) -> Any:
    """Replace model instances and querysets by plain data, wherever they stand; what is lazy is read.

    A member of a dict that holds a password hash is left out.

    Raises:
        DefinitionError: a password hash stands where it cannot be left out, or something asynchronous.
        ToolError: a number has no form in JSON.
        TooLarge: what is lazy is larger than a result may be, perhaps without an end.
    """
    kind = type(value)
    if kind in _NUMBERS:
        return value if kind is not int or value.bit_length() <= _LONGEST else _too_long()
    if kind is float:
        return _finite(value)
    if issubclass(kind, LazyObject):
        return to_wire(_loaded(value))
    if isinstance(value, str):
        return _sent_text(value)
    if isinstance(value, list | tuple | set | frozenset):
        return _items(value)
    if isinstance(value, dict):
        return _members(dict(value.lists()) if isinstance(value, MultiValueDict) else value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Replace what is an object of its own class."""
    if isinstance(value, models.Model):
        return {name: to_wire(item) for name, item in instance_values(value).items()}
    if isinstance(value, _QUERYSETS):
        return _read(querysets.read(value))
    if isinstance(value, Mapping):
        return _members(dict(value))
    kind: Any = type(value)
    if names := _open_members(kind):
        return _record(value, names)
    if isinstance(value, FieldFile):
        return value.name
    if isinstance(value, HttpResponseBase):
        raise ToolError(RESPONSE_FAULT)
    if _is_read(value):
        return _read(value)
    if isinstance(value, AsyncIterable | Awaitable):
        raise DefinitionError(
            f"a result holds {type(value).__name__}, which cannot be sent; await it, or return a list"
        )
    if isinstance(value, Promise):
        return to_wire(_cast(value))
    return value if isinstance(value, Enum) else _plain_value(value)


def _plain_value(value: Any) -> Any:
    """Replace a single value that pydantic does not know, such as a number of numpy's."""
    if isinstance(value, Decimal | float):
        return _finite(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, tzinfo):
        return str(value)
    return to_wire(value.tolist()) if hasattr(value, "dtype") else value


def _cast(value: Promise) -> Any:
    """Return what `django.utils.functional.lazy` has put off: a text, bytes, a list."""
    # Private to Django's proxy, whose str() is a text for all of them.
    cast = getattr(value, "_proxy____cast", None)
    return str(value) if cast is None else cast()


def _too_long() -> Any:
    raise ToolError("a result holds a number of more than 4300 digits, which cannot be written")


def _finite(value: Any) -> Any:
    with suppress(ValueError):  # of a Decimal that signals
        if math.isfinite(value):
            return value
    raise ToolError(f"a result contains {value}, which is not a JSON number")


def _loaded(value: Any) -> Any:
    """Return what a lazy object stands for, such as `request.user`."""
    if value._wrapped is empty:
        value._setup()
    return value._wrapped


@cache
def _open_members(kind: Any) -> tuple[str, ...]:
    """Return the members of a dataclass or a model whose values nobody has checked to be plain."""
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
    """Replace members of an object. Its own texts are its author's choice: a hash of a password is not looked for."""
    members = {name: getattr(value, name) for name in names if hasattr(value, name)}
    wired = {name: item if isinstance(item, str) else to_wire(item) for name, item in members.items()}
    if hasattr(type(value), "__attrs_attrs__"):
        return wired  # pydantic does not know these classes
    changed = {name: item for name, item in wired.items() if item is not members[name]}
    if not changed:
        return value
    made = copy.copy(value)
    for name, item in changed.items():
        object.__setattr__(made, name, item)  # it may be frozen
    return made


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
    # A subclass may keep its items elsewhere than where pydantic looks for them, as forms' ErrorList does.
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
    # A translation is equal to its text, so keys are compared by identity.
    pairs = zip(members.items(), value.items(), strict=True)
    return value if all(new[0] is old[0] and new[1] is old[1] for new, old in pairs) else members


def _key(name: Any) -> Any:
    """Return the key of a JSON object, a text, for that of a dict."""
    if isinstance(name, tuple):
        return name  # which pydantic reads only as it is
    if isinstance(name, Promise | tzinfo) or hasattr(name, "dtype"):
        name = to_wire(name)
    try:
        return next(iter(to_jsonable_python({name: None})))
    except PydanticSerializationError:
        return name


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
