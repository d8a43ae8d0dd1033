"""Requests as Django has them, for what expects Django's: sessions, CSRF checks, REST framework's classes."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from mcp_transport.auth.django_request import django_request
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest


def request_with(
    *headers: tuple[str, str], method: str = "GET", host: str = "testserver", **more: Any
) -> HTTPRequest:
    lines = Headers([("Host", host), *headers])
    return HTTPRequest(method=method, headers=lines, path="/mcp", peer="192.0.2.1", **more)


def test_request_is_translated() -> None:
    built = django_request(
        request_with(
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Length", "100"),
            ("Accept", "text/html"),
            ("Accept", "text/plain"),
            ("Cookie", "a=1; b=2"),
            ("Cookie", "c=3"),
            ("X_Real_IP", "192.0.2.9"),
            ("x_remote_user", "admin"),
            method="POST",
            host="testserver:8000",
        )
    )
    assert (built.method, built.path, built.get_host(), built.get_port()) == (
        "POST",
        "/mcp",
        "testserver:8000",
        "8000",
    )
    assert built.COOKIES == {"a": "1", "b": "2", "c": "3"}
    assert (built.content_type, built.headers["Accept"]) == ("application/json", "text/html,text/plain")
    assert (built.META["REMOTE_ADDR"], built.META["SERVER_NAME"]) == ("192.0.2.1", "testserver")
    assert {"HTTP_X_REAL_IP", "HTTP_X_REMOTE_USER"}.isdisjoint(built.META)
    assert (built.body, dict(built.POST), dict(built.GET)) == (b"", {}, {})
    assert built.build_absolute_uri() == "http://testserver:8000/mcp"
    assert not hasattr(built, "user")


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        ("testserver", "testserver", "80"),
        ("[::1]", "[::1]", "80"),
        ("[::1]:8000", "[::1]", "8000"),
        ("testserver:x", "testserver:x", "80"),
        ("", "unknown", "80"),
        (":8000", "unknown", "8000"),
    ],
)
def test_host_becomes_name_and_port(host: str, name: str, port: str) -> None:
    meta = django_request(request_with(host=host)).META
    assert (meta["SERVER_NAME"], meta["SERVER_PORT"]) == (name, port)


def test_scheme_is_that_of_the_resource(settings: Any) -> None:
    assert not django_request(request_with()).is_secure()
    settings.MCP_TRANSPORT = {"RESOURCE_URL": "https://shop.example/mcp"}
    built = django_request(request_with())
    assert (built.is_secure(), built.META["SERVER_PORT"]) == (True, "443")


def test_path_may_have_any_character(settings: Any) -> None:
    settings.FORCE_SCRIPT_NAME = "/root"
    request = HTTPRequest(method="GET", headers=Headers([("Host", "testserver")]), path="/root/mcp/é/ü")
    assert django_request(request).path == "/root/mcp/é/ü"


def test_user_of_the_framework_comes_along() -> None:
    user = User(username="ann")
    assert django_request(request_with(user=user)).user is user
