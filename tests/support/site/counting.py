"""Settings and URLs of the project that tests/auth/test_dns_rebinding.py serves; it counts who is authenticated."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from mcp_transport.auth.authenticator import Authenticator, bearer_token
from mcp_transport.domain.principal import Principal
from mcp_transport.protocol.http import HTTPRequest
from tests.support.site.settings import *  # noqa: F403 (settings are names in a module)

TOKEN = "anns-token"
ROOT_URLCONF = __name__
MCP_TRANSPORT = {
    "NAME": "rebinding",
    "VERSION": "1.0",
    "AUTHENTICATORS": [f"{__name__}.Counting"],
    "RESOURCE_URL": "https://mcp.example/mcp",
    "AUTHORIZATION_SERVERS": ["https://auth.example"],
    "ALLOWED_ORIGINS": ["https://app.example"],
}


class Counting(Authenticator):
    """Knows one token, and counts the requests that it was asked about."""

    asked = 0

    async def authenticate(self, request: HTTPRequest) -> Principal | None:
        Counting.asked += 1
        return Principal("test", "ann") if bearer_token(request) == TOKEN else None


def asked(request: HttpRequest) -> HttpResponse:
    """Say how many requests anybody was authenticated for."""
    return HttpResponse(str(Counting.asked))


asked.login_required = False  # type: ignore[attr-defined]

urlpatterns = [
    path("mcp", include("mcp_transport.urls")),
    path("", include("mcp_transport.health")),
    path("", include("mcp_transport.well_known")),
    path("asked", asked),
]
