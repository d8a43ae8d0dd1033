"""Authentication with personal access tokens."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.auth.user import principal_of, restored_user
from mcp_transport.contrib.tokens.token_secrets import PREFIX
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

__all__ = ["TokenAuthenticator"]

logger = logging.getLogger(__name__)


class TokenAuthenticator(Authenticator):
    """Authenticates the tokens that `manage.py mcp_tokens` and the admin issue.

    They have only the scopes that they list. Bearer tokens with another prefix are left to other authenticators.
    """

    def __init__(self) -> None:
        if not apps.is_installed("mcp_transport.contrib.tokens"):
            raise ImproperlyConfigured(
                "MCP_TRANSPORT['AUTHENTICATORS']: 'token' needs \"mcp_transport.contrib.tokens\" in INSTALLED_APPS"
            )

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        secret = bearer_token(request)
        if secret is None or not secret.startswith(PREFIX):
            return None
        return await in_thread(partial(_authenticate, secret))

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        principal = await restored_user(issuer, subject)
        is_valid = principal is not None and await in_thread(partial(_has_valid_token, principal.user))
        return principal if is_valid else None


def _authenticate(secret: str) -> Principal:
    from mcp_transport.contrib.tokens.models import PersonalToken, State

    token = PersonalToken.objects.find(secret)
    if token is None:
        raise InvalidCredentials("no such personal token")
    if (state := token.state) is not State.VALID:
        raise InvalidCredentials(f"the personal token {token.hint} is {state.value}")
    if not token.user.is_active:
        raise InvalidCredentials(f"the user of the personal token {token.hint} is not active")
    _record_use(token)
    return principal_of(token.user, token.scope_set)


def _has_valid_token(user: Any) -> bool:
    from mcp_transport.contrib.tokens.models import PersonalToken, State

    return any(token.state is State.VALID for token in PersonalToken.objects.filter(user=user))


def _record_use(token: Any) -> None:
    try:
        token.record_use()
    except DatabaseError as error:  # for example a read-only replica: no reason to reject the request
        logger.warning("the use of the personal token %s was not recorded: %s", token.hint, type(error).__name__)
