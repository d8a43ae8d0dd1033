"""The endpoint of django-mcpz with the tool `add`; it sends no progress."""

from __future__ import annotations

import msgspec
from django.http import HttpRequest
from django.urls import path
from django_mcpz.server import MCPServer, public

server = MCPServer(name="mcpz", version="1.0.0", auth=public)


class Numbers(msgspec.Struct):
    a: int
    b: int


class Sum(msgspec.Struct):
    sum: int


@server.tool(description="Add.", read_only=True)
def add(request: HttpRequest, params: Numbers) -> Sum:
    """Add."""
    return Sum(params.a + params.b)


urlpatterns = [path("mcp", server)]
