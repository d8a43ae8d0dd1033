"""Callers that a gateway of AWS has authenticated, as the request context of a Lambda event names them.

The context is written by API Gateway or a function URL, and no client can change it. It is believed only with this
authenticator in AUTHENTICATORS, and only in the kind that its SOURCE names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth.authenticator import Authenticator
from mcp_transport.auth.claims import ClaimReader, UserLookup, text_claim
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["AWSAuthenticator"]

Claims = Mapping[str, Any]


class AWSAuthenticator(Authenticator):
    """Authenticates the caller that API Gateway, or a function URL, has authenticated before the function.

    SOURCE is `iam` for requests that are signed with AWS credentials, `jwt` for the tokens of a JWT or Cognito
    authorizer, and `lambda` for what a Lambda authorizer of the project has returned.
    """

    scheme: ClassVar[str] = "Bearer"

    def __init__(
        self,
        *,
        source: str,
        issuer: str = "",
        subject: str = "",
        scope_claim: str = "scope",
        user_claim: str = "",
        user_field: str = "username",
        user: UserLookup | str | None = None,
    ) -> None:
        """Set the options; `subject` names the claim that identifies the caller.

        Raises:
            ImproperlyConfigured: an option is missing or unknown, or two contradict each other.
        """
        if source not in _SOURCES:
            raise ImproperlyConfigured(f"SOURCE must be one of {', '.join(_SOURCES)}, got {source!r}")
        if source == "jwt" and not issuer:
            raise ImproperlyConfigured("SOURCE 'jwt' needs ISSUER, to which the claim iss is compared")
        self._claims, default_issuer, default_subject = _SOURCES[source]
        self._checks_issuer, self._subject = source == "jwt", subject or default_subject
        self._reader = ClaimReader(
            issuer or default_issuer, scope_claim=scope_claim, user_claim=user_claim, user_field=user_field, user=user
        )

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        return (self._reader.issuer,) if self._checks_issuer else ()

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        claims = None if request.gateway is None else self._claims(request.gateway)
        if not claims:
            return None
        if self._checks_issuer and claims.get("iss") != self._reader.issuer:
            raise InvalidCredentials("the token that the gateway has verified is of another issuer")
        if not (subject := text_claim(claims, self._subject)):
            raise InvalidCredentials(f"the gateway has authenticated a caller without {self._subject}")
        return await self._reader.principal(claims, subject)

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await self._reader.principal_by_subject(issuer, subject, {self._subject: subject})


def _mapping(value: Any, *names: str) -> Claims:
    """Return a mapping inside another one; an empty one if there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _iam(context: Any) -> Claims:
    """Return the identity of a signed request: of payload 2.0, or of a REST API, which names it for others, too."""
    if identity := _mapping(context, "authorizer", "iam"):
        return identity
    identity = _mapping(context, "identity")
    return identity if identity.get("userArn") else {}


def _jwt(context: Any) -> Claims:
    """Return the claims of a JWT authorizer (HTTP API) or of a Cognito authorizer (REST API)."""
    return _mapping(context, "authorizer", "jwt", "claims") or _mapping(context, "authorizer", "claims")


def _lambda(context: Any) -> Claims:
    """Return what a Lambda authorizer has returned, with `principalId` for a REST API."""
    authorizer = _mapping(context, "authorizer")
    return _mapping(authorizer, "lambda") or (authorizer if "principalId" in authorizer else {})


_SOURCES: Final[Mapping[str, tuple[Callable[[Any], Claims], str, str]]] = {
    "iam": (_iam, "aws:iam", "userArn"),
    "jwt": (_jwt, "", "sub"),
    "lambda": (_lambda, "aws:lambda-authorizer", "principalId"),
}
"""By source: how its claims are found, the default issuer, and the claim of the subject."""
