"""Health endpoints: `path("", include("mcp_transport.health"))`. They do not use the MCP endpoint's path."""

from __future__ import annotations

from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache

from mcp_transport import prewarm
from mcp_transport.bootstrap import Misconfigured, endpoint
from mcp_transport.process import startup
from mcp_transport.views import machine_view

__all__ = ["healthz", "readyz", "report", "urlpatterns"]


async def report(path: str, *, has_loop: bool = True) -> tuple[int, dict[str, Any]] | None:
    """Return status and body for a health path, or None for any other path.

    The first request for readiness starts the warm-up of a process; `has_loop` tells whether the running loop stays.
    """
    if path == "/healthz":
        return 200, {"status": "ok"}
    if path not in ("/readyz", "/health"):
        return None
    if not startup.is_prepared:
        prewarm.begin() if has_loop else prewarm.begin_without_loop()
    if reason := prewarm.unready_reason():
        return 503, {"status": "unavailable", "reason": reason}
    try:
        reason = await (pool := endpoint().pool).unready_reason()
        await pool.disconnect_if_idle()  # under WSGI, the loop ends with the request
    except Misconfigured:
        reason = "misconfigured"  # the details are logged
    return (503, {"status": "unavailable", "reason": reason}) if reason else (200, {"status": "ok"})


@machine_view
@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    """Return 200 while the process answers."""
    return JsonResponse({"status": "ok"})


@machine_view
@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """Return 200 if traffic should be sent here: it is warm, not draining, and the backend answers; else 503."""
    status, body = await report("/readyz", has_loop=isinstance(request, ASGIRequest)) or (500, {})
    response = JsonResponse(body, status=status)
    vars(response)["_has_been_logged"] = True  # with its reason; Django would log each probe
    return response


urlpatterns = [
    path("healthz", healthz, name="mcp-healthz"),
    path("readyz", readyz, name="mcp-readyz"),
    path("health", readyz, name="mcp-health"),
]
