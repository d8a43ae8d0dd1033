"""The base class of authenticators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INTERNAL_ERROR
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["Authenticator", "bearer_token", "unavailable"]


class Authenticator(ABC):
    """Authenticates one kind of credentials. The first authenticator in the settings that recognizes them decides.

    Its options are the keyword arguments of its constructor, in upper case in the settings:
    `{"BACKEND": "jwt", "OPTIONS": {"ISSUER": "https://auth.example.com"}}` becomes `JWTAuthenticator(issuer=...)`.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "recall"):  # ignoring it would run calls again without a user
            raise TypeError(f"{cls.__qualname__}.recall() must be renamed to principal_without_request()")

    @property
    def scheme(self) -> str:
        """Return the authentication scheme of the challenge (RFC 9110, 11.6.1)."""
        return "Bearer"

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        """Return the issuers of these credentials, for the protected resource metadata (RFC 9728)."""
        return ()

    @abstractmethod
    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        """Return the principal of a request, or None if it has no credentials of this kind.

        Raises:
            InvalidCredentials: the credentials are invalid.
            ProtocolError: 503, they cannot be verified now, for example because the authorization server is down.
        """

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        """Return a principal that this authenticator returned before; None if it cannot, or must not any more.

        A call of a lost node runs again as this principal, always without scopes, or ends with an error. This method
        restores nobody: only an authenticator knows whether credentials of its kind are still valid.
        """
        return None


def bearer_token(request: HTTPRequest) -> str | None:
    """Return the token of the header `Authorization: Bearer`, or None.

    A token in the query is ignored (2025-11-25, authorization). The scheme is case-insensitive (RFC 9110, 11.1).
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token and " " not in token else None


def unavailable(reason: str = "the authorization server does not respond") -> ProtocolError:
    """Return the 503 for credentials that cannot be verified now: they may be valid."""
    return ProtocolError(503, INTERNAL_ERROR, f"{reason}; try again", headers=(("Retry-After", "2"),))
