"""Querysets of every form as results, what only the database knows, and no password hash of any of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import global_settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Count, F, Max, Q, QuerySet, Subquery
from django.db.models.functions import Length
from django.db.models.query import RawQuerySet
from rest_framework.authtoken.models import Token

from mcp_transport import querysets, tool
from mcp_transport.exceptions import DefinitionError
from mcp_transport.serialization import to_wire
from mcpsite.shop.models import Customer, Order, Product
from tests.django.declared import each_mode, fits, later, returning
from tests.support.calls import call, failure, listed, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

WHEN = datetime.datetime(2026, 11, 29, 9, 30, tzinfo=datetime.UTC)


@pytest.fixture
def shop(transactional_db: None) -> None:
    ann = Customer.objects.create(name="Ann", email="ann@example.com")
    bob = Customer.objects.create(name="Bob", email="bob@example.com")
    for number, customer in (("SO-1", ann), ("SO-2", ann), ("SO-3", bob)):
        Order.objects.create(customer=customer, number=number, created=WHEN)


def orders() -> QuerySet[Order]:
    return Order.objects.order_by("number")


def numbered(number: str) -> QuerySet[Order]:
    return Order.objects.order_by().filter(number=number)


def making(make: Callable[[], Any], *kind: Any, is_async: bool = False) -> Any:
    """Return a function that makes a result when it is called; its return annotation is `kind`, if one is given."""

    def made() -> Any:
        return make()

    made.__annotations__ = {"return": kind[0]} if kind else {}
    return later(made) if is_async else made


ROWS: dict[str, tuple[Callable[[], Any], Any]] = {
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


@pytest.mark.parametrize(("make", "expected"), ROWS.values(), ids=ROWS)
async def test_rows_are_sent_as_they_are_asked_for(
    make: Callable[[], Any], expected: Any, shop: None, serve: Serve
) -> None:
    tool(making(make, QuerySet))
    tool(name="later")(making(make, QuerySet, is_async=True))
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    for name in ("made", "later"):
        result = await call(serve(), name)
        assert not result.get("isError"), result
        assert fits(result["structuredContent"], schema)
        assert result["structuredContent"]["result"] == expected


INSTANCES: dict[str, Callable[[], Any]] = {
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
async def test_instances_are_sent_with_their_fields_whatever_else_was_asked_for(
    make: Callable[[], Any], shop: None, serve: Serve
) -> None:
    tool(making(make, QuerySet))
    found = await returned(serve(), "made")
    assert len(found) >= 2
    assert {frozenset(item) for item in found} == {frozenset({"id", "number", "status", "created", "customer_id"})}
    assert {item["status"] for item in found} == {"placed"}


@each_mode
@pytest.mark.parametrize("kind", [QuerySet[Order], list[Order], RawQuerySet, None], ids=str)
async def test_queryset_is_evaluated_where_queries_are_allowed(
    kind: Any, is_async: bool, shop: None, serve: Serve
) -> None:
    make = (lambda: Order.objects.raw("SELECT * FROM shop_order")) if kind is RawQuerySet else orders
    tool(making(make, *([kind] if kind else []), is_async=is_async))
    text = str(await call(serve(), "made"))
    assert all(number in text for number in ("SO-1", "SO-2", "SO-3"))
    assert "QuerySet" not in text


@pytest.mark.parametrize("nest", [lambda found: {"orders": found}, lambda found: [found]], ids=["dict", "list"])
async def test_queryset_inside_other_data_is_evaluated(nest: Callable[[Any], Any], shop: None, serve: Serve) -> None:
    tool(making(lambda: nest(orders()), Any, is_async=True))
    text = str(await call(serve(), "made"))
    assert "SO-3" in text and "QuerySet" not in text


# -- values that only the database knows ---------------------------------------------------------------


@each_mode
async def test_field_set_to_an_expression_is_read_again(is_async: bool, transactional_db: None, serve: Serve) -> None:
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


@each_mode
@pytest.mark.parametrize("kind", [Customer, list[Customer], Customer | None, None], ids=str)
async def test_deferred_field_is_loaded_where_queries_are_allowed(
    kind: Any, is_async: bool, shop: None, serve: Serve
) -> None:
    found = await Customer.objects.only("name").aget(name="Ann")
    value = [found] if kind == list[Customer] else found
    tool(returning(value, kind, is_async) if kind else returning(value, is_async=is_async))
    assert "ann@example.com" in str(await call(serve(), "made"))


# -- password hashes -----------------------------------------------------------------------------------

HASH = make_password("secret")


@pytest.fixture
def ann(db: None) -> User:
    user = User.objects.create(username="ann", password=HASH)
    User.objects.create(username="bob", password="!unusable")
    Token.objects.create(user=user, key="key")
    return user


def users() -> QuerySet[User]:
    return User.objects.order_by("username")


LEFT_OUT: dict[str, Callable[[], Any]] = {
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
def test_password_hash_is_left_out_of_objects(make: Callable[[], Any], ann: User) -> None:
    text = json.dumps(to_wire(make()), default=str)
    assert '"ann"' in text
    assert HASH not in text


@pytest.mark.parametrize("column", ["password", "p", "user__password"])
def test_column_of_a_hash_is_left_out_whatever_it_holds(column: str, ann: User) -> None:
    for made in (User.objects.values(), User.objects.values(p=F("password")), Token.objects.values("user__password")):
        assert all(column not in row for row in to_wire(made))


def test_deferred_password_stays_where_it_is(ann: User) -> None:
    assert "password" not in to_wire(User.objects.defer("password").get(username="ann"))


def test_other_answers_about_passwords_may_be_given(ann: User) -> None:
    found = to_wire(users().values("username", unusable=Q(password__startswith="!")))
    assert found == [{"username": "ann", "unusable": False}, {"username": "bob", "unusable": True}]


REFUSED: dict[str, Callable[[], Any]] = {
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
def test_password_hash_that_cannot_be_left_out_is_refused(make: Callable[[], Any], ann: User, settings: Any) -> None:
    settings.PASSWORD_HASHERS = [*settings.PASSWORD_HASHERS, *global_settings.PASSWORD_HASHERS]
    with pytest.raises(DefinitionError, match="must not be sent"):
        to_wire(make())


async def test_client_learns_nothing_of_a_refused_hash(serve: Serve) -> None:
    tool(returning(["ann", HASH], list[str]))
    assert await failure(serve(), "made") == "Error executing tool made"


NESTED: dict[str, Callable[[User], Any]] = {
    "list": lambda user: [user],
    "tuple": lambda user: (user,),
    "dict": lambda user: {"user": user},
    "list in a dict": lambda user: {"users": [user]},
    "list in a list": lambda user: [[user]],
    "dict in a list": lambda user: [{"user": user}],
    "list in a dict in a dict": lambda user: {"a": {"b": [user]}},
}


@pytest.mark.parametrize("nest", NESTED.values(), ids=NESTED)
def test_models_are_found_however_deep(nest: Callable[[User], Any]) -> None:
    wired = json.dumps(to_wire(nest(User(pk=1, username="ann", password=HASH))), default=str)
    assert '"username": "ann"' in wired
    assert "password" not in wired


def test_hash_in_the_copy_of_a_user_is_refused() -> None:
    class Archived(models.Model):
        password = models.CharField(max_length=200)

        class Meta:
            app_label = "archive_tests"

        def __str__(self) -> str:
            return "archived"

    with pytest.raises(DefinitionError, match="must not be sent"):
        to_wire(Archived(password=HASH))


def test_user_model_that_is_none_of_djangos_keeps_its_hash(settings: Any) -> None:
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
def test_other_text_with_a_dollar_is_sent(text: str) -> None:
    assert to_wire([text, {"a": text}]) == [text, {"a": text}]


def test_binary_columns_are_left_out_of_rows() -> None:
    class Blob(models.Model):
        data = models.BinaryField()

        class Meta:
            app_label = "blob_tests"

        def __str__(self) -> str:
            return "blob"

    query = QuerySet(Blob).values().query
    columns = list(querysets._columns(query))
    assert [name for name, _ in columns] == ["id", "data"]
    assert querysets._hidden(query) == {1}
