"""Querysets of every form as results, and the password hashes that none of them gives away."""

import datetime
import json
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Count, F, Manager, Max, Q, QuerySet, Subquery
from django.db.models.functions import Length
from django.db.models.query import RawQuerySet
from jsonschema import Draft202012Validator
from rest_framework.authtoken.models import Token

from mcp_transport import querysets, tool
from mcp_transport.exceptions import DefinitionError
from mcp_transport.serialization import to_wire
from mcpsite.shop.models import Customer, Order
from tests.support.calls import call, failure, listed, returned

pytestmark = pytest.mark.usefixtures("declarations", "transactional_db")


WHEN = datetime.datetime(2026, 11, 29, 9, 30, tzinfo=datetime.UTC)


@pytest.fixture
def shop(transactional_db: None) -> None:
    ann = Customer.objects.create(name="Ann", email="ann@example.com")
    bob = Customer.objects.create(name="Bob", email="bob@example.com")
    for number, customer in (("SO-1", ann), ("SO-2", ann), ("SO-3", bob)):
        Order.objects.create(customer=customer, number=number, created=WHEN)


def orders() -> QuerySet:
    return Order.objects.order_by("number")


def numbered(number: str) -> QuerySet:
    return Order.objects.order_by().filter(number=number)


ROWS = {
    "values": (
        lambda: orders().values("number", "customer__name")[:1],
        [{"number": "SO-1", "customer__name": "Ann"}],
    ),
    "values_list": (lambda: orders().values_list("number", "customer__name")[1:2], [["SO-2", "Ann"]]),
    "flat": (lambda: orders().values_list("number", flat=True), ["SO-1", "SO-2", "SO-3"]),
    "named": (
        lambda: orders().values_list("status", "number", named=True)[:1],
        [{"status": "placed", "number": "SO-1"}],
    ),
    "dates": (lambda: Order.objects.dates("created", "year"), ["2026-01-01"]),
    "datetimes": (lambda: Order.objects.datetimes("created", "day"), ["2026-11-29T00:00:00-06:00"]),
    "union": (
        lambda: numbered("SO-1").values("number").union(numbered("SO-3").values("number")).order_by("-number"),
        [{"number": "SO-3"}, {"number": "SO-1"}],
    ),
    "annotated rows": (
        lambda: Customer.objects.annotate(n=Count("orders")).values_list("n", "name"),
        [[2, "Ann"], [1, "Bob"]],
    ),
    "grouped": (
        lambda: Customer.objects.values("name").annotate(n=Count("orders")),
        [{"name": "Ann", "n": 2}, {"name": "Bob", "n": 1}],
    ),
    "extra": (
        lambda: orders().extra(select={"one": "1"}).values("number", "one")[:1],
        [{"number": "SO-1", "one": 1}],
    ),
    "extra in lists": (lambda: orders().extra(select={"one": "1"}).values_list("number", "one")[:1], [["SO-1", 1]]),
    "empty": (lambda: orders().none().values_list("number"), []),
    "renamed": (lambda: orders().values("status", no=F("number"))[:1], [{"status": "placed", "no": "SO-1"}]),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("make", "expected"), ROWS.values(), ids=ROWS)
async def test_rows_are_sent_as_they_are_asked_for(make, expected, is_async, shop, serve):
    def made() -> QuerySet:
        return make()

    async def made_later() -> QuerySet:
        return make()

    tool(name="made")(made_later if is_async else made)
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    result = await call(serve(), "made")
    assert not result.get("isError"), result
    Draft202012Validator(schema).validate(result["structuredContent"])
    assert result["structuredContent"]["result"] == expected


INSTANCES = {
    "all": lambda: orders(),
    "manager": lambda: Order.objects,
    "related manager": lambda: Customer.objects.get(name="Ann").orders,
    "annotated": lambda: orders().annotate(length=Length("number")),
    "only": lambda: orders().only("number"),
    "deferred": lambda: orders().defer("status", "customer"),
    "sliced": lambda: orders()[:2],
    "prefetched": lambda: orders().select_related("customer").prefetch_related("customer__orders"),
    "raw": lambda: Order.objects.raw("SELECT id, number FROM shop_order ORDER BY number"),
    "union": lambda: numbered("SO-1").union(numbered("SO-2")),
    "evaluated": lambda: list(orders()),
}


@pytest.mark.parametrize("make", INSTANCES.values(), ids=INSTANCES)
async def test_instances_are_sent_with_their_fields_whatever_else_was_asked_for(make, shop, serve):
    @tool
    def made() -> QuerySet:
        return make()

    found = await returned(serve(), "made")
    assert len(found) >= 2
    assert {frozenset(item) for item in found} == {frozenset({"id", "number", "status", "created", "customer_id"})}
    assert {item["status"] for item in found} == {"placed"}


async def test_raw_queryset_of_an_async_tool_is_read_where_queries_are_allowed(shop, serve):
    @tool
    async def made() -> RawQuerySet:
        return Order.objects.raw("SELECT id FROM shop_order")

    assert len(await returned(serve(), "made")) == 3


@pytest.mark.parametrize(
    "kind", [tuple[QuerySet, int], dict[str, QuerySet], QuerySet | None, Manager, list[Manager]], ids=str
)
async def test_queryset_may_stand_anywhere_in_a_return_type(kind, serve):
    def made() -> Any: ...

    made.__annotations__ = {"return": kind}
    tool(made)
    assert "outputSchema" in await listed(serve(), "tools", "made")


# -- password hashes -----------------------------------------------------------------------------------

HASH = make_password("secret")


@pytest.fixture
def ann(transactional_db: None) -> User:
    user = User.objects.create(username="ann", password=HASH)
    User.objects.create(username="bob", password="!unusable")
    Token.objects.create(user=user, key="key")
    return user


def users() -> QuerySet:
    return User.objects.order_by("username")


LEFT_OUT = {
    "values": lambda: users().values(),
    "values by name": lambda: users().values("username", "password"),
    "named": lambda: users().values_list("username", "password", named=True),
    "another name": lambda: users().values("username", p=F("password")),
    "annotation": lambda: users().annotate(p=F("password")).values("username", "p"),
    "relation": lambda: Token.objects.values("user__password", username=F("user__username")),
    "annotated relation": lambda: Token.objects.annotate(p=F("user__password")).values(
        "p", username=F("user__username")
    ),
    "union": lambda: User.objects.values("username", "password").union(User.objects.values("username", "password")),
    "union with another column": lambda: User.objects.values("username", "email").union(
        User.objects.values("username", "password")
    ),
    "aggregated": lambda: users().values("username").annotate(p=Max("password")),
    "subquery": lambda: users().values(
        "username", p=Subquery(User.objects.filter(password=HASH).values("password")[:1])
    ),
    "extra": lambda: users().extra(select={"p": "password"}).values("username", "p"),
    "evaluated": lambda: list(users().values("username", "password")),
    "first": lambda: users().values().first(),
    "nested": lambda: {"users": list(users().values("username", "password"))},
    "instances": lambda: users().annotate(p=F("password")),
    "raw": lambda: User.objects.raw("SELECT * FROM auth_user"),
}


@pytest.mark.parametrize("make", LEFT_OUT.values(), ids=LEFT_OUT)
def test_password_hash_is_left_out_of_objects(make, ann):
    text = json.dumps(to_wire(make()), default=str)
    assert '"ann"' in text
    assert HASH not in text


@pytest.mark.parametrize("column", ["password", "p", "user__password"])
def test_column_of_a_hash_is_left_out_whatever_it_holds(column, ann):
    for made in (User.objects.values(), User.objects.values(p=F("password")), Token.objects.values("user__password")):
        assert all(column not in row for row in to_wire(made))


def test_other_answers_about_passwords_may_be_given(ann):
    found = to_wire(users().values("username", unusable=Q(password__startswith="!")))
    assert found == [{"username": "ann", "unusable": False}, {"username": "bob", "unusable": True}]


REFUSED = {
    "list": lambda: users().values_list("username", "password"),
    "flat": lambda: users().values_list("password", flat=True),
    "all columns": lambda: users().values_list(),
    "annotation": lambda: users().annotate(p=F("password")).values_list("p"),
    "relation": lambda: Token.objects.values_list("user__password"),
    "aggregated": lambda: users().values_list(Max("password")),
    "evaluated": lambda: list(users().values_list("username", "password")),
    "text": lambda: HASH,
    "text of a list": lambda: [HASH],
    "argon2": lambda: "argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdA$aGFzaA",
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_password_hash_that_cannot_be_left_out_is_refused(make, ann, settings):
    settings.PASSWORD_HASHERS = [*settings.PASSWORD_HASHERS, "django.contrib.auth.hashers.Argon2PasswordHasher"]
    with pytest.raises(DefinitionError, match="never part of a result"):
        to_wire(make())


async def test_client_learns_nothing_of_a_refused_hash(ann, serve):
    @tool
    def made() -> QuerySet:
        return users().values_list("username", "password")

    assert await failure(serve(), "made") == "Error executing tool made"


def test_hash_in_the_copy_of_a_user_is_refused():
    class Archived(models.Model):
        password = models.CharField(max_length=200)

        class Meta:
            app_label = "archive_tests"

        def __str__(self) -> str:
            return "archived"

    with pytest.raises(DefinitionError, match="never part of a result"):
        to_wire(Archived(password=HASH))


def test_user_model_that_is_none_of_djangos_keeps_its_hash(settings):
    class Member(models.Model):
        password = models.CharField(max_length=200)

        class Meta:
            app_label = "member_tests"

        def __str__(self) -> str:
            return "member"

    settings.AUTH_USER_MODEL = "member_tests.Member"
    assert to_wire(Member(id=1, password="hashed in a way of its own")) == {"id": 1}


@pytest.mark.parametrize(
    "text", ["costs 5$ a piece", "pbkdf2_sha256", "US$5", "md4$a$b", "argon2$ is an algorithm", "$"]
)
def test_other_text_with_a_dollar_is_sent(text):
    assert to_wire([text, {"a": text}]) == [text, {"a": text}]


def test_binary_columns_are_left_out_of_rows():
    class Blob(models.Model):
        data = models.BinaryField()

        class Meta:
            app_label = "blob_tests"

        def __str__(self) -> str:
            return "blob"

    columns = list(querysets._columns(Blob.objects.values().query))
    assert [name for name, _ in columns] == ["id", "data"]
    assert querysets._hidden(Blob.objects.values().query) == {1}
