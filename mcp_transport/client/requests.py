"""Outgoing requests, and whether they may be sent twice: pure decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

__all__ = ["Outgoing", "SDKRequest"]

# Methods that change nothing, or are idempotent. An unused session expires.
_REPEATABLE: Final = frozenset(
    {
        *("initialize", "ping", "server/discover", "completion/complete", "logging/setLevel"),
        *("tools/list", "prompts/list", "prompts/get", "resources/list", "resources/read"),
        *("resources/templates/list", "resources/subscribe", "resources/unsubscribe", "subscriptions/listen"),
    }
)


@dataclass(slots=True, weakref_slot=True)
class Outgoing:
    """A request to the server, independent of the endpoint."""

    verb: str
    """The HTTP method."""
    headers: dict[str, str] = field(repr=False)
    """Without the headers of the endpoint and the session."""
    content: bytes = field(default=b"", repr=False)
    message: dict[str, Any] = field(default_factory=dict, repr=False)
    """The JSON-RPC message of a POST."""
    may_have_run: bool = False
    """Was it sent without a response?"""
    unfinished_at: float = 0.0
    """The last time on the monotonic clock at which this client knows that it had not ended."""
    is_idempotent: bool = False
    """Is the called tool idempotent, by its annotations?"""
    is_cancelled: bool = False
    """Has the caller cancelled it?"""
    region: str = ""
    """The region that runs it, or the call that it serves; empty if the server names none, and for new work."""
    sent_to: set[str] = field(default_factory=set)
    """The regions in which it may have run."""

    @property
    def method(self) -> str:
        """Return the JSON-RPC method; empty for a reply."""
        return str(self.message.get("method", ""))

    @property
    def request_id(self) -> str | int | None:
        """Return the id of a JSON-RPC request; None for anything else."""
        return self.message.get("id") if self.method else None

    @property
    def is_listening(self) -> bool:
        """Return whether the request opens the session's GET stream, which may be silent for hours."""
        return self.verb == "GET" and not self.message

    @property
    def begins_work(self) -> bool:
        """Return whether the request begins work; replies, cancellations, GET and DELETE serve work that goes on."""
        return self.verb == "POST" and self.request_id is not None

    @property
    def tool(self) -> str:
        """Return the name of the called tool; empty for other methods."""
        params = self.message.get("params")
        return str(params.get("name", "")) if self.method == "tools/call" and isinstance(params, dict) else ""

    @property
    def is_repeatable(self) -> bool:
        """Return whether a repetition is safe with any server.

        A reply has one id, a cancellation names one request, and other notifications state facts.
        """
        return self.request_id is None or self.method in _REPEATABLE

    def resumption(self, last_event_id: str) -> Outgoing:
        """Return the GET that resumes the stream."""
        post_only = ("content-type", "idempotency-key")
        headers = {name: value for name, value in self.headers.items() if name not in post_only}
        headers |= {"accept": "text/event-stream", "last-event-id": last_event_id}
        return Outgoing("GET", headers, message=self.message, region=self.region)


class SDKRequest(httpx2.Request):
    """A request of the SDK's transport; cheaper to build than an `httpx2.Request`, which each attempt builds."""

    def __init__(self, method: str, url: httpx2.URL, headers: Mapping[str, str], message: dict[str, Any]) -> None:
        """Store the method, URL, headers and message without building an HTTP request."""
        self.method, self.url, self.headers, self.message = method, url, httpx2.Headers(), message
        self.extensions = {}
        skip = ("host", "content-length", "mcp-session-id")
        pairs = ((name.lower(), value) for name, value in headers.items())
        self.outgoing = Outgoing(method, {name: value for name, value in pairs if name not in skip}, message=message)
        if method == "POST":
            # The HTTP library's own form; orjson cannot write integers of more than 64 bits.
            text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            self.outgoing.content = text.encode()
