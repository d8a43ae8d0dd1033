"""The gate: every request passes it, as somebody, as nobody, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from django.db import Error as DatabaseError

from mcp_transport.auth.authenticator import Authenticator, unavailable
from mcp_transport.auth.resource import Resource
from mcp_transport.auth.user import UserAuthenticator, anonymous_user
from mcp_transport.call_context import call_contexts
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.endpoint import CallContexts
from mcp_transport.exceptions import InvalidCredentials, ProtocolError
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["Authentication"]

logger = logging.getLogger(__name__)


class Authentication:
    """Finds out whom a request acts for, by the first authenticator that knows its credentials."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        *,
        is_open: bool,
        resource: Resource,
        implied: Mapping[str, Sequence[str]] | None = None,
        context: CallContexts | None = None,
    ) -> None:
        """An open gate lets requests without credentials pass; `implied` are the scopes that a broader one covers.

        `context` surrounds authenticators, which may query the database.
        """
        self.authenticators, self.is_open, self.resource = tuple(authenticators), is_open, resource
        self._required, self._context = frozenset(resource.scopes), context or call_contexts()
        # A context is paid for with each request; the user of the project's middleware is known without one.
        self._is_surrounded = any(type(authenticator) is not UserAuthenticator for authenticator in authenticators)
        self._implied = {scope: frozenset(narrower) for scope, narrower in (implied or {}).items()}

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return whom a request acts for.

        Raises:
            ProtocolError: 401 without valid credentials, 403 without the scopes that every request needs.
        """
        try:
            principal = await (self._surrounded(request) if self._is_surrounded else self._recognized(request))
            if principal is not None:
                return self._admitted(principal)
        except InvalidCredentials as error:
            logger.info("credentials from %s refused: %s", request.peer, error)
            raise self.resource.unauthorized(refused=True) from None
        except DatabaseError as error:
            logger.warning("credentials from %s cannot be judged: %s", request.peer, type(error).__name__)
            raise unavailable("the database does not answer") from error
        if request.headers.get("authorization"):
            # Wrong credentials never make an anonymous caller of anybody.
            logger.info("credentials from %s refused: no authenticator knows their kind", request.peer)
            raise self.resource.unauthorized(refused=True)
        if not self.is_open or self._required:
            raise self.resource.unauthorized(refused=False)
        return Principal(user=anonymous_user())

    async def _surrounded(self, request: HTTPRequest) -> Principal | None:
        async with self._context(request):
            return await self._recognized(request)

    async def _recognized(self, request: HTTPRequest) -> Principal | None:
        for authenticator in self.authenticators:
            if (principal := await authenticator.authenticate(request)) is not None:
                return principal
        return None

    async def recall(self, binding: str, name: str) -> Principal:
        """Return the principal of a session whose request is not there any more; one who is gone is nobody's user.

        It has no scopes, whoever recalls it: which credential the session was opened with is not known any more.
        """
        issuer, _, subject = binding.partition("\n")
        remembered = Principal.of(binding, name, anonymous_user())
        async with self._context(None, remembered):
            for authenticator in self.authenticators if subject else ():
                principal = await authenticator.recall(issuer, subject)
                if principal is not None and principal.binding == binding:
                    return replace(principal, scopes=frozenset())
        return remembered

    def step_up(self, needed: Set[str]) -> ProtocolError:
        """Build the answer to an operation that needs more scopes than its credentials have."""
        return self.resource.forbidden(needed)

    def _admitted(self, principal: Principal) -> Principal:
        principal = self._with_implied(principal)
        if not principal.has_scopes(self._required):
            refusal = self.step_up(frozenset())
            refusal.principal = principal
            raise refusal
        return principal

    def _with_implied(self, principal: Principal) -> Principal:
        if not self._implied or not principal.scopes:
            return principal
        granted, found = set[str](), set(principal.scopes)
        while found:  # a scope may imply others that do so, too
            granted |= found
            found = {narrower for scope in found for narrower in self._implied.get(scope, ())} - granted
        return replace(principal, scopes=frozenset(granted))
