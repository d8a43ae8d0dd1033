"""Signed access tokens: JSON Web Tokens (RFC 7519, RFC 9068), verified locally."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jwt
from django.core.exceptions import ImproperlyConfigured
from jwt.exceptions import InvalidSubjectError
from jwt.utils import base64url_decode

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.auth.claims import MAX_TOKEN_LENGTH, Audience, ClaimReader, UserLookup, text_claim
from mcp_transport.auth.jwks import ASYMMETRIC, SYMMETRIC, FetchedKeys, KeySet, SharedSecret, StaticKeys
from mcp_transport.domain.principal import Principal
from mcp_transport.exceptions import InvalidCredentials
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["JWTAuthenticator"]

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
_TYPES: Final = ("jwt", "at+jwt")  # RFC 9068, 4; many issuers send JWT, or nothing
_REQUIRED: Final = ["iss", "sub", "aud", "exp"]

# Reasons for the log: the messages of PyJWT may contain values of the token.
_REASONS: Final = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidAlgorithmError, "the token's algorithm is not allowed"),
    (InvalidSubjectError, "the token's sub is not a printable string"),
)


class JWTAuthenticator(Authenticator):
    """Authenticates JSON Web Tokens that one issuer has issued for this resource."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Sequence[str] | None = None,
        jwks_url: str = "",
        jwks_cache_seconds: float = 3600,
        keys: str | Sequence[str] | Mapping[str, Any] = (),
        secret: str = "",
        algorithms: str | Sequence[str] = (),
        leeway: float = 10,
        scope_claim: str = "scope",
        user_claim: str = "",
        user_field: str = "username",
        user: UserLookup | str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the options; the keys come from one of `jwks_url`, `keys` and `secret`.

        Raises:
            ImproperlyConfigured: the options contradict each other, or would accept forged tokens.
        """
        sources = [name for name, value in (("JWKS_URL", jwks_url), ("KEYS", keys), ("SECRET", secret)) if value]
        if len(sources) != 1:
            raise ImproperlyConfigured(
                f"jwt: set exactly one of JWKS_URL, KEYS and SECRET, got {' and '.join(sources) or 'none'}"
            )
        self._algorithms = _checked_algorithms(algorithms, is_secret=bool(secret))
        self._keys: KeySet
        if jwks_url:
            self._keys = FetchedKeys(jwks_url, cache_seconds=jwks_cache_seconds, now=now)
        elif keys:
            self._keys = StaticKeys(keys, self._algorithms)
        else:
            self._keys = SharedSecret(secret, self._algorithms)
        self._audience, self._leeway = Audience(audience), leeway
        self._reader = ClaimReader(
            issuer, scope_claim=scope_claim, user_claim=user_claim, user_field=user_field, user=user
        )

    @property
    def authorization_servers(self) -> tuple[str, ...]:
        return (self._reader.issuer,)

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        token = bearer_token(request)
        if token is None or (shape := _SHAPE.fullmatch(token)) is None:
            return None
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidCredentials("the token is too long")
        header, claims = _object(shape[1]), _object(shape[2])
        if header is None or claims is None or claims.get("iss") != self._reader.issuer:
            return None  # another authenticator may recognize it
        algorithm = self._checked_algorithm(header)
        keys = await self._keys.candidates(_checked_kid(header), algorithm)
        if not keys:
            raise InvalidCredentials("the token's key is unknown")
        verified = self._verified(token, keys)
        if verified["aud"] not in self._audience:
            raise InvalidCredentials("the token is for another audience")
        if not (subject := text_claim(verified, "sub")):
            raise InvalidCredentials("the token's sub is not a printable string")
        return await self._reader.principal(verified, subject)

    async def principal_without_request(self, issuer: str, subject: str) -> Principal | None:
        return await self._reader.principal_by_subject(issuer, subject, {"sub": subject})

    def _checked_algorithm(self, header: Mapping[str, Any]) -> str:
        """Return the algorithm of a header if it is allowed (RFC 8725, 3.1)."""
        if "crit" in header:
            raise InvalidCredentials("the token requires an unsupported extension")  # RFC 7515, 4.1.11
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
            raise InvalidCredentials("the token's typ is not that of an access token")  # RFC 8725, 3.11
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise InvalidCredentials("the token's algorithm is not allowed")
        return algorithm

    def _verified(self, token: str, keys: Sequence[Any]) -> dict[str, Any]:
        """Return the claims of a token that is valid now and signed with one of the keys."""
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=self._algorithms,
                    issuer=self._reader.issuer,
                    leeway=self._leeway,
                    # `Audience` compares the audience: PyJWT would not ignore a trailing slash.
                    options={"require": _REQUIRED, "verify_aud": False},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.MissingRequiredClaimError as error:
                raise InvalidCredentials(f"the token has no {error.claim}") from None
            except jwt.PyJWTError as error:
                reasons = (text for kind, text in _REASONS if isinstance(error, kind))
                raise InvalidCredentials(next(reasons, "the token is malformed")) from None
        raise InvalidCredentials("the token's signature is invalid")


def _checked_algorithms(option: str | Sequence[str], *, is_secret: bool) -> tuple[str, ...]:
    """Return the allowed algorithms: never a symmetric one with public keys (RFC 8725, 2.1), never `none`."""
    supported = SYMMETRIC if is_secret else ASYMMETRIC
    algorithms = (option,) if isinstance(option, str) and option else tuple(option)
    if not algorithms:
        return ("HS256",) if is_secret else ("RS256", "ES256")
    if not set(algorithms) <= set(supported):
        raise ImproperlyConfigured(
            f"jwt: with {'SECRET' if is_secret else 'public keys'}, ALGORITHMS must be some of "
            f"{', '.join(sorted(supported))}, got {', '.join(map(repr, algorithms))}"
        )
    return algorithms


def _checked_kid(header: Mapping[str, Any]) -> str | None:
    kid = header.get("kid")
    if "kid" in header and not isinstance(kid, str):
        raise InvalidCredentials("the token's kid is not a string")
    return kid


def _object(part: str) -> dict[str, Any] | None:
    """Decode a part of a token as PyJWT does; return None if it is not a JSON object."""
    try:
        value = json.loads(base64url_decode(part))
    except ValueError:
        return None
    except RecursionError:
        raise InvalidCredentials("the token is nested too deeply") from None
    return value if isinstance(value, dict) else None
