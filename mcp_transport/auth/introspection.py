"""Access tokens that say nothing by themselves: their authorization server is asked about them (RFC 7662)."""

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

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.auth.claims import MAX_TOKEN_LENGTH, Audience, ClaimReader, UserLookup, text_claim
from mcp_transport.auth.http_client import Busy, Pool, SingleFlight, UpstreamError, checked_url, unavailable
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["IntrospectionAuthenticator"]

logger = logging.getLogger(__name__)

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_MAX_ANSWERS: Final = 10_000
_INACTIVE_SECONDS: Final = 5.0
_KNOWN_SECONDS: Final = 3600.0
"""How long a token that was active is asked about before those that nobody has seen yet."""
_COMPLAINT_SECONDS: Final = 60.0
"""How often the log says that there are too many questions."""

# Users choose their names, so that each kind of subject but `sub` has its mark, and a `sub` with such a mark another.
_MARKS: Final = {"username": "username:", "client_id": "client:"}
_ESCAPE: Final = "sub:"


class IntrospectionAuthenticator(Authenticator):
    """Takes every bearer token, and asks its authorization server whose it is."""

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
        """Take the options; the server knows this resource by its client's id and secret, or by a token.

        There are `max_questions` at a time on each event loop, on as many connections.

        Raises:
            ImproperlyConfigured: the options do not fit each other, or the URL is not safe.
        """
        self._url = checked_url("URL", url)
        self._headers = {"Accept": "application/json", "Authorization": _credentials(client_id, client_secret, token)}
        self._audience, self._require_audience = Audience(audience), require_audience
        self._reader = ClaimReader(issuer, user_claim=user_claim, user_field=user_field, user=user)
        self._cache_seconds, self._now = cache_seconds, now
        self._answers: TLRUCache[bytes, dict[str, Any], float] = TLRUCache(_MAX_ANSWERS, self._ends, timer=now)
        self._known: TTLCache[bytes, bool] = TTLCache(_MAX_ANSWERS, _KNOWN_SECONDS, timer=now)
        self._lock = threading.Lock()  # event loops may run in several threads
        self._pool, self._complained_at = Pool(max_questions), -math.inf
        self._asking = SingleFlight[dict[str, Any]]()

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        return (self._reader.issuer,)

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        token = bearer_token(request)
        if token is None:
            return None
        if len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
            raise InvalidCredentials("the token is too long, or has characters that no token has")
        answer = await self._answer(token)
        if not answer["active"]:
            raise InvalidCredentials("the authorization server says that the token is not active")
        self._check(answer)
        return await self._reader.principal(answer, _subject(answer))

    async def recall(self, issuer: str, subject: str) -> Principal | None:
        return await self._reader.recall(issuer, subject, _claims_of(subject))

    def _check(self, answer: Mapping[str, Any]) -> None:
        audience, issuer = answer.get("aud"), answer.get("iss")
        if audience is None and self._require_audience:
            raise InvalidCredentials("the token is made out for no audience")
        if audience is not None and audience not in self._audience:
            raise InvalidCredentials("the token is made out for another audience")
        if issuer is not None and issuer != self._reader.issuer:
            raise InvalidCredentials("the token comes from another issuer")

    async def _answer(self, token: str) -> dict[str, Any]:
        """Return what the server says of a token, or has said shortly before."""
        key = hashlib.sha256(token.encode()).digest()
        with self._lock:
            known = self._answers.get(key)
        if known is not None:
            return known
        try:
            return await self._asking.run(key, lambda: self._ask(key, token))
        except Busy:
            raise unavailable("too many tokens are being asked about") from None
        except UpstreamError:
            raise unavailable() from None

    async def _ask(self, key: bytes, token: str) -> dict[str, Any]:
        form = {"token": token, "token_type_hint": "access_token"}
        with self._lock:
            is_known = key in self._known
        try:
            answer = await self._pool.ask("POST", self._url, preferred=is_known, headers=self._headers, form=form)
            if not isinstance(answer.get("active"), bool):
                raise UpstreamError("its answer does not say whether the token is active")
        except UpstreamError as error:
            self._complain(error)
            raise
        with self._lock:
            self._answers[key] = answer
            if answer["active"]:
                self._known[key] = True
            else:
                self._known.pop(key, None)
        return answer

    def _complain(self, error: UpstreamError) -> None:
        if isinstance(error, Busy):
            if (now := self._now()) - self._complained_at < _COMPLAINT_SECONDS:
                return
            self._complained_at = now
        if error.status in (401, 403):
            logger.error("%s refuses the credentials in the settings: %s", self._url, error)
        else:
            logger.warning("%s cannot be asked about a token: %s", self._url, error)

    def _ends(self, _key: bytes, answer: dict[str, Any], now: float) -> float:
        """Return when an answer is forgotten; at the latest when the token expires."""
        if not answer["active"]:
            return now + min(self._cache_seconds, _INACTIVE_SECONDS)
        expires = answer.get("exp")
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


def _subject(answer: Mapping[str, Any]) -> str:
    """Return whom a token stands for: its `sub`, or where there is none, its user or its client; no two are equal."""
    for claim in ("sub", *_MARKS):
        if answer.get(claim) is None:
            continue
        if not (text := text_claim(answer, claim)):
            raise InvalidCredentials(f"the token's {claim} is no text")
        is_ambiguous = claim == "sub" and text.startswith((*_MARKS.values(), _ESCAPE))
        return f"{_ESCAPE if is_ambiguous else _MARKS.get(claim, '')}{text}"
    raise InvalidCredentials("the token has no subject")


def _claims_of(subject: str) -> dict[str, str]:
    """Return the claim that a subject was made from."""
    for claim, mark in _MARKS.items():
        if subject.startswith(mark):
            return {claim: subject.removeprefix(mark)}
    return {"sub": subject.removeprefix(_ESCAPE)}
