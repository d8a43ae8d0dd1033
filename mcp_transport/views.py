"""The endpoint as an async Django view, for ASGI and, without streams, for WSGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase

from mcp_transport import prewarm
from mcp_transport.auth.request_user import request_user
from mcp_transport.bootstrap import ERROR_REPLY, Misconfigured, endpoint
from mcp_transport.exceptions import ClientDisconnected
from mcp_transport.process import startup
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import MAX_HTTP_METHOD, FrameSource, HTTPRequest, Reply
from mcp_transport.threads import detached_from_request_thread, end_request_thread, release_request_connections

__all__ = ["endpoint_view", "machine_view", "misconfigured_response"]

_ViewT = TypeVar("_ViewT", bound=Callable[..., Any])

_CHUNK: Final = 65536


def machine_view(view: _ViewT) -> _ViewT:
    """Exempt a view from features of Django that are meant for browsers.

    CSRF: cross-site requests are refused by their Origin, and a form cannot send application/json.
    Login: a redirect to a login page is useless to a client; the endpoint authenticates its callers itself.
    Transactions: ATOMIC_REQUESTS does not support async views, and a call may outlive its request.
    """
    # Attributes, as Django's decorators set them, which would add a coroutine to each request.
    vars(view).update(_non_atomic_requests=set(connections), login_required=False, csrf_exempt=True)
    return view


@machine_view
async def endpoint_view(request: HttpRequest) -> HttpResponseBase:
    """Serve MCP at this URL."""
    try:
        served = endpoint()
    except Misconfigured:
        return misconfigured_response()
    streaming = isinstance(request, ASGIRequest)
    headers = _headers(request)
    translated = HTTPRequest(
        method=(request.method or "")[:MAX_HTTP_METHOD],
        headers=headers,
        path=request.path,
        peer=served.client_address(request.META.get("REMOTE_ADDR", ""), headers),
        user=await request_user(request),
        scheme=request.scheme or "",
        http_version=getattr(request, "scope", {}).get("http_version", ""),
        source=request,
        streaming=streaming,
    )
    if not startup.is_prepared:
        prewarm.begin() if streaming else prewarm.begin_without_loop()
    if streaming:
        await release_request_connections()
    try:
        with detached_from_request_thread() if streaming else nullcontext():
            reply = await served.handle(translated, _body(request))
    except ClientDisconnected:
        return HttpResponse(status=400)  # the client has disconnected
    finally:
        if not streaming:
            await served.pool.stop(report=False)  # the loop ends with the request
    lines = dict(reply.headers)
    if isinstance(reply, Reply):
        response: HttpResponseBase = HttpResponse(reply.body, status=reply.status, headers=lines)
    else:
        response = StreamingHttpResponse(_Frames(reply.frames), status=reply.status, headers=lines)
    if "Content-Type" not in lines:
        del response["Content-Type"]  # Django's default
    return response


class _Frames:
    """A stream's frames; the first one is requested after middleware has processed the response."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self.close = frames.close

    def __aiter__(self) -> AsyncIterator[bytes]:
        end_request_thread()
        return aiter(self._frames)


def misconfigured_response() -> HttpResponse:
    """Answer a request while the settings are invalid; Django must not log it, since the reason was logged."""
    response = HttpResponse(ERROR_REPLY.body, status=ERROR_REPLY.status, headers=dict(ERROR_REPLY.headers))
    vars(response)["_has_been_logged"] = True  # read by django.utils.log.log_response
    return response


def _headers(request: HttpRequest) -> Headers:
    if isinstance(request, ASGIRequest):
        return Headers.from_asgi(request.scope["headers"])  # request.headers folds duplicates
    lines = list(request.headers.items())
    if "Host" not in request.headers:
        # As Django's get_host: HTTP/1.0 and Django's test client send no Host header.
        lines.append(("Host", request.META.get("SERVER_NAME", "")))
    return Headers(lines)


async def _body(request: HttpRequest) -> AsyncIterator[bytes]:
    try:
        # Not request.body, which has its own limit (DATA_UPLOAD_MAX_MEMORY_SIZE).
        while chunk := request.read(_CHUNK):
            yield chunk
    except UnreadablePostError:
        raise ClientDisconnected from None
