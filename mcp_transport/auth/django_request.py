"""A Django HttpRequest for code that authenticates one, such as session backends and REST framework."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import urlsplit

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.urls import get_script_prefix

from mcp_transport import conf
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["django_request"]


def django_request(request: HTTPRequest) -> HttpRequest:
    """Return a Django request without a body, which has not been read yet.

    Its scheme is the one that clients use; in Django, SECURE_PROXY_SSL_HEADER takes precedence over it.
    """
    scheme = urlsplit(conf.get("RESOURCE_URL")).scheme or request.scheme or "http"
    scope = {
        "method": request.method,
        "scheme": scheme,
        "path": request.path,
        "root_path": get_script_prefix().rstrip("/"),
        "headers": _headers(request),
        "client": (request.peer, 0),
        "server": _server(request.headers.get("host", ""), "443" if scheme == "https" else "80"),
    }
    built = ASGIRequest(scope, BytesIO())
    if request.user is not None:
        built.user = request.user
    return built


def _headers(request: HTTPRequest) -> list[tuple[bytes, bytes]]:
    """Return the headers without the length of a body; HTTP/2 may split cookies, which Django joins with commas.

    Names with an underscore are left out, as by servers: `X_Remote_User` would stand for `X-Remote-User`.
    """
    names = [name for name in request.headers if name != "content-length" and "_" not in name]
    lines = {name: request.headers.lines(name) for name in names}
    joined = {name: ("; " if name == "cookie" else ",").join(values) for name, values in lines.items()}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in joined.items()]


def _server(host: str, default_port: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        name, port = host, default_port
    return name or "unknown", port
