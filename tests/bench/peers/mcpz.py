"""A Django project with django-mcpz and the tool `add`; it sends no progress."""

# mypy: disable-error-code="import-not-found, misc, untyped-decorator"
# (the package is installed in an environment of its own)
from __future__ import annotations

import msgspec
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest
from django.urls import path

from tests.bench.peers.project import set_up

set_up(__name__, "django_mcpz")

from django_mcpz.server import MCPServer, public  # noqa: E402 (after Django is set up)

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
application = get_wsgi_application()
