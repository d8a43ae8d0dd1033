"""Fields of every kind in results: the value as JSON, and a schema that says what is sent."""

# ruff: noqa: DJ008  (nobody reads the names of these models)
import datetime
import decimal
import json
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser, User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import F
from django.utils.translation import gettext_lazy as _
from jsonschema import Draft202012Validator

from mcp_transport import tool
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.fields import Country, CountryField, Encoder, Money, MoneyField, Stars, TagsField
from tests.support.calls import call, listed, returned

pytestmark = pytest.mark.usefixtures("declarations")


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


class City(models.Model):
    land = models.ForeignKey(Land, models.PROTECT)
    twice = models.GeneratedField(expression=F("id") * 2, output_field=models.IntegerField(), db_persist=True)
    capital = models.GeneratedField(expression=F("land"), output_field=CountryField(max_length=2), db_persist=True)

    class Meta:
        app_label = "field_tests"


class Stock(models.Model):
    pk = models.CompositePrimaryKey("shelf", "place")
    shelf = models.IntegerField()
    place = models.IntegerField()

    class Meta:
        app_label = "field_tests"


NUMBERS = dict.fromkeys(
    ("model_config", "model_fields", "schema", "copy", "json", "dict", "result", "self", "_hidden"), 7
)


def odd(model: type[Odd] = Odd, **options: Any) -> Odd:
    made = model(id=1, text="a", price=Money(decimal.Decimal("7.50"), "EUR"), country=Country("DE"))
    values = {
        "stars": Stars.Rating(3),
        "tags": ["a", "b"],
        "status": Status.OPEN,
        "level": Level.HIGH,
        "extra": {"from": Country("FR")},
        "day": datetime.datetime(2026, 11, 29, 9, 30),
        "lazy": _("Password"),
        "_order": 2,
        **NUMBERS,
        **options,
    }
    for name, value in values.items():
        setattr(made, name, value)
    return made


ON_THE_WIRE = {
    "id": 1,
    "text": "a",
    "price": "7.50",
    "country": "DE",
    "stars": 3,
    "tags": "a,b",
    "status": "open",
    "level": 3,
    "extra": {"from": "FR"},
    "day": "2026-11-29",
    "lazy": "Password",
    "_order": 2,
    "content_type_id": None,
    "object_id": None,
    **NUMBERS,
}


async def sent(serve: Any, kind: Any, value: Any) -> Any:
    """Return what a tool sends for a value of a declared type, once it fits the published schema."""

    def made() -> Any:
        return value

    made.__annotations__ = {"return": kind}
    tool(made)
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    result = await call(serve(), "made")
    assert not result.get("isError"), result
    Draft202012Validator(schema).validate(result["structuredContent"])
    content = await returned(serve(), "made")
    assert json.loads(result["content"][0]["text"]) == content
    return content


# -- values that are objects, names that mean something ------------------------------------------------


async def test_every_field_becomes_json_by_its_own_name(serve):
    assert await sent(serve, Odd, odd()) == ON_THE_WIRE


async def test_null_stays_null(serve):
    assert (await sent(serve, Odd, odd(country=None, extra=None)))["country"] is None


async def test_proxy_is_served_as_its_model(serve):
    assert await sent(serve, Proxy, odd(Proxy)) == ON_THE_WIRE


async def test_model_that_inherits_tables_has_all_fields_and_the_link(serve):
    assert await sent(serve, Child, odd(Child, more=5, odd_ptr_id=1)) == {**ON_THE_WIRE, "more": 5, "odd_ptr_id": 1}


async def test_abstract_model_promises_its_own_fields(serve):
    def made() -> Base:
        return odd()

    tool(made)
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert list(schema["properties"]) == ["text"]
    assert await returned(serve(), "made") == {"text": "a"}


async def test_any_model_may_be_promised(serve):
    assert (await sent(serve, models.Model, odd()))["price"] == "7.50"


@pytest.mark.parametrize("model", [AbstractUser, User], ids=str)
async def test_model_with_a_password_promises_none(model, serve):
    def made() -> Any: ...

    made.__annotations__ = {"return": model}
    tool(made)
    assert "password" not in (await listed(serve(), "tools", "made"))["outputSchema"]["properties"]


async def test_key_and_generated_values_are_of_their_own_kind(serve):
    city = City.from_db("default", ["id", "land_id", "twice", "capital"], [1, Country("DE"), 2, Country("DE")])
    assert await sent(serve, City, city) == {"id": 1, "land_id": "DE", "twice": 2, "capital": "DE"}


async def test_composite_key_is_its_parts(serve):
    assert await sent(serve, Stock, Stock(shelf=1, place=2)) == {"shelf": 1, "place": 2}


async def test_help_text_that_is_translated_later_describes_the_member(serve):
    @tool
    def made() -> Odd: ...

    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert schema["properties"]["text"]["description"] == "Password"
    assert schema["title"] == "Odd"


async def test_models_of_one_name_are_told_apart(serve):
    other = type(
        "Odd", (models.Model,), {"__module__": "elsewhere", "Meta": type("Meta", (), {"app_label": "other"})}
    )

    def both() -> Any:
        return {"a": odd(), "b": other(id=5)}

    both.__annotations__ = {"return": dict[str, Odd | other]}
    tool(both)
    assert (await returned(serve(), "both"))["b"] == {"id": 5}


def test_field_that_cannot_be_served_is_named():
    class Lost(models.Model):
        other = models.ForeignKey("nowhere.Model", models.PROTECT)

        class Meta:
            app_label = "lost_tests"

    def made() -> list[Lost]: ...

    made.__annotations__ = {"return": list[Lost]}
    with pytest.raises(DefinitionError, match=r"test_model_fields\..*made: the field 'other' of lost_tests\.Lost"):
        tool(made)


# -- PostgreSQL ----------------------------------------------------------------------------------------


def postgres_model() -> Any:
    fields = pytest.importorskip("django.contrib.postgres.fields", reason="needs psycopg")

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

    return Booking


@pytest.fixture(scope="module")
def booking() -> Any:
    return postgres_model()


BOOKED = {
    "id": 1,
    "days": ["2026-11-29", None],
    "grid": [[1, 2], [3, None]],
    "lands": ["DE", "FR"],
    "stay": {"lower": "2026-11-29", "upper": None, "bounds": "[)"},
    "sizes": {"lower": 1, "upper": 5, "bounds": "(]"},
    "costs": {"lower": None, "upper": None, "bounds": "empty"},
    "labels": {"a": "b", "c": None},
}


async def test_arrays_are_lists_and_ranges_are_objects(booking, serve):
    from django.db.backends.postgresql.psycopg_any import DateRange, NumericRange

    made = booking(
        id=1,
        days=[datetime.date(2026, 11, 29), None],
        grid=[[1, 2], [3, None]],
        lands=[Country("DE"), Country("FR")],
        stay=DateRange(datetime.date(2026, 11, 29), None),
        sizes=NumericRange(1, 5, "(]"),
        costs=NumericRange(empty=True),
        labels={"a": "b", "c": None},
    )
    assert await sent(serve, booking, made) == BOOKED


async def test_range_given_as_a_pair_is_a_range(booking, serve):
    made = booking(id=1, days=[], grid=[], lands=[], stay=None, sizes=(1, 5), costs=[1, 2], labels={})
    found = await sent(serve, booking, made)
    assert (found["stay"], found["sizes"]) == (None, {"lower": 1, "upper": 5, "bounds": "[)"})


# -- values that only the database knows ---------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_field_set_to_an_expression_is_read_again(is_async, transactional_db, serve):
    product = await Product.objects.acreate(sku="mug", name="Mug", price="7.50", stock=3)

    def take() -> Product:
        product.stock = F("stock") - 1
        product.save()
        return product

    async def take_later() -> Product:
        product.stock = F("stock") - 1
        await product.asave()
        return product

    tool(name="take")(take_later if is_async else take)
    assert (await returned(serve(), "take"))["stock"] == 2
