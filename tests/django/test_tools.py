"""@tool: how a function is described, its hints and options, and what is refused of them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from mcp_types import Icon
from pydantic import Field

from mcp_transport import Context, tool
from mcp_transport.exceptions import DefinitionError, MCPTransportError
from tests.support.calls import failure, listed, result_of, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


async def test_bare_decorator_derives_everything(serve: Serve) -> None:
    @tool
    def area(width: int, height: Annotated[int, Field(description="Upwards.", ge=1)] = 1) -> int:
        """Multiply."""
        return width * height

    described = await listed(serve(), "tools", "area")
    assert (described["description"], described["inputSchema"]["required"]) == ("Multiply.", ["width"])
    height = {"type": "integer", "default": 1, "minimum": 1, "description": "Upwards."}
    assert described["inputSchema"]["properties"]["height"].items() >= height.items()
    assert described["outputSchema"]["properties"]["result"]["type"] == "integer"
    assert "annotations" not in described
    assert await returned(serve(), "area", {"width": 3, "height": 4}) == 12
    assert "width" in await failure(serve(), "area", {"width": "wide"})
    assert area(3) == 3, "the function stays plain"
    assert tool(name="again")(area) is area


async def test_options_replace_what_is_derived(serve: Serve) -> None:
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
async def test_hint_is_published_as_an_annotation(option: str, hint: str, serve: Serve) -> None:
    for value in (True, False):
        options: dict[str, Any] = {option: value}
        tool(name=str(value), **options)(lambda: 1)
    for value in (True, False):
        assert (await listed(serve(), "tools", str(value)))["annotations"] == {hint: value}


async def test_input_schema_is_published_in_place_of_the_derived_one(serve: Serve) -> None:
    schema = {"type": "object", "properties": {"width": {"type": "integer", "x-unit": "mm"}}, "required": ["width"]}

    @tool(input_schema=schema)
    def area(width: int) -> int:
        return width

    assert (await listed(serve(), "tools", "area"))["inputSchema"] == schema
    assert await returned(serve(), "area", {"width": 2}) == 2


async def test_tools_are_listed_in_the_order_of_their_declaration(serve: Serve) -> None:
    for letter in "cab":
        tool(name=letter)(lambda: 1)
    assert [item["name"] for item in (await result_of(serve(), "tools/list"))["tools"]] == ["c", "a", "b"]


async def test_lambda_needs_a_name(serve: Serve) -> None:
    with pytest.raises(DefinitionError, match="name"):
        tool(lambda: 1)
    tool(name="one")(lambda: 1)
    assert await listed(serve(), "tools", "one")


def test_definition_errors_are_type_errors_of_this_package() -> None:
    assert issubclass(DefinitionError, MCPTransportError)
    assert issubclass(DefinitionError, TypeError)


@pytest.mark.parametrize(("kind", "token"), [("number", "Region"), ("string", "Bad Name"), ("string", "My_Region")])
def test_header_annotation_nobody_can_follow_is_refused(kind: str, token: str) -> None:
    def call(a: str = "", *, ctx: Context) -> str:
        """Call."""
        return a

    schema = {"type": "object", "properties": {"a": {"type": kind, "x-mcp-header": token}}}
    with pytest.raises(DefinitionError, match="x-mcp-header"):
        tool(input_schema=schema)(call)
