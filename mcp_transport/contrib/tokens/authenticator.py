"""Personal access tokens as credentials."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.auth.user import principal_of, recall_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.threads import in_thread

__all__ = ["PREFIX", "TokenAuthenticator"]

PREFIX: Final = "mcp_"
"""What every secret begins with: people, and programs that search for leaked secrets, recognise it by that."""

logger = logging.getLogger(__name__)


class TokenAuthenticator(Authenticator):
    """Takes the tokens that `manage.py mcp_tokens` and the admin issue.

    They have the scopes they list, and no others. Bearer tokens of another look are left to other authenticators.
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
        return await in_thread(partial(_accepted, secret))

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        return await recall_user(issuer, subject)


def _accepted(secret: str) -> Principal:
    from mcp_transport.contrib.tokens.models import PersonalToken, State

    token = PersonalToken.objects.find(secret)
    if token is None:
        raise InvalidCredentials("no such personal token")
    if (state := token.state) is not State.VALID:
        raise InvalidCredentials(f"the personal token {token.hint} is {state.value}")
    if not token.user.is_active:
        raise InvalidCredentials(f"the user of the personal token {token.hint} is not active")
    _note_use(token)
    return principal_of(token.user, token.scope_set)


def _note_use(token: Any) -> None:
    try:
        token.note_use()
    except DatabaseError as error:  # such as a replica that only reads: no reason to turn anybody away
        logger.warning("the use of the personal token %s could not be noted: %s", token.hint, type(error).__name__)
