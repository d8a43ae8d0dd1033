"""What surrounds a call, such as a thread for synchronous code."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["CallContexts"]


class CallContexts(Protocol):
    """Builds the context of a call, such as a thread for synchronous code.

    Without a principal, the context is for the authentication of a request; without a request, for a second run.
    """

    def __call__(
        self, request: HTTPRequest | None = None, principal: Principal | None = None
    ) -> AbstractAsyncContextManager[None]: ...
