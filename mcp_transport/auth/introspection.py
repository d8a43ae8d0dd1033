"""Opaque access tokens, which their authorization server introspects (RFC 7662)."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

from cachetools import TLRUCache, TTLCache
from django.core.exceptions import ImproperlyConfigured

from mcp_transport.auth.authenticator import Authenticator, bearer_token, unavailable
from mcp_transport.auth.claims import MAX_TOKEN_LENGTH, Audience, ClaimReader, UserLookup, text_claim
from mcp_transport.auth.http_client import Pool, PoolExhausted, SingleFlight, UpstreamError, checked_url
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["IntrospectionAuthenticator"]

logger = logging.getLogger(__name__)

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_MAX_RESPONSES: Final = 10_000
_INACTIVE_SECONDS: Final = 5.0
_RECENTLY_ACTIVE_SECONDS: Final = 3600.0
"""How long the introspection of a token that was active takes precedence over that of unknown tokens."""
_LOG_INTERVAL_SECONDS: Final = 60.0
"""The interval of log lines about an exhausted pool."""

# Users choose their names, so each kind of subject but `sub` has a prefix, which a `sub` must not begin with either.
_SUBJECT_PREFIXES: Final = {"username": "username:", "client_id": "client:"}
_ESCAPE_PREFIX: Final = "sub:"


class IntrospectionAuthenticator(Authenticator):
    """Authenticates bearer tokens by token introspection."""

    def __init__(
        self,
        *,
        url: str,
        issuer: str,
        client_id: str = "",
        client_secret: str = "",
        token: str = "",
        audience: str | Sequence[str] | None = None,
        require_audience: bool = True,
        cache_seconds: float = 30,
        max_questions: int = 20,
        user_claim: str = "",
        user_field: str = "username",
        user: UserLookup | str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Set the options; this resource authenticates to the server with a client ID and secret, or with a token.

        Each event loop has at most `max_questions` requests in flight, on as many connections.

        Raises:
            ImproperlyConfigured: the options contradict each other, or the URL is not safe.
        """
        self._url = checked_url("URL", url)
        self._headers = {"Accept": "application/json", "Authorization": _credentials(client_id, client_secret, token)}
        self._audience, self._require_audience = Audience(audience), require_audience
        self._reader = ClaimReader(issuer, user_claim=user_claim, user_field=user_field, user=user)
        self._cache_seconds, self._now = cache_seconds, now
        self._responses: TLRUCache[bytes, dict[str, Any], float] = TLRUCache(_MAX_RESPONSES, self._expiry, timer=now)
        self._recently_active: TTLCache[bytes, bool] = TTLCache(_MAX_RESPONSES, _RECENTLY_ACTIVE_SECONDS, timer=now)
        self._lock = threading.Lock()  # event loops may run in several threads
        self._pool, self._logged_at = Pool(max_questions), -math.inf
        self._single_flight = SingleFlight[dict[str, Any]]()

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        return (self._reader.issuer,)

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        token = bearer_token(request)
        if token is None:
            return None
        if len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
            raise InvalidCredentials("the token is too long, or has invalid characters")
        response = await self._response(token)
        if not response["active"]:
            raise InvalidCredentials("the authorization server says that the token is not active")
        self._check_claims(response)
        return await self._reader.principal(response, _subject(response))

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await self._reader.principal_by_subject(issuer, subject, _claims_of(subject))

    def _check_claims(self, response: Mapping[str, Any]) -> None:
        audience, issuer = response.get("aud"), response.get("iss")
        if audience is None and self._require_audience:
            raise InvalidCredentials("the token has no audience")
        if audience is not None and audience not in self._audience:
            raise InvalidCredentials("the token is for another audience")
        if issuer is not None and issuer != self._reader.issuer:
            raise InvalidCredentials("the token is from another issuer")

    async def _response(self, token: str) -> dict[str, Any]:
        """Return the introspection response for a token, from the cache or from the server."""
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            cached = self._responses.get(key)
        if cached is not None:
            return cached
        try:
            return await self._single_flight.run(key, lambda: self._introspect(key, token))
        except PoolExhausted:
            raise unavailable("too many tokens are being verified") from None
        except UpstreamError:
            raise unavailable() from None

    async def _introspect(self, key: bytes, token: str) -> dict[str, Any]:
        form = {"token": token, "token_type_hint": "access_token"}
        with self._lock:
            was_active = key in self._recently_active
        try:
            response = await self._pool.request_json(
                "POST", self._url, preferred=was_active, headers=self._headers, form=form
            )
            if not isinstance(response.get("active"), bool):
                raise UpstreamError('the response has no boolean "active"')
        except UpstreamError as error:
            self._log_failure(error)
            raise
        with self._lock:
            self._responses[key] = response
            if response["active"]:
                self._recently_active[key] = True
            else:
                self._recently_active.pop(key, None)
        return response

    def _log_failure(self, error: UpstreamError) -> None:
        if isinstance(error, PoolExhausted):
            if (now := self._now()) - self._logged_at < _LOG_INTERVAL_SECONDS:
                return
            self._logged_at = now
        if error.status in (401, 403):
            logger.error("%s rejects the credentials in the settings: %s", self._url, error)
        else:
            logger.warning("introspection at %s failed: %s", self._url, error)

    def _expiry(self, _key: bytes, response: dict[str, Any], now: float) -> float:
        """Return when a cached response expires: no later than the token itself."""
        if not response["active"]:
            return now + min(self._cache_seconds, _INACTIVE_SECONDS)
        expires = response.get("exp")
        if expires is None:
            return now + self._cache_seconds
        return min(now + self._cache_seconds, expires) if isinstance(expires, int | float) else now


def _credentials(client_id: str, client_secret: str, token: str) -> str:
    """Return the Authorization header of the requests (RFC 6749, 2.3.1; RFC 7662, 2.1)."""
    if bool(client_id and client_secret) == bool(token) or bool(client_id) != bool(client_secret):
        raise ImproperlyConfigured("introspection: set CLIENT_ID and CLIENT_SECRET, or TOKEN")
    if token:
        return f"Bearer {token}"
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _subject(response: Mapping[str, Any]) -> str:
    """Return the subject of a token: its `sub`, else its user or its client, prefixed so that no two are equal."""
    for claim in ("sub", *_SUBJECT_PREFIXES):
        if response.get(claim) is None:
            continue
        if not (text := text_claim(response, claim)):
            raise InvalidCredentials(f"the token's {claim} is not a printable string")
        is_ambiguous = claim == "sub" and text.startswith((*_SUBJECT_PREFIXES.values(), _ESCAPE_PREFIX))
        return f"{_ESCAPE_PREFIX if is_ambiguous else _SUBJECT_PREFIXES.get(claim, '')}{text}"
    raise InvalidCredentials("the token has no subject")


def _claims_of(subject: str) -> dict[str, str]:
    """Return the claim that a subject was derived from."""
    for claim, prefix in _SUBJECT_PREFIXES.items():
        if subject.startswith(prefix):
            return {claim: subject.removeprefix(prefix)}
    return {"sub": subject.removeprefix(_ESCAPE_PREFIX)}
