from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.jsonrpc import Notification, Request, Response, is_request_id, parse_message, rejected_id

V = {"jsonrpc": "2.0"}
ERROR = {"code": -32000, "message": "no"}
BIG = 10**30

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
# Objects that resemble a message: each member is present or not, with a valid value or any.
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON_VALUES,
        "id": st.integers() | st.text() | JSON_VALUES,
        "method": st.text() | JSON_VALUES,
        "params": st.dictionaries(st.text(), JSON_VALUES, max_size=2) | JSON_VALUES,
        "result": st.dictionaries(st.text(), JSON_VALUES, max_size=2) | JSON_VALUES,
        "error": st.just(ERROR) | st.fixed_dictionaries({"code": JSON_VALUES, "message": JSON_VALUES}) | JSON_VALUES,
        "extra": JSON_VALUES,
    },
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({**V, "id": 1, "method": "ping"}, Request(1, "ping", None)),
        ({**V, "id": 0, "method": "ping"}, Request(0, "ping", None)),
        ({**V, "id": -7, "method": "ping"}, Request(-7, "ping", None)),
        ({**V, "id": BIG, "method": "ping"}, Request(BIG, "ping", None)),
        ({**V, "id": "", "method": "ping"}, Request("", "ping", None)),
        ({**V, "id": "a b", "method": "x/y", "params": {}}, Request("a b", "x/y", {})),
        ({**V, "id": 1, "method": "x", "params": {"a": [1]}, "more": 1}, Request(1, "x", {"a": [1]})),
        ({**V, "method": "notifications/initialized"}, Notification("notifications/initialized", None)),
        ({**V, "method": "n", "params": {"a": 1}}, Notification("n", {"a": 1})),
        ({**V, "id": 1, "result": {}}, Response(1, {}, None)),
        ({**V, "id": "s", "result": {"a": 1}}, Response("s", {"a": 1}, None)),
        ({**V, "id": 1, "error": ERROR}, Response(1, None, ERROR)),
        ({**V, "id": 1, "error": {**ERROR, "data": [1]}}, Response(1, None, {**ERROR, "data": [1]})),
        ({**V, "id": 1, "result": {}, "error": None}, Response(1, {}, None)),
        ({**V, "id": 1, "result": None, "error": ERROR}, Response(1, None, ERROR)),
        ({**V, "id": 1, "result": {"a": 1}, "error": None, "more": 1, "params": {}}, Response(1, {"a": 1}, None)),
        ({**V, "id": 1, "method": "ping", "params": None}, Request(1, "ping", None)),
        ({**V, "id": 1, "method": "ping", "result": None, "error": None}, Request(1, "ping", None)),
        ({**V, "method": "n", "params": []}, Notification("n", None)),
        ({**V, "method": "n", "params": None}, Notification("n", None)),
        ({**V, "method": "n", "params": False}, Notification("n", None)),
    ],
)
def test_well_formed_messages(value: object, expected: object) -> None:
    message = parse_message(value)
    assert message == expected
    assert type(message) is type(expected)


MALFORMED: list[tuple[str, object, str]] = [
    ("null", None, "must be an object"),
    ("boolean", True, "must be an object"),
    ("number", 1, "must be an object"),
    ("string", "ping", "must be an object"),
    ("array", [], "must be an object"),
    ("array of a message", [{**V, "id": 1, "method": "ping"}], "must be an object"),
    ("empty object", {}, "jsonrpc"),
    ("jsonrpc missing", {"id": 1, "method": "ping"}, "jsonrpc"),
    ("jsonrpc 1.0", {"jsonrpc": "1.0", "id": 1, "method": "ping"}, "jsonrpc"),
    ("jsonrpc a number", {"jsonrpc": 2.0, "id": 1, "method": "ping"}, "jsonrpc"),
    ("jsonrpc an integer", {"jsonrpc": 2, "id": 1, "method": "ping"}, "jsonrpc"),
    ("jsonrpc null", {"jsonrpc": None, "id": 1, "method": "ping"}, "jsonrpc"),
    ("only jsonrpc", V, "method"),
    ("only an id", {**V, "id": 1}, "method"),
    ("params without a method", {**V, "id": 1, "params": {}}, "method"),
    ("id null", {**V, "id": None, "method": "ping"}, '"id".*null'),
    ("id true", {**V, "id": True, "method": "ping"}, '"id".*boolean'),
    ("id false", {**V, "id": False, "method": "ping"}, '"id".*boolean'),
    ("id fractional", {**V, "id": 1.5, "method": "ping"}, '"id".*number'),
    ("id a whole float", {**V, "id": 1.0, "method": "ping"}, '"id".*number'),
    ("id object", {**V, "id": {}, "method": "ping"}, '"id".*object'),
    ("id array", {**V, "id": [1], "method": "ping"}, '"id".*array'),
    ("method null", {**V, "id": 1, "method": None}, '"method".*null'),
    ("method number", {**V, "id": 1, "method": 5}, '"method".*integer'),
    ("method object", {**V, "id": 1, "method": {}}, '"method".*object'),
    ("method empty", {**V, "id": 1, "method": ""}, '"method"'),
    ("params array", {**V, "id": 1, "method": "ping", "params": []}, '"params".*array'),
    ("params string", {**V, "id": 1, "method": "ping", "params": "x"}, '"params".*string'),
    ("params number", {**V, "id": 1, "method": "ping", "params": 0}, '"params".*integer'),
    ("params false", {**V, "id": 1, "method": "n", "params": False}, '"params".*boolean'),
    ("request and result", {**V, "id": 1, "method": "ping", "result": {}}, '"method" must not'),
    ("request and error", {**V, "id": 1, "method": "ping", "error": ERROR}, '"method" must not'),
    ("notification and result", {**V, "method": "n", "result": {}}, '"method" must not'),
    ("response without id", {**V, "result": {}}, '"id"'),
    ("error without id", {**V, "error": ERROR}, '"id"'),
    ("response id null", {**V, "id": None, "result": {}}, '"id".*null'),
    ("response id true", {**V, "id": True, "result": {}}, '"id".*boolean'),
    ("response id float", {**V, "id": 0.5, "result": {}}, '"id".*number'),
    ("response id object", {**V, "id": {}, "error": ERROR}, '"id".*object'),
]

UNUSABLE: list[tuple[str, object, str]] = [
    ("both result and error", {**V, "id": 1, "result": {}, "error": ERROR}, "not both"),
    ("both null", {**V, "id": 1, "result": None, "error": None}, '"result".*null'),
    ("a wrong result and an error", {**V, "id": 1, "result": 5, "error": ERROR}, "not both"),
    ("result null", {**V, "id": 1, "result": None}, '"result".*null'),
    ("result array", {**V, "id": 1, "result": []}, '"result".*array'),
    ("result string", {**V, "id": 1, "result": "ok"}, '"result".*string'),
    ("error null", {**V, "id": 1, "error": None}, '"error".*null'),
    ("error string", {**V, "id": 1, "error": "no"}, '"error".*string'),
    ("error empty", {**V, "id": 1, "error": {}}, '"code"'),
    ("error without code", {**V, "id": 1, "error": {"message": "no"}}, '"code"'),
    ("error without message", {**V, "id": 1, "error": {"code": 1}}, '"message"'),
    ("error code a string", {**V, "id": 1, "error": {"code": "1", "message": "no"}}, '"code"'),
    ("error code true", {**V, "id": 1, "error": {"code": True, "message": "no"}}, '"code"'),
    ("error code float", {**V, "id": 1, "error": {"code": 1.5, "message": "no"}}, '"code"'),
    ("error message a number", {**V, "id": 1, "error": {"code": 1, "message": 5}}, '"message"'),
    ("error message null", {**V, "id": 1, "error": {"code": 1, "message": None}}, '"message"'),
]


@pytest.mark.parametrize(("value", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_malformed_messages_are_refused_naming_what_is_wrong(value: object, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        parse_message(value)
    assert (caught.value.status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize(("value", "reason"), [case[1:] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE])
def test_a_response_that_cannot_be_used_says_why(value: object, reason: str) -> None:
    response = parse_message(value)
    assert isinstance(response, Response)
    assert (response.id, response.result, response.error) == (1, None, None)
    assert re.search(reason, response.fault)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({**V, "id": 1, "method": "ping"}, 1),
        ({"id": "a", "method": 5}, "a"),
        ({**V, "id": 1}, 1),
        ({**V, "id": 1.5, "method": "ping"}, None),
        ({**V, "method": "n"}, None),
        ({**V, "id": 1, "result": {}}, None),
        ({**V, "id": 1, "error": ERROR}, None),
        ([1], None),
        (None, None),
    ],
)
def test_a_refusal_has_the_id_of_a_request_and_never_that_of_a_response(value: object, expected: object) -> None:
    assert rejected_id(value) == expected


@given(JSON_VALUES | ALMOST | ALMOST.map(lambda members: {**members, **V}))
@example({**V, "id": 1, "error": {"code": {}, "message": "x"}})
@example({**V, "id": float("nan"), "method": "ping"})
def test_any_json_value_is_a_message_or_the_peers_fault(value: Any) -> None:
    try:
        message = parse_message(value)
    except ProtocolError as error:
        assert (error.status, error.code) == (400, -32600)
        return
    assert value["jsonrpc"] == "2.0"
    if isinstance(message, Response):
        assert "method" not in value
        assert [message.result is None, message.error is None, message.fault == ""].count(False) == 1
        assert message.error is None or type(message.error["code"]) is int
        assert type(message.id) in (int, str)
        return
    assert message.method == value["method"] != ""
    assert message.params is None or isinstance(message.params, dict)
    assert isinstance(message, Request) == ("id" in value)
    if isinstance(message, Request):
        assert message.id == value["id"]
        assert type(message.id) in (int, str)


def test_strings_and_integers_are_ids_and_nothing_else_is() -> None:
    values = [1, -1, "", "x", BIG, None, True, False, 1.0, 1.5, float("nan"), [], {}, (), b"x"]
    assert [value for value in values if is_request_id(value)] == [1, -1, "", "x", BIG]


def test_a_method_has_up_to_128_characters() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "m" * 128}
    assert parse_message(message) == Request(1, "m" * 128, None)
    for id in ({"id": 1}, {}):
        with pytest.raises(ProtocolError, match='"method" may have at most 128 characters, got 4000000') as caught:
            parse_message({"jsonrpc": "2.0", **id, "method": "m" * 4_000_000})
        assert (caught.value.status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize(
    ("params", "meta", "token"),
    [
        (None, {}, None),
        ({"_meta": [1]}, {}, None),
        ({"_meta": {"progressToken": "p"}}, {"progressToken": "p"}, "p"),
        ({"_meta": {"progressToken": 7}}, {"progressToken": 7}, 7),
        ({"_meta": {"progressToken": 1.5}}, {"progressToken": 1.5}, None),
    ],
)
def test_a_request_says_what_its_progress_is_named_by(params: Any, meta: dict[str, Any], token: Any) -> None:
    request = Request(1, "ping", params)
    assert (request.meta, request.progress_token) == (meta, token)


@pytest.mark.parametrize(
    ("method", "params", "operation"),
    [
        ("tools/call", {"name": "add", "arguments": {"a": "secret"}}, "tools/call add"),
        ("prompts/get", {"name": "greet"}, "prompts/get greet"),
        ("resources/read", {"uri": "shop://orders/7"}, "resources/read"),
        ("completion/complete", {"name": "x", "ref": {}}, "completion/complete"),
        ("ping", None, "ping"),
        ("tools/call", None, "tools/call"),
        ("tools/call", {"name": ""}, "tools/call"),
        ("tools/call", {"name": ["a"]}, "tools/call"),
        ("tools/call", {"name": "n" * 1000}, "tools/call " + "n" * 89),
        ("m" * 1000, {}, "m" * 100),
    ],
)
def test_operation_is_the_method_and_the_name_of_what_is_declared(method: str, params: Any, operation: str) -> None:
    assert Request(1, method, params).operation == operation
