"""Declaring tools: what becomes of a function, and what is refused where it is written."""

# ruff: noqa: UP007, UP045  (both ways to write a union are tested)
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Optional, TypedDict, Union

import pytest
from django.db.models import QuerySet
from mcp_types import CallToolResult, Icon, TextContent
from pydantic import BaseModel, Field

from mcp_transport import Context, tool
from mcp_transport.exceptions import DefinitionError, MCPTransportError
from mcpsite.shop.models import Product
from tests.support.calls import call, listed, result_of, returned

pytestmark = pytest.mark.usefixtures("declarations")


class Size(BaseModel):
    """How large something is."""

    width: int
    height: int = 1


@dataclass
class Point:
    x: int
    y: int


class Pair(TypedDict):
    left: int
    right: int


class Odd:
    """Something without a JSON form."""


# -- how a function is described ---------------------------------------------------------------------


async def test_bare_decorator_derives_everything(serve):
    @tool
    def area(width: int, height: Annotated[int, Field(description="Upwards.", ge=1)] = 1) -> int:
        """Multiply."""
        return width * height

    described = await listed(serve(), "tools", "area")
    assert described["description"] == "Multiply."
    assert described["inputSchema"]["required"] == ["width"]
    height = described["inputSchema"]["properties"]["height"]
    assert (height["type"], height["default"], height["minimum"], height["description"]) == (
        "integer",
        1,
        1,
        "Upwards.",
    )
    assert described["outputSchema"]["properties"]["result"]["type"] == "integer"
    assert "annotations" not in described
    assert await returned(serve(), "area", {"width": 3, "height": 4}) == 12


async def test_options_replace_what_is_derived(serve):
    @tool(
        name="shop.area",
        title="Area",
        description="Computes.",
        icons=[Icon(src="data:image/png;base64,AA==", mime_type="image/png")],
        meta={"example.com/rank": 1},
    )
    def area(width: int) -> int:
        """Not this."""
        return width

    described = await listed(serve(), "tools", "shop.area")
    assert (described["title"], described["description"]) == ("Area", "Computes.")
    assert described["icons"] == [{"src": "data:image/png;base64,AA==", "mimeType": "image/png"}]
    assert described["_meta"] == {"example.com/rank": 1}


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("read_only", "readOnlyHint"),
        ("destructive", "destructiveHint"),
        ("idempotent", "idempotentHint"),
        ("open_world", "openWorldHint"),
    ],
)
@pytest.mark.parametrize("value", [True, False])
async def test_hint_is_published_as_an_annotation(option, hint, value, serve):
    @tool(**{option: value})
    def hinted() -> int:
        return 1

    assert (await listed(serve(), "tools", "hinted"))["annotations"] == {hint: value}


async def test_context_is_no_parameter(serve):
    @tool
    def greet(name: str, ctx: Context) -> str:
        return f"{name} {ctx.protocol_version}"

    assert set((await listed(serve(), "tools", "greet"))["inputSchema"]["properties"]) == {"name"}
    assert await returned(serve(), "greet", {"name": "Ann"}) == "Ann 2026-07-28"


async def test_input_schema_is_published_in_place_of_the_derived_one(serve):
    schema = {"type": "object", "properties": {"width": {"type": "integer", "x-unit": "mm"}}, "required": ["width"]}

    @tool(input_schema=schema)
    def area(width: int) -> int:
        return width

    assert (await listed(serve(), "tools", "area"))["inputSchema"] == schema
    assert await returned(serve(), "area", {"width": 2}) == 2


def test_decorated_function_stays_plain():
    def area(width: int) -> int:
        return width

    assert tool(area) is area
    assert tool(name="again")(area) is area
    assert area(3) == 3


async def test_unstructured_output_is_text_alone(serve):
    @tool(structured_output=False)
    def area(width: int) -> str:
        return str(width)

    assert "outputSchema" not in await listed(serve(), "tools", "area")
    result = await call(serve(), "area", {"width": 2})
    assert result["content"] == [{"type": "text", "text": "2"}]
    assert "structuredContent" not in result


async def test_tools_are_listed_in_the_order_of_their_declaration(serve):
    for letter in "cab":
        tool(name=letter)(lambda: 1)
    assert [item["name"] for item in (await result_of(serve(), "tools/list"))["tools"]] == ["c", "a", "b"]


# -- return types ------------------------------------------------------------------------------------

PRODUCT = {"id": 1, "sku": "mug", "name": "Mug", "description": "", "price": "7.50", "stock": 3}


def mug() -> Product:
    return Product(id=1, sku="mug", name="Mug", price="7.50", stock=3)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 1, 1),
        (str, "a", "a"),
        (None, None, None),
        (list[int], [1, 2], [1, 2]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Size, Size(width=2), {"width": 2, "height": 1}),
        (list[Size], [Size(width=2)], [{"width": 2, "height": 1}]),
        (Point, Point(1, 2), {"x": 1, "y": 2}),
        (Pair, {"left": 1, "right": 2}, {"left": 1, "right": 2}),
        (Product, mug(), PRODUCT),
        (Annotated[Product, "the best"], mug(), PRODUCT),
        (Optional[Product], mug(), PRODUCT),
        (Optional[Product], None, None),
        (Product | None, mug(), PRODUCT),
        (Union[Product, Size], mug(), PRODUCT),
        (Product | str, "none", "none"),
        (list[Product], [mug()], [PRODUCT]),
        (list[Product] | None, [mug()], [PRODUCT]),
        (tuple[Product, ...], (mug(),), [PRODUCT]),
        (tuple[Product, int], (mug(), 3), [PRODUCT, 3]),
        (tuple[int, Product, str], (3, mug(), "a"), [3, PRODUCT, "a"]),
        (tuple[Product], (mug(),), [PRODUCT]),
        (tuple[list[Product], int], ([mug()], 1), [[PRODUCT], 1]),
        (tuple[Product | None, int], (None, 1), [None, 1]),
        (tuple[int, ...], (1, 2), [1, 2]),
        (list[tuple[Product, int]], [(mug(), 1)], [[PRODUCT, 1]]),
        (dict[str, tuple[Product, int]], {"a": (mug(), 1)}, {"a": [PRODUCT, 1]}),
        (Sequence[Product], [mug()], [PRODUCT]),
        (dict[str, Product], {"a": mug()}, {"a": PRODUCT}),
        (list[list[Product]], [[mug()]], [[PRODUCT]]),
        (dict[str, list[Product]], {"a": [mug()]}, {"a": [PRODUCT]}),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_return_type_has_a_schema_and_a_json_form(kind, value, expected, is_async, serve):
    def plain():
        return value

    async def coroutine():
        return value

    function = coroutine if is_async else plain
    function.__annotations__ = {"return": kind}
    tool(name="made")(function)
    described = await listed(serve(), "tools", "made")
    assert described["outputSchema"]["type"] == "object"
    assert await returned(serve(), "made") == expected


@pytest.mark.parametrize("kind", [Product, Product | None, list[Product]], ids=str)
async def test_models_schema_names_its_fields(kind, serve):
    def made():
        return None

    made.__annotations__ = {"return": kind}
    tool(made)
    text = str((await listed(serve(), "tools", "made"))["outputSchema"])
    assert all(name in text for name in PRODUCT)
    assert "Such as mug-blue." in text  # the field's help text


async def test_tuple_of_fixed_length_names_the_type_of_each_place(serve):
    @tool
    def best() -> tuple[Product, int]:
        return mug(), 3

    result = (await listed(serve(), "tools", "best"))["outputSchema"]["properties"]["result"]
    assert [sorted(item) for item in result["prefixItems"]] == [["$ref"], ["type"]]
    assert (result["minItems"], result["maxItems"]) == (2, 2)


async def test_sdk_result_passes_as_it_is(serve):
    @tool
    def raw() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="raw")], meta={"example.com/a": 1})

    result = await call(serve(), "raw")
    assert (result["content"][0]["text"], result["_meta"]["example.com/a"]) == ("raw", 1)


@pytest.mark.parametrize(
    "kind", [Odd, list[Odd], dict[str, Odd], Odd | None, Optional[Odd], Odd | str, slice], ids=str
)
def test_unserialisable_return_type_is_refused(kind):
    def strange(): ...

    strange.__annotations__ = {"return": kind}
    with pytest.raises(DefinitionError, match=r"test_server\..*strange: "):
        tool(strange)


@pytest.mark.parametrize("kind", [QuerySet, QuerySet[Product], Iterator[Product], Any, object], ids=str)
def test_loose_return_type_is_accepted(kind, declarations):
    def loose(): ...

    loose.__annotations__ = {"return": kind}
    tool(loose)
    assert list(declarations.tools) == ["loose"]


# -- what is refused ---------------------------------------------------------------------------------


def _hidden(_x: int): ...
def _unresolved(x: "Nowhere"): ...  # noqa: F821
def _odd(x: Odd): ...
def _many(*values: int): ...
def _any(**values: int): ...
def _positional(x: int, /): ...


@pytest.mark.parametrize("function", [_hidden, _unresolved, _odd, _many, _any, _positional])
def test_bad_signature_is_refused_with_the_functions_name(function, declarations):
    with pytest.raises(DefinitionError, match=rf"test_server\.{function.__name__}: "):
        tool(function)
    assert not declarations.tools


def test_what_is_no_function_is_refused():
    with pytest.raises(DefinitionError, match="expected a function to declare, got 3"):
        tool(3)


def test_unknown_option_is_refused():
    with pytest.raises(DefinitionError, match="readonly"):
        tool(readonly=True)(lambda: 1)


def test_duplicate_name_is_refused(declarations):
    def area() -> int:
        return 1

    tool(area)
    with pytest.raises(DefinitionError, match="the tool 'area' is declared twice"):
        tool(area)
    tool(name="other")(area)
    assert list(declarations.tools) == ["area", "other"]


def test_definition_errors_are_type_errors_of_this_package():
    assert issubclass(DefinitionError, MCPTransportError)
    assert issubclass(DefinitionError, TypeError)


@pytest.mark.parametrize(("kind", "token"), [("number", "Region"), ("string", "Bad Name"), ("string", "My_Region")])
def test_header_annotation_nobody_can_follow_is_refused(kind: str, token: str) -> None:
    def call(a: str = "") -> str:
        """Call."""
        return a

    schema = {"type": "object", "properties": {"a": {"type": kind, "x-mcp-header": token}}}
    with pytest.raises(DefinitionError, match="x-mcp-header"):
        tool(input_schema=schema)(call)
