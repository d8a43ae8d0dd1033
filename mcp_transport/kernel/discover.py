"""Declare experimental capabilities in `server/discover`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.lowlevel import Server
from mcp_types import DiscoverResult, RequestParams

__all__ = ["declare_in_discover"]


class _Discover:
    def __init__(self, handler: Any, experimental: Mapping[str, dict[str, Any]]) -> None:
        self.handler, self._experimental = handler, experimental

    async def __call__(self, context: Any, params: RequestParams) -> Any:
        result = await self.handler(context, params)
        if isinstance(result, DiscoverResult):
            result.capabilities.experimental = {**(result.capabilities.experimental or {}), **self._experimental}
        return result


def declare_in_discover(server: Server[Any], experimental: Mapping[str, dict[str, Any]]) -> None:
    """Add experimental capabilities to the result of `server/discover`: the SDK's handler has no way to."""
    entry = server.get_request_handler("server/discover")
    if entry is not None:
        handler = entry.handler.handler if isinstance(entry.handler, _Discover) else entry.handler
        server.add_request_handler("server/discover", RequestParams, _Discover(handler, experimental))
