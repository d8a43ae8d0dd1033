"""The database of a test with transactions of its own, emptied without making again what the migrations have made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import TransactionTestCase

__all__ = ["quickly_emptied"]

MADE: Final = (ContentType, Permission)
"""What Django's `flush` deletes and makes again, model by model."""


@contextmanager
def quickly_emptied() -> Iterator[None]:
    """Leave the rows of MADE alone after a test, as long as they are what they were; otherwise flush all."""
    flush: Callable[[TransactionTestCase], None] = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
    database, made, emptying = _database(), _made(), _emptying()

    def empty(test: TransactionTestCase) -> None:
        names = test._databases_names(include_mirrors=False)  # type: ignore[attr-defined]
        is_usual = names == [DEFAULT_DB_ALIAS] and test.available_apps is None and _database() == database
        if is_usual and _made() == made:
            connections[DEFAULT_DB_ALIAS].ops.execute_sql_flush(emptying)
        else:
            flush(test)

    TransactionTestCase._fixture_teardown = empty  # type: ignore[attr-defined]
    try:
        yield
    finally:
        TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]


def _database() -> Any:
    return connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]


def _made() -> list[list[tuple[Any, ...]]]:
    return [list(model._default_manager.using(DEFAULT_DB_ALIAS).order_by("pk").values_list()) for model in MADE]


def _emptying() -> list[str]:
    connection = connections[DEFAULT_DB_ALIAS]
    kept = {model._meta.db_table for model in MADE}
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return connection.ops.sql_flush(no_style(), [name for name in tables if name not in kept])
