"""What is kept of a failed call is bounded, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError

from mcp_transport.backends.codec import decode_failure, encode_failure
from mcp_transport.domain.history import MAX_ARGUMENTS, MAX_ERROR, MAX_MESSAGE, Ending, FailureKind
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.call_failure import describe_failure
from mcp_transport.kernel import MCPError, note_failure, raised_error
from mcp_transport.protocol.jsonrpc import Outcome, Request

KEPT = Policy(failure_payloads=True)
DEEP: Any = "x"
for _ in range(3000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "arguments", [{"text": "t" * 10_000}, DEEP, {"n": 10**300}, {"s": "\udcff"}, "no object", None, {1: 2}]
)
def test_failure_of_any_size_is_cut(arguments: Any) -> None:
    raised = type("E" * 500, (Exception,), {})("m" * 10_000)
    note_failure(raised, str)
    outcome = Outcome(error={"code": -32603, "message": "m" * 10_000})
    request = Request(7, "tools/call", {"name": "add", "arguments": arguments})
    failure = describe_failure(None, request, outcome, KEPT)
    assert (failure.kind, failure.code) == (FailureKind.EXCEPTION, -32603)
    assert (len(failure.error), len(failure.message)) == (MAX_ERROR, MAX_MESSAGE)
    assert len(failure.arguments) <= MAX_ARGUMENTS
    assert decode_failure(encode_failure(failure), Ending.ERROR) == failure
    plain = describe_failure(None, request, outcome, Policy())
    assert (plain.message, plain.arguments) == ("", "")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "name"),
    [
        (caused(UnexpectedToolError("x"), KeyError("k")), FailureKind.EXCEPTION, "KeyError"),
        (caused(ToolError("x"), ToolError("y")), FailureKind.TOOL_ERROR, "ToolError"),
        (UnexpectedToolError("x"), FailureKind.TOOL_ERROR, "UnexpectedToolError"),
        (MCPError(-32601, "x"), FailureKind.UNKNOWN, "MCPError"),
        (MCPError(-32602, "x", {"uri": "a://b"}), FailureKind.UNKNOWN, "MCPError"),
        (MCPError(-32602, "x"), FailureKind.INVALID, "MCPError"),
        (MCPError(-1, "x"), FailureKind.ERROR, "MCPError"),
        (SystemExit(1), FailureKind.EXCEPTION, "SystemExit"),
    ],
    ids=str,
)
def test_exception_tells_the_kind(error: BaseException, kind: FailureKind, name: str) -> None:
    raised = raised_error(error)
    assert (raised.kind, raised.error, raised.text) == (kind, name, "")


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b'["nope",1,"","",""]', b'["lost","1","","",""]', b'["lost",1,2,3,4]']
)
def test_failure_that_no_release_has_stored_is_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode_failure(raw, Ending.ERROR)
