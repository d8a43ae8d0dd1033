"""The home page of the demonstration project."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the endpoints and how to connect clients."""
    return render(request, "index.html", {"mcp_url": request.build_absolute_uri("/mcp")})
