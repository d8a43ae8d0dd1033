"""Authentication of each request: as a principal, as an anonymous caller, or refused with 401."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.db import Error as DatabaseError

from mcp_transport.auth.authenticator import Authenticator, unavailable
from mcp_transport.auth.request_user import UserAuthenticator
from mcp_transport.auth.resource import Resource
from mcp_transport.auth.user import anonymous_user
from mcp_transport.call_context import call_contexts
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.endpoint import CallContexts
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["Authentication"]

logger = logging.getLogger(__name__)


class Authentication:
    """Authenticates requests with the first authenticator that recognizes their credentials."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        *,
        is_open: bool,
        resource: Resource,
        implied: Mapping[str, Sequence[str]] | None = None,
        context: CallContexts | None = None,
    ) -> None:
        """Set up the authenticators.

        `is_open` admits requests without credentials, `implied` maps a scope to the narrower scopes that it covers,
        and `context` is entered around authenticators, which may query the database.
        """
        self.authenticators, self.is_open, self.resource = tuple(authenticators), is_open, resource
        self._required, self._context = frozenset(resource.scopes), context or call_contexts()
        # A context costs time on each request, and the user that middleware has set needs none.
        self._needs_context = any(type(authenticator) is not UserAuthenticator for authenticator in authenticators)
        self._implied = {scope: frozenset(narrower) for scope, narrower in (implied or {}).items()}

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return the principal of a request.

        Raises:
            ProtocolError: 401 without valid credentials, 403 without REQUIRED_SCOPES.
        """
        try:
            recognize = self._recognize_in_context if self._needs_context else self._recognize
            principal = await recognize(request)
            if principal is not None:
                return self._with_required_scopes(principal)
        except InvalidCredentials as error:
            logger.info("credentials from %s rejected: %s", request.peer, error)
            raise self.resource.unauthorized(refused=True) from None
        except DatabaseError as error:
            logger.warning("credentials from %s cannot be verified: %s", request.peer, type(error).__name__)
            raise unavailable("the database does not answer") from error
        if request.headers.get("authorization"):
            # Invalid credentials must not turn into anonymous access.
            logger.info("credentials from %s rejected: no authenticator recognizes them", request.peer)
            raise self.resource.unauthorized(refused=True)
        if not self.is_open or self._required:
            raise self.resource.unauthorized(refused=False)
        return Principal(user=anonymous_user())

    async def _recognize_in_context(self, request: HTTPRequest) -> Principal | None:
        async with self._context(request):
            return await self._recognize(request)

    async def _recognize(self, request: HTTPRequest) -> Principal | None:
        for authenticator in self.authenticators:
            if (principal := await authenticator.authenticate(request)) is not None:
                return principal
        return None

    async def principal_without_request(self, binding: str, name: str) -> Principal:
        """Return the principal of a stored session, for a call that runs again without its request.

        It has no scopes, since the session does not store which credentials opened it.

        Raises:
            InvalidCredentials: no authenticator restores it, for example because its user is not active any more.
        """
        stored = Principal.from_binding(binding, name, anonymous_user())
        async with self._context(None, stored):
            if not stored.subject:
                return stored
            for authenticator in self.authenticators:
                principal = await authenticator.principal_without_request(stored.issuer, stored.subject)
                if principal is not None and principal.binding == binding:
                    return replace(principal, scopes=frozenset())
        raise InvalidCredentials("no authenticator restores the principal of the session")

    def _with_required_scopes(self, principal: Principal) -> Principal:
        principal = self._with_implied(principal)
        if not principal.has_scopes(self._required):
            refusal = self.resource.forbidden(frozenset())
            refusal.principal = principal
            raise refusal
        return principal

    def _with_implied(self, principal: Principal) -> Principal:
        if not self._implied or not principal.scopes:
            return principal
        granted, pending = set[str](), set(principal.scopes)
        while pending:  # implied scopes may imply others
            granted |= pending
            pending = {narrower for scope in pending for narrower in self._implied.get(scope, ())} - granted
        return replace(principal, scopes=frozenset(granted))
