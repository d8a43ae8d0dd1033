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
from django.views.decorators.csrf import csrf_exempt

from mcp_transport.auth.request_user import request_user
from mcp_transport.bootstrap import ERROR_REPLY, Misconfigured, endpoint
from mcp_transport.exceptions import ClientDisconnected
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import MAX_HTTP_METHOD, FrameSource, HTTPRequest, Reply
from mcp_transport.threads import away_from_request_thread, end_request_thread, release_request_connections

__all__ = ["endpoint_view", "for_machines", "refused"]

_ViewT = TypeVar("_ViewT", bound=Callable[..., Any])

_CHUNK: Final = 65536


def for_machines(view: _ViewT) -> _ViewT:
    """Take a view out of what Django does around views for people.

    CSRF: cross-site requests are refused by their Origin, and a form cannot send application/json.
    Login: a redirect to a login page means nothing to a client; who may call is the endpoint's business.
    Transactions: ATOMIC_REQUESTS refuses async views, and a call may outlive its request; tools have their own.
    """
    view._non_atomic_requests = set(connections)  # type: ignore[attr-defined]
    view.login_required = False  # type: ignore[attr-defined]
    return csrf_exempt(view)


@for_machines
async def endpoint_view(request: HttpRequest) -> HttpResponseBase:
    """Serve MCP at this URL."""
    try:
        served = endpoint()
    except Misconfigured:
        return refused()
    streaming = isinstance(request, ASGIRequest)
    headers = _headers(request)
    translated = HTTPRequest(
        method=(request.method or "")[:MAX_HTTP_METHOD],
        headers=headers,
        path=request.path,
        peer=served.proxies.client(request.META.get("REMOTE_ADDR", ""), headers),
        user=await request_user(request),
        scheme=request.scheme or "",
        http_version=getattr(request, "scope", {}).get("http_version", ""),
        source=request,
        streaming=streaming,
    )
    if streaming:
        await release_request_connections()
    try:
        with away_from_request_thread() if streaming else nullcontext():
            reply = await served.handle(translated, _body(request))
    except ClientDisconnected:
        return HttpResponse(status=400)  # nobody reads it
    finally:
        if not streaming:
            await served.stop(report=False)  # this loop lives as long as the request
    if isinstance(reply, Reply):
        response: HttpResponseBase = HttpResponse(reply.body, status=reply.status)
    else:
        response = StreamingHttpResponse(_Frames(reply.frames), status=reply.status)
    if not any(name == "Content-Type" for name, _ in reply.headers):
        del response["Content-Type"]
    for name, value in reply.headers:
        response[name] = value
    return response


class _Frames:
    """A stream's frames; the first of them is asked for when middleware is done with the response."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self.close = frames.close

    def __aiter__(self) -> AsyncIterator[bytes]:
        end_request_thread()
        return aiter(self._frames)


def refused() -> HttpResponse:
    """Answer a request while the settings cannot be used; Django shall log nothing about it, since that was done."""
    response = HttpResponse(ERROR_REPLY.body, status=ERROR_REPLY.status, headers=dict(ERROR_REPLY.headers))
    vars(response)["_has_been_logged"] = True  # what django.utils.log.log_response looks at
    return response


def _headers(request: HttpRequest) -> Headers:
    if isinstance(request, ASGIRequest):
        return Headers.from_asgi(request.scope["headers"])  # request.headers folds duplicates
    lines = list(request.headers.items())
    if "Host" not in request.headers:
        # As Django's get_host: HTTP/1.0 and Django's test client name no host but the server's own.
        lines.append(("Host", request.META.get("SERVER_NAME", "")))
    return Headers(lines)


async def _body(request: HttpRequest) -> AsyncIterator[bytes]:
    try:
        # Not request.body, which has a limit of its own (DATA_UPLOAD_MAX_MEMORY_SIZE).
        while chunk := request.read(_CHUNK):
            yield chunk
    except UnreadablePostError:
        raise ClientDisconnected from None
