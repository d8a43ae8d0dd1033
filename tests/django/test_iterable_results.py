"""Whatever can be iterated over is sent as a list, read in the call's thread, and holds no password hash."""

from __future__ import annotations

import base64
import collections
import ipaddress
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from django.contrib.auth.hashers import make_password
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse

from mcp_transport import resource, tool
from mcp_transport.serialization import to_wire
from tests.support.calls import call, failure, result_of, returned

pytestmark = pytest.mark.usefixtures("declarations")

HASH = make_password("hunter2")


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


@pytest.mark.parametrize(
    "value",
    [
        range(3),
        collections.deque([0, 1, 2]),
        Numbers(3),
        {0: "", 1: "", 2: ""}.keys(),
        {"a": 0, "b": 1, "c": 2}.values(),
        collections.UserList([0, 1, 2]),
        memoryview(b"\0\1\2").tolist(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_is_iterable_is_a_list(value: Any, is_async: bool, serve: Any) -> None:
    def plain() -> list[int]:
        return value  # type: ignore[no-any-return]

    async def coroutine() -> list[int]:
        return value  # type: ignore[no-any-return]

    tool(name="numbers")(coroutine if is_async else plain)
    assert await returned(serve(), "numbers") == [0, 1, 2]


@pytest.mark.parametrize(
    "value",
    [MappingProxyType({"a": 1}), collections.ChainMap({"a": 1}), collections.UserDict({"a": 1})],
    ids=lambda value: type(value).__name__,
)
async def test_a_mapping_is_an_object(value: Mapping[str, int], serve: Any) -> None:
    @tool
    async def members() -> dict[str, int]:
        return value  # type: ignore[return-value]

    assert await returned(serve(), "members") == {"a": 1}


@pytest.mark.parametrize("value", [range(10**9), Numbers(10**9), Endless()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_long_one_is_read_in_a_thread_as_far_as_a_result_may_go(
    value: Any, is_async: bool, serve: Any, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": 10_000}

    def plain() -> list[Any]:
        return value  # type: ignore[no-any-return]

    async def coroutine() -> list[Any]:
        return value  # type: ignore[no-any-return]

    tool(name="numbers")(coroutine if is_async else plain)
    result = await call(serve(), "numbers")
    assert result["isError"] and "more than 10000 bytes" in result["content"][0]["text"]
    assert threading.get_ident() not in getattr(value, "threads", ())


@pytest.mark.parametrize(
    "value",
    [
        collections.deque([HASH]),
        collections.deque([["bob", HASH]]),
        {"a": HASH}.values(),
        collections.UserList([HASH]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_no_password_hash_leaves_in_one(value: Any, serve: Any) -> None:
    @tool
    def rows() -> list[Any]:
        return value  # type: ignore[no-any-return]

    result = await call(serve(), "rows")
    assert result["isError"] and HASH not in str(result)


@pytest.mark.parametrize("kind", [memoryview, bytearray])
def test_a_buffer_is_bytes(kind: Any) -> None:
    assert to_wire([kind(b"ab")]) == [b"ab"] and type(to_wire(kind(b"ab"))) is bytes


@pytest.mark.parametrize("kind", [memoryview, bytearray, bytes])
async def test_a_resource_may_be_a_buffer(kind: Any, serve: Any) -> None:
    resource("shop://logo", name="logo")(lambda: kind(b"\x89PNG"))
    [content] = (await result_of(serve(), "resources/read", {"uri": "shop://logo"}))["contents"]
    assert base64.b64decode(content["blob"]) == b"\x89PNG"


class Elsewhere(list[int]):
    """A list that keeps its items elsewhere than where C looks for them."""

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    def __len__(self) -> int:
        return 2


async def test_a_list_is_what_it_iterates_over(serve: Any) -> None:
    tool(name="plain")(lambda: {"a": Elsewhere()})
    assert to_wire({"a": Elsewhere()}) == {"a": [1, 2]}
    assert orjson.loads((await call(serve(), "plain"))["content"][0]["text"]) == {"a": [1, 2]}


@pytest.mark.parametrize("made", [HttpResponse, lambda: JsonResponse({}), lambda: StreamingHttpResponse([b"a"])])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_response_is_no_result(made: Any, is_async: bool, serve: Any) -> None:
    async def later() -> Any:
        return {"a": made()}

    tool(name="made")(later if is_async else lambda: made())
    assert await failure(serve(), "made") == "Error executing tool made: return the data, not a response"


@pytest.mark.parametrize("kind", [dict, MappingProxyType, collections.ChainMap, collections.UserDict])
@pytest.mark.parametrize("members", [{"password": HASH, "a": 1}, {HASH: 1, "a": 1}], ids=["value", "key"])
def test_a_member_with_a_password_hash_is_left_out(kind: Any, members: dict[str, Any]) -> None:
    assert to_wire(kind(members)) == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [b"ab", "ab", ipaddress.ip_network("10.0.0.0/8")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_a_form_of_its_own_is_no_list(value: Any) -> None:
    assert to_wire(value) is value
