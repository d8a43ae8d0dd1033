from __future__ import annotations

from mcp_transport.protocol.request_rules import RequestRules
from mcp_transport.protocol.versions import REVISIONS


def test_both_eras_are_served_by_default() -> None:
    assert set(RequestRules().versions) == set(REVISIONS)


def test_only_loopback_hosts_and_no_foreign_page_may_call_by_default() -> None:
    assert set(RequestRules().allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}
    assert RequestRules().allowed_origins == ()
