"""From what an authorization server says of a token to the principal that it stands for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldError, ImproperlyConfigured, ValidationError
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.auth.resource import is_audience
from mcp_transport.auth.user import anonymous_user, find_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.threads import in_thread

__all__ = ["MAX_TOKEN_LENGTH", "Audience", "ClaimReader", "UserLookup", "text_claim"]

MAX_TOKEN_LENGTH: Final = 16 * 1024

UserLookup = Callable[[dict[str, Any]], Any]
"""A project's own way from claims to a user, or None; it may be a coroutine function."""

_NAMES: Final = ("preferred_username", "username", "client_id", "azp", "sub")


class Audience:
    """The resources that tokens must be made out for: those given, or RESOURCE_URL."""

    def __init__(self, given: str | Sequence[str] | None) -> None:
        """Take the audiences of an authenticator's options.

        Raises:
            ImproperlyConfigured: there are none, so that tokens for anybody would do (RFC 8707; RFC 9068, 4).
        """
        urls = conf.get("RESOURCE_URL") if given is None else given
        self._urls = tuple(url for url in ([urls] if isinstance(urls, str) else urls) if url)
        if not self._urls:
            raise ImproperlyConfigured("tokens must be bound to this resource: set RESOURCE_URL, or AUDIENCE")

    def __contains__(self, audience: object) -> bool:
        """Tell whether a token's `aud` names one of them."""
        return any(is_audience(audience, url) for url in self._urls)


class ClaimReader:
    """Turns claims that were verified into a principal, with the project's user where the settings say which."""

    def __init__(
        self,
        issuer: str,
        *,
        scope_claim: str = "scope",
        user_claim: str = "",
        user_field: str = "username",
        user: UserLookup | str | None = None,
    ) -> None:
        """Take the options: the user has the value of `user_claim` in `user_field`, or is what `user` finds.

        Raises:
            ImproperlyConfigured: there is no issuer, both ways to a user are given, or `user` names nothing.
        """
        if not issuer or not issuer.isprintable():
            raise ImproperlyConfigured("ISSUER must be the authorization server's issuer identifier")
        if user_claim and user:
            raise ImproperlyConfigured("USER_CLAIM and USER exclude each other")
        if user_claim:
            _check_field(user_field)
        self.issuer = issuer
        self._scope_claims = ("scope", "scp") if scope_claim == "scope" else (scope_claim,)
        self._user_claim, self._user_field = user_claim, user_field
        self._lookup = _lookup(user)

    async def principal(self, claims: Mapping[str, Any], subject: str) -> Principal:
        """Return whom a token stands for.

        Raises:
            InvalidCredentials: a user must belong to it, and none does.
        """
        if claims.get("cnf") is not None:
            # RFC 8705, 3; RFC 9449, 7: whoever shows it has to prove more than that they have it.
            raise InvalidCredentials("the token is bound to a key of its client, which is not looked for here")
        user = await self._user(claims)
        name = next((text for claim in _NAMES if (text := text_claim(claims, claim))), subject)
        return self._principal(subject, user, name, self._scopes(claims))

    async def recall(self, issuer: str, subject: str, claims: Mapping[str, str]) -> Principal | None:
        """Return the principal of a subject, of whom no more than `claims` is known now; its scopes are forgotten."""
        if issuer != self.issuer or self._lookup is not None:
            return None
        if not self._user_claim:
            return self._principal(subject, None, subject, frozenset())
        if self._user_claim not in claims:
            return None
        user = await find_user(self._user_field, claims[self._user_claim])
        return self._principal(subject, user, subject, frozenset()) if user is not None else None

    def _principal(self, subject: str, user: Any, name: str, scopes: frozenset[str]) -> Principal:
        if user is None:
            return Principal(self.issuer, subject, anonymous_user(), name, scopes)
        return Principal(self.issuer, subject, user, user.get_username(), scopes)

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        granted = next((claims[name] for name in self._scope_claims if claims.get(name) is not None), "")
        listed = granted.split() if isinstance(granted, str) else granted
        return (
            frozenset(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else frozenset()
        )

    async def _user(self, claims: Mapping[str, Any]) -> Any:
        """Find the user that must belong to the token; None where none need to."""
        if self._lookup is not None:
            user = await self._lookup(dict(claims))
        elif self._user_claim:
            user = await find_user(self._user_field, self._key(claims))
        else:
            return None
        if user is None or not getattr(user, "is_active", True):
            raise InvalidCredentials("no active user belongs to the token")
        return user

    def _key(self, claims: Mapping[str, Any]) -> str:
        # An address that nobody has verified may be somebody else's (OpenID Connect Core, 5.7).
        if self._user_claim == "email" and claims.get("email_verified") not in (True, "true"):
            raise InvalidCredentials("the token's address is not verified")
        value = claims.get(self._user_claim)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not (text := text_claim(claims, self._user_claim)):
            raise InvalidCredentials("the token does not say whose it is: USER_CLAIM is missing")
        return text


def text_claim(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a line of text, or nothing: no log, key or query needs to cope with anything else."""
    value = claims.get(name)
    return value if isinstance(value, str) and value.isprintable() else ""


def _check_field(field: str) -> None:
    """Find out now whether users can be looked up by a field, which asks no database yet."""
    if not apps.is_installed("django.contrib.auth"):
        raise ImproperlyConfigured("USER_CLAIM needs django.contrib.auth in INSTALLED_APPS")
    try:
        get_user_model()._default_manager.filter(**{field: ""})
    except FieldError as error:
        raise ImproperlyConfigured(f"USER_FIELD names no field of users: {error}") from None
    except (TypeError, ValueError, ValidationError):
        return  # the field exists, and takes no text


def _lookup(user: UserLookup | str | None) -> Callable[[dict[str, Any]], Awaitable[Any]] | None:
    """Return a project's own lookup as a coroutine function, run in a thread if it is none: it reads the database."""
    if not user:
        return None
    try:
        find = import_string(user) if isinstance(user, str) else user
    except ImportError as error:
        raise ImproperlyConfigured(f"USER names nothing: {error}") from error
    if not callable(find):
        raise ImproperlyConfigured("USER must be callable")

    async def look_up(claims: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(find):
            return await find(claims)
        found = await in_thread(lambda: find(claims))
        return await found if inspect.isawaitable(found) else found

    return look_up
