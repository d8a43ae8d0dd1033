"""Session ids, from which a session can be rebuilt after its record was lost.

A sealed id is a prefix and, in base64url, nonce | AES-GCM(header | deflated JSON). The prefix is not in the alphabet
of base64url, so no random id starts with it; another format would use another prefix.
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

_PREFIX: Final = "."
_LABEL: Final = b"mcp_transport/session-id/1"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MAX_CONTENT_BYTES: Final = (MAX_SESSION_ID - len(_PREFIX)) * 3 // 4 - _NONCE_BYTES - _TAG_BYTES
# Start and end in whole seconds, and the digest of the owner.
_HEADER: Final = struct.Struct(">QQ16s")
_MAX_SECONDS: Final = 2**63

# Limits the data before compression and after decompression.
_MAX_JSON_BYTES: Final = 16 * 1024
_REQUESTABLE: Final = ("roots", "sampling", "elicitation", "tasks")
_FLAG_GROUPS: Final = ("experimental", "extensions")
_MAX_NAME_LENGTH: Final = 100
_MAX_FLAG_BYTES: Final = 100


def seal(session: Session, keys: Sequence[bytes]) -> str:
    """Return a sealed id for `session`, whose own `key` is ignored, or a random one if it would be too long.

    Without `keys` every id is random, and no session can be rebuilt.
    """
    for content in _contents(session) if keys else ():
        if len(content) <= _MAX_CONTENT_BYTES:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            return _PREFIX + _encode(nonce + _cipher(keys[0]).encrypt(nonce, content, _LABEL))
    return secrets.token_urlsafe(32)


def unseal(session_id: str, keys: Sequence[bytes], principal_binding: str, now: float) -> Session | None:
    """Rebuild the session of a sealed id; return None for another principal, an expired session and other ids."""
    if len(session_id) > MAX_SESSION_ID or not session_id.startswith(_PREFIX):
        return None
    content = _decrypt(_decode(session_id[len(_PREFIX) :]), keys)
    try:
        created, ends, owner = _HEADER.unpack_from(content)
        if not hmac.compare_digest(owner, _digest(principal_binding)):
            return None  # before any step that would take longer than for an unknown id
        version, client_info, capabilities, region = _unpack(content[_HEADER.size :])
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
        region=region,
        created=float(created),
        last_seen=now,
        ends=float(ends),
    )


def _contents(session: Session) -> Iterator[bytes]:
    """Yield possible contents of an id: everything; without texts for people; without unessential capabilities."""
    info, capabilities = session.client_info, session.capabilities
    names = {name: info[name][:_MAX_NAME_LENGTH] for name in ("name", "version") if isinstance(info.get(name), str)}
    header = _HEADER.pack(_whole(session.created), _whole(session.ends), _digest(session.principal))
    for client in ([info, capabilities], [names, capabilities], [names, _essential(capabilities)]):
        plain = _json([session.protocol_version, *client, *([session.region] if session.region else [])])
        if 0 < len(plain) <= _MAX_JSON_BYTES:
            # A window of 4 KiB: setting up zlib's largest one takes longer than the rest of a new session's id.
            deflate = zlib.compressobj(level=9, wbits=-12, memLevel=5)
            yield header + deflate.compress(plain) + deflate.flush()


def _essential(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """Return the capabilities that decide which requests the client accepts, and small flags of extensions."""
    essential = {name: capabilities[name] for name in _REQUESTABLE if name in capabilities}
    for name in _FLAG_GROUPS:
        if isinstance(flags := capabilities.get(name), Mapping):
            essential[name] = {flag: value for flag, value in flags.items() if _is_small([flag, value])}
    return essential


def _is_small(value: Any) -> bool:
    return 0 < len(_json(value)) <= _MAX_FLAG_BYTES


def _json(value: Any) -> bytes:
    """Return a value as JSON, or b"" if it cannot be encoded."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return b""


def _unpack(packed: bytes) -> tuple[str, dict[str, Any], dict[str, Any], str]:
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _MAX_JSON_BYTES)
    version, client_info, capabilities, *regions = orjson.loads(plain)
    [region] = regions or [""]
    if not isinstance(region, str):
        raise TypeError("not the name of a region")
    return version, dict(client_info), dict(capabilities), region


def _decrypt(sealed: bytes, keys: Sequence[bytes]) -> bytes:
    """Decrypt with one of the keys; return b"" if none fits."""
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
    """Decode base64url exactly as `_encode` writes it: a second spelling would be a second session."""
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
    return content if _encode(content) == text else b""


def _digest(principal_binding: str) -> bytes:
    return hashlib.sha256(principal_binding.encode()).digest()[:16]


def _whole(seconds: float) -> int:
    return int(min(max(seconds, 0), _MAX_SECONDS))
