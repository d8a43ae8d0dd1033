"""The SDK's dispatcher, with the errors of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from mcp_transport.client.errors import named_error
from mcp_transport.client.sessions import keep_seconds

__all__ = ["NamedErrors"]


class NamedErrors(JSONRPCDispatcher):
    """Raises what happened to a request, and counts ids from a number that it is given."""

    next_request_id: int = 1
    prefers_sessions: bool = False
    """Shall it begin a session where the server keeps answers? A request of 2026-07-28 ends with its connection."""

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
            named = named_error(error)
            if named is error:
                raise
            raise named from None
        return _of_sessions(result) if method == "server/discover" and self.prefers_sessions else result


def _of_sessions(result: dict[str, Any]) -> dict[str, Any]:
    """Leave only revisions with sessions, if the server keeps answers in them: the SDK begins a session then."""
    return {**result, "supportedVersions": list(HANDSHAKE_PROTOCOL_VERSIONS)} if keep_seconds(result) else result
