"""What a request to an endpoint asks for, and whether it may be sent twice: pure decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

__all__ = ["Outgoing", "SDKRequest"]

# Methods that change nothing, or the same when they are repeated. A session that nobody uses expires.
_REPEATABLE: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "completion/complete", "logging/setLevel"),
        *("tools/list", "prompts/list", "prompts/get", "resources/list", "resources/read"),
        *("resources/templates/list", "resources/subscribe", "resources/unsubscribe", "subscriptions/listen"),
    }
)


@dataclass(slots=True, weakref_slot=True)
class Outgoing:
    """A request to the server, whichever endpoint it goes to."""

    verb: str
    """The method of HTTP."""
    headers: dict[str, str] = field(repr=False)
    """Without those of one endpoint, or of the session."""
    content: bytes = field(default=b"", repr=False)
    message: dict[str, Any] = field(default_factory=dict, repr=False)
    """What a POST carries."""
    may_have_run: bool = False
    """Was it sent, and its answer lost?"""
    not_ended_at: float = 0.0
    """A time of the monotonic clock at which it had not ended yet, as far as this client can tell."""
    is_idempotent: bool = False
    """Does the server say so of the tool that it calls?"""
    is_cancelled: bool = False
    """Does nobody wait for its answer any more?"""

    @property
    def method(self) -> str:
        """Return the method of JSON-RPC, empty for a reply."""
        return str(self.message.get("method", ""))

    @property
    def request_id(self) -> str | int | None:
        """Return the id of a JSON-RPC request; None for anything else."""
        return self.message.get("id") if self.method else None

    @property
    def is_listening(self) -> bool:
        """Tell whether it asks for the stream that is no call's, on which a server may say nothing for hours."""
        return self.verb == "GET" and not self.message

    @property
    def tool(self) -> str:
        """Return the tool that is called."""
        params = self.message.get("params")
        return str(params.get("name", "")) if self.method == "tools/call" and isinstance(params, dict) else ""

    @property
    def is_repeatable(self) -> bool:
        """Tell whether a repetition changes nothing, whatever the server is.

        A reply has one id, a cancellation names one request, and other notifications say what is.
        """
        return self.request_id is None or self.method in _REPEATABLE

    def resumption(self, last_event_id: str) -> Outgoing:
        """Return the GET that asks for the rest of the stream."""
        headers = {
            name: value for name, value in self.headers.items() if name not in ("content-type", "idempotency-key")
        }
        headers |= {"accept": "text/event-stream", "last-event-id": last_event_id}
        return Outgoing("GET", headers, message=self.message)


class SDKRequest(httpx2.Request):
    """What the SDK's transport wants to send, before it is a request to an endpoint, which takes time to build."""

    def __init__(self, method: str, url: httpx2.URL, headers: Mapping[str, str], message: dict[str, Any]) -> None:
        """Take what the transport says."""
        self.method, self.url, self.headers, self.message = method, url, httpx2.Headers(), message
        self.extensions = {}
        left_out = ("host", "content-length", "mcp-session-id")
        named = ((name.lower(), value) for name, value in headers.items())
        self.outgoing = Outgoing(
            method, {name: value for name, value in named if name not in left_out}, message=message
        )
        if method == "POST":
            # As the HTTP library writes it; orjson has no numbers of more than 64 bits.
            text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            self.outgoing.content = text.encode()
