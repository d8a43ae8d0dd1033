"""Tools whose calls are plain, what they return and raise, and arguments and `_meta` of every kind."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    Annotations,
    CallToolResult,
    ImageContent,
    TextContent,
)
from pydantic import AfterValidator, BaseModel, Field

from mcp_transport.protocol.versions import REVISIONS

INFO = {"name": "c", "version": "1"}


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    """A text that is more than one."""


class Item(BaseModel):
    item_name: str = Field(alias="itemName", default="x")
    price: float | None = None
    tags: dict[str, Any] = {"nothing": None, "when": datetime(2026, 1, 2, tzinfo=UTC)}


class Row(TypedDict):
    a: int
    b: str | None


@dataclass
class Point:
    x: int = 1
    y: list[int | None] = dataclass_field(default_factory=lambda: [1, None])


RETURNS: dict[str, tuple[Any, Any]] = {
    "int": (int, 5),
    "str": (str, "häh\n\u2028"),
    "float": (float, 0.1),
    "none": (None, None),
    "optional": (int | None, None),
    "bool": (bool, True),
    "greatest": (int, 2**63 - 1),
    "too great": (int, 2**63),
    "bool for int": (int, True),
    "text for int": (int, "5"),
    "no text": (str, ""),
    "half a character": (str, "\ud800"),
    "bounded": (Annotated[int, Field(gt=3)], 1),
    "described": (Annotated[int, Field(description="d")], 5),
    "under another name": (Annotated[int, Field(serialization_alias="x")], 5),
    "left out": (Annotated[int, Field(exclude=True)], 5),
    "changed": (Annotated[str, AfterValidator(str.upper)], "a"),
    "text of its own": (Text, Text("t")),
    "list": (list[int], [1, 2]),
    "empty list": (list[int], []),
    "texts": (list[str], ["a", "b"]),
    "dict": (dict[str, Any], {"a": None, "b": {"c": None}, "d": datetime(2026, 1, 2, tzinfo=UTC)}),
    "uuid": (uuid.UUID, uuid.UUID(int=7)),
    "colour": (Colour, Colour.RED),
    "bytes": (bytes, b"abc"),
    "model": (Item, Item()),
    "models": (list[Item], [Item(itemName="y", price=1.5)]),
    "typed dict": (Row, {"a": 1, "b": None}),
    "dataclass": (Point, Point()),
    "wrong": (int, "not a number"),
    "block": (TextContent, TextContent(type="text", text="t")),
    "annotated block": (
        TextContent,
        TextContent(type="text", text="t", annotations=Annotations(priority=0.5), _meta={"a": 1}),
    ),
    "blocks": (list[Any], [TextContent(type="text", text="t"), ImageContent(type="image", data="", mime_type="i/p")]),
    "image": (Image, Image(data=b"png", format="png")),
    "unannotated": (Any, {"a": 1}),
    "own": (CallToolResult, CallToolResult(content=[], structured_content={"at": datetime(2026, 1, 2, tzinfo=UTC)})),
    "own error": (CallToolResult, CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)),
    "own, with meta": (CallToolResult, CallToolResult(content=[], _meta={"a": 1})),
    "own, that has to fit": (
        Annotated[CallToolResult, Row],
        CallToolResult(content=[], structured_content={"a": "x"}),
    ),
}
RAISES: dict[str, Exception] = {
    "tool error": ToolError("so not"),
    "crash": ValueError("secret"),
    "protocol error": MCPError(-32099, "mine", {"a": 1}),
}
ARGUMENTS: list[Any] = [
    {"a": 1},
    {"a": "1", "b": "[1, 2]", "c": "true"},
    {"a": 1, "b": [None], "c": None, "extra": 1},
    {},
    {"a": "x"},
    {"a": None},
    {"b": []},
    [],
    None,
    "text",
]
META: list[Any] = [
    {},
    {"progressToken": "t", "com.example/own": [1]},
    {"progressToken": []},
    {"progressToken": None},
    {"io.modelcontextprotocol/logLevel": "loud"},
    {"com.example/long": "x" * 5000},
    {"progressToken": True},
    None,
    [],
]


def returning(value: Any, annotation: Any) -> Callable[[], Any]:
    def run() -> Any:
        return value

    if annotation is not Any:
        run.__annotations__ = {"return": annotation}
    return run


def raising(error: Exception) -> Callable[[], Any]:
    async def run() -> int:
        raise error

    return run


async def with_arguments(a: int, b: list[int | None] | None = None, c: bool | None = False) -> list[Any]:
    return [a, b, c]


def envelope(version: str, **meta: Any) -> dict[str, Any]:
    """Return what 2026-07-28 wants in `_meta`."""
    if REVISIONS[version].sessionful:
        return meta
    own = {"protocolVersion": version, "clientInfo": INFO, "clientCapabilities": {}}
    return {f"io.modelcontextprotocol/{name}": value for name, value in own.items()} | meta
