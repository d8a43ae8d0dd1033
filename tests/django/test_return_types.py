"""What a tool promises to return: each type is served in both eras as its schema says, or refused at declaration.

The tables are in `annotations` and `refused_annotations`. Each row is compared with the SDK's own server, which has
the same function.
"""

from __future__ import annotations

import decimal
import json
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from django.db.models import Manager, QuerySet
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy as _
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, TextContent
from pydantic import Field

from mcp_transport import completion, prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.exceptions import DefinitionError
from mcp_transport.return_types import wire_annotation
from mcpsite.shop.models import Product
from tests.django.annotations import MUG, RETURNED, SENT_MUG, Row
from tests.django.declared import fits, response, returning
from tests.django.refused_annotations import GENERATORS, NEVER_RETURNED, NO_TYPES, RESPONSES, WRONGLY_BUILT
from tests.support.calls import call, listed
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


@pytest.fixture(params=[("2025-11-25", True), ("2026-07-28", False)], ids=["2025-11-25 async", "2026-07-28 sync"])
def declared(request: pytest.FixtureRequest, declarations: Declarations) -> tuple[str, dict[str, str]]:
    """Declare a tool for each row; return an era to ask in, and the names of the tools."""
    era, is_async = request.param
    names = {name: f"row_{number}" for number, name in enumerate(RETURNED)}
    for name, row in RETURNED.items():
        tool(name=names[name], description=name)(returning(row.value, row.kind, is_async))
    return era, names


async def test_each_return_type_is_served_as_its_published_schema_says(
    declared: tuple[str, dict[str, str]], serve: Serve
) -> None:
    era, names = declared
    endpoint = serve()
    items = (await response(endpoint, era, "tools/list", {}))["result"]["tools"]
    schemas = {item["description"]: item["outputSchema"] for item in items}
    wrong: dict[str, Any] = {}
    for name, row in RETURNED.items():
        answer = await response(endpoint, era, "tools/call", {"name": names[name], "arguments": {}})
        content = answer["result"].get("structuredContent")
        if not isinstance(content, dict) or not fits(content, schemas[name]):
            wrong[name] = answer
        elif row.sent != (content["result"] if set(content) == {"result"} else content):
            wrong[name] = content
    assert wrong == {}


async def of_the_sdk(row: Row) -> tuple[Any, Any]:
    """Return the schema that the SDK publishes and the structured content it sends."""
    server: MCPServer[Any] = MCPServer("sdk")
    server.tool(name="made")(returning(row.value, row.kind))
    [listed] = await server.list_tools()
    sent: Any = await server.call_tool("made", {})
    return listed.output_schema, sent.structured_content


@pytest.mark.parametrize("row", RETURNED.values(), ids=RETURNED)
async def test_a_return_type_is_served_as_by_the_sdk_unless_the_table_says_why_not(
    row: Row, declarations: Declarations
) -> None:
    tool(name="made")(returning(row.value, row.kind))
    made = declarations.tools["made"]
    converted: Any = made.fn_metadata.convert_result(await made.fn())
    try:
        with warnings.catch_warnings(action="ignore"):
            same = await of_the_sdk(row) == (made.output_schema, converted.structured_content)
    except Exception:  # whatever it refuses
        same = False
    assert same is (row.differs == "")


REFUSED: dict[str, tuple[Any, str]] = {
    **{
        name: (kind, "the return type .* has no JSON form. Return a pydantic model, .*, or omit the annotation")
        for name, kind in NEVER_RETURNED.items()
    },
    **{name: (kind, "an asynchronous generator .*; return a list") for name, kind in GENERATORS.items()},
    **{name: (kind, "return the data, not a response") for name, kind in RESPONSES.items()},
    **{name: (kind, f"the return type is .*{expected}") for name, (kind, expected) in NO_TYPES.items()},
    **{name: (kind, f"the return type .* is invalid: {reason}") for name, (kind, reason) in WRONGLY_BUILT.items()},
}


@pytest.mark.parametrize(("kind", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_return_type_that_cannot_be_served_is_refused_where_it_is_declared(
    kind: Any, expected: str, declarations: Declarations
) -> None:
    with pytest.raises(DefinitionError, match=rf"declared\.py:\d+: tests\.django\.declared\..*made: {expected}$"):
        tool(returning(None, kind))
    assert not declarations.tools


@pytest.mark.parametrize(
    "declare", [tool, prompt, resource("shop://a"), completion], ids=["tool", "prompt", "resource", "completion"]
)
@pytest.mark.parametrize("hint", [None, "AsyncIterator[int]"], ids=str)
def test_asynchronous_generator_is_refused_in_words(declare: Any, hint: str | None) -> None:
    async def numbers():  # type: ignore[no-untyped-def]
        yield 1

    if hint:
        numbers.__annotations__["return"] = hint
    expected = r"test_return_types\..*numbers: .*generator cannot be declared; return a list"
    with pytest.raises(DefinitionError, match=expected):
        declare(numbers)


@pytest.mark.parametrize(
    "kind",
    [
        *(QuerySet[Product], Iterator[Product], Any, object, tuple[QuerySet[Any], int]),
        *(dict[str, QuerySet[Any]], QuerySet[Any] | None, list[Manager[Any]]),
    ],
    ids=str,
)
def test_loose_return_type_is_accepted(kind: Any, declarations: Declarations) -> None:
    tool(returning(None, kind))
    assert list(declarations.tools) == ["made"]


# -- what is published -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Product, Product | None, list[Product]], ids=str)
async def test_models_schema_names_its_fields(kind: Any, serve: Serve) -> None:
    tool(returning(None, kind))
    text = str((await listed(serve(), "tools", "made"))["outputSchema"])
    assert all(name in text for name in SENT_MUG)
    assert "Such as mug-blue." in text  # the field's help text


async def test_tuple_of_fixed_length_names_the_type_of_each_place(serve: Serve) -> None:
    tool(returning((MUG, 3), tuple[Product, int]))
    result = (await listed(serve(), "tools", "made"))["outputSchema"]["properties"]["result"]
    assert [sorted(item) for item in result["prefixItems"]] == [["$ref"], ["type"]]
    assert (result["minItems"], result["maxItems"]) == (2, 2)


async def test_description_of_an_annotated_result_is_published(serve: Serve) -> None:
    tool(returning(1, Annotated[decimal.Decimal, Field(description="Euro.")]))
    schema = (await listed(serve(), "tools", "made"))["outputSchema"]
    assert schema["properties"]["result"]["description"] == "Euro."


def test_annotation_without_models_stays_as_it_is() -> None:
    for annotation in (int, list[int], dict[str, Any], int | None):
        assert wire_annotation(annotation) is annotation


# -- results without a schema ------------------------------------------------------------------------


async def test_result_without_an_annotation_may_be_a_translation(serve: Serve) -> None:
    tool(returning({"a": _("Password"), "b": lazystr("b")}))
    text = (await call(serve(), "made"))["content"][0]["text"]
    assert json.loads(text) == {"a": "Password", "b": "b"}


async def test_unstructured_output_is_text_alone(serve: Serve) -> None:
    tool(structured_output=False)(returning("2", str))
    assert "outputSchema" not in await listed(serve(), "tools", "made")
    result = await call(serve(), "made")
    assert result["content"] == [{"type": "text", "text": "2"}]
    assert "structuredContent" not in result


async def test_sdk_result_passes_as_it_is(serve: Serve) -> None:
    raw = CallToolResult(content=[TextContent(type="text", text="raw")], _meta={"example.com/a": 1})
    tool(returning(raw, CallToolResult))
    result = await call(serve(), "made")
    assert (result["content"][0]["text"], result["_meta"]["example.com/a"]) == ("raw", 1)
