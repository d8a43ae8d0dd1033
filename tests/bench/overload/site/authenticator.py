"""Callers who are who they say: the bench has as many as it needs, and checking them costs nothing."""

from __future__ import annotations

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest


class CallerAuthenticator(Authenticator):
    """Take each bearer token for the name of its caller."""

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        """Return the principal that the token names."""
        token = bearer_token(request)
        return Principal(issuer="bench", subject=token, name=token) if token else None
