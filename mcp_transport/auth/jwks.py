"""The keys that verify tokens: fetched from a JSON Web Key Set (RFC 7517), or fixed in the settings."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.core.exceptions import ImproperlyConfigured
from jwt import PyJWK, PyJWTError
from jwt.algorithms import AllowedPublicKeys, HMACAlgorithm

from mcp_transport.auth.authenticator import unavailable
from mcp_transport.auth.http_client import SingleFlight, UpstreamError, checked_url, request_json

__all__ = ["ASYMMETRIC", "SYMMETRIC", "FetchedKeys", "KeySet", "PublicKey", "SharedSecret", "StaticKeys"]

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 3600.0
REFETCH_INTERVAL_SECONDS: Final = 30.0
"""The minimum interval between fetches for an unknown key, and after a failure while keys are cached."""
RETRY_INTERVAL_SECONDS: Final = 2.0
"""The minimum interval between fetches after a failure while no keys are cached."""
MAX_STALE_SECONDS: Final = 24 * 3600.0
"""How long cached keys are used while fetching fails."""

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
_EDWARDS: Final = frozenset({"EdDSA"})
ASYMMETRIC: Final = _RSA | set(_CURVES.values()) | _EDWARDS
SYMMETRIC: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The algorithms with a shared secret, and the minimum length of the secret in bytes (RFC 7518, 3.2)."""

# PyJWT parses a key in the same way for every algorithm of its type.
_PARSE_ALGORITHMS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_MIN_RSA_BITS: Final = 2048  # RFC 7518, 3.3 and 3.5


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, the algorithms it may verify, and its key ID."""

    key: AllowedPublicKeys
    algorithms: frozenset[str]
    kid: str | None = None


class KeySet(ABC):
    """A set of keys that may have signed a token."""

    @abstractmethod
    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys | bytes]:
        """Return the keys that a token's header may refer to; none if its key is unknown.

        Raises:
            ProtocolError: 503, there are no keys, and they cannot be fetched.
        """


class SharedSecret(KeySet):
    """A secret shared with the issuer."""

    def __init__(self, secret: str, algorithms: Iterable[str]) -> None:
        """Set the secret for some of the SYMMETRIC algorithms.

        Raises:
            ImproperlyConfigured: the secret is too short, or a public key.
        """
        self._secret = secret.encode()
        if len(self._secret) < (needed := max(SYMMETRIC[name] for name in algorithms)):
            raise ImproperlyConfigured(f"SECRET must have at least {needed} bytes (RFC 7518, 3.2)")
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(self._secret)
        except PyJWTError:
            raise ImproperlyConfigured("SECRET must not be a public key: set KEYS instead") from None

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[bytes]:
        return (self._secret,) if algorithm in SYMMETRIC else ()


class StaticKeys(KeySet):
    """Keys from the settings: PEM, which has no key IDs, or a JSON Web Key Set."""

    def __init__(self, keys: str | Sequence[str] | Mapping[str, Any], algorithms: Iterable[str]) -> None:
        """Parse the keys.

        Raises:
            ImproperlyConfigured: there is no public key for any of the algorithms.
        """
        self._has_names = isinstance(keys, Mapping)
        if isinstance(keys, Mapping):
            self._keys = _from_document(keys) or ()
        else:
            self._keys = tuple(map(_from_pem, [keys] if isinstance(keys, str) else keys))
        if not any(key.algorithms & set(algorithms) for key in self._keys):
            raise ImproperlyConfigured("KEYS has no public key for any of ALGORITHMS (RSA needs at least 2048 bits)")

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if self._has_names:
            return _matching_keys(self._keys, kid, algorithm)
        return [key.key for key in self._keys if algorithm in key.algorithms]


@dataclass(frozen=True, slots=True)
class _CachedKeys:
    keys: tuple[PublicKey, ...]
    fetched_at: float


class FetchedKeys(KeySet):
    """The key set at an issuer's URL, which may rotate its keys at any time.

    It is fetched again when it has expired, and when a token names an unknown key; invented key IDs cannot cause
    frequent fetches. Cached keys are used for a day while fetching fails.
    """

    def __init__(
        self, url: str, *, cache_seconds: float = CACHE_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Set the URL, which the first token fetches, and how long its keys are fresh.

        Raises:
            ImproperlyConfigured: the URL is not safe.
        """
        self._url, self._cache_seconds, self._now = checked_url("JWKS_URL", url), cache_seconds, now
        self._cached: _CachedKeys | None = None
        self._failed_at = self._refetched_at = -math.inf
        self._single_flight = SingleFlight[None]()

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if is_due := self._is_due():
            await self._single_flight.run(self._url, self._fetch)
        keys = self._find(kid, algorithm)
        if not keys and not is_due and self._may_refetch():
            await self._single_flight.run(self._url, self._refetch)
            keys = self._find(kid, algorithm)
        return keys

    def _find(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if (cached := self._usable()) is None:
            raise unavailable()
        return _matching_keys(cached.keys, kid, algorithm)

    def _usable(self) -> _CachedKeys | None:
        cached = self._cached
        return cached if cached is not None and self._now() - cached.fetched_at < MAX_STALE_SECONDS else None

    def _is_due(self) -> bool:
        cached, since_failure = self._usable(), self._now() - self._failed_at
        if cached is None:
            return since_failure >= RETRY_INTERVAL_SECONDS
        return self._now() - cached.fetched_at >= self._cache_seconds and since_failure >= REFETCH_INTERVAL_SECONDS

    def _may_refetch(self) -> bool:
        return self._now() - self._refetched_at >= REFETCH_INTERVAL_SECONDS

    async def _refetch(self) -> None:
        await self._fetch()
        # After the fetch: until then other requests join it or, on another loop, start their own.
        self._refetched_at = self._now()

    async def _fetch(self) -> None:
        try:
            keys = _from_document(await request_json("GET", self._url, headers={"Accept": "application/json"}))
            if keys is None:
                raise UpstreamError("the response is not a JSON Web Key Set")
        except UpstreamError as error:
            self._failed_at = self._now()
            effect = "the cached keys stay in use" if self._usable() is not None else "no token can be verified"
            logger.warning("the keys at %s cannot be fetched, %s: %s", self._url, effect, error)
        else:
            self._cached, self._failed_at = _CachedKeys(keys, self._now()), -math.inf


def _matching_keys(keys: Iterable[PublicKey], kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
    """Return the keys with a key ID; a token without one refers to the only key for its algorithm, or to none."""
    matching = [key for key in keys if algorithm in key.algorithms]
    if kid is not None:
        return [key.key for key in matching if key.kid == kid]
    return [key.key for key in matching] if len(matching) == 1 else []


def _from_document(document: Mapping[str, Any]) -> tuple[PublicKey, ...] | None:
    """Parse a key set, skipping unusable keys (RFC 7517, section 5); return None if it is not a key set."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        return None
    # Not PyJWKSet: an "alg" of "none" or a list would break it, it raises for an empty set, and skips Ed448 keys.
    return tuple(key for key in map(_from_jwk, listed) if key is not None)


def _from_jwk(item: Any) -> PublicKey | None:
    if not isinstance(item, dict) or not _may_verify(item):
        return None
    try:
        key = PyJWK(item, _PARSE_ALGORITHMS[item["kty"]]).key
    except (PyJWTError, UnsupportedAlgorithm, LookupError, TypeError, ValueError):
        return None
    algorithms, kid = _algorithms_of(key), item.get("kid")
    if (stated := item.get("alg")) is not None:
        algorithms = frozenset(name for name in algorithms if name == stated)
    return PublicKey(key, algorithms, kid if isinstance(kid, str) else None) if algorithms else None


def _may_verify(item: Mapping[str, Any]) -> bool:
    use, operations = item.get("use"), item.get("key_ops")  # RFC 7517, 4.2 and 4.3
    return use in (None, "sig") and (operations is None or (isinstance(operations, list) and "verify" in operations))


def _from_pem(pem: str) -> PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm, AttributeError):
        raise ImproperlyConfigured("KEYS must be public keys in PEM, or a JSON Web Key Set") from None
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        raise ImproperlyConfigured("KEYS must be RSA, EC or EdDSA keys")
    return PublicKey(key, _algorithms_of(key))


def _algorithms_of(key: object) -> frozenset[str]:
    """Return the algorithms of a key's type; none if the key is weak, or private and so compromised."""
    if isinstance(key, RSAPublicKey):
        return _RSA if key.key_size >= _MIN_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset({_CURVES[key.curve.name]} if key.curve.name in _CURVES else ())
    return _EDWARDS if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else frozenset()
