"""Observations: what came back, and when; nothing here says whether it is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

__all__ = [
    "SESSIONFUL",
    "SESSIONLESS",
    "TLS",
    "Answer",
    "DoctorOptions",
    "Frame",
    "Observations",
    "StreamObservation",
    "Visit",
    "frames_of",
    "session_of",
]

SESSIONFUL: Final = "2025-11-25"
SESSIONLESS: Final = "2026-07-28"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """What the doctor was told to do."""

    url: str
    token: str = field(default="", repr=False)
    idle: float = 20.0
    """For how many seconds silent streams are held."""
    nodes: int = 0
    """How many nodes there should be; 0 where nobody said."""
    origins: tuple[str, ...] = ()
    """Origins of pages that should be let in."""
    insecure: bool = False

    @property
    def visits(self) -> int:
        """Return how many fresh connections are made: enough to meet each of a few nodes, whoever picks them."""
        return max(12, 6 * self.nodes)


@dataclass(frozen=True)
class Answer:
    """The answer to one request; `fault` says why there is none, or why it is not whole."""

    status: int = 0
    http: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; several lines of one name are joined with commas."""
    body: bytes = b""
    seconds: float = 0.0
    """From the request until the head was here."""
    when: float = 0.0
    """The time of our clock then."""
    line: str = ""
    """Our end of the connection: two answers with the same one came by the same connection."""
    fault: str = ""

    @cached_property
    def message(self) -> Mapping[str, Any]:
        """The JSON-RPC message in the body, be it JSON or the last event; empty if there is none."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            messages = [frame.message for frame in frames_of([(0.0, self.body)]) if frame.data]
            return messages[-1] if messages else {}
        return _object(self.body)

    @property
    def result(self) -> Mapping[str, Any]:
        """The result in the message; empty if there is none."""
        result = self.message.get("result")
        return result if self.status == 200 and isinstance(result, dict) else {}

    @property
    def error(self) -> Mapping[str, Any]:
        """The error in the message; empty if there is none."""
        error = self.message.get("error")
        return error if isinstance(error, dict) else {}

    @property
    def outcome(self) -> str:
        """What it was, in a few words."""
        reason = self.error.get("message", "")
        return self.fault or f"HTTP {self.status}" + (f" ({reason})" if reason else "")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event, or a comment, and when its last byte arrived."""

    seconds: float
    is_comment: bool = False
    id: str = ""
    data: str = ""

    @property
    def message(self) -> Mapping[str, Any]:
        """The JSON-RPC message it carries; empty if there is none."""
        return _object(self.data)


@dataclass(frozen=True)
class StreamObservation:
    """A stream, listened to for some time; seconds count from the request."""

    answer: Answer = Answer()
    pieces: tuple[tuple[float, bytes], ...] = ()
    seconds: float = 0.0
    """When we left, or it ended."""
    end: str = ""
    """How it ended; empty if it was still open when we left."""

    @property
    def is_stream(self) -> bool:
        """Whether the server agreed to stream."""
        return self.answer.status == 200 and self.answer.headers.get("content-type", "").startswith(
            "text/event-stream"
        )

    @cached_property
    def frames(self) -> list[Frame]:
        """The events and comments."""
        return frames_of(self.pieces)

    @property
    def longest_silence(self) -> float:
        """The longest time without a byte."""
        times = [0.0, *(when for when, _ in self.pieces), self.seconds]
        return max(later - earlier for earlier, later in pairwise(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """What a handshake showed."""

    version: str = ""
    protocol: str = ""
    """What ALPN chose, such as h2."""
    names: tuple[str, ...] = ()
    expires: float = 0.0
    fault: str = ""
    """Why the certificate is not trusted, or why there was no handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the tool of `mcp_transport.contrib.doctor` said of one request, as it reached the node."""

    node: str
    http: str = ""
    connection: str = ""
    """The request's Connection header."""


@dataclass(kw_only=True)
class Observations:
    """Everything that was seen of an endpoint; None is what nobody could look at."""

    asked: DoctorOptions
    now: float = 0.0
    tls: TLS | None = None
    anonymous: Answer = Answer()
    """`initialize` without credentials."""
    metadata: Answer | None = None
    """What the challenge's resource_metadata leads to."""
    health: dict[str, Answer] = field(default_factory=dict)
    discover: Answer = Answer()
    crossed: Answer | None = None
    """A request of 2026-07-28 whose Mcp-Method contradicts its body."""
    initialize: Answer = Answer()
    quiet: Answer = Answer()
    """`initialize` of the session whose stream is held."""
    pings: tuple[Answer, ...] = ()
    """The session's pings, each by a fresh connection."""
    kept: tuple[Answer, ...] = ()
    """Two requests by one connection, if it lets us."""
    false_version: Answer | None = None
    false_event: StreamObservation | None = None
    held: StreamObservation | None = None
    """A GET stream on which nothing happens."""
    listened: StreamObservation | None = None
    """`subscriptions/listen`, on which nothing happens."""
    zipped: StreamObservation | None = None
    """A stream whose client takes gzip."""
    cut: StreamObservation | None = None
    """A call of the tool in a session, which we left in the middle."""
    resumed: StreamObservation | None = None
    """What came after the last event of that, or of a GET stream."""
    deleted: Answer | None = None
    after_delete: Answer | None = None
    foreign: Answer | None = None
    own: Answer | None = None
    origins: dict[str, Answer] = field(default_factory=dict)
    large: Answer | None = None
    announced: Answer | None = None
    """What was answered to a body that was announced, and did not come."""
    has_tool: bool = False
    rounds: tuple[StreamObservation, ...] = ()
    """Calls of the tool that report at fixed intervals."""
    visits: tuple[Visit, ...] = ()

    @property
    def is_reached(self) -> bool:
        """Whether an endpoint answered: with JSON-RPC, or by asking for credentials."""
        return self.anonymous.status == 401 or bool(self.anonymous.message)

    @property
    def session_id(self) -> str:
        """The session that was opened; empty if there is none."""
        return session_of(self.initialize)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be printed, whoever repeats it."""
        return (self.asked.token, *map(session_of, (self.anonymous, self.initialize, self.quiet)))

    @property
    def has_sessionless(self) -> bool:
        """Whether 2026-07-28 is served to us."""
        return bool(self.discover.result)


def session_of(initialized: Answer) -> str:
    """Return the session that an `initialize` opened; empty if it did not."""
    session_id = initialized.headers.get("mcp-session-id", "")
    return session_id if initialized.status == 200 and session_id.isascii() else ""


def _object(text: str | bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # servers say what they like
        return {}
    return value if isinstance(value, dict) else {}


def frames_of(pieces: Any) -> list[Frame]:
    """Cut what arrived into events and comments."""
    found: list[Frame] = []
    text = b""
    for when, piece in pieces:
        text = (text + piece).replace(b"\r\n", b"\n")
        *whole, text = text.split(b"\n\n")
        found += [_frame(when, part.decode(errors="replace")) for part in whole if part.strip()]
    return found


def _frame(when: float, text: str) -> Frame:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
    return Frame(when, is_comment=not fields, id=fields.get("id", ""), data=fields.get("data", ""))
