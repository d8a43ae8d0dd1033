"""The checks of an HTTP request, in order, and its classification as session-based or sessionless.

Each check is a small function; the tuples define their order. The checks of the headers run before any byte of the
body is read; those of the body determine this classification and the kind of message.
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
from mcp_transport.protocol.headers import MAX_SESSION_ID, check_limits
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
_SINGLE_HEADERS: Final = (
    *(VERSION_HEADER, SESSION_HEADER, "mcp-method", "mcp-name", "last-event-id", IDEMPOTENCY_KEY),
    *("host", "content-type", "authorization"),
)
_ASCII_HEADERS: Final = frozenset({*_SINGLE_HEADERS, "accept"})


@dataclass(frozen=True, slots=True)
class InitializePost:
    """An `initialize` that opens a session."""

    request: Request

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the messages of the POST."""
        return (self.request,)


@dataclass(slots=True)  # not frozen: see `protocol.http`
class SessionPost:
    """The messages of one POST in a session."""

    messages: tuple[Message, ...]
    batch: bool = False
    """Was the body an array?"""
    faults: tuple[ProtocolError, ...] = ()
    """The errors of invalid elements of the array."""

    @property
    def requests(self) -> list[Request]:
        """Return the messages that expect a response."""
        return [message for message in self.messages if isinstance(message, Request)]


@dataclass(slots=True)  # not frozen: see `protocol.http`
class SessionlessPost:
    """A request outside sessions (2026-07-28)."""

    request: Request

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the messages of the POST."""
        return (self.request,)


@dataclass(frozen=True, slots=True)
class IgnoredPost:
    """A notification that has no effect in 2026-07-28: accepted and dropped."""

    messages: tuple[Message, ...] = ()


ClassifiedPost = InitializePost | SessionPost | SessionlessPost | IgnoredPost


# -- before the body ---------------------------------------------------------------------------------


def _check_ascii_headers(request: HTTPRequest, rules: RequestRules) -> None:
    # 2026-07-28, streamable-http, "Header values": only visible ASCII, space and tab are allowed.
    if request.headers.are_visible_ascii:
        return
    for name in request.headers:
        if name not in _ASCII_HEADERS and not name.startswith("mcp-param-"):
            continue
        for value in request.headers.lines(name):
            if not (value.isascii() and (value.isprintable() or value.replace("\t", " ").isprintable())):
                raise ProtocolError(400, _header_code(request, rules), f"{name} header must be visible ASCII")


def _check_single_headers(request: HTTPRequest, rules: RequestRules) -> None:
    # A proxy may read the first copy of a duplicate, and the server the last one.
    for name in _SINGLE_HEADERS if request.headers.repeated else ():
        if name in request.headers.repeated:
            raise ProtocolError(400, _header_code(request, rules), f"{name} header must appear once, got several")


def _check_host(request: HTTPRequest, rules: RequestRules) -> None:
    if not has_allowed_host(request, rules):
        raise ProtocolError(400, INVALID_REQUEST, "Host header not in ALLOWED_HOSTS")


def _check_origin(request: HTTPRequest, rules: RequestRules) -> None:
    if not has_allowed_origin(request, rules):
        raise ProtocolError(403, INVALID_REQUEST, "Origin not allowed by ALLOWED_ORIGINS")


def _check_method(request: HTTPRequest, rules: RequestRules) -> None:
    served = _served_methods(rules.versions, request.streaming)
    if request.method not in served:
        allowed = ", ".join(served)
        problem = f"method {request.method} not allowed: use {allowed}"
        raise ProtocolError(405, INVALID_REQUEST, problem, headers=(("Allow", allowed),))


def _check_content_type(request: HTTPRequest, rules: RequestRules) -> None:
    if request.method != "POST":
        return
    if fault := _content_type_fault(request.headers.get("content-type", "")):
        raise ProtocolError(415, INVALID_REQUEST, fault)


def _check_encoding(request: HTTPRequest, rules: RequestRules) -> None:
    line = ",".join(request.headers.lines("content-encoding"))
    if line and request.method == "POST" and {item.strip().lower() for item in line.split(",")} - {"", "identity"}:
        # RFC 9110, 15.5.16: Accept-Encoding lists the encodings that are accepted.
        problem = f"Content-Encoding must be identity: send the body uncompressed, got {line[:40]!r}"
        raise ProtocolError(415, INVALID_REQUEST, problem, headers=(("Accept-Encoding", "identity"),))


def _check_accept(request: HTTPRequest, rules: RequestRules) -> None:
    accepts = request.headers.accepts
    if request.method == "POST" and not (accepts.json or (accepts.sse and request.streaming)):
        raise ProtocolError(406, INVALID_REQUEST, "Accept must list application/json and text/event-stream")
    if request.method == "GET" and not accepts.sse:
        raise ProtocolError(406, INVALID_REQUEST, "Accept must list text/event-stream")


def _check_length(request: HTTPRequest, rules: RequestRules) -> None:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > rules.max_request_bytes:
        raise body_too_large(rules)


_BEFORE_AUTHENTICATION: Final = (_check_origin, _check_ascii_headers, _check_single_headers, _check_host)
_BEFORE_BODY: Final = (_check_method, _check_content_type, _check_encoding, _check_accept, _check_length)


def _content_type_fault(content_type: str) -> str:
    if content_type == "application/json":  # the value of nearly all clients
        return ""
    media, _, parameters = content_type.lower().partition(";")
    if media.strip() != "application/json":
        return "Content-Type must be application/json"
    options = dict(item.strip().partition("=")[::2] for item in parameters.split(";"))
    if options.get("charset", "utf-8").strip('"') not in {"utf-8", "utf8", "us-ascii"}:
        return "the body must be UTF-8"
    return ""


@lru_cache
def _served_methods(versions: tuple[str, ...], streaming: bool) -> tuple[str, ...]:
    session_methods = (*(("GET",) if streaming else ()), "DELETE")
    return ("POST", "OPTIONS", *(session_methods if sessionful(versions) else ()))


def check_before_authentication(request: HTTPRequest, rules: RequestRules) -> None:
    """Run the checks that need no identity.

    Raises:
        ProtocolError: 431 for too many or too long headers; 400 for a duplicate header, one that is not ASCII, or a
            Host that is not allowed; 403 for an Origin that is not allowed.
    """
    check_limits(request.headers)
    for check in _BEFORE_AUTHENTICATION:
        check(request, rules)


def check_before_body(request: HTTPRequest, rules: RequestRules) -> None:
    """Run the checks that need no body.

    Raises:
        ProtocolError: 405, 415, 406 or 413.
    """
    for check in _BEFORE_BODY:
        check(request, rules)


def body_too_large(rules: RequestRules) -> ProtocolError:
    """Build the error for a body over the size limit: 413."""
    return ProtocolError(413, INVALID_REQUEST, f"the body may have at most {rules.max_request_bytes} bytes")


def _header_code(request: HTTPRequest, rules: RequestRules) -> int:
    versions = set(request.headers.lines(VERSION_HEADER))
    return INVALID_REQUEST if versions.isdisjoint(sessionless(rules.versions)) else HEADER_MISMATCH


# -- after the body ----------------------------------------------------------------------------------


def classify(request: HTTPRequest, value: object, rules: RequestRules) -> ClassifiedPost:
    """Determine whether a decoded POST body is session-based or sessionless, and its kind.

    `_meta` declares a sessionless request, for any method; the header counts only if `_meta` does not (2026-07-28,
    basic, "Versioning").

    Raises:
        ProtocolError: 400 with -32600, -32602, -32020 or -32022.
    """
    header = request.headers.get(VERSION_HEADER)
    if isinstance(value, list):
        return _classify_array(value, header, rules)
    message = parse_message(value)
    if not isinstance(message, Response) and _declares_sessionless(message):
        return _classify_sessionless(message, rules)
    if isinstance(message, Request) and message.method == "initialize":
        return _classify_initialize(message, header, rules)
    if header in sessionless(rules.versions) or not sessionful(rules.versions):
        return _classify_undeclared(message)
    return SessionPost((message,))


def _classify_array(values: list[object], header: str | None, rules: RequestRules) -> ClassifiedPost:
    allowed = [name for name in sessionful(rules.versions) if REVISIONS[name].batches]
    if not allowed or (header is not None and header not in allowed):
        raise invalid_request("the body must be a single message; batches exist in 2025-03-26 only")
    messages, faults = parse_batch(values, rules.max_batch)
    return SessionPost(messages, True, faults)


def _declares_sessionless(message: Request | Notification) -> bool:
    meta = (message.params or {}).get("_meta")
    return isinstance(meta, Mapping) and VERSION_META in meta


def _classify_sessionless(message: Request | Notification, rules: RequestRules) -> ClassifiedPost:
    if not sessionless(rules.versions):
        # Not a code of 2026-07-28, so that a probing client falls back to `initialize`.
        raise invalid_request(f"this server speaks {', '.join(rules.versions)}: send initialize first")
    return SessionlessPost(message) if isinstance(message, Request) else IgnoredPost()


def _classify_initialize(message: Request, header: str | None, rules: RequestRules) -> ClassifiedPost:
    if header in sessionless(rules.versions):
        raise ProtocolError(
            400, HEADER_MISMATCH, f"MCP-Protocol-Version names {header}, which has no initialize: use server/discover"
        )
    if not sessionful(rules.versions):
        requested = quoted_version((message.params or {}).get("protocolVersion"))
        problem = "Unsupported protocol version: this server has no sessions"
        data = {"supported": list(rules.versions), "requested": requested}
        raise ProtocolError(400, UNSUPPORTED_VERSION, problem, data=data)
    return InitializePost(message)


def _classify_undeclared(message: Message) -> ClassifiedPost:
    """Classify a message that should be sessionless, but whose `_meta` does not declare it."""
    if isinstance(message, Response):
        raise invalid_request("a client must not post responses in 2026-07-28")
    if isinstance(message, Notification):
        return IgnoredPost()
    raise ProtocolError(
        400, INVALID_PARAMS, f"Invalid params: params._meta must be an object that carries {VERSION_META!r}"
    )


# -- sessions ----------------------------------------------------------------------------------------


def required_session_id(request: HTTPRequest) -> str:
    """Return the session id of a request.

    Raises:
        ProtocolError: 400 / -32600 when it is missing (2025-03-26, "Session Management", item 3); 404 when it is
            longer than any id that this server issues.
    """
    session_id = request.headers.get(SESSION_HEADER, "")
    if not session_id:
        raise ProtocolError(
            400, INVALID_REQUEST, "Mcp-Session-Id header is missing: send initialize first, then the id it returns"
        )
    if len(session_id) > MAX_SESSION_ID:
        raise session_not_found()
    return session_id


def session_not_found() -> ProtocolError:
    """Build the 404 error; identical for sessions that never existed, have ended, or belong to another principal."""
    return ProtocolError(
        404, INVALID_REQUEST, "Session not found: it ended, expired or never existed; send initialize without an id"
    )


def check_version(request: HTTPRequest, rules: RequestRules) -> None:
    """Check the version header of a request in a session; without one, the session's version applies.

    Raises:
        ProtocolError: 400 / -32600 when it names no revision served in sessions (2025-06-18, "Protocol
            Version Header"). A code of 2026-07-28 would indicate a sessionless request to the client.
    """
    served = sessionful(rules.versions)
    version = request.headers.get(VERSION_HEADER)
    if version is not None and version not in served:
        problem = f"MCP-Protocol-Version {version[:40]!r} is not served in sessions: use {', '.join(served)}"
        raise ProtocolError(400, INVALID_REQUEST, problem)
