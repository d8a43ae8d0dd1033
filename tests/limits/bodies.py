"""Limits of bodies and of what stands in them, in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from mcp_transport.domain.policy import Policy
from mcp_transport.engine import param_limits
from mcp_transport.engine.param_limits import MAX_LENGTHS
from mcp_transport.engine.sessionful.initialize import _MAX_CLIENT_BYTES
from mcp_transport.protocol.jsonrpc import MAX_ID, MAX_METHOD
from tests.limits.cases import Stage, case
from tests.support.client import ENVELOPE, Answer, SessionClient, request, send, send_sessionless

POLICY = Policy()


async def in_both_eras(stage: Stage, method: str, params: dict[str, Any]) -> Answer:
    """Send a request as one of a session and as one that stands alone; both are answered alike."""
    alone = await send_sessionless(
        stage.endpoint, method, params, meta=params.get("_meta"), headers={"mcp-name": "-"}
    )
    answer = await stage.client.request(method, params, id=1)
    await asyncio.sleep(0)  # what many requests take together, no callback took
    assert (alone.status, alone.json["error"]) == (answer.status, answer.json["error"])
    assert alone.json["id"] == answer.json["id"] == 1
    return answer


async def is_taken(stage: Stage, method: str, params: dict[str, Any]) -> bool:
    """Tell whether a request gets as far as to its handler, or to be told that there is no such thing."""
    answer = await stage.client.request(method, params)
    return answer.status == 200


@case("bytes of a body", POLICY.max_request_bytes)
async def body_bytes(stage: Stage) -> Answer:
    text = "x" * (POLICY.max_request_bytes - 200)
    assert (await stage.client.call("talk", {"level": "info", "text": text})).status == 200
    return await send(stage.endpoint, raw=b"[" * (POLICY.max_request_bytes + 1))


@case("JSON values in a body, counted before it is decoded", POLICY.max_request_values)
async def body_values(stage: Stage) -> Answer:
    most = POLICY.max_request_values
    # The message, its parameters, their arguments and its `_meta` take some.
    assert (await stage.client.request("ping", {"a": [0] * (most - 20)})).status == 200
    values: tuple[Any, ...] = ({}, [], 0, "", None, {"a": {}})
    for value in values:
        too_many = {"name": "add", "arguments": {"a": [value] * most}}
        for params in (too_many, {"name": "add", "_meta": {"a": [value] * most}}, {"other": [value] * most}):
            answer = await in_both_eras(stage, "tools/call", params)
    reply = await stage.client.reply("x.1.y", {"a": [0] * most})
    assert (reply.status, "id" in reply.json) == (413, False), "an error with this id could be taken for a call's"
    assert (await stage.client.notify("notifications/progress", {"a": [0] * most})).status == 413
    for raw in (b"[" + b"[]," * most + b"1]", b'{"a":1' + b',"a":1' * most + b"}", b"[" * (most + 1)):
        assert (await send(stage.endpoint, raw=raw, headers=stage.client.headers)).status == 413
    return answer


@case("nesting of a body", 1024)
async def nesting(stage: Stage) -> Answer:
    def raw(depth: int) -> bytes:
        inside = depth - 2  # the message and its parameters
        body = json.dumps(request("ping", {"a": "?"}, id=depth))
        return body.replace('"?"', "[" * inside + "]" * inside).encode()

    assert (await send(stage.endpoint, raw=raw(1024), headers=stage.client.headers)).status == 200
    answer = await send(stage.endpoint, raw=raw(1025), headers=stage.client.headers)
    assert answer.json["id"] == 1025
    return answer


@case("an integer in a body", 308)
async def integers(stage: Stage) -> Answer:
    for number in (2**64 - 1, -(2**63), 2**64, 10**308 - 1, 1 - 10**308):
        assert (await stage.client.request("ping", {"a": number})).status == 200
    for number in (10**309, -(10**309), 10**4000):
        answer = await stage.client.request("ping", {"a": number}, id=1)
        assert answer.json["id"] == 1
    digits = b'{"jsonrpc":"2.0","id":' + b"9" * 4_000_000 + b',"method":"ping"}'
    assert (await send(stage.endpoint, raw=digits, headers=stage.client.headers)).status == 400
    return answer


@case("time for a body to arrive, if it is read from the socket (ASGI mount; not daphne)", POLICY.body_timeout)
async def body_time(stage: Stage) -> Answer:
    async def stops() -> AsyncIterator[bytes]:
        yield b"{"
        raise TimeoutError  # as the adapter does

    return await send(stage.endpoint, chunks=stops())


@case("messages in a batch (2025-03-26)", POLICY.max_batch)
async def batch(stage: Stage) -> Answer:
    old = SessionClient(stage.endpoint, "2025-03-26")
    await old.open()
    messages = [request("ping", id=number) for number in range(POLICY.max_batch + 1)]
    assert (await old.post(messages[1:])).status == 200
    return await old.post(messages)


@case("a request id", MAX_ID)
async def request_id(stage: Stage) -> Answer:
    assert (await stage.client.request("ping", id="é" * MAX_ID)).status == 200
    return await stage.client.request("ping", id="é" * (MAX_ID + 1))


@case("a method", MAX_METHOD)
async def method(stage: Stage) -> Answer:
    assert (await stage.client.request("x" * MAX_METHOD)).error_code == -32601
    assert (await stage.client.notify("x" * (MAX_METHOD + 1))).status == 400
    return await in_both_eras(stage, "x" * (MAX_METHOD + 1), {})


@case("a progress token", MAX_LENGTHS["_meta.progressToken"])
async def progress_token(stage: Stage) -> Answer:
    def params(length: int) -> dict[str, Any]:
        arguments = {"a": 1, "b": 2, "c": "x" * 600}
        return {"name": "add", "arguments": arguments, "_meta": {"progressToken": "x" * length}}

    assert await is_taken(stage, "tools/call", params(MAX_ID))
    return await in_both_eras(stage, "tools/call", params(MAX_ID + 1))


@case("the name of a tool, a prompt or a completed argument", MAX_LENGTHS["name"])
async def names(stage: Stage) -> Answer:
    assert MAX_LENGTHS["ref.name"] == MAX_LENGTHS["argument.name"] == MAX_LENGTHS["name"]
    long = "x" * (MAX_LENGTHS["name"] + 1)
    assert await is_taken(stage, "tools/call", {"name": long[1:]})
    answer = await in_both_eras(stage, "tools/call", {"name": long})
    for reference, argument in (("x", long), (long, "x")):
        params = {
            "ref": {"type": "ref/prompt", "name": reference},
            "argument": {"name": argument, "value": ""},
        }
        assert (await in_both_eras(stage, "completion/complete", params)).status == 400
    assert (await in_both_eras(stage, "prompts/get", {"name": "x" * 4_000_000})).status == 400
    return answer


@case("a URI", MAX_LENGTHS["uri"])
async def uris(stage: Stage) -> Answer:
    assert MAX_LENGTHS["ref.uri"] == MAX_LENGTHS["uri"]
    long = "test://".ljust(MAX_LENGTHS["uri"] + 1, "x")
    assert await is_taken(stage, "resources/subscribe", {"uri": long[:-1]})
    for name in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        answer = await in_both_eras(stage, name, {"uri": long})
    params = {"ref": {"type": "ref/resource", "uri": long}, "argument": {"name": "a", "value": ""}}
    await in_both_eras(stage, "completion/complete", params)
    return answer


@case("a cursor", MAX_LENGTHS["cursor"])
async def cursors(stage: Stage) -> Answer:
    assert await is_taken(stage, "tools/list", {"cursor": "x" * MAX_LENGTHS["cursor"]})
    return await in_both_eras(stage, "tools/list", {"cursor": "x" * (MAX_LENGTHS["cursor"] + 1)})


@case("`requestState`", MAX_LENGTHS["requestState"])
async def request_state(stage: Stage) -> Answer:
    longest = {"name": "confirm", "requestState": "x" * MAX_LENGTHS["requestState"]}
    taken = await send_sessionless(stage.endpoint, "tools/call", longest)
    assert "requestState may have" not in taken.body.decode()
    return await in_both_eras(stage, "tools/call", {**longest, "requestState": longest["requestState"] + "x"})


@case("responses in `inputResponses`", param_limits.MAX_INPUT_RESPONSES)
async def input_responses(stage: Stage) -> Answer:
    def params(number: int) -> dict[str, Any]:
        return {"name": "confirm", "inputResponses": {f"a{index}": {"action": "decline"} for index in range(number)}}

    taken = await send_sessionless(stage.endpoint, "tools/call", params(param_limits.MAX_INPUT_RESPONSES))
    assert "inputResponses may hold" not in taken.body.decode()
    return await in_both_eras(stage, "tools/call", params(param_limits.MAX_INPUT_RESPONSES + 1))


@case("URIs of a `subscriptions/listen`", param_limits.MAX_LISTEN_URIS)
async def listened(stage: Stage) -> Answer:
    def params(number: int) -> dict[str, Any]:
        return {"notifications": {"resourceSubscriptions": [f"test://{index}" for index in range(number)]}}

    taken = await send_sessionless(stage.endpoint, "subscriptions/listen", params(param_limits.MAX_LISTEN_URIS))
    assert taken.status == 200
    taken.close()
    numbers = {"notifications": {"resourceSubscriptions": [1] * 90_000}}
    assert (await in_both_eras(stage, "subscriptions/listen", numbers)).status == 400
    return await in_both_eras(stage, "subscriptions/listen", params(param_limits.MAX_LISTEN_URIS + 1))


@case("the filter of a `subscriptions/listen`", param_limits.MAX_LISTEN_BYTES)
async def filter_bytes(stage: Stage) -> Answer:
    def params(length: int) -> dict[str, Any]:
        return {"notifications": {"other": "x" * length}}

    room = param_limits.MAX_LISTEN_BYTES - len('{"other":""}')
    taken = await send_sessionless(stage.endpoint, "subscriptions/listen", params(room))
    assert taken.status == 200
    taken.close()
    return await in_both_eras(stage, "subscriptions/listen", params(room + 1))


@case("`_meta`", param_limits.MAX_META_BYTES)
async def meta_bytes(stage: Stage) -> Answer:
    room = param_limits.MAX_META_BYTES - len(json.dumps({**ENVELOPE, "a": ""}, separators=(",", ":")))
    assert (await send_sessionless(stage.endpoint, "server/discover", meta={"a": "x" * room})).status == 200
    assert (await send_sessionless(stage.endpoint, "server/discover", meta={"a": "x" * (room + 1)})).status == 400
    return await in_both_eras(stage, "tools/call", {"name": "add", "_meta": {"a": ["x"] * 20_000}})


@case("`clientInfo` and `capabilities` of `initialize` together", _MAX_CLIENT_BYTES)
async def client_bytes(stage: Stage) -> Answer:
    def params(name: int) -> dict[str, Any]:
        about = {"clientInfo": {"name": "x" * name, "version": "1"}, "capabilities": {"experimental": {}}}
        return {"protocolVersion": "2025-11-25", **about}

    empty = len(json.dumps(params(0)["clientInfo"], separators=(",", ":")) + '{"experimental":{}}')
    taken = await send(stage.endpoint, body=request("initialize", params(_MAX_CLIENT_BYTES - empty)))
    assert taken.status == 200
    return await send(stage.endpoint, body=request("initialize", params(_MAX_CLIENT_BYTES - empty + 1)))
