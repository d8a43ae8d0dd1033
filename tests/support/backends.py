"""A clock moved by hand, and values to put into a backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, Session, session_key
from mcp_transport.protocol.jsonrpc import RequestId

KEY, OTHER_KEY, THIRD_KEY, UNKNOWN_KEY = (session_key(name) for name in ("one", "two", "three", "unknown"))
ANN, BOB = "django\n1", "django\n2"
STREAM = "aa"

POLICY = Policy(
    session_ttl=100.0,
    session_max_age=1000.0,
    max_sessions_per_principal=3,
    stream_keep=50.0,
    stream_max_events=5,
    stream_max_bytes=100,
)


def index_of(backend: Backend) -> SessionIndex:
    """Return the part of a backend that lists sessions."""
    assert backend.index is not None
    return backend.index


class HandClock:
    """The time, as a plain callable."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def session(clock: Callable[[], float], key: str = KEY, principal: str = ANN, **members: Any) -> Session:
    """Build a record as `initialize` makes it, with something in every member."""
    defaults: dict[str, Any] = {
        "protocol_version": "2025-11-25",
        "client_info": {"name": "cli\u00e9nt", "version": "1", "icons": [{"src": "x"}]},
        "capabilities": {"elicitation": {"url": {}}, "roots": {"listChanged": True}},
        "log_level": "warning",
        "user": "ann",
        "address": "127.0.0.1",
        "user_agent": "tests",
        "node": "n1",
        "created": clock(),
        "last_seen": clock(),
        "ends": clock() + POLICY.session_max_age,
    }
    return Session(key=key, principal=principal, **{**defaults, **members})


def in_flight(
    request_id: RequestId, *, node: str = "n1", stream: str = STREAM, digest: bytes = b"d"
) -> InFlightRequest:
    return InFlightRequest(
        request_id=request_id, digest=digest, node=node, stream=stream, operation="tools/call add m\xeb"
    )


def ended(*request_ids: RequestId, ending: Ending = Ending.OK) -> dict[RequestId, Ending]:
    """Say how requests ended."""
    return dict.fromkeys(request_ids, ending)


def events(*numbers: int, end: bool = False) -> list[Event]:
    """Build events whose payload names their number; with `end`, the last one is terminal."""
    return [Event(number, b"%d" % number, terminal=end and number == numbers[-1]) for number in numbers]
