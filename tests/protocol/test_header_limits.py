"""Headers over a limit are refused before any of them is parsed."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.headers import MAX_CHARACTERS, MAX_LINES, MAX_LIST, Headers, check_limits
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.request_checks import check_before_authentication

Lines = list[tuple[str, str]]

HOST = ("host", "localhost")
OVER: dict[str, Lines] = {
    "equal lines": [("a", "1")] * (MAX_LINES + 1),
    "different lines": [(f"a{number}", "1") for number in range(MAX_LINES + 1)],
    "a long value": [("a", "1" * MAX_CHARACTERS)],
    "a long name": [("a" * MAX_CHARACTERS, "1")],
    "a long host": [("host", "a" * MAX_CHARACTERS)],
    "a long origin": [("origin", "https://" + "a" * MAX_CHARACTERS)],
    "long credentials": [("authorization", "Bearer " + "a" * MAX_CHARACTERS)],
    "long cookies": [("cookie", "a=1;" * MAX_CHARACTERS)],
    "long lines, equal names": [("a", "1" * 1000)] * 100,
    "long lines, other names": [(f"a{number}", "1" * 1000) for number in range(100)],
}
MAKERS = {
    "as ASGI has them": lambda lines: Headers.from_asgi([(name.encode(), value.encode()) for name, value in lines]),
    "as WSGI has them": Headers,
}

either = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def refusal(headers: Headers) -> ProtocolError:
    with pytest.raises(ProtocolError) as raised:
        check_before_authentication(HTTPRequest(method="POST", headers=headers), Policy())
    return raised.value


@either
@pytest.mark.parametrize("lines", OVER.values(), ids=OVER)
def test_headers_over_a_limit_are_refused_with_431_and_look_empty(make: Any, lines: Any) -> None:
    headers = make([("origin", "https://evil.example"), *lines])
    assert (refusal(headers).status, refusal(headers).code) == (431, -32600)
    assert not list(headers)
    assert headers.get("origin") is None
    assert not headers.repeated


@either
def test_headers_of_exactly_the_limits_are_read(make: Any) -> None:
    used = sum(map(len, HOST)) + MAX_LINES - 2 + 1
    lines = [HOST, *[("a", "")] * (MAX_LINES - 2), ("b", "x" * (MAX_CHARACTERS - used))]
    headers = make(lines)
    assert headers.count == MAX_LINES
    check_limits(headers)
    assert headers["b"].startswith("x")


@either
@pytest.mark.parametrize("name", ["accept", "content-type", "access-control-request-headers"])
def test_a_list_longer_than_its_limit_is_refused_by_name(make: Any, name: str) -> None:
    check_limits(make([(name, "," * MAX_LIST)]))
    assert name in str(refusal(make([HOST, (name, "," * (MAX_LIST + 1))])))
    assert name in str(refusal(make([HOST, (name, "," * 600), (name, "," * 600)])))


def test_a_refusal_says_what_is_allowed_and_what_came() -> None:
    assert str(refusal(Headers([("a", "1")] * 300))) == "the headers may have at most 200 lines, got 300: send fewer"
    assert "65536 characters, got 100001" in str(refusal(Headers([("a", "1" * 100_000)])))
