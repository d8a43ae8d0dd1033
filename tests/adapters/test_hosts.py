"""The host and the origin of a request, judged as Django judges them, in the view and in the mount."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import Client, RequestFactory, override_settings

from mcp_transport.bootstrap import endpoint
from tests.support.http.inprocess import Direct, scope_of
from tests.support.http.request import Request
from tests.support.served import InProcess, application

pytestmark = pytest.mark.slow

Lines = tuple[tuple[str, str], ...]

by_adapter = pytest.mark.parametrize("adapter", ["view", "mounted"])

PUBLIC = "mcp.example.com"
HOSTS = (
    PUBLIC,
    "MCP.Example.COM",
    f"{PUBLIC}.",
    f"{PUBLIC}:8443",
    f"{PUBLIC}:99999",
    f"{PUBLIC}:",
    f"{PUBLIC}:x",
    f"{PUBLIC}, evil.example",
    f"evil.example, {PUBLIC}",
    f"user@{PUBLIC}",
    f"http://{PUBLIC}",
    f"{PUBLIC}/mcp",
    f"{PUBLIC}..",
    "under_score.example.com",
    "b\xfccher.example.com",
    "xn--bcher-kva.example.com",
    "evil.example",
    "localhost",
    "sub.localhost:8000",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "[2001:db8::1]:443",
    "::1",
    "[::1",
    "",
)
ALLOWED: tuple[tuple[str, ...], ...] = ((PUBLIC,), (".example.com",), ("*",), ("[::1]", "LOCALHOST"), ())
INNER = "127.0.0.1:8000"


def named(host: str, forwarded: Sequence[str]) -> Lines:
    return (("Host", host), *(("X-Forwarded-Host", value) for value in forwarded))


@asynccontextmanager
async def serving(adapter: str, scope: dict[str, Any] | None = None, **changes: Any) -> AsyncIterator[Direct]:
    """Serve without middleware, which would judge hosts before the view does; `scope` changes each one."""
    with override_settings(MIDDLEWARE=[], **changes):
        inner = application(adapter)

        async def served(asked: Any, receive: Any, send: Any) -> None:
            await inner({**asked, **(scope or {})}, receive, send)

        direct = Direct(served)
        yield direct
        await direct.close()


def django_takes(request: HttpRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


async def status_of(direct: Direct, lines: Lines) -> tuple[int, list[str]]:
    """Ask which methods are served: the answer costs nothing, and the host and the origin are judged."""
    answer = await direct.send(Request(method="OPTIONS", headers=lines))
    await answer.read()
    return answer.status, [name for name, _ in answer.lines if name.lower() == "access-control-allow-origin"]


by_trust = pytest.mark.parametrize("is_believed", [False, True])


@by_adapter
@by_trust
async def test_a_host_is_known_when_django_knows_it(in_process: InProcess, adapter: str, is_believed: bool) -> None:
    cases = [
        *(named(host, ()) for host in HOSTS),
        *(named(INNER, (host,)) for host in HOSTS),
        *(named(PUBLIC, (host,)) for host in HOSTS),
        *(named("evil.example", pair) for pair in itertools.permutations((PUBLIC, "evil.example", ""), 2)),
        (("Host", INNER), ("X_Forwarded_Host", PUBLIC)),
        (("Host", INNER), ("Forwarded", f"host={PUBLIC}")),
        (("Host", INNER), ("X-Host", PUBLIC)),
    ]
    for allowed in ALLOWED:
        changes: dict[str, Any] = {
            "ALLOWED_HOSTS": list(allowed),
            "DEBUG": not allowed,
            "USE_X_FORWARDED_HOST": is_believed,
        }
        async with serving(adapter, **changes) as direct:
            for lines in cases:
                scope = scope_of(Request(method="OPTIONS", headers=lines))
                expected = 204 if django_takes(ASGIRequest(scope, BytesIO())) else 400
                assert (await status_of(direct, lines))[0] == expected, (allowed, lines)


@pytest.mark.usefixtures("project_without_database")
@by_trust
async def test_a_host_over_wsgi_is_known_when_django_knows_it(is_believed: bool) -> None:
    cases: list[dict[str, Any]] = [{"HTTP_HOST": host} for host in HOSTS]
    cases += [{"HTTP_HOST": INNER, "HTTP_X_FORWARDED_HOST": host} for host in HOSTS]
    cases += [{"SERVER_NAME": PUBLIC}, {"SERVER_NAME": "evil.example"}, {"SERVER_PORT": "8000"}]
    for allowed in ALLOWED:
        changes: dict[str, Any] = {
            "ALLOWED_HOSTS": list(allowed),
            "DEBUG": not allowed,
            "USE_X_FORWARDED_HOST": is_believed,
        }
        with override_settings(MIDDLEWARE=[], **changes):
            for environ in cases:
                expected = 204 if django_takes(RequestFactory().options("/mcp", **environ)) else 400
                answer = await sync_to_async(Client().options)("/mcp", **environ)
                assert answer.status_code == expected, (allowed, environ)


@by_adapter
async def test_a_request_without_a_host_is_refused_whatever_the_server_is_called(
    in_process: InProcess, adapter: str
) -> None:
    """RFC 9112, 3.2; Django would take the server's own name."""
    async with serving(adapter, ALLOWED_HOSTS=["*"], USE_X_FORWARDED_HOST=True) as direct:
        assert (await status_of(direct, ()))[0] == 400
        assert (await status_of(direct, (("X-Forwarded-Host", PUBLIC),)))[0] == 204, "the proxy says so"


@by_adapter
async def test_a_changed_setting_is_seen_by_the_next_request(in_process: InProcess, adapter: str) -> None:
    lines = (("Host", "evil.example"), ("X-Forwarded-Host", "localhost"))
    async with serving(adapter) as direct:
        assert (await status_of(direct, lines))[0] == 400
        with override_settings(USE_X_FORWARDED_HOST=True):
            assert endpoint().policy.forwarded_host
            assert (await status_of(direct, lines))[0] == 204


# -- origins -----------------------------------------------------------------------------------------


class Csrf(CsrfViewMiddleware):
    """Tells whether Django takes a request's Origin for the site's own."""

    def __init__(self) -> None:
        super().__init__(lambda request: HttpResponse())

    def verifies(self, request: HttpRequest) -> bool:
        verified: bool = self._origin_verified(request)  # type: ignore[attr-defined]
        return verified


def proxied(host: str, *lines: tuple[str, str], **changes: Any) -> tuple[Lines, dict[str, Any]]:
    return (("Host", host), *lines), changes


FORWARDED = ("X-Forwarded-Host", PUBLIC)
HTTPS, HTTP = ("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")
PROXIED = {
    "no proxy": proxied(PUBLIC),
    "no proxy, a port": proxied(f"{PUBLIC}:8000"),
    "no proxy, TLS at the server": proxied(PUBLIC, scheme="https"),
    "no proxy, TLS at the server, a port": proxied(f"{PUBLIC}:8443", scheme="https"),
    "Host passed on": proxied(PUBLIC, HTTPS),
    "Host passed on with its port": proxied(f"{PUBLIC}:443", HTTPS),
    "http passed on": proxied(PUBLIC, HTTP),
    "Host of its own": proxied(INNER, FORWARDED, HTTPS),
    "Host of its own, and a port": proxied(INNER, ("X-Forwarded-Host", f"{PUBLIC}:8443"), HTTPS),
    "Host of its own, and the port apart": proxied(INNER, FORWARDED, ("X-Forwarded-Port", "8443"), HTTPS),
    "a proxy behind the proxy": proxied(PUBLIC, ("X-Forwarded-Proto", "https, http")),
}
PORTS = ("", ":80", ":443", ":8000", ":8443")
ORIGINS = [f"{scheme}://{PUBLIC}{port}" for scheme in ("http", "https") for port in PORTS]


@by_adapter
@pytest.mark.parametrize("header", [None, ("HTTP_X_FORWARDED_PROTO", "https")])
@by_trust
async def test_what_django_takes_for_the_own_origin_may_call(
    in_process: InProcess, adapter: str, header: Any, is_believed: bool
) -> None:
    changes: dict[str, Any] = {
        "ALLOWED_HOSTS": [PUBLIC, "127.0.0.1"],
        "USE_X_FORWARDED_HOST": is_believed,
        "USE_X_FORWARDED_PORT": is_believed,
        "SECURE_PROXY_SSL_HEADER": header,
    }
    for setup, (lines, scope) in PROXIED.items():
        verified = 0
        async with serving(adapter, scope, **changes) as direct:
            for origin in (*ORIGINS, "https://evil.example", "null", f"https://{PUBLIC}.evil.example"):
                asked = (*lines, ("Origin", origin))
                status, granted = await status_of(direct, asked)
                request = ASGIRequest(scope_of(Request(method="OPTIONS", headers=asked), **scope), BytesIO())
                if Csrf().verifies(request):
                    verified += 1
                    # Django does not compare ports that come apart from the host.
                    assert status == 204 or (is_believed and "the port apart" in setup), (setup, origin)
                if PUBLIC not in origin or "evil" in origin:
                    assert status == 403, (setup, origin)
                assert bool(granted) == (status == 204), "CORS says what the verdict says"
        assert verified == (is_believed or "of its own" not in setup), "there is something to compare"


async def refused_schemes(direct: Direct, host: str, lines: Lines) -> set[str]:
    """Return the schemes of the host's own pages that may not call."""
    answers = {
        page: await status_of(direct, (("Host", host), *lines, ("Origin", f"{page}://{host}"))) for page in SCHEMES
    }
    assert {(status, len(granted)) for status, granted in answers.values()} <= {(204, 1), (403, 0)}
    return {page for page, (status, _) in answers.items() if status == 403}


# What becomes of the port and of Sec-Fetch-Site once they are read: tests/protocol/test_origin.py.
PORT, SITE = "X-Forwarded-Port", "Sec-Fetch-Site"
PORTS_APART = [
    ((), "https://mcp.example.com:8443", 204),  # proxy_set_header Host $host, on a port of its own
    (((PORT, "8443"),), f"https://{PUBLIC}:8443", 204),
    (((PORT, "8443"),), f"https://{PUBLIC}:9443", 403),
    (((PORT, "443, 80"),), f"https://{PUBLIC}:8443", 403),
    (((SITE, "same-origin"),), f"https://{PUBLIC}:8443", 204),
    (((SITE, "same-site"),), f"https://{PUBLIC}", 403),
]


@by_adapter
async def test_a_page_at_another_port_is_foreign_where_that_can_be_told(in_process: InProcess, adapter: str) -> None:
    async with serving(adapter, ALLOWED_HOSTS=[PUBLIC], USE_X_FORWARDED_PORT=True) as direct:
        for lines, origin, status in PORTS_APART:
            found, _ = await status_of(direct, (("Host", PUBLIC), *lines, ("Origin", origin)))
            assert found == status, (lines, origin)


BELIEVED = ("HTTP_X_FORWARDED_PROTO", "https")
SCHEMES = {"http", "https"}


@by_adapter
@pytest.mark.parametrize(
    ("header", "lines", "scheme", "refused"),
    [
        (None, (), "http", set()),  # a proxy may have ended TLS
        (None, (HTTP,), "http", set()),  # nobody said that this header is to be believed
        (None, (), "https", {"http"}),
        (BELIEVED, (HTTPS,), "http", {"http"}),
        (BELIEVED, (("X-Forwarded-Proto", " https , http"),), "http", {"http"}),
        (BELIEVED, (HTTP,), "http", {"https"}),
        (BELIEVED, (HTTP,), "https", {"https"}),
        (BELIEVED, (("X-Forwarded-Proto", ""),), "https", {"https"}),
        (BELIEVED, (), "http", {"https"}),
        (BELIEVED, (), "https", {"http"}),
    ],
)
async def test_the_scheme_of_an_origin_is_compared_where_the_clients_is_known(
    in_process: InProcess, adapter: str, header: Any, lines: Lines, scheme: str, refused: set[str]
) -> None:
    async with serving(adapter, {"scheme": scheme}, ALLOWED_HOSTS=[PUBLIC], SECURE_PROXY_SSL_HEADER=header) as direct:
        assert await refused_schemes(direct, PUBLIC, lines) == refused


@by_adapter
@pytest.mark.parametrize(
    ("url", "host", "header", "lines", "refused"),
    [
        (f"https://{PUBLIC}/mcp", PUBLIC, None, (), {"http"}),
        (f"https://{PUBLIC}/mcp", PUBLIC, None, (HTTP,), {"http"}),  # nobody said that it is to be believed
        (f"https://{PUBLIC}/mcp", PUBLIC, BELIEVED, (HTTP,), {"https"}),  # it goes before the URL
        (f"https://{PUBLIC}/mcp", PUBLIC, BELIEVED, (), {"http"}),
        (f"HTTPS://{PUBLIC.upper()}:443/mcp", f"{PUBLIC}.", None, (), {"http"}),
        (f"https://{PUBLIC}/mcp", INNER, None, (), set()),  # another way in
        ("http://localhost/mcp", "localhost", None, (), set()),  # there may be TLS in front of it
        ("https://[::1]/mcp", "[::1]", None, (), {"http"}),
        ("", PUBLIC, None, (), set()),
    ],
)
async def test_the_scheme_is_known_where_the_resource_url_tells_it(
    in_process: InProcess, adapter: str, url: str, host: str, header: Any, lines: Lines, refused: set[str]
) -> None:
    hosts = [PUBLIC, "127.0.0.1", "[::1]", "localhost"]
    changes: dict[str, Any] = {
        "ALLOWED_HOSTS": hosts,
        "SECURE_PROXY_SSL_HEADER": header,
        "MCP_TRANSPORT": {"RESOURCE_URL": url},
    }
    async with serving(adapter, **changes) as direct:
        assert await refused_schemes(direct, host, lines) == refused
