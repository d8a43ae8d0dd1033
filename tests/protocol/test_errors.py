from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.exceptions import BackendError, MCPTransportError, ProtocolError
from mcp_transport.protocol import errors


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("PARSE_ERROR", -32700),
        ("INVALID_REQUEST", -32600),
        ("METHOD_NOT_FOUND", -32601),
        ("INVALID_PARAMS", -32602),
        ("INTERNAL_ERROR", -32603),
        ("HEADER_MISMATCH", -32020),
        ("MISSING_CLIENT_CAPABILITY", -32021),
        ("UNSUPPORTED_VERSION", -32022),
    ],
)
def test_codes_are_those_of_the_specification(name: str, code: int) -> None:
    assert getattr(errors, name) == code


def test_codes_of_our_own_keep_out_of_the_range_that_2026_07_28_reserves() -> None:
    own = [errors.REQUEST_CANCELLED, errors.REQUEST_TIMEOUT]
    assert not [code for code in own if -32099 <= code <= -32020]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-32602, 200),
        (-32603, 200),
        (-32600, 200),
        (-32700, 200),
        (-32002, 200),
        (1, 200),
        (0, 200),
    ],
)
def test_2026_07_28_pins_some_statuses_and_leaves_the_rest_at_200(code: int, status: int) -> None:
    assert errors.sessionless_status(code) == status


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {"jsonrpc": "2.0", "error": {"code": 1, "message": "m"}}),
        ({"request_id": None}, {"jsonrpc": "2.0", "error": {"code": 1, "message": "m"}}),
        ({"request_id": 0}, {"jsonrpc": "2.0", "id": 0, "error": {"code": 1, "message": "m"}}),
        ({"request_id": ""}, {"jsonrpc": "2.0", "id": "", "error": {"code": 1, "message": "m"}}),
        ({"data": {"a": 1}}, {"jsonrpc": "2.0", "error": {"code": 1, "message": "m", "data": {"a": 1}}}),
        ({"data": []}, {"jsonrpc": "2.0", "error": {"code": 1, "message": "m", "data": []}}),
    ],
)
def test_an_error_carries_a_readable_id_or_none_at_all_never_null(
    extra: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert errors.error_body(1, "m", **extra) == expected


def test_an_invalid_request_is_400() -> None:
    error = errors.invalid_request("why")
    assert (error.status, error.code, error.data, error.headers) == (400, -32600, None, ())
    assert "why" in error.message
    assert str(error) == error.message


def test_the_peers_fault_and_the_stores_fault_are_different_branches_of_one_tree() -> None:
    assert issubclass(ProtocolError, MCPTransportError)
    assert issubclass(BackendError, MCPTransportError)
    assert not issubclass(BackendError, ProtocolError)


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (-32002, -32602),
        (-32020, -32020),
        (-32099, -32603),
        (-32050, -32603),
        (-32042, -32603),
        (-32100, -32100),
        (7, 7),
    ],
)
def test_codes_that_2026_07_28_forbids_or_leaves_undefined_are_replaced(code: int, sent: int) -> None:
    assert errors.sessionless_code(code) == sent


@pytest.mark.parametrize("safe", [True, False])
def test_the_error_of_a_call_that_was_not_served_says_whether_to_send_it_again(safe: bool) -> None:
    lost = errors.lost_call_error("its server stopped", safe)
    assert (lost["code"], lost["data"]) == (-32603, {"retryable": safe})
    assert lost["message"].startswith("its server stopped before the call ended")
    assert ("it is safe to retry" in lost["message"]) is safe
    assert errors.abandoned_call_error(3)["data"] == {"retryable": False}
    assert errors.abandoned_call_error(3)["message"].startswith("3 servers")
    assert errors.lost_answer_error()["data"] == {"retryable": False}
    assert errors.cancelled_call_error("its client") == {
        "code": errors.REQUEST_CANCELLED,
        "message": "the request was cancelled by its client",
    }


def test_too_many_values_are_413() -> None:
    error = errors.too_many_values(5)
    assert (error.status, error.code, "5 JSON values" in error.message) == (413, -32600, True)


@pytest.mark.parametrize(
    ("retry_after", "seconds", "milliseconds"), [(0.0, "1", 0), (0.2, "1", 200), (2.5, "3", 2500)]
)
def test_a_request_that_is_refused_for_load_says_whose_limit_it_is_and_when_to_come_back(
    retry_after: float, seconds: str, milliseconds: int
) -> None:
    refusal = errors.refused_for_load(429, "too many", limit="RATE_LIMITS", key="caller", retry_after=retry_after)
    assert (refusal.status, refusal.code) == (429, errors.INTERNAL_ERROR)
    assert refusal.headers == (("Retry-After", seconds),)
    assert refusal.data == {"retryable": True, "limit": "RATE_LIMITS", "key": "caller", "retryAfterMs": milliseconds}
