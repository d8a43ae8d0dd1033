"""The principal of an OAuth access token, read from its claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldError, ImproperlyConfigured, ValidationError
from django.utils.module_loading import import_string

from mcp_transport import conf
from mcp_transport.auth.user import anonymous_user, find_user
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.threads import call_function

__all__ = ["MAX_TOKEN_LENGTH", "Audience", "ClaimReader", "UserLookup", "text_claim"]

MAX_TOKEN_LENGTH: Final = 16 * 1024

UserLookup = Callable[[dict[str, Any]], Any]
"""A project's function that returns the user of a token's claims, or None; it may be a coroutine function."""

_NAMES: Final = ("preferred_username", "username", "client_id", "azp", "sub")


class Audience:
    """The accepted audiences of tokens: the option AUDIENCE, or the setting RESOURCE_URL."""

    def __init__(self, audience: str | Sequence[str] | None) -> None:
        """Read the accepted audiences.

        Raises:
            ImproperlyConfigured: there are none, so that a token for any resource would do (RFC 8707; RFC 9068, 4).
        """
        urls = conf.get("RESOURCE_URL") if audience is None else audience
        listed = [urls] if isinstance(urls, str) else urls or ()
        self._urls = {url.rstrip("/") for url in listed if isinstance(url, str)} - {""}
        if not self._urls:
            raise ImproperlyConfigured("tokens must be bound to this resource: set RESOURCE_URL or AUDIENCE")

    def __contains__(self, audience: object) -> bool:
        """Return whether a token's `aud` names an accepted audience (RFC 7519, 4.1.3), ignoring a trailing slash."""
        names = audience if isinstance(audience, list) else [audience]
        return any(isinstance(name, str) and name.rstrip("/") in self._urls for name in names)


class ClaimReader:
    """Turns verified claims into a principal, with the Django user that the options select."""

    def __init__(
        self,
        issuer: str,
        *,
        scope_claim: str = "scope",
        user_claim: str = "",
        user_field: str = "username",
        user: UserLookup | str | None = None,
    ) -> None:
        """Set the options: the user is the one whose `user_field` equals `user_claim`, or the result of `user`.

        Raises:
            ImproperlyConfigured: the issuer is missing, USER_CLAIM and USER are both set, or USER is not callable.
        """
        if not issuer or not issuer.isprintable():
            raise ImproperlyConfigured("ISSUER must be the authorization server's issuer identifier")
        if user_claim and user:
            raise ImproperlyConfigured("USER_CLAIM and USER are mutually exclusive")
        if user_claim:
            _check_field(user_field)
        self.issuer = issuer
        self._scope_claims = ("scope", "scp") if scope_claim == "scope" else (scope_claim,)
        self._user_claim, self._user_field = user_claim, user_field
        self._lookup = _lookup(user)

    async def principal(self, claims: Mapping[str, Any], subject: str) -> Principal:
        """Return the principal of a token.

        Raises:
            InvalidCredentials: a user is required, and no active one matches.
        """
        if claims.get("cnf") is not None:
            # RFC 8705, 3; RFC 9449, 7: possession of the token alone proves nothing.
            raise InvalidCredentials("the token is bound to a key of its client, which is not supported")
        user = await self._user(claims)
        name = next((text for claim in _NAMES if (text := text_claim(claims, claim))), subject)
        return self._principal(subject, user, name, self._scopes(claims))

    async def principal_by_subject(self, issuer: str, subject: str, claims: Mapping[str, str]) -> Principal | None:
        """Return the principal of a subject without its token; it has no scopes. None if `claims` are not enough."""
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
        names = granted.split() if isinstance(granted, str) else granted
        return frozenset(item for item in names if isinstance(item, str)) if isinstance(names, list) else frozenset()

    async def _user(self, claims: Mapping[str, Any]) -> Any:
        """Return the user of the token, or None if the options require none."""
        if self._lookup is not None:
            user = await call_function(self._lookup, dict(claims))
        elif self._user_claim:
            user = await find_user(self._user_field, self._key(claims))
        else:
            return None
        if user is None or not getattr(user, "is_active", True):
            raise InvalidCredentials("no active user matches the token")
        return user

    def _key(self, claims: Mapping[str, Any]) -> str:
        # An unverified address may belong to another person (OpenID Connect Core, 5.7).
        if self._user_claim == "email" and claims.get("email_verified") not in (True, "true"):
            raise InvalidCredentials("the token's email address is not verified")
        value = claims.get(self._user_claim)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not (text := text_claim(claims, self._user_claim)):
            raise InvalidCredentials("the token has no USER_CLAIM")
        return text


def text_claim(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is one printable line, or an empty string: logs, keys and queries take nothing else."""
    value = claims.get(name)
    return value if isinstance(value, str) and value.isprintable() else ""


def _check_field(field: str) -> None:
    """Check, without a query, that users can be filtered by a field."""
    if not apps.is_installed("django.contrib.auth"):
        raise ImproperlyConfigured("USER_CLAIM needs django.contrib.auth in INSTALLED_APPS")
    try:
        get_user_model()._default_manager.filter(**{field: ""})
    except FieldError as error:
        raise ImproperlyConfigured(f"USER_FIELD is not a field of the user model: {error}") from None
    except (TypeError, ValueError, ValidationError):
        return  # the field exists and is not a text field


def _lookup(user: UserLookup | str | None) -> UserLookup | None:
    """Return the function that USER names, or None."""
    if not user:
        return None
    try:
        find = import_string(user) if isinstance(user, str) else user
    except ImportError as error:
        raise ImproperlyConfigured(f"USER cannot be imported: {error}") from error
    if not callable(find):
        raise ImproperlyConfigured("USER must be callable")
    return find
