"""The observations of the probes, with times; the rules evaluate them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

from mcp_transport.doctor.connection_faults import Fault

__all__ = [
    "SESSIONFUL",
    "SESSIONLESS",
    "TLS",
    "DoctorOptions",
    "Frame",
    "NodeReport",
    "Observations",
    "RegionObservation",
    "Response",
    "StreamObservation",
    "parse_frames",
    "session_id_of",
]

SESSIONFUL: Final = "2025-11-25"
SESSIONLESS: Final = "2026-07-28"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """The options of `mcp_doctor`."""

    url: str
    token: str = field(default="", repr=False)
    idle: float = 20.0
    """Seconds for which idle streams are held open."""
    nodes: int = 0
    """The expected number of nodes; 0 if not given."""
    origins: tuple[str, ...] = ()
    """Origins that the server must allow."""
    insecure: bool = False
    regions: tuple[str, ...] = ()
    """The URLs of the endpoint in other regions."""

    @property
    def connections(self) -> int:
        """Return the number of new connections: enough to reach each of a few nodes, however they are balanced."""
        return max(12, 6 * self.nodes)


@dataclass(frozen=True)
class Response:
    """The response to one request; `failure` is the reason why there is none, or why it is incomplete."""

    status: int = 0
    http: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; repeated headers are joined with commas."""
    body: bytes = b""
    seconds: float = 0.0
    """From the request until the response headers."""
    received_at: float = 0.0
    """The local wall-clock time of the response headers."""
    local_address: str = ""
    """The local end of the connection: responses with the same one used the same connection."""
    failure: str = ""
    fault: Fault = Fault.NONE
    """Why there is no connection, or no answer."""

    @cached_property
    def message(self) -> Mapping[str, Any]:
        """The JSON-RPC message in a JSON body, or in the last event of a stream; empty if there is none."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            messages = [frame.message for frame in parse_frames([(0.0, self.body)]) if frame.data]
            return messages[-1] if messages else {}
        return _json_object(self.body)

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
        """The failure, or the status with the error message."""
        reason = self.error.get("message", "")
        return self.failure or f"HTTP {self.status}" + (f" ({reason})" if reason else "")


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event or comment, and when its last byte arrived."""

    seconds: float
    is_comment: bool = False
    id: str = ""
    data: str = ""

    @property
    def message(self) -> Mapping[str, Any]:
        """The JSON-RPC message in the event; empty if there is none."""
        return _json_object(self.data)


@dataclass(frozen=True)
class StreamObservation:
    """A stream that was read for some time; seconds count from the request."""

    response: Response = Response()
    chunks: tuple[tuple[float, bytes], ...] = ()
    seconds: float = 0.0
    """When the client disconnected or the stream ended."""
    end: str = ""
    """How the stream ended; empty if the client disconnected first."""

    @property
    def is_stream(self) -> bool:
        """Whether the server opened a stream."""
        content_type = self.response.headers.get("content-type", "")
        return self.response.status == 200 and content_type.startswith("text/event-stream")

    @cached_property
    def frames(self) -> list[Frame]:
        """The events and comments."""
        return parse_frames(self.chunks)

    @property
    def max_silence(self) -> float:
        """The longest time without a byte."""
        times = [0.0, *(received_at for received_at, _ in self.chunks), self.seconds]
        return max(later - earlier for earlier, later in pairwise(times))


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """The result of a TLS handshake."""

    version: str = ""
    protocol: str = ""
    """The protocol that ALPN selected, such as h2."""
    names: tuple[str, ...] = ()
    expires: float = 0.0
    failure: str = ""
    """Why the certificate is not trusted, or why the handshake failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """The report of the tool of `mcp_transport.contrib.doctor` about a request, as it reached the node."""

    node: str
    http: str = ""
    connection: str = ""
    """The request's Connection header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionObservation:
    """What another region does with the session."""

    ping: Response
    resumed: StreamObservation | None = None
    """The GET stream resumed after the last event that the first region has sent."""


@dataclass(kw_only=True)
class Observations:
    """All observations of an endpoint; None where nothing could be probed."""

    options: DoctorOptions
    now: float = 0.0
    tls: TLS | None = None
    anonymous: Response = Response()
    """`initialize` without credentials."""
    metadata: Response | None = None
    """The document that the challenge's resource_metadata names."""
    health: dict[str, Response] = field(default_factory=dict)
    discover: Response = Response()
    mismatch: Response | None = None
    """A request of 2026-07-28 whose Mcp-Method contradicts its body."""
    initialize: Response = Response()
    idle_session: Response = Response()
    """`initialize` of the session with the idle stream."""
    pings: tuple[Response, ...] = ()
    """The session's pings, each over a new connection."""
    reused: tuple[Response, ...] = ()
    """Two requests over one connection, if it is persistent."""
    bad_version: Response | None = None
    bad_event_id: StreamObservation | None = None
    idle_get: StreamObservation | None = None
    """A GET stream without events."""
    idle_listen: StreamObservation | None = None
    """`subscriptions/listen` without events."""
    gzipped: StreamObservation | None = None
    """A stream for a client that accepts gzip."""
    interrupted: StreamObservation | None = None
    """A call of the tool in a session, disconnected in the middle."""
    resumed: StreamObservation | None = None
    """The stream resumed after the last event of that call, or of a GET stream."""
    deleted: Response | None = None
    after_delete: Response | None = None
    foreign_origin: Response | None = None
    own_origin: Response | None = None
    origins: dict[str, Response] = field(default_factory=dict)
    regions: dict[str, RegionObservation] = field(default_factory=dict)
    """By the URL of the region."""
    large_body: Response | None = None
    tools: int = 0
    list_bytes: int = 0
    """The size of all pages of tools/list."""
    watched: tuple[Response, ...] = ()
    """Requests that were sent each second, while idle streams were held open."""
    announced_body: Response | None = None
    """The response to a body that was announced and not sent."""
    has_tool: bool = False
    rounds: tuple[StreamObservation, ...] = ()
    """Calls of the tool that report at fixed intervals."""
    node_reports: tuple[NodeReport, ...] = ()

    @property
    def is_reached(self) -> bool:
        """Whether an endpoint answered: with JSON-RPC, or with 401."""
        return self.anonymous.status == 401 or bool(self.anonymous.message)

    @property
    def names_region(self) -> bool:
        """Whether the deployment has several regions, as far as known."""
        return bool(self.options.regions) or any(
            "x-mcp-region" in response.headers for response in (self.initialize, self.anonymous)
        )

    @property
    def needs_token(self) -> bool:
        """Whether the endpoint wants credentials, and none were given."""
        return self.anonymous.status == 401 and not self.options.token

    @property
    def session_id(self) -> str:
        """The session that was opened; empty if there is none."""
        return session_id_of(self.initialize)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never be printed, even if the server sends them back."""
        return (self.options.token, *map(session_id_of, (self.anonymous, self.initialize, self.idle_session)))

    @property
    def has_sessionless(self) -> bool:
        """Whether the server supports 2026-07-28."""
        return bool(self.discover.result)


def session_id_of(initialized: Response) -> str:
    """Return the session ID in a response to `initialize`; empty if no session was opened."""
    session_id = initialized.headers.get("mcp-session-id", "")
    return session_id if initialized.status == 200 and session_id.isascii() else ""


def _json_object(text: str | bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # the server may send anything
        return {}
    return value if isinstance(value, dict) else {}


def parse_frames(chunks: Any) -> list[Frame]:
    """Split chunks into events and comments."""
    frames: list[Frame] = []
    text = b""
    for received_at, chunk in chunks:
        text = (text + chunk).replace(b"\r\n", b"\n")
        *whole, text = text.split(b"\n\n")
        frames += [_frame(received_at, part.decode(errors="replace")) for part in whole if part.strip()]
    return frames


def _frame(received_at: float, text: str) -> Frame:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
    return Frame(received_at, is_comment=not fields, id=fields.get("id", ""), data=fields.get("data", ""))
