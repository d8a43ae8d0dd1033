"""The URLs of the served project: the endpoint in both spellings, the health paths, and a page of its own."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def page(request: HttpRequest) -> HttpResponse:
    """Answer what is not the endpoint's."""
    return HttpResponse("a page of the project")


page.login_required = False  # type: ignore[attr-defined]

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("slashed/", include(("mcp_transport.urls", "mcp_transport"), namespace="slashed")),
    path("", include("mcp_transport.health")),
    path("page", page),
]
