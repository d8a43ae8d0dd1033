"""The keys that tokens are verified with: read from a JSON Web Key Set (RFC 7517) and read again, or fixed."""

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

from mcp_transport.auth.http_client import SingleFlight, UpstreamError, ask, checked_url, unavailable

__all__ = ["ASYMMETRIC", "SYMMETRIC", "FetchedKeys", "KeySet", "PublicKey", "SharedSecret", "StaticKeys"]

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 3600.0
SEARCH_SECONDS: Final = 30.0
"""How long no key set is read again for a key that is not in it, nor one whose server has just failed."""
RETRY_SECONDS: Final = 2.0
"""How long a server that has just failed is left alone when nothing is known at all."""
KEEP_SECONDS: Final = 24 * 3600.0
"""How long keys are used that cannot be read again."""

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}
_EDWARDS: Final = frozenset({"EdDSA"})
ASYMMETRIC: Final = _RSA | set(_CURVES.values()) | _EDWARDS
SYMMETRIC: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The algorithms with a secret, and how many bytes it must have at least (RFC 7518, 3.2)."""

# With any algorithm of its type PyJWT reads a key in the same way.
_READ_AS: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_MIN_RSA_BITS: Final = 2048  # RFC 7518, 3.3 and 3.5


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, what it may verify, and its name."""

    key: AllowedPublicKeys
    algorithms: frozenset[str]
    kid: str | None = None


class KeySet(ABC):
    """Finds the keys that may have signed a token."""

    @abstractmethod
    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys | bytes]:
        """Return the keys that a token's header may mean; none when its key is not known.

        Raises:
            ProtocolError: 503, there are no keys, and whoever has them does not answer.
        """


class SharedSecret(KeySet):
    """A secret that the issuer has, too."""

    def __init__(self, secret: str, algorithms: Iterable[str]) -> None:
        """Take the secret for some of SYMMETRIC.

        Raises:
            ImproperlyConfigured: it is too short, or a public key.
        """
        self._secret = secret.encode()
        if len(self._secret) < (needed := max(SYMMETRIC[name] for name in algorithms)):
            raise ImproperlyConfigured(f"SECRET must have {needed} bytes or more (RFC 7518, 3.2)")
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(self._secret)
        except PyJWTError:
            raise ImproperlyConfigured("SECRET is a public key, which everybody knows: set KEYS instead") from None

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[bytes]:
        return (self._secret,) if algorithm in SYMMETRIC else ()


class StaticKeys(KeySet):
    """Keys that stand in the settings: PEM, which has no names, or a JSON Web Key Set."""

    def __init__(self, keys: str | Sequence[str] | Mapping[str, Any], algorithms: Iterable[str]) -> None:
        """Take the keys.

        Raises:
            ImproperlyConfigured: none of them is a public key for one of the algorithms.
        """
        self._has_names = isinstance(keys, Mapping)
        if isinstance(keys, Mapping):
            self._keys = _from_document(keys) or ()
        else:
            self._keys = tuple(map(_from_pem, [keys] if isinstance(keys, str) else keys))
        if not any(key.algorithms & set(algorithms) for key in self._keys):
            raise ImproperlyConfigured("KEYS has no public key for any of ALGORITHMS (RSA needs 2048 bits or more)")

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if self._has_names:
            return _named(self._keys, kid, algorithm)
        return [key.key for key in self._keys if algorithm in key.algorithms]


@dataclass(frozen=True, slots=True)
class _Known:
    keys: tuple[PublicKey, ...]
    read_at: float


class FetchedKeys(KeySet):
    """The key set of an issuer, which may change its keys at any time.

    It is read again when it is old, and when a token names a key that is not in it: made-up names cannot make that
    happen often. Keys that cannot be read again are used for a day.
    """

    def __init__(
        self, url: str, *, cache_seconds: float = CACHE_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Read nothing yet; the keys are old after `cache_seconds`.

        Raises:
            ImproperlyConfigured: the URL is not safe.
        """
        self._url, self._cache_seconds, self._now = checked_url("JWKS_URL", url), cache_seconds, now
        self._known: _Known | None = None
        self._failed_at = self._searched_at = -math.inf
        self._reading = SingleFlight[None]()

    async def candidates(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if is_due := self._is_due():
            await self._reading.run(self._url, self._read)
        found = self._find(kid, algorithm)
        if not found and not is_due and self._may_search():
            await self._reading.run(self._url, self._search)
            found = self._find(kid, algorithm)
        return found

    def _find(self, kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
        if (known := self._usable()) is None:
            raise unavailable()
        return _named(known.keys, kid, algorithm)

    def _usable(self) -> _Known | None:
        known = self._known
        return known if known is not None and self._now() - known.read_at < KEEP_SECONDS else None

    def _is_due(self) -> bool:
        known, unbroken = self._usable(), self._now() - self._failed_at
        if known is None:
            return unbroken >= RETRY_SECONDS
        return self._now() - known.read_at >= self._cache_seconds and unbroken >= SEARCH_SECONDS

    def _may_search(self) -> bool:
        return self._now() - self._searched_at >= SEARCH_SECONDS

    async def _search(self) -> None:
        await self._read()
        # Not before its end: until then others wait for this search, or, on another loop, begin their own.
        self._searched_at = self._now()

    async def _read(self) -> None:
        try:
            keys = _from_document(await ask("GET", self._url, headers={"Accept": "application/json"}))
            if keys is None:
                raise UpstreamError("its answer is no JSON Web Key Set")
        except UpstreamError as error:
            self._failed_at = self._now()
            left = "those known go on being used" if self._usable() is not None else "no token can be verified"
            logger.warning("the keys at %s cannot be read, %s: %s", self._url, left, error)
        else:
            self._known, self._failed_at = _Known(keys, self._now()), -math.inf


def _named(keys: Iterable[PublicKey], kid: str | None, algorithm: str) -> Sequence[AllowedPublicKeys]:
    """Return the keys of a name; a token without one means the only key that fits, or none."""
    fitting = [key for key in keys if algorithm in key.algorithms]
    if kid is not None:
        return [key.key for key in fitting if key.kid == kid]
    return [key.key for key in fitting] if len(fitting) == 1 else []


def _from_document(document: Mapping[str, Any]) -> tuple[PublicKey, ...] | None:
    """Read a key set without those of its keys that are of no use here (RFC 7517, section 5); None if it is none."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        return None
    return tuple(key for key in map(_from_jwk, listed) if key is not None)


def _from_jwk(item: Any) -> PublicKey | None:
    if not isinstance(item, dict) or not _may_verify(item):
        return None
    try:
        key = PyJWK(item, _READ_AS[item["kty"]]).key
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
        raise ImproperlyConfigured("KEYS has a key that signs nothing: RSA, EC and EdDSA are known")
    return PublicKey(key, _algorithms_of(key))


def _algorithms_of(key: object) -> frozenset[str]:
    """Return what a key is fit for by its type; nothing if it is weak, or private, and so proves nothing any more."""
    if isinstance(key, RSAPublicKey):
        return _RSA if key.key_size >= _MIN_RSA_BITS else frozenset()
    if isinstance(key, EllipticCurvePublicKey):
        return frozenset({_CURVES[key.curve.name]} if key.curve.name in _CURVES else ())
    return _EDWARDS if isinstance(key, Ed25519PublicKey | Ed448PublicKey) else frozenset()
