"""Django's values on the wire: every kind of field, and what is left out."""

import datetime
import decimal
import json
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, User
from django.db import models
from django.db.models import QuerySet
from django.utils.functional import lazy
from pydantic import BaseModel

from mcp_transport import tool
from mcp_transport.return_types import wire_annotation
from mcp_transport.serialization import to_wire
from mcpsite.shop.models import Customer, Order
from tests.support.calls import call, listed, returned

pytestmark = pytest.mark.usefixtures("declarations")


class Label(models.CharField):
    """A field of a project's own, with values of Python's own."""

    def get_internal_type(self) -> str:
        return "LabelField"

    def value_to_string(self, obj: models.Model) -> str:
        return f"label:{self.value_from_object(obj)}"


class Size(BaseModel):
    width: int


class Shelf(models.Model):
    """Something with a key that is no number."""

    code = models.UUIDField(primary_key=True)

    class Meta:
        app_label = "serialization_tests"

    def __str__(self) -> str:
        return str(self.code)


class Account(AbstractBaseUser):
    """A user model of a project's own."""

    name = models.CharField(max_length=10)

    class Meta:
        app_label = "serialization_tests"


class Everything(models.Model):
    """One field of each kind."""

    auto = models.BigAutoField(primary_key=True)
    big = models.BigIntegerField()
    binary = models.BinaryField()
    boolean = models.BooleanField(help_text="Yes or no.")
    char = models.CharField(max_length=10)
    date = models.DateField()
    moment = models.DateTimeField()
    price = models.DecimalField(max_digits=6, decimal_places=2)
    duration = models.DurationField()
    email = models.EmailField()
    file = models.FileField()
    path = models.FilePathField(path="/")
    ratio = models.FloatField()
    image = models.ImageField()
    integer = models.IntegerField()
    address = models.GenericIPAddressField()
    document = models.JSONField()
    positive_big = models.PositiveBigIntegerField()
    positive = models.PositiveIntegerField()
    positive_small = models.PositiveSmallIntegerField()
    slug = models.SlugField()
    small = models.SmallIntegerField()
    text = models.TextField()
    time = models.TimeField()
    url = models.URLField()
    token = models.UUIDField()
    label = Label(max_length=10)
    shelf = models.ForeignKey(Shelf, models.PROTECT, related_name="+")
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="+", null=True)
    owner = models.OneToOneField(User, models.PROTECT, related_name="+")
    many = models.ManyToManyField(Customer, related_name="+")
    maybe = models.IntegerField(null=True)

    class Meta:
        app_label = "serialization_tests"

    def __str__(self) -> str:
        return "everything"


SHELF = uuid.UUID(int=7)
VALUES: dict[str, Any] = {
    "auto": 1,
    "big": 2**40,
    "boolean": True,
    "char": "a",
    "date": datetime.date(2026, 11, 22),
    "moment": datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC),
    "price": decimal.Decimal("7.50"),
    "duration": datetime.timedelta(hours=1, seconds=1),
    "email": "ann@example.com",
    "file": "manual.pdf",
    "path": "/etc/hosts",
    "ratio": 0.5,
    "image": "mug.png",
    "integer": -1,
    "address": "192.0.2.1",
    "document": {"a": [1, None]},
    "positive_big": 1,
    "positive": 2,
    "positive_small": 3,
    "slug": "mug-blue",
    "small": 4,
    "text": "long",
    "time": datetime.time(9, 30),
    "url": "https://example.com",
    "token": uuid.UUID(int=1),
    "label": "x",
    "shelf_id": SHELF,
    "customer_id": 3,
    "owner_id": 4,
    "maybe": None,
}
ON_THE_WIRE = {
    **VALUES,
    "date": "2026-11-22",
    "moment": "2026-11-22T09:30:00Z",
    "price": "7.50",
    "duration": "PT1H1S",
    "time": "09:30:00",
    "token": str(uuid.UUID(int=1)),
    "label": "label:x",
    "shelf_id": str(SHELF),
}
SCHEMA = {
    "auto": {"type": "integer"},
    "big": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "moment": {"type": "string", "format": "date-time"},
    "duration": {"type": "string", "format": "duration"},
    "time": {"type": "string", "format": "time"},
    "token": {"type": "string", "format": "uuid"},
    "shelf_id": {"type": "string", "format": "uuid"},
    "ratio": {"type": "number"},
    "file": {"type": "string"},
    "label": {"type": "string"},
    "owner_id": {"type": "integer"},
    "customer_id": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "document": {},
}


def everything() -> Everything:
    return Everything(binary=b"secret", **VALUES)


@pytest.mark.parametrize("field", ON_THE_WIRE)
async def test_field_has_its_value_on_the_wire(field, serve):
    @tool
    def made() -> Everything:
        return everything()

    assert (await returned(serve(), "made"))[field] == ON_THE_WIRE[field]


@pytest.mark.parametrize("field", SCHEMA)
async def test_field_has_its_type_in_the_schema(field, serve):
    @tool
    def made() -> Everything:
        return everything()

    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    published = {
        name: value for name, value in schema["properties"][field].items() if name not in ("title", "description")
    }
    assert published == SCHEMA[field]


async def test_every_field_is_served_but_binary_ones_and_many_to_many(serve):
    @tool
    def made() -> Everything:
        """Make it."""
        return everything()

    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert set(schema["properties"]) == set(VALUES)
    assert set(await returned(serve(), "made")) == set(VALUES)
    assert schema["properties"]["boolean"]["description"] == "Yes or no."


def test_values_are_the_same_without_an_annotation():
    assert to_wire(everything()) == {**VALUES, "file": "manual.pdf", "label": "label:x"}


async def test_result_without_annotation_is_text(serve):
    @tool
    def made():
        return everything()

    result = await call(serve(), "made")
    assert "structuredContent" not in result
    assert json.loads(result["content"][0]["text"]) == ON_THE_WIRE


def test_empty_file_is_an_empty_name():
    assert to_wire(Everything(file=""))["file"] == ""


# -- what must not leave ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [User, Account], ids=str)
async def test_password_hash_of_a_user_never_leaves(model, serve):
    user = model(pk=1, password="pbkdf2_sha256$1$salt$hash")

    def made():
        return user

    made.__annotations__ = {"return": model}
    tool(made)
    assert "password" not in (await listed(serve(), "tools", "made"))["outputSchema"]["properties"]
    assert "pbkdf2" not in str(await call(serve(), "made"))


@pytest.mark.parametrize(
    "nest",
    [
        lambda user: [user],
        lambda user: (user,),
        lambda user: {"user": user},
        lambda user: {"users": [user]},
        lambda user: [[user]],
        lambda user: [{"user": user}],
        lambda user: {"a": {"b": [user]}},
    ],
)
def test_models_are_found_however_deep(nest):
    wired = json.dumps(to_wire(nest(User(pk=1, username="ann", password="hash"))), default=str)
    assert '"username": "ann"' in wired
    assert "password" not in wired


def test_plain_data_passes_unchanged():
    model = Size(width=1)
    for value in (1, "a", None, [1, "a"], {"a": 1}, (1,), model, [model], {1, 2}):
        assert to_wire(value) is value or to_wire(value) == value


# -- deferred fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", [Customer, list[Customer], Customer | None, None], ids=str)
async def test_deferred_field_is_loaded_where_queries_are_allowed(kind, is_async, transactional_db, serve):
    def made():
        found = Customer.objects.only("name").get()
        return [found] if kind == list[Customer] else found

    async def made_later():
        return await sync_to_async(made)()

    await Customer.objects.acreate(name="Ann", email="ann@example.com")
    function = made_later if is_async else made
    if kind is not None:
        function.__annotations__ = {"return": kind}
    tool(name="made")(function)
    assert "ann@example.com" in str(await call(serve(), "made"))


def test_deferred_password_stays_where_it_is(transactional_db):
    User.objects.create_user("ann", password="secret")
    assert "password" not in to_wire(User.objects.defer("password").get())


# -- querysets ----------------------------------------------------------------------------------------


@pytest.fixture
def orders(transactional_db):
    customer = Customer.objects.create(name="Ann", email="ann@example.com")
    return [Order.objects.create(customer=customer, number=number).number for number in ("SO-1", "SO-2")]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("kind", [QuerySet, QuerySet[Order], list[Order], None], ids=str)
async def test_queryset_is_evaluated_where_queries_are_allowed(kind, is_async, orders, serve):
    def made():
        return Order.objects.order_by("number")

    async def made_later():
        return Order.objects.order_by("number")

    function = made_later if is_async else made
    if kind is not None:
        function.__annotations__ = {"return": kind}
    tool(name="made")(function)
    if kind is None:
        result = await call(serve(), "made")
        assert all(number in str(result["content"]) for number in orders)
    else:
        assert [item["number"] for item in await returned(serve(), "made")] == orders


async def test_manager_and_values_queryset_are_lists(orders, serve):
    @tool
    def managed() -> QuerySet:
        return Customer.objects

    @tool
    def valued() -> QuerySet:
        return Order.objects.order_by("number").values("number")

    assert (await returned(serve(), "managed"))[0]["email"] == "ann@example.com"
    assert await returned(serve(), "valued") == [{"number": number} for number in orders]


@pytest.mark.parametrize("nest", [lambda found: {"orders": found}, lambda found: [found]], ids=["dict", "list"])
async def test_queryset_inside_other_data_is_evaluated(nest, orders, serve):
    @tool
    async def made() -> Any:
        return nest(Order.objects.order_by("number"))

    text = str(await call(serve(), "made"))
    assert all(number in text for number in orders)
    assert "QuerySet" not in text


def test_annotation_without_models_stays_as_it_is():
    for annotation in (int, list[int], dict[str, Any], int | None):
        assert wire_annotation(annotation) is annotation


def test_user_model_in_use_is_the_projects():
    assert get_user_model() is User


def test_what_lazy_has_put_off_is_what_djangos_proxy_casts_it_to() -> None:
    """`_proxy____cast`, which is private: its `str()` is a text for lists and bytes, too."""
    put_off = lazy(lambda: ["a"], list)()
    assert getattr(put_off, "_proxy____cast")() == ["a"]  # noqa: B009 (mypy does not know it)
    assert to_wire({"items": put_off}) == {"items": ["a"]}
