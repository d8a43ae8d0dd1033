"""The session as seen by handlers."""

from __future__ import annotations

from typing import Any, Final

from mcp_transport.backends.base import Backend
from mcp_transport.domain.session import short_id
from mcp_transport.engine.codec import decode, encode

__all__ = ["SessionHandle"]

# Limited because each broadcast of a change reads them.
_MAX_SUBSCRIPTIONS: Final = 1000
_MAX_SUBSCRIBED_BYTES: Final = 64 * 1024
_MAX_URI_LENGTH: Final = 2048


class SessionHandle:
    """Reads and changes one session in the backend."""

    def __init__(self, backend: Backend, key: str) -> None:
        self._backend, self._key = backend, key

    @property
    def short_id(self) -> str:
        """Return the session's short id, as in logs."""
        return short_id(self._key)

    async def read(self) -> dict[str, bytes]:
        """Return the session state of the tools."""
        return await self._backend.sessions.read_state(self._key)

    async def write(self, name: str, value: bytes | None) -> bool:
        """Store a value, or delete it with None; return whether it existed before."""
        return await self._backend.sessions.write_state(self._key, name, value)

    def to_json(self, value: Any) -> bytes:
        """Encode a value. Raises: TypeError, ValueError, RecursionError if it is not JSON."""
        return encode(value)

    def from_json(self, raw: bytes) -> Any:
        """Decode the output of `to_json`, including integers of any length."""
        return decode(raw)

    async def set_log_level(self, level: str) -> None:
        """Set the minimum severity of the client's log messages."""
        await self._backend.sessions.update(self._key, log_level=level)

    async def subscribe(self, uri: str, *, active: bool) -> None:
        """Subscribe the client to changes of a resource, or unsubscribe it.

        Raises: ValueError for a URI that is too long, or one too many.
        """
        if len(uri) > _MAX_URI_LENGTH:
            raise ValueError(f"a URI may have at most {_MAX_URI_LENGTH} characters")
        if not await self._backend.sessions.subscribe(
            self._key, uri, active, _MAX_SUBSCRIPTIONS, _MAX_SUBSCRIBED_BYTES
        ):
            raise ValueError(
                f"a session may subscribe to at most {_MAX_SUBSCRIPTIONS} resources, with at most "
                f"{_MAX_SUBSCRIBED_BYTES} bytes of URIs in total; unsubscribe from another one first"
            )
