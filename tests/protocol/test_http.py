from __future__ import annotations

from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest, Reply


def test_a_request_streams_and_is_nobodys_unless_the_adapter_says_otherwise() -> None:
    request = HTTPRequest(method="POST", headers=Headers([]))
    assert request.streaming is True
    assert request.user is None
    assert request.peer == ""


def test_a_reply_has_no_headers_and_no_body_by_itself() -> None:
    assert (Reply(status=202).headers, Reply(status=202).body) == ((), b"")
