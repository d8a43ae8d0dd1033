"""The request checks: a request that fails each check, and one that fails each pair of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.request_checks import (
    ClassifiedPost,
    InitializePost,
    SessionlessPost,
    SessionPost,
    body_too_large,
    check_before_authentication,
    check_before_body,
    check_version,
    classify,
    required_session_id,
)

POLICY = Policy(max_request_bytes=1000, max_batch=3)
BOTH = "application/json, text/event-stream"


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request that passes all checks, and variants of it."""

    method: str = "POST"
    headers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    body: Any = None
    streaming: bool = True
    policy: Policy = POLICY

    def having(self, **headers: str | tuple[str, ...]) -> Exchange:
        changed = {
            name.replace("_", "-"): (line,) if isinstance(line, str) else line for name, line in headers.items()
        }
        return replace(self, headers={**self.headers, **changed})

    def request(self) -> HTTPRequest:
        defaults = {"host": ("localhost:8000",), "accept": (BOTH,)}
        if self.method == "POST":
            defaults["content-type"] = ("application/json",)
        lines = [(name, line) for name, values in {**defaults, **self.headers}.items() for line in values]
        return HTTPRequest(method=self.method, headers=Headers(lines), streaming=self.streaming)

    def run(self) -> ClassifiedPost | None:
        """Run the checks in the order of the endpoint."""
        request = self.request()
        check_before_authentication(request, self.policy)
        check_before_body(request, self.policy)
        if request.method != "POST":
            return None
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"} if self.body is None else self.body
        return classify(request, body, self.policy)


Break = Callable[[Exchange], Exchange]

# A change that fails each check, its status, and words of its message, in order.
CHECKS: dict[str, tuple[Break, int, str]] = {
    "origin": (lambda sent: sent.having(origin="http://evil.com"), 403, "Origin"),
    "plain headers": (lambda sent: sent.having(mcp_name="caf\xe9"), 400, "mcp-name header must be visible ASCII"),
    "single headers": (lambda sent: sent.having(mcp_method=("a", "a")), 400, "mcp-method header must appear once"),
    "host": (lambda sent: sent.having(host="evil.com"), 400, "Host header not in ALLOWED_HOSTS"),
    "media type": (lambda sent: sent.having(content_type="text/plain"), 415, "Content-Type"),
    "encoding": (lambda sent: sent.having(content_encoding="gzip"), 415, "Content-Encoding"),
    "accept": (lambda sent: sent.having(accept="text/html"), 406, "Accept"),
    "length": (lambda sent: sent.having(content_length="1001"), 413, "1000 bytes"),
    "shape": (lambda sent: replace(sent, body={"id": 1, "method": "ping"}), 400, "jsonrpc"),
}
ORDER = list(CHECKS)


def refusal(sent: Exchange) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        sent.run()
    return caught.value


def test_a_request_that_breaks_nothing_passes_all() -> None:
    assert isinstance(Exchange().run(), SessionPost)
    assert Exchange(method="GET").run() is None
    assert Exchange(method="DELETE").run() is None


@pytest.mark.parametrize("check", ORDER)
def test_each_check_refuses_what_breaks_it(check: str) -> None:
    breaks, status, text = CHECKS[check]
    error = refusal(breaks(Exchange()))
    assert (error.status, error.code) == (status, -32600)
    assert text in error.message


@pytest.mark.parametrize(
    ("lower", "upper"), [(lower, upper) for at, lower in enumerate(ORDER) for upper in ORDER[at + 1 :]]
)
def test_a_request_that_breaks_two_checks_is_refused_by_the_lower_one(lower: str, upper: str) -> None:
    broken = CHECKS[upper][0](CHECKS[lower][0](Exchange()))
    error = refusal(broken)
    assert (error.status, CHECKS[lower][2] in error.message) == (CHECKS[lower][1], True)


# The check of the method comes between Origin and the media type. Only a POST has a media type, so the next check
# that can fail as well is Accept (of a GET).
NO_GET = Exchange(method="GET", streaming=False)


def test_a_method_that_is_not_served_is_405_and_names_those_that_are() -> None:
    error = refusal(Exchange(method="PUT"))
    assert (error.status, error.code) == (405, -32600)
    assert dict(error.headers)["Allow"] == "POST, OPTIONS, GET, DELETE"


def test_origin_is_judged_before_the_method() -> None:
    assert refusal(Exchange(method="PUT").having(origin="http://evil.com")).status == 403


def test_the_method_is_judged_before_accept_and_length() -> None:
    assert refusal(NO_GET.having(accept="text/html")).status == 405
    assert refusal(Exchange(method="PUT").having(content_length="1001")).status == 405


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "TRACE", "get", "post", ""])
def test_methods_that_are_never_served(method: str) -> None:
    assert refusal(Exchange(method=method)).status == 405


@pytest.mark.parametrize(
    ("method", "versions", "streaming", "allowed"),
    [
        ("GET", ("2026-07-28",), True, "POST, OPTIONS"),
        ("DELETE", ("2026-07-28",), True, "POST, OPTIONS"),
        ("GET", ("2025-11-25", "2026-07-28"), False, "POST, OPTIONS, DELETE"),
    ],
)
def test_get_and_delete_need_sessions_and_get_needs_streaming(
    method: str, versions: tuple[str, ...], streaming: bool, allowed: str
) -> None:
    error = refusal(Exchange(method=method, streaming=streaming, policy=replace(POLICY, versions=versions)))
    assert error.status == 405
    assert dict(error.headers)["Allow"] == allowed


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-session-id", "mcp-name", "last-event-id", "accept"])
@pytest.mark.parametrize("value", ["a\x00", "\x7f", "a\x1fb", "\x80", "\xff", "a\x0bb"])
def test_headers_that_matter_hold_visible_ascii_space_and_tab(name: str, value: str) -> None:
    error = refusal(replace(Exchange(), headers={name: (f"x{value}x",)}))
    assert (error.status, error.code) == (400, -32600)
    assert f"{name} header must be visible ASCII" in error.message


def test_parameter_headers_matter_and_other_headers_do_not() -> None:
    assert "mcp-param-city" in refusal(Exchange().having(mcp_param_city="Z\xfcrich")).message
    assert Exchange().having(user_agent="caf\xe9", mcp_param_city="a\tb ~").run()


@pytest.mark.parametrize("lines", [("http://localhost:8000",) * 2, ("",), ("http://\xe9vil.example",), ("null",)])
def test_an_origin_that_is_no_origin_of_ours_is_forbidden_whatever_else_is_wrong(lines: tuple[str, ...]) -> None:
    assert refusal(Exchange().having(origin=lines, host="evil.com")).status == 403


@pytest.mark.parametrize(
    "name",
    ["mcp-protocol-version", "mcp-session-id", "mcp-method", "mcp-name", "last-event-id", "host", "content-type"],
)
def test_headers_that_steer_a_request_appear_once(name: str) -> None:
    error = refusal(replace(Exchange(), headers={name: ("application/json", "application/json")}))
    assert (error.status, error.code) == (400, -32600)
    assert f"{name} header must appear once" in error.message


@pytest.mark.parametrize("lines", [("2026-07-28",), ("2026-07-28", "2025-11-25"), ("2025-11-25", "2026-07-28")])
def test_to_a_client_of_2026_07_28_a_bad_header_is_a_header_mismatch(lines: tuple[str, ...]) -> None:
    sent = Exchange().having(mcp_protocol_version=lines)
    assert refusal(sent.having(mcp_name="caf\xe9")).code == -32020
    assert refusal(sent.having(mcp_method=("a", "b"))).code == -32020


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; charset=utf8",
        "application/json; charset=us-ascii",
        "application/json; charset=utf-8; profile=x",
        "application/json; profile=x",
        "application/json;",
    ],
)
def test_json_in_utf_8_is_taken(content_type: str) -> None:
    assert Exchange().having(content_type=content_type).run()


@pytest.mark.parametrize(
    "content_type",
    [
        (),
        "",
        "text/json",
        "application/json-seq",
        "application/jsonx",
        "application/ld+json",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "text/plain; application/json",
        "application/json; charset=latin-1",
        "application/json; profile=x; charset=utf-16",
        "application/json, text/plain",
    ],
)
def test_any_other_body_is_415(content_type: str | tuple[str, ...]) -> None:
    assert refusal(Exchange().having(content_type=content_type)).status == 415


@pytest.mark.parametrize("coding", [("GZIP",), ("identity, br",), ("x-gzip",), ("*",), ("identity", "br")])
def test_a_compressed_body_is_415_and_told_what_would_be_taken(coding: tuple[str, ...]) -> None:
    error = refusal(Exchange().having(content_encoding=coding))
    assert (error.status, error.headers) == (415, (("Accept-Encoding", "identity"),))
    assert coding[-1] in error.message


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity", " identity ,"])
def test_a_body_that_is_not_encoded_may_say_so_and_no_body_anything(coding: str) -> None:
    assert Exchange().having(content_encoding=coding).run()
    Exchange(method="GET").having(content_encoding="gzip").run()


@pytest.mark.parametrize(
    ("method", "accept", "streaming", "is_accepted"),
    [
        ("POST", BOTH, True, True),
        ("POST", "application/json", True, True),
        ("POST", "text/event-stream", True, True),
        ("POST", "text/event-stream", False, False),
        ("POST", BOTH, False, True),
        ("POST", "*/*", True, True),
        ("POST", "text/html", True, False),
        ("POST", "application/json;q=0", True, False),
        ("GET", "text/event-stream", True, True),
        ("GET", "*/*", True, True),
        ("GET", "application/json", True, False),
        ("GET", "text/event-stream;q=0, */*", True, False),
        ("DELETE", "text/html", True, True),
    ],
)
def test_the_client_must_take_an_answer_we_can_give(
    method: str, accept: str, streaming: bool, is_accepted: bool
) -> None:
    sent = Exchange(method=method, streaming=streaming).having(accept=accept)
    if is_accepted:
        sent.run()
    else:
        assert refusal(sent).status == 406


@pytest.mark.parametrize("length", ["0", "1000", "", "x", "-5", "+5000", "1e9", "0001000"])
def test_a_declared_length_within_the_limit_or_unreadable_is_left_to_the_body(length: str) -> None:
    assert Exchange().having(content_length=length).run()


@pytest.mark.parametrize("length", ["1001", "9" * 30, "9" * 5000])
def test_a_declared_length_over_the_limit_is_413(length: str) -> None:
    error = refusal(Exchange().having(content_length=length))
    assert (error.status, error.message) == (413, body_too_large(POLICY).message)


def test_what_holds_one_message_says_which() -> None:
    request = Request(1, "tools/list", None)
    assert InitializePost(request).messages == SessionlessPost(request).messages == (request,)


def test_a_session_id_is_required_where_a_session_is_meant() -> None:
    with pytest.raises(ProtocolError, match="Session not found") as too_long:
        required_session_id(Exchange().having(mcp_session_id="a" * 512).request())
    assert too_long.value.status == 404
    assert required_session_id(Exchange().having(mcp_session_id="abc").request()) == "abc"
    for missing in (Exchange(), Exchange().having(mcp_session_id="")):
        with pytest.raises(ProtocolError, match="Mcp-Session-Id") as caught:
            required_session_id(missing.request())
        assert (caught.value.status, caught.value.code) == (400, -32600)


@pytest.mark.parametrize("version", [(), "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_session_takes_its_versions_and_none_at_all(version: str | tuple[str, ...]) -> None:
    check_version(Exchange().having(mcp_protocol_version=version).request(), POLICY)


@pytest.mark.parametrize("version", ["2026-07-28", "2024-11-05", "2099-01-01", "", "x" * 5000])
def test_a_session_refuses_other_versions_without_a_code_of_2026_07_28(version: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_version(Exchange().having(mcp_protocol_version=version).request(), POLICY)
    assert (caught.value.status, caught.value.code) == (400, -32600)
    assert len(caught.value.message) < 200


def test_a_session_refuses_a_version_that_is_switched_off() -> None:
    only = replace(POLICY, versions=("2025-11-25", "2026-07-28"))
    check_version(Exchange().having(mcp_protocol_version="2025-11-25").request(), only)
    with pytest.raises(ProtocolError):
        check_version(Exchange().having(mcp_protocol_version="2025-06-18").request(), only)
