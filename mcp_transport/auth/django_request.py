"""A Django HttpRequest for code that authenticates one, such as session backends and REST framework."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.urls import get_script_prefix

from mcp_transport import conf
from mcp_transport.protocol.http import HTTPRequest

__all__ = ["django_request"]


def django_request(request: HTTPRequest) -> HttpRequest:
    """Return a Django request without a body, which has not been read yet."""
    built = WSGIRequest(_environ(request))
    built.path = request.path  # Django prepends the script prefix, which a proxy may have stripped
    if request.user is not None:
        built.user = request.user
    return built


def _environ(request: HTTPRequest) -> dict[str, Any]:
    """Return the WSGI environ (PEP 3333), whose strings are bytes decoded as Latin-1."""
    environ = {_variable(name): _joined(name, lines) for name, lines in _lines(request)}
    scheme = _scheme(request)
    host, _, port = _authority(environ.get("HTTP_HOST", ""))
    prefix = get_script_prefix().rstrip("/")
    return {
        **environ,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": prefix.encode().decode("latin-1"),
        "PATH_INFO": request.path.removeprefix(prefix).encode().decode("latin-1"),
        "QUERY_STRING": "",
        "REMOTE_ADDR": request.peer,
        "SERVER_NAME": host or "unknown",
        "SERVER_PORT": port or ("443" if scheme == "https" else "80"),
        "SERVER_PROTOCOL": f"HTTP/{request.http_version or '1.1'}",
        "wsgi.url_scheme": scheme,
        "wsgi.input": BytesIO(),
    }


def _lines(request: HTTPRequest) -> list[tuple[str, tuple[str, ...]]]:
    # Like Django, drop headers with underscores, which would pass for hyphens. There is no body, so no length either.
    names = [name for name in request.headers if "_" not in name and name != "content-length"]
    return [(name, request.headers.lines(name)) for name in names]


def _variable(name: str) -> str:
    variable = name.upper().replace("-", "_")
    return variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"


def _joined(name: str, lines: tuple[str, ...]) -> str:
    return ("; " if name == "cookie" else ",").join(lines)  # RFC 9113, 8.2.3: HTTP/2 may split cookies


def _authority(host: str) -> tuple[str, str, str]:
    name, colon, port = host.rpartition(":")
    return (name, colon, port) if port.isdecimal() and colon else (host, "", "")


def _scheme(request: HTTPRequest) -> str:
    """Return the scheme that clients use; in Django, SECURE_PROXY_SSL_HEADER takes precedence over it."""
    return urlsplit(conf.get("RESOURCE_URL")).scheme or request.scheme or "http"
