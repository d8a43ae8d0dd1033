"""The events of AWS Lambda for HTTP requests, and the responses: plain values, as each front door wants them.

A front door is what invokes a function for a request: a REST API or an HTTP API of API Gateway, a function URL, or an
Application Load Balancer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import product
from typing import Any, Final

from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import MAX_HTTP_METHOD, HTTPRequest, Reply

__all__ = ["FrontDoor", "Incoming", "encoded_size", "is_too_large", "read", "response"]

_SIX_MB: Final = 6 * 1024 * 1024
_ENVELOPE_BYTES: Final = 16 * 1024  # of a response: all besides its body

_WRITTEN_BY_FRONT_DOORS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """What invokes a function for a request, and the form of the responses that it takes."""

    name: str
    seconds: float | None = None
    """How long it waits for a response unless it is told otherwise; None if as long as the function may run."""
    max_bytes: int = _SIX_MB
    """The maximum size of a response, its envelope included."""
    has_lists: bool = False
    """Does each header have a list of values?"""
    has_cookies: bool = False
    """Are cookies listed apart from the headers?"""
    has_reason: bool = False
    """Does the response name its status?"""


REST_API: Final = FrontDoor(name="REST API", seconds=29.0, has_lists=True)
HTTP_API_1: Final = FrontDoor(name="HTTP API, payload 1.0", seconds=30.0, has_lists=True)
HTTP_API: Final = FrontDoor(name="HTTP API", seconds=30.0, has_cookies=True)
FUNCTION_URL: Final = FrontDoor(name="function URL", has_cookies=True)
LOAD_BALANCER: Final = FrontDoor(name="load balancer", max_bytes=1024 * 1024, has_reason=True)
LOAD_BALANCER_LISTS: Final = FrontDoor(
    name="load balancer, multi-value headers", max_bytes=1024 * 1024, has_reason=True, has_lists=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A request as an event describes it."""

    door: FrontDoor
    request: HTTPRequest
    """Its path is without the prefix; its peer is the client, or the last proxy before the front door."""
    body: bytes
    prefix: str
    """The part of the client's path that is not in `request`: a stage, and the prefix that was asked for."""


def read(event: Any, prefix: str = "") -> Incoming:
    """Return the request of an event; `prefix` is the part of the path before the paths that are served here.

    Raises: ValueError, the event is not one of an HTTP request.
    """
    match event:
        case {"version": "2.0", "requestContext": {"http": Mapping() as http} as context}:
            is_url = ".lambda-url." in str(context.get("domainName", ""))
            door = FUNCTION_URL if is_url else HTTP_API
            return _incoming(event, door, context, _headers_of_2(event), http, http.get("sourceIp"), prefix)
        case {"httpMethod": str(), "requestContext": {"elb": Mapping()} as context}:
            door = LOAD_BALANCER_LISTS if event.get("multiValueHeaders") else LOAD_BALANCER
            headers = _headers_of_1(event)
            # The load balancer has appended its own peer.
            peer = headers.lines("x-forwarded-for")[-1:]
            return _incoming(event, door, context, headers, event, "".join(peer).rpartition(",")[2].strip(), prefix)
        case {"httpMethod": str(), "requestContext": {"identity": Mapping() as identity} as context}:
            door = HTTP_API_1 if event.get("version") == "1.0" else REST_API
            return _incoming(event, door, context, _headers_of_1(event), event, identity.get("sourceIp"), prefix)
    raise ValueError("the event is none of an API Gateway, a function URL or an Application Load Balancer")


def _incoming(
    event: Mapping[str, Any],
    door: FrontDoor,
    context: Mapping[str, Any],
    headers: Headers,
    line: Mapping[str, Any],
    peer: Any,
    prefix: str,
) -> Incoming:
    path, removed = _path(event, door, context, prefix)
    request = HTTPRequest(
        method=str(line.get("method") or line.get("httpMethod"))[:MAX_HTTP_METHOD],
        headers=headers,
        path=path,
        peer=str(peer or ""),
        scheme=_scheme(door, headers),
        http_version=_http_version(line.get("protocol") or context.get("protocol")),
        gateway=context,
        streaming=False,
    )
    return Incoming(door=door, request=request, body=_body(event), prefix=removed)


def _scheme(door: FrontDoor, headers: Headers) -> str:
    return headers.get("x-forwarded-proto", "http") if door.has_reason else "https"


def _http_version(protocol: Any) -> str:
    name, _, version = str(protocol or "").partition("/")
    return version if name == "HTTP" else ""


def _path(event: Mapping[str, Any], door: FrontDoor, context: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """Return the path without stage and prefix, and what of the client's path it lacks."""
    path, removed = str(event.get("rawPath") or event.get("path") or "/"), ""
    stage = f"/{context.get('stage')}"
    if door in (HTTP_API, HTTP_API_1):
        if f"{path}/".startswith(f"{stage}/"):
            path, removed = path[len(stage) :] or "/", stage
    elif door is REST_API and str(context.get("path", "")).endswith(path):
        removed = str(context["path"])[: -len(path)]  # the stage, unless a domain of one's own replaces it
    prefix = f"/{prefix.strip('/')}" if prefix.strip("/") else ""
    if prefix and f"{path}/".startswith(f"{prefix}/"):
        return path[len(prefix) :] or "/", removed + prefix
    return path, removed


def _headers_of_2(event: Mapping[str, Any]) -> Headers:
    lines = [(name, value) for name, value in (event.get("headers") or {}).items() if name.lower() != "cookie"]
    if cookies := event.get("cookies"):
        lines.append(("cookie", "; ".join(cookies)))
    return _headers(lines)


def _headers_of_1(event: Mapping[str, Any]) -> Headers:
    if lists := event.get("multiValueHeaders"):
        return _headers((name, value) for name, values in lists.items() for value in values or ())
    return _headers((event.get("headers") or {}).items())


def _headers(lines: Iterable[tuple[str, Any]]) -> Headers:
    return Headers([(_latin(str(name)), _latin(str(value))) for name, value in lines])


def _latin(text: str) -> str:
    """Return a text of the event as Latin-1, with the bytes that its characters have in UTF-8 if it is none."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")
    return text


def _body(event: Mapping[str, Any]) -> bytes:
    """Return the body. Raises: ValueError, it is not valid base64."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(body, validate=True)
    return str(body).encode("utf-8", "surrogatepass")


# -- responses ---------------------------------------------------------------------------------------


def response(reply: Reply, door: FrontDoor) -> dict[str, Any]:
    """Return a response in the form that a front door takes; each writes lengths and connection headers itself."""
    values: dict[str, list[str]] = {}
    for name, value in reply.headers:
        if name.lower() not in _WRITTEN_BY_FRONT_DOORS:
            values.setdefault(name.lower(), []).append(value)
    answer: dict[str, Any] = {"statusCode": reply.status, **_encoded_body(reply.body)}
    if door.has_reason:
        answer["statusDescription"] = f"{reply.status} {HTTPStatus(reply.status).phrase}"
    if door.has_lists:
        return {**answer, "multiValueHeaders": values}
    cookies = values.pop("set-cookie", [])
    headers = {name: ", ".join(lines) for name, lines in values.items()}
    if door.has_cookies:
        return {**answer, "headers": headers, **({"cookies": cookies} if cookies else {})}
    return {**answer, "headers": headers | dict(zip(_spellings("set-cookie"), cookies, strict=False))}


def _encoded_body(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def _spellings(name: str) -> Iterable[str]:
    """Yield the name in lower and upper case, letter by letter: cookies cannot be joined, and names have no case."""
    return map("".join, product(*({char, char.upper()} for char in name)))


def is_too_large(reply: Reply, door: FrontDoor) -> bool:
    """Return whether a front door would refuse a response for its size."""
    limit = door.max_bytes - _ENVELOPE_BYTES
    return len(reply.body) > limit // 2 and encoded_size(reply.body) > limit


def encoded_size(body: bytes) -> int:
    """Return the number of bytes of a JSON text as a string in a response, with its escapes."""
    return len(body) + body.count(b'"') + body.count(b"\\")
