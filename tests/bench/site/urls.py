"""The package's endpoint, and a bare view that answers as the raw handler does: what Django costs by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from tests.bench.peers.raw import answer, counted, is_call


@csrf_exempt
async def bare(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Answer any POST as MCP, any GET with a stream that says nothing."""
    if request.method != "POST":
        return _stream(_silence())
    message = orjson.loads(request.body)
    if is_call(message, "count"):
        return _stream(counted(message))
    if is_call(message, "query"):
        await ContentType.objects.filter(pk=message["params"]["arguments"]["a"]).aexists()
    status, content, session = answer(message)
    headers = {"Mcp-Session-Id": session} if session else {}
    return HttpResponse(content, status=status, content_type="application/json", headers=headers)


def _stream(events: AsyncIterator[bytes]) -> StreamingHttpResponse:
    return StreamingHttpResponse(events, content_type="text/event-stream")


async def _silence() -> AsyncIterator[bytes]:
    yield b": open\n\n"
    await asyncio.Event().wait()


urlpatterns = [path("mcp", include("mcp_transport.urls")), path("bare", bare)]
