"""The host and the origin of a request, judged as Django judges them, in the view and in the mount."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from tests.support.inprocess import Direct, scope_of
from tests.support.served import application
from tests.support.wire import BOTH, Carrier, Request

InProcess = Callable[[str], Carrier]
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


@contextmanager
def configured(**changes: Any) -> Iterator[None]:
    """Serve without middleware, which would judge hosts before the view does."""
    with override_settings(MIDDLEWARE=[], **changes):
        yield


def django_takes(scope: Any) -> bool:
    try:
        ASGIRequest(scope, BytesIO()).get_host()
    except DisallowedHost:
        return False
    return True


async def status_of(direct: Direct, lines: Lines) -> tuple[int, list[str]]:
    """Ask which methods are served: the answer costs nothing, and the host and the origin are judged."""
    answer = await direct.send(Request(method="OPTIONS", headers=lines))
    await answer.read()
    return answer.status, [name for name, _ in answer.headers if name.lower() == "access-control-allow-origin"]


@by_adapter
@pytest.mark.parametrize("is_believed", [False, True])
@pytest.mark.parametrize("allowed", ALLOWED)
async def test_a_host_is_known_when_django_knows_it(
    in_process: InProcess, adapter: str, allowed: tuple[str, ...], is_believed: bool
) -> None:
    in_process(adapter)
    cases = [
        *(named(host, ()) for host in HOSTS),
        *(named(INNER, (host,)) for host in HOSTS),
        *(named(PUBLIC, (host,)) for host in HOSTS),
        *(named("evil.example", pair) for pair in itertools.permutations((PUBLIC, "evil.example", ""), 2)),
        (("Host", INNER), ("X_Forwarded_Host", PUBLIC)),
        (("Host", INNER), ("Forwarded", f"host={PUBLIC}")),
        (("Host", INNER), ("X-Host", PUBLIC)),
    ]
    with configured(ALLOWED_HOSTS=list(allowed), DEBUG=not allowed, USE_X_FORWARDED_HOST=is_believed):
        direct = Direct(application(adapter))
        for lines in cases:
            is_known = django_takes(scope_of(Request(method="OPTIONS", headers=lines)))
            assert (await status_of(direct, lines))[0] == (204 if is_known else 400), lines
        await direct.close()


@by_adapter
async def test_a_request_without_a_host_is_refused_whatever_the_server_is_called(
    in_process: InProcess, adapter: str
) -> None:
    """RFC 9112, 3.2; Django would take the server's own name."""
    in_process(adapter)
    with configured(ALLOWED_HOSTS=["*"], USE_X_FORWARDED_HOST=True):
        direct = Direct(application(adapter))
        assert (await status_of(direct, ()))[0] == 400
        assert (await status_of(direct, (("X-Forwarded-Host", PUBLIC),)))[0] == 204, "the proxy says so"
        await direct.close()


@pytest.mark.parametrize("is_believed", [False, True])
@pytest.mark.parametrize("allowed", ALLOWED)
async def test_a_host_over_wsgi_is_known_when_django_knows_it(
    project: None, allowed: tuple[str, ...], is_believed: bool
) -> None:
    cases: list[dict[str, Any]] = [{"HTTP_HOST": host} for host in HOSTS]
    cases += [{"HTTP_HOST": INNER, "HTTP_X_FORWARDED_HOST": host} for host in HOSTS]
    cases += [{"SERVER_NAME": PUBLIC}, {"SERVER_NAME": "evil.example"}, {"SERVER_PORT": "8000"}]
    with configured(ALLOWED_HOSTS=list(allowed), DEBUG=not allowed, USE_X_FORWARDED_HOST=is_believed):
        for environ in cases:
            request = RequestFactory().options("/mcp", **environ)
            try:
                request.get_host()
                expected = 204
            except DisallowedHost:
                expected = 400
            answer = await sync_to_async(Client().options)("/mcp", **environ)
            assert answer.status_code == expected, environ


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
@pytest.mark.parametrize("setup", PROXIED)
@pytest.mark.parametrize("header", [None, ("HTTP_X_FORWARDED_PROTO", "https")])
@pytest.mark.parametrize("is_believed", [False, True])
async def test_what_django_takes_for_the_own_origin_may_call(
    in_process: InProcess, adapter: str, setup: str, header: Any, is_believed: bool
) -> None:
    in_process(adapter)
    lines, changes = PROXIED[setup]
    with configured(
        ALLOWED_HOSTS=[PUBLIC, "127.0.0.1"],
        USE_X_FORWARDED_HOST=is_believed,
        USE_X_FORWARDED_PORT=is_believed,
        SECURE_PROXY_SSL_HEADER=header,
    ):

        async def call(scope: Any, receive: Any, send: Any) -> None:
            await application(adapter)({**scope, **changes}, receive, send)

        direct, verified = Direct(call), 0
        for origin in (*ORIGINS, "https://evil.example", "null", f"https://{PUBLIC}.evil.example"):
            asked = (*lines, ("Origin", origin))
            scope = scope_of(Request(method="OPTIONS", headers=asked), **changes)
            status, granted = await status_of(direct, asked)
            if Csrf().verifies(ASGIRequest(scope, BytesIO())):
                verified += 1
                # Django does not compare ports that come apart from the host.
                assert status == 204 or (is_believed and "the port apart" in setup), origin
            if PUBLIC not in origin or "evil" in origin:
                assert status == 403, origin
            assert bool(granted) == (status == 204), "CORS says what the verdict says"
        assert verified == (is_believed or "of its own" not in setup), "there is something to compare"
        await direct.close()


@by_adapter
@pytest.mark.parametrize(
    ("host", "lines", "origin", "status"),
    [
        (PUBLIC, (), f"https://{PUBLIC}:8443", 204),  # proxy_set_header Host $host, on a port of its own
        (f"{PUBLIC}:443", (), f"https://{PUBLIC}", 204),
        (f"{PUBLIC}:80", (), f"http://{PUBLIC}", 204),
        (f"{PUBLIC}:443", (), f"http://{PUBLIC}", 403),
        (f"{PUBLIC}:8443", (), f"https://{PUBLIC}", 403),
        (f"{PUBLIC}:8443", (), f"https://{PUBLIC}:9443", 403),
        (PUBLIC, (("X-Forwarded-Port", "8443"),), f"https://{PUBLIC}:8443", 204),
        (PUBLIC, (("X-Forwarded-Port", "8443"),), f"https://{PUBLIC}:9443", 403),
        (PUBLIC, (("X-Forwarded-Port", "8443"),), f"https://{PUBLIC}", 403),
        (PUBLIC, (("X-Forwarded-Port", "80"),), f"https://{PUBLIC}", 204),  # TLS ends in front of that proxy
        (PUBLIC, (("X-Forwarded-Port", "80"),), f"https://{PUBLIC}:8443", 403),
        (PUBLIC, (("X-Forwarded-Port", "443, 80"),), f"https://{PUBLIC}:8443", 403),
        (PUBLIC, (("Sec-Fetch-Site", "same-origin"),), f"https://{PUBLIC}:8443", 204),
        (PUBLIC, (("Sec-Fetch-Site", "same-site"),), f"https://{PUBLIC}:8443", 403),
        (PUBLIC, (("Sec-Fetch-Site", "same-site"),), f"https://{PUBLIC}", 403),
        (INNER, (("Sec-Fetch-Site", "same-origin"),), f"https://{PUBLIC}", 403),
    ],
)
async def test_a_page_at_another_port_is_foreign_where_that_can_be_told(
    in_process: InProcess, adapter: str, host: str, lines: Lines, origin: str, status: int
) -> None:
    in_process(adapter)
    with configured(ALLOWED_HOSTS=[PUBLIC, "127.0.0.1"], USE_X_FORWARDED_PORT=True):
        direct = Direct(application(adapter))
        assert (await status_of(direct, (("Host", host), *lines, ("Origin", origin))))[0] == status
        await direct.close()


@by_adapter
@pytest.mark.parametrize(
    ("header", "lines", "scheme", "allowed"),
    [
        (None, (), "http", {"http", "https"}),  # a proxy may have ended TLS
        (None, (HTTP,), "http", {"http", "https"}),  # nobody said that this header is to be believed
        (None, (), "https", {"https"}),
        ("HTTP_X_FORWARDED_PROTO", (HTTPS,), "http", {"https"}),
        ("HTTP_X_FORWARDED_PROTO", (("X-Forwarded-Proto", " https , http"),), "http", {"https"}),
        ("HTTP_X_FORWARDED_PROTO", (HTTP,), "http", {"http"}),
        ("HTTP_X_FORWARDED_PROTO", (HTTP,), "https", {"http"}),
        ("HTTP_X_FORWARDED_PROTO", (("X-Forwarded-Proto", ""),), "https", {"http"}),
        ("HTTP_X_FORWARDED_PROTO", (), "http", {"http"}),
        ("HTTP_X_FORWARDED_PROTO", (), "https", {"https"}),
    ],
)
async def test_the_scheme_of_an_origin_is_compared_where_the_clients_is_known(
    in_process: InProcess, adapter: str, header: str | None, lines: Lines, scheme: str, allowed: set[str]
) -> None:
    in_process(adapter)
    setting = (header, "https") if header else None
    with configured(ALLOWED_HOSTS=[PUBLIC], SECURE_PROXY_SSL_HEADER=setting):

        async def call(scope: Any, receive: Any, send: Any) -> None:
            await application(adapter)({**scope, "scheme": scheme}, receive, send)

        direct = Direct(call)
        for page in ("http", "https"):
            status, granted = await status_of(direct, (("Host", PUBLIC), *lines, ("Origin", f"{page}://{PUBLIC}")))
            assert (status, len(granted)) == ((204, 1) if page in allowed else (403, 0))
        await direct.close()


@by_adapter
@pytest.mark.parametrize(
    ("url", "host", "lines", "allowed"),
    [
        (f"https://{PUBLIC}/mcp", PUBLIC, (), {"https"}),
        (f"https://{PUBLIC}/mcp", PUBLIC, (HTTP,), {"https"}),  # nobody said that this header is to be believed
        (f"HTTPS://{PUBLIC.upper()}:443/mcp", f"{PUBLIC}.", (), {"https"}),
        (f"https://{PUBLIC}/mcp", INNER, (), {"http", "https"}),  # another way in
        ("http://localhost/mcp", "localhost", (), {"http", "https"}),  # there may be TLS in front of it
        ("https://[::1]/mcp", "[::1]", (), {"https"}),
        ("", PUBLIC, (), {"http", "https"}),
    ],
)
async def test_the_scheme_is_known_where_the_resource_url_tells_it(
    in_process: InProcess, adapter: str, url: str, host: str, lines: Lines, allowed: set[str]
) -> None:
    in_process(adapter)
    with configured(ALLOWED_HOSTS=[PUBLIC, "127.0.0.1", "[::1]", "localhost"], MCP_TRANSPORT={"RESOURCE_URL": url}):
        direct = Direct(application(adapter))
        for page in ("http", "https"):
            origin = f"{page}://{host}"
            status, granted = await status_of(direct, (("Host", host), *lines, ("Origin", origin)))
            assert (status, len(granted)) == ((204, 1) if page in allowed else (403, 0)), origin
        await direct.close()


@by_adapter
@pytest.mark.parametrize("header", [(), HTTP])
async def test_a_header_that_is_to_be_believed_goes_before_the_resource_url(
    in_process: InProcess, adapter: str, header: Any
) -> None:
    in_process(adapter)
    changes: dict[str, Any] = {"MCP_TRANSPORT": {"RESOURCE_URL": f"https://{PUBLIC}/mcp"}}
    lines = (("Host", PUBLIC), *((header,) if header else ()), ("Origin", f"http://{PUBLIC}"))
    with configured(ALLOWED_HOSTS=[PUBLIC], SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"), **changes):
        direct = Direct(application(adapter))
        assert (await status_of(direct, lines))[0] == (204 if header else 403)
        await direct.close()


@by_adapter
async def test_a_changed_setting_is_seen_by_the_next_request(in_process: InProcess, adapter: str) -> None:
    in_process(adapter)
    lines = (("Host", "evil.example"), ("X-Forwarded-Host", "localhost"), ("Accept", BOTH))
    direct = Direct(application(adapter))
    with configured():
        assert (await status_of(direct, lines))[0] == 400
    with configured(USE_X_FORWARDED_HOST=True):
        assert endpoint().policy.forwarded_host
        assert (await status_of(direct, lines))[0] == 204
    await direct.close()
