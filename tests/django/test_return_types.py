"""Return types that say little, or whose values are no JSON by themselves."""

import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import pytest
from django.db import models
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy as _
from jsonschema import Draft202012Validator
from pydantic import Field

from mcp_transport import completion, prompt, resource, tool
from mcp_transport.exceptions import DefinitionError
from mcpsite.shop.models import Product
from tests.django.calls import call, listed

pytestmark = pytest.mark.usefixtures("declarations")


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Status(models.TextChoices):
    OPEN = "open", _("Open")


class Place(NamedTuple):
    shelf: int
    name: str


PRODUCT = {"id": 1, "sku": "mug", "name": "Mug", "description": "", "price": "7.50", "stock": 3}
WHEN = datetime.datetime(2026, 11, 29, 9, 30, tzinfo=datetime.UTC)
ID = uuid.UUID(int=7)


def mug() -> Product:
    return Product(id=1, sku="mug", name="Mug", price="7.50", stock=3)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (dict, {"a": 1, "b": mug()}, {"a": 1, "b": PRODUCT}),
        (dict, {1: "a", 2: [1]}, {"1": "a", "2": [1]}),
        (dict, {}, {}),
        (Mapping, {"a": decimal.Decimal("1.5")}, {"a": "1.5"}),
        (OrderedDict, OrderedDict(a=1), {"a": 1}),
        (Counter, Counter("aab"), {"a": 2, "b": 1}),
        (dict[int, str], {1: "a"}, {"1": "a"}),
        (dict[int, Product], {1: mug()}, {"1": PRODUCT}),
        (list, [1, "a", mug()], [1, "a", PRODUCT]),
        (tuple, (1, mug()), [1, PRODUCT]),
        (set, {1}, [1]),
        (frozenset, frozenset({"a"}), ["a"]),
        (set[Product], {mug()}, [PRODUCT]),
        (Sequence, (1, 2), [1, 2]),
        (Iterable, [1, 2], [1, 2]),
        (decimal.Decimal, decimal.Decimal("7.50"), "7.50"),
        (Annotated[decimal.Decimal, Field(description="Euro.")], decimal.Decimal("7.50"), "7.50"),
        (datetime.date, WHEN.date(), "2026-11-29"),
        (datetime.datetime, WHEN, "2026-11-29T09:30:00Z"),
        (datetime.time, WHEN.time(), "09:30:00"),
        (datetime.timedelta, datetime.timedelta(hours=1), "PT1H"),
        (uuid.UUID, ID, str(ID)),
        (Color, Color.RED, "red"),
        (Level, Level.HIGH, 3),
        (Status, Status.OPEN, "open"),
        (Status, "open", "open"),
        (pathlib.Path, pathlib.Path("/a"), "/a"),
        (Place, Place(1, "left"), [1, "left"]),
        (list[Place], [Place(1, "left")], [[1, "left"]]),
        (str, _("Password"), "Password"),
        (list[str], [_("Password")], ["Password"]),
        (dict[str, str], {"a": _("Password")}, {"a": "Password"}),
    ],
    ids=str,
)
async def test_result_is_json_that_fits_the_published_schema(kind, value, expected, is_async, serve):
    def plain():
        return value

    async def coroutine():
        return value

    function = coroutine if is_async else plain
    function.__annotations__ = {"return": kind}
    tool(name="made")(function)
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    result = await call(serve(), "made")
    assert not result.get("isError"), result
    content = result["structuredContent"]
    Draft202012Validator(schema).validate(content)
    assert (content["result"] if set(content) == {"result"} else content) == expected


async def test_description_of_an_annotated_result_is_published(serve):
    @tool
    def price() -> Annotated[decimal.Decimal, Field(description="Euro.")]: ...

    schema = (await listed(serve(), "tools", "price"))["outputSchema"]
    assert schema["properties"]["result"]["description"] == "Euro."


async def test_result_without_an_annotation_may_be_a_translation(serve):
    @tool
    def answer():
        return {"a": _("Password"), "b": lazystr("b")}

    text = (await call(serve(), "answer"))["content"][0]["text"]
    assert json.loads(text) == {"a": "Password", "b": "b"}


async def test_title_and_description_may_be_translations(serve):
    texts: Any = {"title": _("Password"), "description": _("Username")}

    def made(sku: str = "") -> str: ...

    tool(**texts)(made)
    prompt(**texts)(made)
    resource("shop://{sku}", **texts)(made)
    for kind in ("tools", "prompts", "resources/templates"):
        described = await listed(serve(), kind, "made")
        assert (described["title"], described["description"]) == ("Password", "Username")


@pytest.mark.parametrize("declare", [tool, prompt, resource("shop://a"), completion], ids=str)
@pytest.mark.parametrize("hint", [None, "AsyncIterator[int]"], ids=str)
def test_asynchronous_generator_is_refused_in_words(declare, hint):
    async def numbers():
        yield 1

    if hint:
        numbers.__annotations__["return"] = hint
    with pytest.raises(
        DefinitionError, match=r"test_return_types\..*numbers: .*generator cannot be sent; return a list"
    ):
        declare(numbers)
