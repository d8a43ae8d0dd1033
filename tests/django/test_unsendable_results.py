"""Results without a form in JSON, or with a password hash, are failures that say so; what is iterable is a list."""

from __future__ import annotations

import asyncio
import collections
import ipaddress
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any

import pytest
from django.contrib.auth.hashers import make_password
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.functional import lazy
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult
from pydantic import AfterValidator, BaseModel

from mcp_transport import Context, tool
from mcp_transport.serialization import to_wire
from tests.django.declared import ERAS, each_era, each_mode, response, returning
from tests.django.kinds import Scalar
from tests.support.calls import call, failure, returned
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

HASH = make_password("hunter2")


def name_of_kind(value: Any) -> str:
    return type(value).__name__


# -- what has no form ------------------------------------------------------------------------------------


class Opaque:
    def __repr__(self) -> str:
        raise SystemExit("no word")


def circle() -> dict[str, Any]:
    nested: dict[str, Any] = {}
    nested["again"] = nested
    return nested


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def asynchronous_generator() -> Any:
    async def numbers() -> Any:
        yield 1

    return [numbers()]


async def future() -> Any:
    return {"a": asyncio.get_running_loop().create_future()}


WRONG: dict[str, Any] = {
    "object": returning([Opaque()], list[Any]),
    "object in a result of the SDK": returning(CallToolResult(content=[], structured_content={"a": Opaque()})),
    "circle": circle,
    "deep": deep,
    "asynchronous generator": asynchronous_generator,
    "future": future,
}


@each_era
@pytest.mark.parametrize("handler", WRONG.values(), ids=WRONG)
async def test_what_cannot_be_written_is_answered_with_a_failure(handler: Any, era: str, serve: Serve) -> None:
    tool(name="wrong")(handler)
    tool(name="right")(lambda: "done")
    endpoint = serve()
    message = await response(endpoint, era, "tools/call", {"name": "wrong", "arguments": {}})
    assert message.get("error", {}).get("code") == -32603 or message["result"]["isError"], message
    assert not (await call(endpoint, "right")).get("isError")


@each_mode
@pytest.mark.parametrize("response", [HttpResponse(), JsonResponse({}), StreamingHttpResponse([b"a"])])
async def test_a_response_is_no_result(response: Any, is_async: bool, serve: Serve) -> None:
    tool(returning({"a": response} if is_async else response, is_async=is_async))
    assert await failure(serve(), "made") == "Error executing tool made: return the data, not a response"


# -- numbers ---------------------------------------------------------------------------------------------


@dataclass
class Measured:
    number: float


class Weighed(BaseModel):
    number: float


class Ratio(float):
    """A number of a project's own, as numpy's float64 is."""


TEXT: Any = "nan"
NUMBERS: dict[str, tuple[Any, Any, str]] = {
    "not a number": (float, float("nan"), "nan"),
    "infinite": (float, float("inf"), "inf"),
    "within, without an annotation": (Any, {"a": [Measured(float("inf"))]}, "inf"),
    "subclass of float": (float, Ratio("nan"), "nan"),
    "text": (float, "nan", "nan"),
    "texts": (list[float], ["1", "-Infinity"], "-inf"),
    "text or None": (float | None, "Infinity", "inf"),
    "within a dataclass": (Measured, Measured(TEXT), "nan"),
    "within a model": (list[Weighed], [Weighed(number=TEXT)], "nan"),
    "number of an array": (float, Scalar(float("inf")), "inf"),
    "Decimal": (Decimal, Decimal("NaN"), "NaN"),
    "signalling Decimal": (dict, {"a": Decimal("sNaN")}, "sNaN"),
}


@pytest.mark.parametrize(("kind", "value", "written"), NUMBERS.values(), ids=NUMBERS)
async def test_a_number_that_json_has_not_is_a_tool_error_that_says_so(
    kind: Any, value: Any, written: str, serve: Serve
) -> None:
    tool(returning(value, kind))
    endpoint = serve()
    for era in ERAS:
        answer = await response(endpoint, era, "tools/call", {"name": "made", "arguments": {}})
        text = answer["result"]["content"][0]["text"]
        assert text == f"Error executing tool made: a result contains {written}, which is not a JSON number"


async def test_progress_that_is_no_number_in_json_fails_its_call(serve: Serve) -> None:
    @tool
    async def told(ctx: Context) -> str:
        await ctx.report_progress(float("nan"))
        return "told"

    answer = await response(serve(), "2025-11-25", "tools/call", {"name": "told", "arguments": {}})
    text = answer["result"]["content"][0]["text"]
    assert text == "Error executing tool told: a result contains nan, which is not a JSON number"


@pytest.mark.parametrize(("kind", "value"), [(int, 10**5000), (dict, {"a": [-(10**5000)]})], ids=["alone", "within"])
async def test_a_number_that_python_does_not_write_is_a_tool_error(kind: Any, value: Any, serve: Serve) -> None:
    tool(returning(value, kind))
    assert "an integer of more than 4300 digits, which cannot be sent" in await failure(serve(), "made")


async def test_a_tool_error_of_a_validator_keeps_its_text(serve: Serve) -> None:
    def refuse(number: int) -> int:
        raise ToolError(f"no order has the number {number}")

    def made(number: Any) -> int:
        return int(number)

    made.__annotations__["number"] = Annotated[int, AfterValidator(refuse)]
    tool(made)
    assert "no order has the number 3" in await failure(serve(), "made", {"number": 3})


# -- what is iterable ------------------------------------------------------------------------------------


class Numbers(Sequence[int]):
    """A sequence of a project's own, which may be long."""

    def __init__(self, length: int) -> None:
        self.length, self.threads = length, set[int]()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        self.threads.add(threading.get_ident())
        if index >= self.length:
            raise IndexError
        return index


class Endless:
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class Elsewhere(list[int]):
    """A list that keeps its items elsewhere than where C looks for them."""

    def __iter__(self) -> Iterator[int]:
        return iter([0, 1, 2])

    def __len__(self) -> int:
        return 3


@each_mode
@pytest.mark.parametrize(
    "value",
    [
        *(range(3), collections.deque([0, 1, 2]), Numbers(3), collections.UserList([0, 1, 2]), Elsewhere()),
        *({0: "", 1: "", 2: ""}.keys(), {"a": 0, "b": 1, "c": 2}.values(), memoryview(b"\0\1\2").tolist()),
    ],
    ids=name_of_kind,
)
async def test_what_is_iterable_is_a_list(value: Any, is_async: bool, serve: Serve) -> None:
    tool(returning(value, list[int], is_async))
    tool(name="within")(lambda: {"a": value})
    assert await returned(serve(), "made") == [0, 1, 2]
    assert json.loads((await call(serve(), "within"))["content"][0]["text"]) == {"a": [0, 1, 2]}


@pytest.mark.parametrize(
    "value",
    [MappingProxyType({"a": 1}), collections.ChainMap({"a": 1}), collections.UserDict({"a": 1})],
    ids=name_of_kind,
)
async def test_a_mapping_is_an_object(value: Any, serve: Serve) -> None:
    tool(returning(value, dict[str, int], is_async=True))
    assert await returned(serve(), "made") == {"a": 1}


@each_mode
@pytest.mark.parametrize("value", [range(10**9), Numbers(10**9), Endless()], ids=name_of_kind)
async def test_a_long_one_is_read_in_a_thread_as_far_as_a_result_may_go(
    value: Any, is_async: bool, serve: Serve, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": 10_000}
    tool(returning(value, list[Any], is_async))
    assert "more than 10000 bytes" in await failure(serve(), "made")
    assert threading.get_ident() not in getattr(value, "threads", ())


def test_what_has_a_form_of_its_own_is_no_list() -> None:
    model = Weighed(number=1)
    for value in (1, "ab", b"ab", None, model, ipaddress.ip_network("10.0.0.0/8")):
        assert to_wire(value) is value
    for plain in ([1, "a"], {"a": 1}, (1,), [model], {1, 2}):
        assert to_wire(plain) == plain
    for kind in (memoryview, bytearray):
        assert to_wire([kind(b"ab")]) == [b"ab"] and type(to_wire(kind(b"ab"))) is bytes


def test_what_lazy_has_put_off_is_what_djangos_proxy_casts_it_to() -> None:
    """`_proxy____cast`, which is private: its `str()` is a text for lists and bytes, too."""
    put_off = lazy(lambda: ["a"], list)()
    assert getattr(put_off, "_proxy____cast")() == ["a"]  # noqa: B009 (mypy does not know it)
    assert to_wire({"items": put_off}) == {"items": ["a"]}


# -- password hashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *(collections.deque([HASH]), collections.deque([["bob", HASH]])),
        *({"a": HASH}.values(), collections.UserList([HASH])),
    ],
    ids=name_of_kind,
)
async def test_no_password_hash_leaves_in_what_is_iterable(value: Any, serve: Serve) -> None:
    tool(returning(value, list[Any]))
    assert HASH not in await failure(serve(), "made")


@pytest.mark.parametrize("kind", [dict, MappingProxyType, collections.ChainMap, collections.UserDict])
@pytest.mark.parametrize("members", [{"password": HASH, "a": 1}, {HASH: 1, "a": 1}], ids=["value", "key"])
def test_a_member_with_a_password_hash_is_left_out(kind: Any, members: dict[str, Any]) -> None:
    assert to_wire(kind(members)) == {"a": 1}
