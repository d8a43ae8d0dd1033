"""Metadata of RFC 9728: `path("", include("mcp_transport.well_known"))`, at the root of the site.

After a 401, clients find the authorization servers there; without authorization servers, there is no metadata.
"""

from __future__ import annotations

import json
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.urls import path

from mcp_transport.auth.resource import WELL_KNOWN
from mcp_transport.bootstrap import ERROR_REPLY, Misconfigured, authentication
from mcp_transport.protocol.http import Reply
from mcp_transport.views import machine_view

__all__ = ["metadata", "protected_resource", "urlpatterns"]

# The metadata is public, and web pages that connect to servers must read it.
_CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
    ("Access-Control-Allow-Headers", "*"),
)


def metadata(method: str, path: str) -> Reply | None:
    """Return the response to a request for the metadata; None for other paths and without metadata."""
    if not path.startswith(WELL_KNOWN):
        return None
    try:
        resource = authentication().resource
    except Misconfigured:
        return ERROR_REPLY
    if not resource.has_metadata or path not in resource.metadata_paths:
        return None
    if method == "OPTIONS":
        return Reply(status=204, headers=_CORS)
    if method not in ("GET", "HEAD"):
        return Reply(status=405, headers=(("Allow", "GET, HEAD, OPTIONS"), *_CORS))
    body = json.dumps(resource.metadata()).encode()
    # Servers drop the body of responses to HEAD, and need it for Content-Length.
    headers = (("Content-Type", "application/json"), ("Cache-Control", "public, max-age=300"), *_CORS)
    return Reply(status=200, headers=headers, body=body)


@machine_view
async def protected_resource(request: HttpRequest, endpoint: str = "") -> HttpResponse:
    """Return which authorization servers the endpoint trusts."""
    reply = metadata(request.method or "", request.path_info) or Reply(status=404)
    return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))


_PATH: Final = WELL_KNOWN.lstrip("/")

urlpatterns = [
    path(_PATH, protected_resource, name="mcp-protected-resource"),
    path(f"{_PATH}/<path:endpoint>", protected_resource, name="mcp-protected-resource-of"),
]
