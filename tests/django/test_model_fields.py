"""Fields of every kind in results: the value as JSON, and a schema that says what is sent."""

# ruff: noqa: DJ008  (nobody reads the names of these models)
from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import AbstractBaseUser, AbstractUser, User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from mcp_transport import tool
from mcp_transport.exceptions import DefinitionError
from mcp_transport.serialization import to_wire
from mcpsite.shop.models import Customer
from tests.django.declared import fits, returning
from tests.django.fields import Country, CountryField, Encoder, Label, Money, MoneyField, Stars, TagsField
from tests.support.calls import call, listed, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


class Shelf(models.Model):
    """Something with a key that is no number."""

    code = models.UUIDField(primary_key=True)

    class Meta:
        app_label = "field_tests"


WHEN = datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC)
INTEGER, TEXT, NULL = {"type": "integer"}, {"type": "string"}, {"type": "null"}
CODE, TOKEN = uuid.UUID(int=7), uuid.UUID(int=1)


class Case(NamedTuple):
    """A field, a value, what is sent for it, and its schema, unless that is pydantic's alone."""

    field: models.Field[Any, Any]
    value: Any
    sent: Any
    schema: Any


FIELDS: dict[str, Case] = {
    "auto": Case(models.BigAutoField(primary_key=True), 1, 1, INTEGER),
    "big": Case(models.BigIntegerField(), 2**40, 2**40, INTEGER),
    "boolean": Case(models.BooleanField(help_text="Yes or no."), True, True, {"type": "boolean"}),
    "char": Case(models.CharField(max_length=10), "a", "a", TEXT),
    "date": Case(models.DateField(), WHEN.date(), "2026-11-22", {**TEXT, "format": "date"}),
    "moment": Case(models.DateTimeField(), WHEN, "2026-11-22T09:30:00Z", {**TEXT, "format": "date-time"}),
    "price": Case(models.DecimalField(max_digits=6, decimal_places=2), decimal.Decimal("7.50"), "7.50", None),
    "duration": Case(
        models.DurationField(),
        datetime.timedelta(hours=1, seconds=1),
        "PT1H1S",
        {**TEXT, "format": "duration"},
    ),
    "email": Case(models.EmailField(), "ann@example.com", "ann@example.com", TEXT),
    "file": Case(models.FileField(), "manual.pdf", "manual.pdf", TEXT),
    "path": Case(models.FilePathField(path="/"), "/etc/hosts", "/etc/hosts", TEXT),
    "ratio": Case(models.FloatField(), 0.5, 0.5, {"type": "number"}),
    "image": Case(models.ImageField(), "mug.png", "mug.png", TEXT),
    "integer": Case(models.IntegerField(), -1, -1, INTEGER),
    "address": Case(models.GenericIPAddressField(), "192.0.2.1", "192.0.2.1", None),
    "document": Case(models.JSONField(), {"a": [1, None]}, {"a": [1, None]}, {}),
    "positive_big": Case(models.PositiveBigIntegerField(), 1, 1, INTEGER),
    "positive": Case(models.PositiveIntegerField(), 2, 2, INTEGER),
    "positive_small": Case(models.PositiveSmallIntegerField(), 3, 3, INTEGER),
    "slug": Case(models.SlugField(), "mug-blue", "mug-blue", TEXT),
    "small": Case(models.SmallIntegerField(), 4, 4, INTEGER),
    "text": Case(models.TextField(), "long", "long", TEXT),
    "time": Case(models.TimeField(), WHEN.time(), "09:30:00", {**TEXT, "format": "time"}),
    "url": Case(models.URLField(), "https://example.com", "https://example.com", TEXT),
    "token": Case(models.UUIDField(), TOKEN, str(TOKEN), {**TEXT, "format": "uuid"}),
    "label": Case(Label(max_length=10), "x", "label:x", TEXT),
    "shelf_id": Case(models.ForeignKey(Shelf, models.PROTECT), CODE, str(CODE), {**TEXT, "format": "uuid"}),
    "customer_id": Case(models.ForeignKey(Customer, models.PROTECT, related_name="+", null=True), 3, 3, None),
    "owner_id": Case(models.OneToOneField(User, models.PROTECT, related_name="+"), 4, 4, INTEGER),
    "maybe": Case(models.IntegerField(null=True), None, None, {"anyOf": [INTEGER, NULL]}),
}
UNSENT = {
    "binary": models.BinaryField(),
    "many": models.ManyToManyField(Customer, related_name="+"),
}
Everything: Any = type(
    "Everything",
    (models.Model,),
    {
        "__module__": __name__,
        "Meta": type("Meta", (), {"app_label": "field_tests"}),
        **{name.removesuffix("_id"): case.field for name, case in FIELDS.items()},
        **UNSENT,
    },
)


def everything() -> Any:
    return Everything(binary=b"secret", **{name: case.value for name, case in FIELDS.items()})


async def test_every_field_but_binary_ones_and_many_to_many_is_sent_as_its_schema_says(serve: Serve) -> None:
    tool(returning(everything(), Everything))
    found = await returned(serve(), "made")
    assert found == {name: case.sent for name, case in FIELDS.items()}
    properties = (await listed(serve(), "tools", "made"))["outputSchema"]["properties"]
    assert set(properties) == set(FIELDS)
    assert properties["boolean"]["description"] == "Yes or no."
    for name, case in FIELDS.items():
        published = {key: value for key, value in properties[name].items() if key not in ("title", "description")}
        assert case.schema is None or case.schema.items() <= published.items(), name
        assert fits(found[name], published)


async def test_values_are_the_same_without_an_annotation(serve: Serve) -> None:
    changed = {"file": "manual.pdf", "label": "label:x"}
    assert to_wire(everything()) == {name: case.value for name, case in FIELDS.items()} | changed
    assert to_wire(Everything(file=""))["file"] == ""
    tool(returning(everything()))
    result = await call(serve(), "made")
    assert "structuredContent" not in result
    assert json.loads(result["content"][0]["text"]) == {name: case.sent for name, case in FIELDS.items()}


# -- values that are objects, names that mean something ------------------------------------------------


class Status(models.TextChoices):
    OPEN = "open", _("Open")


class Level(models.IntegerChoices):
    HIGH = 3, "High"


class Base(models.Model):
    """What several models have in common."""

    text = models.CharField(max_length=10, help_text=_("Password"))

    class Meta:
        abstract = True
        app_label = "field_tests"


class Odd(Base):
    """Fields whose values are objects, or whose names mean something to others."""

    price = MoneyField(max_digits=6, decimal_places=2)
    country = CountryField(max_length=2, null=True)
    stars = Stars()
    tags = TagsField()
    status = models.CharField(max_length=10, choices=Status)
    level = models.IntegerField(choices=Level)
    extra = models.JSONField(encoder=Encoder, null=True)
    day = models.DateField()
    lazy = models.CharField(max_length=20)
    model_config = models.IntegerField()
    model_fields = models.IntegerField()
    schema = models.IntegerField()
    copy = models.IntegerField()
    json = models.IntegerField()
    dict = models.IntegerField()
    result = models.IntegerField()
    self = models.IntegerField()
    _hidden = models.IntegerField()
    content_type = models.ForeignKey(ContentType, models.PROTECT, null=True)
    object_id = models.PositiveIntegerField(null=True)
    target = GenericForeignKey()

    class Meta:
        app_label = "field_tests"
        order_with_respect_to = "content_type"


class Child(Odd):
    more = models.IntegerField()

    class Meta:
        app_label = "field_tests"


class Proxy(Odd):
    class Meta:
        app_label = "field_tests"
        proxy = True


class Land(models.Model):
    code = CountryField(max_length=2, primary_key=True)

    class Meta:
        app_label = "field_tests"


LAND: Any = F("land")


class City(models.Model):
    land = models.ForeignKey(Land, models.PROTECT)
    twice = models.GeneratedField(expression=F("id") * 2, output_field=models.IntegerField(), db_persist=True)
    capital = models.GeneratedField(expression=LAND, output_field=CountryField(max_length=2), db_persist=True)

    class Meta:
        app_label = "field_tests"


class Stock(models.Model):
    pk = models.CompositePrimaryKey("shelf", "place")
    shelf = models.IntegerField()
    place = models.IntegerField()

    class Meta:
        app_label = "field_tests"


NAMES = ("model_config", "model_fields", "schema", "copy", "json", "dict", "result", "self", "_hidden")
# A value, and what is sent for it.
VALUES: dict[str, tuple[Any, Any]] = {
    "id": (1, 1),
    "text": ("a", "a"),
    "price": (Money(decimal.Decimal("7.50"), "EUR"), "7.50"),
    "country": (Country("DE"), "DE"),
    "stars": (Stars.Rating(3), 3),
    "tags": (["a", "b"], "a,b"),
    "status": (Status.OPEN, "open"),
    "level": (Level.HIGH, 3),
    "extra": ({"from": Country("FR")}, {"from": "FR"}),
    "day": (datetime.datetime(2026, 11, 29, 9, 30), "2026-11-29"),
    "lazy": (_("Password"), "Password"),
    "_order": (2, 2),
    "content_type_id": (None, None),
    "object_id": (None, None),
    **dict.fromkeys(NAMES, (7, 7)),
}
ODD = {name: pair[1] for name, pair in VALUES.items()}


def odd(model: type[Odd] = Odd, **options: Any) -> Odd:
    made = model()
    for name, value in ({name: pair[0] for name, pair in VALUES.items()} | options).items():
        setattr(made, name, value)
    return made


async def sent(serve: Serve, kind: Any, value: Any) -> Any:
    """Return what a tool sends for a value of a declared type, once it fits the published schema."""
    tool(returning(value, kind))
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    result = await call(serve(), "made")
    assert not result.get("isError"), result
    assert fits(result["structuredContent"], schema)
    content = await returned(serve(), "made")
    assert json.loads(result["content"][0]["text"]) == content
    return content


SENT: dict[str, tuple[Any, Any, Any]] = {
    "each field by its own name": (Odd, odd(), ODD),
    "null": (Odd, odd(country=None, extra=None), {**ODD, "country": None, "extra": None}),
    "any model": (models.Model, odd(), ODD),
    "proxy as its model": (Proxy, odd(Proxy), ODD),
    "all fields of inherited tables, and the link": (
        Child,
        odd(Child, more=5, odd_ptr_id=1),
        {**ODD, "more": 5, "odd_ptr_id": 1},
    ),
    "key and generated values of their own kind": (
        City,
        City.from_db("default", ["id", "land_id", "twice", "capital"], [1, Country("DE"), 2, Country("DE")]),
        {"id": 1, "land_id": "DE", "twice": 2, "capital": "DE"},
    ),
    "composite key as its parts": (Stock, Stock(shelf=1, place=2), {"shelf": 1, "place": 2}),
}


@pytest.mark.parametrize(("kind", "value", "expected"), SENT.values(), ids=SENT)
async def test_a_model_is_sent_with_its_fields(kind: Any, value: Any, expected: Any, serve: Serve) -> None:
    assert await sent(serve, kind, value) == expected


async def test_abstract_model_promises_its_own_fields(serve: Serve) -> None:
    tool(returning(odd(), Base))
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert list(schema["properties"]) == ["text"]
    assert await returned(serve(), "made") == {"text": "a"}


class Account(AbstractBaseUser):
    """A user model of a project's own."""

    name = models.CharField(max_length=10)

    class Meta:
        app_label = "field_tests"


@pytest.mark.parametrize("model", [AbstractUser, User, Account], ids=str)
async def test_model_with_a_password_neither_promises_nor_sends_it(model: Any, serve: Serve) -> None:
    user = User(pk=1, password="md5$salt$hash") if model is AbstractUser else model(pk=1, password="md5$salt$hash")
    tool(returning(user, model))
    assert "password" not in (await listed(serve(), "tools", "made"))["outputSchema"]["properties"]
    assert "salt" not in str(await call(serve(), "made"))


async def test_help_text_that_is_translated_later_describes_the_member(serve: Serve) -> None:
    tool(returning(None, Odd))
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert (schema["title"], schema["properties"]["text"]["description"]) == ("Odd", "Password")


async def test_models_of_one_name_are_told_apart(serve: Serve) -> None:
    meta = type("Meta", (), {"app_label": "other"})
    other: Any = type("Odd", (models.Model,), {"__module__": "elsewhere", "Meta": meta})
    tool(returning({"a": odd(), "b": other(id=5)}, dict[str, Odd | other]))
    assert (await returned(serve(), "made"))["b"] == {"id": 5}


def test_field_that_cannot_be_served_is_named() -> None:
    class Lost(models.Model):
        other: Any = models.ForeignKey("nowhere.Model", models.PROTECT)

        class Meta:
            app_label = "lost_tests"

    with pytest.raises(DefinitionError, match=r"declared\..*made: the field 'other' of lost_tests\.Lost"):
        tool(returning([], list[Lost]))
