"""What recognises one kind of credentials."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["Authenticator", "bearer_token", "unavailable"]


class Authenticator(ABC):
    """Recognises one kind of credentials; the settings name several, and the first that knows a request's decides.

    Its options are the keyword arguments of its constructor, in capitals in the settings:
    `{"BACKEND": "jwt", "OPTIONS": {"ISSUER": "https://auth.example.com"}}` becomes `JWTAuthenticator(issuer=...)`.
    """

    @property
    def scheme(self) -> str:
        """Return the scheme of the challenge to a request without credentials (RFC 9110, 11.6.1)."""
        return "Bearer"

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        """Return the issuers where clients get these credentials, for the metadata of RFC 9728."""
        return ()

    @abstractmethod
    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        """Return whom a request acts for; None when it has no credentials of this kind.

        Raises:
            InvalidCredentials: it has, and they are wrong.
            ProtocolError: they cannot be judged now, as 503 when an authorization server does not answer.
        """

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        """Return a principal that this authenticator has recognised before, without a request; None if it cannot.

        Calls of a lost node are run again for it, without scopes, whatever the principal has.
        """
        return None


def bearer_token(request: HTTPRequest) -> str | None:
    """Return the token of `Authorization: Bearer`, or None; never from the query (2025-11-25, authorization).

    The name of the scheme has no case (RFC 9110, 11.1), its token no blanks.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token and " " not in token else None


def unavailable(reason: str) -> ProtocolError:
    """Build the answer to credentials that cannot be judged now: 503, for they may be right."""
    return ProtocolError(503, INTERNAL_ERROR, f"{reason}; try again", headers=(("Retry-After", "2"),))
