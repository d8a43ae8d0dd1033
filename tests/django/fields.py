"""Fields as other packages make them: their values are objects of their own."""

from __future__ import annotations

import decimal
import json
from typing import Any

from django.db import models


class Money:
    def __init__(self, amount: decimal.Decimal, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __str__(self) -> str:
        return f"{self.currency} {self.amount}"


class MoneyDescriptor:
    """Reads an amount and its currency as one object, as django-money does."""

    def __init__(self, field: models.Field[Any, Any]) -> None:
        self.field = field

    def __get__(self, instance: Any, owner: Any) -> Any:
        amount = instance.__dict__.get(self.field.name)
        return None if amount is None else Money(decimal.Decimal(amount), "EUR")

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.name] = getattr(value, "amount", value)


class MoneyField(models.DecimalField):  # type: ignore[type-arg]  # at run time it takes none
    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, name, MoneyDescriptor(self))

    def get_prep_value(self, value: Any) -> Any:
        return super().get_prep_value(getattr(value, "amount", value))


class Country:
    def __init__(self, code: str) -> None:
        self.code = code

    def __str__(self) -> str:
        return self.code


class CountryField(models.CharField):  # type: ignore[type-arg]  # at run time it takes none
    """Turns what was read into an object, as django-countries and django-phonenumber-field do."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else Country(value)


class Stars(models.IntegerField):  # type: ignore[type-arg]  # at run time it takes none
    """Has objects of its own for numbers."""

    class Rating:
        def __init__(self, number: int) -> None:
            self.number = number

        def __int__(self) -> int:
            return self.number

        def __str__(self) -> str:
            return "*" * self.number


class TagsField(models.Field):  # type: ignore[type-arg]  # at run time it takes none
    """A field of an unknown kind, which has a serialised form."""

    def value_to_string(self, obj: models.Model) -> str:
        return ",".join(self.value_from_object(obj))


class Encoder(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        return str(o) if isinstance(o, Country) else super().default(o)


class Label(models.CharField):  # type: ignore[type-arg]  # at run time it takes none
    """A field of a project's own, with values of Python's own."""

    def get_internal_type(self) -> str:
        return "LabelField"

    def value_to_string(self, obj: models.Model) -> str:
        return f"label:{self.value_from_object(obj)}"
