"""The ladder: what an HTTP request asks for, or the first rule it breaks.

Each rung is a small function; the tuples give their order. The rungs before the body are cheap and run
before a byte of it is read; the rungs after it decide the era and what the message is.
Order and statuses: 2025-11-25 basic/transports; 2026-07-28 streamable-http and basic, "Versioning".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.batch import parse_batch
from mcp_transport.protocol.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    UNSUPPORTED_VERSION,
    invalid_request,
)
from mcp_transport.protocol.header_limits import check_limits
from mcp_transport.protocol.headers import MAX_SESSION_ID, Accepts
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.idempotency import IDEMPOTENCY_KEY
from mcp_transport.protocol.jsonrpc import Message, Notification, Request, Response, parse_message
from mcp_transport.protocol.origin import has_allowed_host, has_allowed_origin
from mcp_transport.protocol.request_rules import RequestRules
from mcp_transport.protocol.versions import REVISIONS, quoted_version, sessionful, sessionless

__all__ = [
    "ClassifiedPost",
    "IgnoredPost",
    "InitializePost",
    "SessionPost",
    "SessionlessPost",
    "check_before_authentication",
    "check_before_body",
    "check_version",
    "classify",
    "required_session_id",
    "session_not_found",
]

VERSION_META: Final = "io.modelcontextprotocol/protocolVersion"
VERSION_HEADER: Final = "mcp-protocol-version"
SESSION_HEADER: Final = "mcp-session-id"
_SINGLE: Final = (
    *(VERSION_HEADER, SESSION_HEADER, "mcp-method", "mcp-name", "last-event-id", IDEMPOTENCY_KEY),
    *("host", "content-type", "authorization"),
)
_PLAIN: Final = frozenset({*_SINGLE, "accept"})


@dataclass(frozen=True, slots=True)
class InitializePost:
    """An `initialize` that opens a session."""

    request: Request

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return what the POST holds."""
        return (self.request,)


@dataclass(slots=True)  # not frozen: see `protocol.http`
class SessionPost:
    """Messages of a session, in one POST; `batch` says that they came as an array."""

    messages: tuple[Message, ...]
    batch: bool = False
    faults: tuple[ProtocolError, ...] = ()
    """Why elements of the array are refused."""


@dataclass(slots=True)  # not frozen: see `protocol.http`
class SessionlessPost:
    """A request that stands alone (2026-07-28)."""

    request: Request

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return what the POST holds."""
        return (self.request,)


@dataclass(frozen=True, slots=True)
class IgnoredPost:
    """A notification that 2026-07-28 asks nothing to be done for: accepted and dropped."""

    messages: tuple[Message, ...] = ()


ClassifiedPost = InitializePost | SessionPost | SessionlessPost | IgnoredPost


# -- before the body ---------------------------------------------------------------------------------


def _headers_are_plain(request: HTTPRequest, rules: RequestRules) -> None:
    # 2026-07-28, streamable-http, "Header values": visible ASCII, space and tab, anything else is refused.
    if request.headers.are_visible_ascii:
        return
    for name in request.headers:
        if name not in _PLAIN and not name.startswith("mcp-param-"):
            continue
        for value in request.headers.lines(name):
            if not (value.isascii() and (value.isprintable() or value.replace("\t", " ").isprintable())):
                raise ProtocolError(400, _header_code(request, rules), f"{name} header must be visible ASCII")


def _headers_are_single(request: HTTPRequest, rules: RequestRules) -> None:
    # First-copy and last-copy readers would disagree about a duplicate.
    for name in _SINGLE if request.headers.repeated else ():
        if name in request.headers.repeated:
            raise ProtocolError(
                400, _header_code(request, rules), f"{name} header must appear once, got it twice or more"
            )


def _host_is_ours(request: HTTPRequest, rules: RequestRules) -> None:
    if not has_allowed_host(request, rules):
        raise ProtocolError(400, INVALID_REQUEST, "Host header names a host this server is not known by")


def _origin_is_ours(request: HTTPRequest, rules: RequestRules) -> None:
    if not has_allowed_origin(request, rules):
        raise ProtocolError(403, INVALID_REQUEST, "Origin is not allowed to call this server")


def _method_is_served(request: HTTPRequest, rules: RequestRules) -> None:
    served = _served_methods(rules.versions, request.streaming)
    if request.method not in served:
        raise ProtocolError(
            405,
            INVALID_REQUEST,
            f"{request.method} is not served here: use {', '.join(served)}",
            headers=(("Allow", ", ".join(served)),),
        )


def _body_is_json(request: HTTPRequest, rules: RequestRules) -> None:
    if request.method != "POST":
        return
    if fault := _content_type_fault(request.headers.get("content-type", "")):
        raise ProtocolError(415, INVALID_REQUEST, fault)


def _body_is_plain(request: HTTPRequest, rules: RequestRules) -> None:
    coded = ",".join(request.headers.lines("content-encoding"))
    if coded and request.method == "POST" and {item.strip().lower() for item in coded.split(",")} - {"", "identity"}:
        # RFC 9110, 15.5.16: Accept-Encoding says what would be taken.
        problem = f"Content-Encoding must be identity: send the body uncompressed, got {coded[:40]!r}"
        raise ProtocolError(415, INVALID_REQUEST, problem, headers=(("Accept-Encoding", "identity"),))


def _response_is_acceptable(request: HTTPRequest, rules: RequestRules) -> None:
    accepts = Accepts.parse(request.headers)
    if request.method == "POST" and not (accepts.json or (accepts.sse and request.streaming)):
        raise ProtocolError(406, INVALID_REQUEST, "Accept must list application/json and text/event-stream")
    if request.method == "GET" and not accepts.sse:
        raise ProtocolError(406, INVALID_REQUEST, "Accept must list text/event-stream")


def _length_is_within(request: HTTPRequest, rules: RequestRules) -> None:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > rules.max_request_bytes:
        raise body_too_large(rules)


_BEFORE_AUTHENTICATION: Final = (
    _origin_is_ours,
    _headers_are_plain,
    _headers_are_single,
    _host_is_ours,
)
_BEFORE_BODY: Final = (_method_is_served, _body_is_json, _body_is_plain, _response_is_acceptable, _length_is_within)


def _content_type_fault(content_type: str) -> str:
    if content_type == "application/json":  # as nearly all clients write it
        return ""
    media, _, parameters = content_type.lower().partition(";")
    if media.strip() != "application/json":
        return "Content-Type must be application/json"
    given = dict(item.strip().partition("=")[::2] for item in parameters.split(";"))
    if given.get("charset", "utf-8").strip('"') not in {"utf-8", "utf8", "us-ascii"}:
        return "the body must be UTF-8"
    return ""


@lru_cache
def _served_methods(versions: tuple[str, ...], streaming: bool) -> tuple[str, ...]:
    kept = bool(sessionful(versions))
    return ("POST", "OPTIONS", *(("GET",) if kept and streaming else ()), *(("DELETE",) if kept else ()))


def check_before_authentication(request: HTTPRequest, rules: RequestRules) -> None:
    """Apply the rules that need no identity.

    Raises:
        ProtocolError: 431 for too many or too long headers; 400 for a header that is not plain, doubled or a
            foreign Host; 403 for a foreign Origin.
    """
    check_limits(request.headers)
    for rule in _BEFORE_AUTHENTICATION:
        rule(request, rules)


def check_before_body(request: HTTPRequest, rules: RequestRules) -> None:
    """Apply the rules that need no body.

    Raises:
        ProtocolError: 405, 415, 406 or 413.
    """
    for rule in _BEFORE_BODY:
        rule(request, rules)


def body_too_large(rules: RequestRules) -> ProtocolError:
    """Build the refusal of a body over the limit: 413."""
    return ProtocolError(413, INVALID_REQUEST, f"the body may hold {rules.max_request_bytes} bytes, it holds more")


def _header_code(request: HTTPRequest, rules: RequestRules) -> int:
    named = set(request.headers.lines(VERSION_HEADER))
    return INVALID_REQUEST if named.isdisjoint(sessionless(rules.versions)) else HEADER_MISMATCH


# -- after the body ----------------------------------------------------------------------------------


def classify(request: HTTPRequest, value: object, rules: RequestRules) -> ClassifiedPost:
    """Decide the era of a decoded POST body and what it asks for.

    The era is claimed by `_meta`, whatever the method; only without a claim the header speaks
    (2026-07-28, basic, "Versioning").

    Raises:
        ProtocolError: 400 with -32600, -32602, -32020 or -32022.
    """
    header = request.headers.get(VERSION_HEADER)
    if isinstance(value, list):
        return _classify_array(value, header, rules)
    message = parse_message(value)
    if not isinstance(message, Response) and _claims_sessionless(message):
        return _serve_sessionless(message, rules)
    if isinstance(message, Request) and message.method == "initialize":
        return _classify_initialize(message, header, rules)
    if header in sessionless(rules.versions) or not sessionful(rules.versions):
        return _classify_unclaimed(message)
    return SessionPost((message,))


def _classify_array(values: list[object], header: str | None, rules: RequestRules) -> ClassifiedPost:
    allowed = [name for name in sessionful(rules.versions) if REVISIONS[name].batches]
    if not allowed or (header is not None and header not in allowed):
        raise invalid_request("the body must be a single message; batches exist in 2025-03-26 only")
    messages, faults = parse_batch(values, rules.max_batch)
    return SessionPost(messages, True, faults)


def _claims_sessionless(message: Request | Notification) -> bool:
    meta = (message.params or {}).get("_meta")
    return isinstance(meta, Mapping) and VERSION_META in meta


def _serve_sessionless(message: Request | Notification, rules: RequestRules) -> ClassifiedPost:
    if not sessionless(rules.versions):
        # A client that probes must fall back to `initialize`: no code of 2026-07-28 here.
        raise invalid_request(f"this server speaks {', '.join(rules.versions)}: begin with initialize")
    return SessionlessPost(message) if isinstance(message, Request) else IgnoredPost()


def _classify_initialize(message: Request, header: str | None, rules: RequestRules) -> ClassifiedPost:
    if header in sessionless(rules.versions):
        raise ProtocolError(
            400, HEADER_MISMATCH, f"MCP-Protocol-Version names {header}, which has no initialize: use server/discover"
        )
    if not sessionful(rules.versions):
        requested = (message.params or {}).get("protocolVersion")
        raise ProtocolError(
            400,
            UNSUPPORTED_VERSION,
            "Unsupported protocol version: this server has no sessions",
            data={"supported": list(rules.versions), "requested": quoted_version(requested)},
        )
    return InitializePost(message)


def _classify_unclaimed(message: Message) -> ClassifiedPost:
    """Judge a message that should stand alone while its `_meta` does not say so."""
    if isinstance(message, Response):
        raise invalid_request("a client must not post responses in 2026-07-28")
    if isinstance(message, Notification):
        return IgnoredPost()
    raise ProtocolError(
        400, INVALID_PARAMS, f"Invalid params: params._meta must be an object that carries {VERSION_META!r}"
    )


# -- sessions ----------------------------------------------------------------------------------------


def required_session_id(request: HTTPRequest) -> str:
    """Read the session id.

    Raises:
        ProtocolError: 400 / -32600 when it is missing (2025-03-26, "Session Management", item 3); 404 when it is
            longer than any id that was ever given out.
    """
    session_id = request.headers.get(SESSION_HEADER, "")
    if not session_id:
        raise ProtocolError(
            400, INVALID_REQUEST, "Mcp-Session-Id header is missing: send initialize first, then the id it returned"
        )
    if len(session_id) > MAX_SESSION_ID:
        raise session_not_found()
    return session_id


def session_not_found() -> ProtocolError:
    """Build 404, the same for a session that never was, that ended, and that is another principal's."""
    return ProtocolError(
        404, INVALID_REQUEST, "Session not found: it ended, expired or never was; send initialize without an id"
    )


def check_version(request: HTTPRequest, rules: RequestRules) -> None:
    """Judge the version header of a session's request; without one the session's own version holds.

    Raises:
        ProtocolError: 400 / -32600 when it names no revision served in sessions (2025-06-18, "Protocol
            Version Header"). Codes of 2026-07-28 would tell a client the wrong era.
    """
    served = sessionful(rules.versions)
    version = request.headers.get(VERSION_HEADER)
    if version is not None and version not in served:
        problem = f"MCP-Protocol-Version {version[:40]!r} is not served in sessions: use {', '.join(served)}"
        raise ProtocolError(400, INVALID_REQUEST, problem)
