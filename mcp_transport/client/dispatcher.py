"""The SDK's dispatcher, raising this package's client errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_transport.client.errors import from_jsonrpc_error
from mcp_transport.client.sessions import keep_seconds

__all__ = ["ClientErrorDispatcher"]


class ClientErrorDispatcher(JSONRPCDispatcher):
    """Raises `ClientError` for failed delivery, and counts request ids from a given number."""

    next_request_id: int = 1
    prefers_sessions: bool = False
    """Open a session if the server stores responses in sessions? A request of 2026-07-28 ends with its connection."""

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **related: Any
    ) -> dict[str, Any]:
        """Send a request and return its result. Raises: MCPError, ClientError."""
        opts = opts or {}
        if "request_id" not in opts:
            opts = {**opts, "request_id": self.next_request_id}
            self.next_request_id += 1
        try:
            result = await super().send_raw_request(method, params, opts, **related)
        except MCPError as error:
            named = from_jsonrpc_error(error)
            if named is error:
                raise
            raise named from None
        return _without_sessionless(result) if method == "server/discover" and self.prefers_sessions else result


def _without_sessionless(result: dict[str, Any]) -> dict[str, Any]:
    """Offer only session-based revisions if the server stores responses in sessions: the SDK then opens one."""
    return {**result, "supportedVersions": list(HANDSHAKE_PROTOCOL_VERSIONS)} if keep_seconds(result) else result
