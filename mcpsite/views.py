"""The one page of the demonstration project that is not the admin."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Say what is here and how to connect to it."""
    return render(request, "index.html", {"mcp_url": request.build_absolute_uri("/mcp")})
