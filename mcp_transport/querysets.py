"""Querysets as lists; rows of `values()` and `values_list()` without fields that must not be sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.models.query import RawQuerySet
from django.db.models.sql import Query

from mcp_transport.exceptions import DefinitionError
from mcp_transport.model_fields import is_served, json_value

__all__ = ["read"]

_Column = tuple[str, "models.Field[Any, Any] | None"]


def read(queryset: models.QuerySet[Any] | models.Manager[Any] | RawQuerySet[Any]) -> list[Any]:
    """Evaluate a queryset: instances are returned as they are, rows with JSON values, named rows as dicts.

    Raises:
        DefinitionError: unnamed rows have a column that must not be sent.
    """
    if isinstance(queryset, RawQuerySet):
        return list(queryset)
    if isinstance(queryset, models.Manager):
        queryset = queryset.all()
    columns = list(_columns(queryset.query))
    hidden = _hidden(queryset.query)
    return [_row(item, columns, hidden) for item in queryset]


def _row(item: Any, columns: list[_Column], hidden: set[int]) -> Any:
    if isinstance(item, models.Model) or not columns:
        return item
    is_named = isinstance(item, dict) or hasattr(item, "_fields")
    cells = _cells(item)
    if hidden and not is_named:
        names = ", ".join(columns[number][0] for number in sorted(hidden))
        raise DefinitionError(f"a queryset selects {names}, which must not be sent; select other columns")
    values = [
        value if field is None else json_value(field, value) for (_, field), value in zip(columns, cells, strict=True)
    ]
    if is_named:
        named = zip(columns, values, strict=True)
        return {name: value for number, ((name, _), value) in enumerate(named) if number not in hidden}
    return values if isinstance(item, tuple) else values[0]


def _cells(item: Any) -> tuple[Any, ...]:
    if isinstance(item, dict):
        return tuple(item.values())
    return tuple(item) if isinstance(item, tuple) else (item,)


def _columns(query: Query) -> Iterator[_Column]:
    """Yield the names of a row's columns and their model fields, in the order of Django's iterables."""
    expressions = {
        **dict.fromkeys(query.extra_select),
        **dict(zip(query.values_select, query.select, strict=False)),
        **query.annotation_select,
    }
    for name in query.selected or expressions:
        yield name, getattr(expressions.get(name), "target", None)


def _hidden(query: Query) -> set[int]:
    """Return the positions of columns that must not be sent, in a query and in those it is combined with."""
    own = {number for number, (_, field) in enumerate(_columns(query)) if field is not None and not is_served(field)}
    return own.union(*map(_hidden, query.combined_queries))
