"""Arrays, ranges and hstores of PostgreSQL in results; no server is asked."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.db import models

from tests.django.fields import Country, CountryField
from tests.django.test_model_fields import sent
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

fields: Any = pytest.importorskip("django.contrib.postgres.fields", reason="needs psycopg")
from django.db.backends.postgresql.psycopg_any import DateRange, NumericRange  # noqa: E402  (needs psycopg, too)


class Booking(models.Model):
    days = fields.ArrayField(models.DateField())
    grid = fields.ArrayField(fields.ArrayField(models.IntegerField()))
    lands = fields.ArrayField(CountryField(max_length=2))
    stay = fields.DateRangeField(null=True)
    sizes = fields.IntegerRangeField()
    costs = fields.DecimalRangeField()
    labels = fields.HStoreField()

    class Meta:
        app_label = "postgres_tests"

    def __str__(self) -> str:
        return "booking"


async def test_arrays_are_lists_and_ranges_are_objects(serve: Serve) -> None:
    day = datetime.date(2026, 11, 29)
    made = Booking(
        id=1,
        days=[day, None],
        grid=[[1, 2], [3, None]],
        lands=[Country("DE"), Country("FR")],
        stay=DateRange(day, None),
        sizes=NumericRange(1, 5, "(]"),
        costs=NumericRange(empty=True),
        labels={"a": "b", "c": None},
    )
    assert await sent(serve, Booking, made) == {
        "id": 1,
        "days": ["2026-11-29", None],
        "grid": [[1, 2], [3, None]],
        "lands": ["DE", "FR"],
        "stay": {"lower": "2026-11-29", "upper": None, "bounds": "[)"},
        "sizes": {"lower": 1, "upper": 5, "bounds": "(]"},
        "costs": {"lower": None, "upper": None, "bounds": "empty"},
        "labels": {"a": "b", "c": None},
    }


async def test_range_given_as_a_pair_is_a_range(serve: Serve) -> None:
    made = Booking(id=1, days=[], grid=[], lands=[], stay=None, sizes=(1, 5), costs=[1, 2], labels={})
    result = await sent(serve, Booking, made)
    assert (result["stay"], result["sizes"]) == (None, {"lower": 1, "upper": 5, "bounds": "[)"})
