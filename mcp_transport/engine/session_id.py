"""Session ids, which carry what a session needs to be rebuilt after its record was lost.

A sealed id is a format mark and, in base64url, nonce | AES-GCM(header | deflated JSON). Its mark is no letter of
base64url, so no random id begins with it; another format would take another mark.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcp_transport.domain.session import Session, session_key
from mcp_transport.protocol.headers import MAX_SESSION_ID
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["seal", "unseal"]

_MARK: Final = "."
_LABEL: Final = b"mcp_transport/session-id/1"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MAX_CONTENT: Final = (MAX_SESSION_ID - len(_MARK)) * 3 // 4 - _NONCE_BYTES - _TAG_BYTES
# When it began and when it ends, in whole seconds, and the owner's digest.
_HEADER: Final = struct.Struct(">QQ16s")
_FOREVER: Final = 2**63

# What is deflated, and what is inflated again, is not longer than this.
_MAX_JSON_BYTES: Final = 16 * 1024
_ASKED: Final = ("roots", "sampling", "elicitation", "tasks")
_FLAGS: Final = ("experimental", "extensions")
_MAX_NAME: Final = 100
_MAX_FLAG_BYTES: Final = 100


def seal(session: Session, keys: Sequence[bytes]) -> str:
    """Make an id for `session`, whose own `key` is not read: sealed, or plainly random when too much would be in it.

    Without `keys` every id is random, so that no session is ever rebuilt.
    """
    for content in _contents(session) if keys else ():
        if len(content) <= _MAX_CONTENT:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            return _MARK + _encode(nonce + _cipher(keys[0]).encrypt(nonce, content, _LABEL))
    return secrets.token_urlsafe(32)


def unseal(session_id: str, keys: Sequence[bytes], principal_binding: str, now: float) -> Session | None:
    """Rebuild the session that an id was minted for; None for another principal, past its end, and for other ids."""
    if len(session_id) > MAX_SESSION_ID or not session_id.startswith(_MARK):
        return None
    content = _decrypt(_decode(session_id[len(_MARK) :]), keys)
    try:
        created, ends, owner = _HEADER.unpack_from(content)
        if not hmac.compare_digest(owner, _digest(principal_binding)):
            return None  # before anything is read that takes longer than an unknown id does
        version, client_info, capabilities = _unpack(content[_HEADER.size :])
        is_sessionful = REVISIONS[version].sessionful
    except (struct.error, zlib.error, LookupError, TypeError, ValueError):
        return None
    if not is_sessionful or now >= ends:
        return None
    return Session(
        key=session_key(session_id),
        protocol_version=version,
        principal=principal_binding,
        client_info=client_info,
        capabilities=capabilities,
        initialized=True,
        created=float(created),
        last_seen=now,
        ends=float(ends),
    )


def _contents(session: Session) -> Iterator[bytes]:
    """Yield what an id may hold: everything, without what people read, without what decides nothing."""
    info, capabilities = session.client_info, session.capabilities
    names = {name: info[name][:_MAX_NAME] for name in ("name", "version") if isinstance(info.get(name), str)}
    header = _HEADER.pack(_whole(session.created), _whole(session.ends), _digest(session.principal))
    for client in ([info, capabilities], [names, capabilities], [names, _needed(capabilities)]):
        plain = _json([session.protocol_version, *client])
        if 0 < len(plain) <= _MAX_JSON_BYTES:
            yield header + zlib.compress(plain, 9, -zlib.MAX_WBITS)


def _needed(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what decides whether the client may be asked something, and small flags of extensions."""
    needed = {name: capabilities[name] for name in _ASKED if name in capabilities}
    for name in _FLAGS:
        if isinstance(flags := capabilities.get(name), Mapping):
            needed[name] = {flag: value for flag, value in flags.items() if _is_small([flag, value])}
    return needed


def _is_small(value: Any) -> bool:
    return 0 < len(_json(value)) <= _MAX_FLAG_BYTES


def _json(value: Any) -> bytes:
    """Write JSON, or nothing for what cannot be written."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return b""


def _unpack(packed: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _MAX_JSON_BYTES)
    version, client_info, capabilities = orjson.loads(plain)
    return version, dict(client_info), dict(capabilities)


def _decrypt(sealed: bytes, keys: Sequence[bytes]) -> bytes:
    """Return what one of the keys sealed, or nothing."""
    nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    for key in keys if ciphertext else ():
        try:
            return _cipher(key).decrypt(nonce, ciphertext, _LABEL)
        except InvalidTag:
            continue
    return b""


@lru_cache(maxsize=16)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(key)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Read base64url as `_encode` writes it, and only that: a second spelling would be a second session."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
    return content if _encode(content) == text else b""


def _digest(principal_binding: str) -> bytes:
    return hashlib.sha256(principal_binding.encode()).digest()[:16]


def _whole(seconds: float) -> int:
    return int(min(max(seconds, 0), _FOREVER))
