"""Conversion of return annotations to types from which the SDK derives a schema."""

from __future__ import annotations

import contextlib
import types
import typing
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import (
    Awaitable,
    Collection,
    Coroutine,
    Generator,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Reversible,
    Sequence,
    Set,
    ValuesView,
)
from dataclasses import is_dataclass
from enum import Enum, Flag
from functools import cache
from typing import Annotated, Any, Final, LiteralString, NewType, NotRequired, Union

from django.core.paginator import Page
from django.db import models
from django.db.models.fields.files import FieldFile
from django.db.models.query import RawQuerySet
from django.utils.functional import LazyObject, Promise
from pydantic import BaseModel, ConfigDict, Field, Secret, TypeAdapter, WithJsonSchema, create_model
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import SerializationSchema
from mcp_transport.model_fields import annotation_of, object_type, served_fields

__all__ = ["json_schema", "wire_annotation"]

_QUERYSETS: Final = (models.QuerySet, models.Manager, RawQuerySet)

# Types without arguments, from which the SDK derives no schema of a whole result.
_BARE: Final[dict[Any, Any]] = {
    **dict.fromkeys((dict, Mapping, MutableMapping, OrderedDict, defaultdict, Counter), dict[str, Any]),
    **dict.fromkeys((list, set, frozenset, deque, Iterable, Sequence, MutableSequence, Set, MutableSet), list[Any]),
    tuple: tuple[Any, ...],
}
# Types without a pydantic schema, at any depth.
_LISTS: Final = (Iterator, Generator, Collection, Reversible, KeysView, ValuesView, ItemsView, UserList, Page)
_UNKNOWN: Final[dict[Any, Any]] = {
    **dict.fromkeys((*_LISTS, map, filter, zip, enumerate, reversed, range, *_QUERYSETS), list[Any]),
    **dict.fromkeys((ChainMap, UserDict, types.MappingProxyType, models.Model), dict[str, Any]),
    **dict.fromkeys((LiteralString, Promise, FieldFile), str),
    **dict.fromkeys((LazyObject, Enum), Any),
    Flag: int,  # of a combination of members
    bytearray: bytes,
}
# The classes in _UNKNOWN that stand for their subclasses, too.
_BASES: Final = (*_QUERYSETS, Page, Promise, FieldFile, LazyObject, Flag)
_PRIMITIVES: Final = (str, int, float, bool, bytes, object, type(None))


def wire_annotation(annotation: Any) -> Any:
    """Replace the types in a return annotation that have no JSON Schema.

    Raises:
        DefinitionError: a member of a class or a field of a model cannot be served.
    """
    if typing.get_origin(annotation) in (Awaitable, Coroutine):  # a synchronous function may return these
        annotation = typing.get_args(annotation)[-1]
    return _result_annotation(_replaced(annotation, frozenset()))


def json_schema(annotation: Any, *, is_written: bool = False) -> dict[str, Any] | None:
    """Return the JSON Schema of a type, or None if pydantic has none."""
    with contextlib.suppress(Exception):  # a project's hook may raise anything
        adapter = TypeAdapter(annotation)
        if is_written:
            return adapter.json_schema(mode="serialization", schema_generator=SerializationSchema)
        return adapter.json_schema()
    return None


# -- the whole result ------------------------------------------------------------------------------------


def _result_annotation(annotation: Any) -> Any:
    """Return the annotation of a whole result, which the SDK publishes as an object, wrapped if it is not one."""
    if typing.get_origin(annotation) is Annotated:
        kind, *metadata = typing.get_args(annotation)
        return Annotated[_result_annotation(kind), *metadata]
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return annotation
    if annotation in _BARE:
        return _BARE[annotation]
    if annotation in _PRIMITIVES or is_typeddict(annotation):
        return annotation
    schema = json_schema(annotation, is_written=True)
    if schema is None or is_dataclass(annotation):
        return annotation
    # NewType, because the SDK would search any class for members.
    is_object = issubclass(annotation, BaseModel) and _root(schema).get("type") == "object"
    return annotation if is_object else NewType(annotation.__name__, annotation)


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else schema


# -- any part of it --------------------------------------------------------------------------------------


def _replaced(annotation: Any, enclosing: frozenset[Any]) -> Any:
    """Replace types without a pydantic schema; `enclosing` are the enclosing classes, against recursion."""
    origin: Any = typing.get_origin(annotation)
    if origin is None:
        return _replaced_name(annotation, enclosing)
    if isinstance(origin, type) and issubclass(origin, (*_QUERYSETS, ItemsView)):
        return list[Any]  # rows may be objects, lists or single values, independent of the annotation
    if origin is Secret:  # pydantic would publish the schema of the hidden value
        return Annotated[annotation, WithJsonSchema({"type": "string"}, mode="serialization")]
    arguments = typing.get_args(annotation)
    if origin is ReadOnly:  # pydantic warns that it has no effect; a result is never assigned to
        return _replaced(arguments[0], enclosing)
    replaced = tuple(_replaced(argument, enclosing) for argument in arguments)
    if origin in _LISTS:
        return types.GenericAlias(list, replaced[:1])
    if all(new is old for new, old in zip(replaced, arguments, strict=True)):
        return annotation
    if origin in (Union, types.UnionType):
        return Union[replaced]  # noqa: UP007  # of a tuple built at run time
    # Sets of models become lists, since dicts are not hashable.
    is_list = isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping | tuple)
    return (
        types.GenericAlias(list, replaced[:1]) if is_list else origin[replaced if len(replaced) > 1 else replaced[0]]
    )


def _replaced_name(annotation: Any, enclosing: frozenset[Any]) -> Any:
    """Replace a class or a type alias."""
    with contextlib.suppress(TypeError):  # not hashable: an argument of Callable or Literal
        if annotation in _UNKNOWN:
            return _UNKNOWN[annotation]
        if annotation in enclosing:
            return annotation
    if hasattr(annotation, "__value__"):  # a TypeAliasType, of Python 3.12 or of typing_extensions
        replaced = _replaced(annotation.__value__, enclosing | {annotation})
        return annotation if replaced is annotation.__value__ else replaced
    if not isinstance(annotation, type):
        return annotation
    if issubclass(annotation, models.Model):
        return _schema(annotation)
    if base := next((base for base in _BASES if issubclass(annotation, base)), None):
        return _UNKNOWN[base]
    return _by_members(annotation, enclosing | {annotation})


def _by_members(kind: type, enclosing: frozenset[Any]) -> Any:
    """Return a class, or a copy with replaced members if pydantic does not support the original ones."""
    is_record, is_named = is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"), hasattr(kind, "_fields")
    if not (is_record or is_typeddict(kind) or (is_named and issubclass(kind, tuple))):
        return _builtin_base(kind)
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise DefinitionError(f"the annotation {error.name!r} in {kind.__qualname__} cannot be resolved") from error
    members = {name: _replaced(hint, enclosing) for name, hint in hints.items()}
    is_same = all(members[name] is hint for name, hint in hints.items())
    if is_typeddict(kind):
        # pydantic supports typing.TypedDict from Python 3.12 on.
        return kind if is_same and json_schema(kind) is not None else _object(kind, members)
    if is_named:
        return kind if is_same else tuple[tuple(members.values())]  # type: ignore[misc]  # built at run time
    return kind if is_same and not _has_unsupported_defaults(kind, hints) else _record(kind, members)


def _builtin_base(kind: type) -> Any:
    """Return the built-in base of a class without a pydantic schema."""
    base = next((base for base in (str, int, float, bytes, dict, list) if issubclass(kind, base)), None)
    if base is None or kind is base or issubclass(kind, Enum) or json_schema(kind) is not None:
        return kind
    return _BARE.get(base, base)


def _has_unsupported_defaults(kind: type, hints: Iterable[str]) -> bool:
    """Return whether a member is a slot, which the SDK takes for a default, or has a lazy translation as default."""
    return any(isinstance(vars(kind).get(name), types.MemberDescriptorType | Promise) for name in hints)


def _record(kind: type, members: dict[str, Any]) -> type[BaseModel]:
    """Return a model that reads the attributes of a dataclass, as the SDK creates one."""
    public: dict[str, Any] = {name: hint for name, hint in members.items() if not name.startswith("_")}
    config = ConfigDict(from_attributes=True, protected_namespaces=())
    return create_model(kind.__name__, __config__=config, __doc__=kind.__doc__, __module__=kind.__module__, **public)


def _object(kind: Any, members: dict[str, Any]) -> Any:
    """Return a TypedDict of the same name with other members."""
    replaced = {
        name: hint if name in kind.__required_keys__ or typing.get_origin(hint) is NotRequired else NotRequired[hint]
        for name, hint in members.items()
    }
    return _with_docs(object_type(kind.__name__, replaced), kind)


@cache
def _schema(model: type[models.Model]) -> Any:
    members = {field.attname: _member(model, field) for field in served_fields(model)}
    return _with_docs(object_type(model.__name__, members), model)


def _with_docs(schema: Any, kind: type) -> Any:
    schema.__doc__, schema.__module__ = kind.__doc__, kind.__module__
    return schema


def _member(model: type[models.Model], field: models.Field[Any, Any]) -> Any:
    try:
        return Annotated[annotation_of(field), Field(description=str(field.help_text) or None)]
    except Exception as error:
        raise DefinitionError(f"the field {field.name!r} of {model._meta.label} cannot be served: {error}") from error
