from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.batch import parse_batch
from mcp_transport.protocol.jsonrpc import Notification, Request, Response


def request(request_id: Any, method: str = "ping") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method}


NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESULT = {"jsonrpc": "2.0", "id": 9, "result": {}}
FAILURE = {"jsonrpc": "2.0", "id": 8, "error": {"code": 1, "message": "no"}}


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([request(1)], [Request]),
        ([NOTE], [Notification]),
        ([RESULT], [Response]),
        ([request(1), NOTE, request("1")], [Request, Notification, Request]),
        ([RESULT, FAILURE], [Response, Response]),
        ([NOTE, NOTE], [Notification, Notification]),
    ],
)
def test_requests_and_notifications_or_responses_in_order(values: list[object], kinds: list[type]) -> None:
    messages, faults = parse_batch(values, 100)
    assert [type(message) for message in messages] == kinds
    assert faults == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "at least one"),
        ([request(1), RESULT], "either"),
        ([NOTE, RESULT], "either"),
        ([RESULT, request(1), NOTE], "either"),
        ([request(1, "initialize")], "initialize"),
        ([request(1), request(2, "initialize")], "initialize"),
        ([request(1), request(1)], "different ids"),
        ([request("a"), NOTE, request("a", "tools/list")], "different ids"),
        ([request(1), {"jsonrpc": "2.0", "id": 1, "method": 5}], "different ids"),
        ([{"id": 1, "method": "ping"}, {"id": 1, "method": "ping"}], "different ids"),
    ],
)
def test_any_other_array_is_refused_as_a_whole(values: list[object], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        parse_batch(values, 100)
    assert (caught.value.status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize(
    ("value", "request_id", "reason"),
    [
        ({}, None, "jsonrpc"),
        ([], None, "must be an object"),
        ([request(1)], None, "must be an object"),
        ("ping", None, "must be an object"),
        (request(None), None, '"id"'),
        ({"jsonrpc": "2.0", "id": "a", "foo": "boo"}, "a", '"method"'),
        ({**request(1), "params": []}, 1, '"params"'),
        ({"jsonrpc": "2.0", "result": {}}, None, '"id"'),
    ],
)
def test_an_element_that_is_no_message_is_refused_by_itself(value: object, request_id: Any, reason: str) -> None:
    messages, (fault,) = parse_batch([request(8), value, NOTE], 100)
    assert [type(message) for message in messages] == [Request, Notification]
    assert (fault.code, fault.request_id) == (-32600, request_id)
    assert reason in fault.message
    assert parse_batch([value], 100)[0] == ()


def test_a_batch_has_a_longest_length() -> None:
    values: list[object] = [request(number) for number in range(5)]
    assert len(parse_batch(values, 5)[0]) == 5
    with pytest.raises(ProtocolError, match="4 messages, got 5"):
        parse_batch(values, 4)


def test_the_length_is_judged_before_the_messages_are_read() -> None:
    with pytest.raises(ProtocolError, match="2 messages, got 3"):
        parse_batch([None, None, None], 2)


@given(st.lists(st.sampled_from([request(1), request(2), request("1"), NOTE, RESULT, {}, None, 5, "x"]), max_size=6))
def test_an_array_is_a_batch_or_the_peers_fault(values: list[object]) -> None:
    try:
        messages, faults = parse_batch(values, 5)
    except ProtocolError as error:
        assert (error.status, error.code) == (400, -32600)
    else:
        assert len(messages) + len(faults) == len(values)
