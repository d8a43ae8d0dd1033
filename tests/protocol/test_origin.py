from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.origin import (
    cors_headers,
    has_allowed_host,
    has_allowed_origin,
    host_is_allowed,
    origin_is_allowed,
    preflight_headers,
    scheme_of,
)

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.com", ("example.com",)),
        ("example.com:8000", ("example.com",)),
        ("EXAMPLE.com", ("example.com",)),
        ("example.com", ("Example.COM",)),
        ("example.com.", ("example.com",)),
        ("example.com.:443", ("example.com",)),
        ("example.com", (".example.com",)),
        ("api.example.com", (".example.com",)),
        ("a.b.example.com:1", (".Example.com",)),
        ("anything.test", ("*",)),
        ("localhost", ("other", "localhost")),
        ("127.0.0.1:8000", ("127.0.0.1",)),
        ("[::1]", ("[::1]",)),
        ("[::1]:8000", ("[::1]",)),
        ("[2001:DB8::A]:443", ("[2001:db8::a]",)),
    ],
)
def test_a_host_that_a_pattern_names_is_allowed(host: str, allowed: tuple[str, ...]) -> None:
    assert host_is_allowed(host, allowed)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.com", ()),
        ("", ("*",)),
        ("", ("",)),
        ("evil.com", ("example.com",)),
        ("api.example.com", ("example.com",)),
        ("evilexample.com", (".example.com",)),
        ("example.com.evil.com", (".example.com", "example.com")),
        ("example.org", (".example.com",)),
        ("example.com", ("*.example.com",)),
        ("example.com:8000", ("example.com:8000",)),
        ("::1", ("[::1]",)),
        ("[::2]", ("[::1]",)),
        ("[::1].evil.com", ("example.com",)),
        ("evil.com:localhost", ("localhost",)),
        ("localhost@evil.com", ("localhost",)),
    ],
)
def test_any_other_host_is_refused(host: str, allowed: tuple[str, ...]) -> None:
    assert not host_is_allowed(host, allowed)


@pytest.mark.parametrize("allowed", [LOOPBACK, ("*",)])
@pytest.mark.parametrize(
    "host", ["localhost:evil", "localhost:80:80", "[::1]evil", "[::1]:x", "[::1", "a b", "a/b", "a@b", " "]
)
def test_a_malformed_host_is_refused(host: str, allowed: tuple[str, ...]) -> None:
    assert not host_is_allowed(host, allowed)


@pytest.mark.parametrize(
    ("origin", "host", "hosts"),
    [
        ("http://localhost:8000", "localhost:8000", LOOPBACK),
        ("https://localhost", "localhost", LOOPBACK),
        ("HTTP://LocalHost:8000", "localhost:8000", LOOPBACK),
        ("http://[::1]:8000", "[::1]:8000", LOOPBACK),
        ("https://shop.example.com", "shop.example.com", ("shop.example.com",)),
        ("https://shop.example.com", "SHOP.example.com", (".example.com",)),
        ("https://shop.example.com:8443", "shop.example.com:8443", ("*", ".example.com")),
        ("http://localhost:8000", "localhost:8000", ("*",)),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", ("*",)),
        ("http://[::1]:8000", "[::1]:8000", ("*",)),
    ],
)
def test_the_servers_own_pages_may_call(origin: str, host: str, hosts: tuple[str, ...]) -> None:
    assert origin_is_allowed(origin, host, hosts, ())


@pytest.mark.parametrize(
    ("origin", "host", "hosts"),
    [
        ("http://evil.com", "localhost:8000", LOOPBACK),
        ("http://localhost:9000", "localhost:8000", LOOPBACK),
        ("http://localhost", "localhost:8000", LOOPBACK),
        ("http://localhost:8000.evil.com", "localhost:8000", LOOPBACK),
        ("http://localhost:8000@evil.com", "localhost:8000", LOOPBACK),
        ("http://user@localhost:8000", "localhost:8000", LOOPBACK),
        ("ftp://localhost:8000", "localhost:8000", LOOPBACK),
        ("chrome-extension://localhost", "localhost", LOOPBACK),
        ("localhost:8000", "localhost:8000", LOOPBACK),
        ("//localhost:8000", "localhost:8000", LOOPBACK),
        ("null", "localhost:8000", LOOPBACK),
        ("null", "null", ("*",)),
        ("http://", "", ("*",)),
        ("http://[", "localhost:8000", LOOPBACK),
        ("http://[::1", "[::1]", LOOPBACK),
        ("http://api.example.com", "shop.example.com", (".example.com",)),
    ],
)
def test_a_foreign_or_unreadable_origin_may_not_call(origin: str, host: str, hosts: tuple[str, ...]) -> None:
    assert not origin_is_allowed(origin, host, hosts, ())


NO_ORIGINS = """
http://] http://[::1]x http://[zz] : // [ % file:// javascript:alert(1) ftp://localhost localhost //localhost
"""


@pytest.mark.parametrize("origin", NO_ORIGINS.split())
def test_what_is_no_origin_may_not_call(origin: str) -> None:
    assert not origin_is_allowed(origin, "localhost", LOOPBACK, ("https://app.test",))


@pytest.mark.parametrize("host", ["evil.com", "evil.com:8000", "localhost.evil.com", "192.168.0.7", "[2001:db8::1]"])
def test_under_a_wildcard_a_rebound_name_does_not_make_a_page_our_own(host: str) -> None:
    assert host_is_allowed(host, ("*",))
    assert not origin_is_allowed(f"http://{host}", host, ("*",), ())


@pytest.mark.parametrize(
    ("origin", "listed", "expected"),
    [
        ("https://app.test", "https://app.test", True),
        ("https://APP.test", "https://app.test", True),
        ("https://app.test", "HTTPS://App.Test/", True),
        ("https://app.test:443", "https://app.test", False),
        ("http://app.test", "https://app.test", False),
        ("https://app.test.evil.com", "https://app.test", False),
        ("https://x.app.test", "https://app.test", False),
        ("https://anything.test", "*", True),
        ("null", "*", True),
        ("null", "null", True),
        ("null", "https://app.test", False),
    ],
)
def test_listed_origins_may_call_from_any_host(origin: str, listed: str, expected: bool) -> None:
    assert origin_is_allowed(origin, "localhost", LOOPBACK, (listed,)) is expected


@pytest.mark.parametrize(
    ("origin", "host", "options", "expected"),
    [
        # The scheme's default port may be omitted.
        ("https://shop.example", "shop.example:443", {}, True),
        ("http://shop.example", "shop.example:80", {}, True),
        ("https://shop.example:443", "shop.example", {}, True),
        ("http://shop.example", "shop.example:443", {}, False),
        ("https://shop.example", "shop.example:80", {}, False),
        ("https://shop.example", "shop.example:0443", {}, False),
        # Host without a port: any port matches, except on a loopback host, where other ports are other programs.
        ("https://shop.example:8443", "shop.example", {}, True),
        ("http://localhost:9000", "localhost", {}, False),
        ("http://127.0.0.1:9000", "127.0.0.1", {}, False),
        ("http://[::1]:9000", "[::1]", {}, False),
        ("http://localhost:9000", "localhost", {"site": "same-origin"}, True),
        ("http://localhost:9000", "localhost", {"port": "9000"}, True),
        # A proxy forwards the port.
        ("https://shop.example:8443", "shop.example", {"port": "8443"}, True),
        ("https://shop.example:8444", "shop.example", {"port": "8443"}, False),
        ("https://shop.example", "shop.example", {"port": "8443"}, False),
        ("https://shop.example", "shop.example", {"port": "443"}, True),
        ("https://shop.example", "shop.example", {"port": "80"}, True),
        ("http://shop.example", "shop.example", {"port": "443"}, False),
        ("https://shop.example:8443", "shop.example:8443", {"port": "443"}, True),
        # The browser sends Sec-Fetch-Site.
        ("https://shop.example:8443", "shop.example", {"site": "same-site"}, False),
        ("https://shop.example", "shop.example", {"site": "same-site"}, False),
        ("https://shop.example", "shop.example", {"site": "cross-site"}, False),
        ("https://shop.example", "shop.example", {"site": "same-origin,same-site"}, False),
        ("https://shop.example:8443", "shop.example:8000", {"site": "same-origin"}, True),
        ("https://evil.example", "shop.example", {"site": "same-origin"}, False),
        # Schemes.
        ("http://shop.example", "shop.example", {"scheme": "https"}, False),
        ("https://shop.example", "shop.example", {"scheme": "http"}, False),
        ("https://shop.example", "shop.example", {"scheme": "https"}, True),
        ("HTTPS://shop.example", "shop.example", {"scheme": "https"}, True),
        # For a browser, a trailing dot makes a different host.
        ("https://shop.example.", "shop.example.", {}, True),
        ("https://shop.example", "shop.example.", {}, False),
        ("https://shop.example.", "shop.example", {}, False),
    ],
)
def test_what_is_known_of_a_request_is_compared_with_its_origin(
    origin: str, host: str, options: dict[str, str], expected: bool
) -> None:
    assert origin_is_allowed(origin, host, ("shop.example", *LOOPBACK), (), **options) is expected


def test_a_listed_origin_may_call_whatever_the_browser_says_of_the_site() -> None:
    assert origin_is_allowed(
        "https://app.test", "localhost", LOOPBACK, ("https://app.test",), scheme="http", port="1", site="cross-site"
    )


some_names = st.lists(st.text(), max_size=3).map(tuple)


@given(st.text(), st.text(), some_names, some_names)
def test_every_text_is_allowed_or_not(
    origin: str, host: str, hosts: tuple[str, ...], origins: tuple[str, ...]
) -> None:
    assert host_is_allowed(host, hosts) in (True, False)
    assert origin_is_allowed(origin, host, hosts, origins) in (True, False)


@given(st.text())
def test_no_origin_is_our_own_where_only_the_wildcard_names_hosts(name: str) -> None:
    host = f"{name}.evil.test"
    assert not origin_is_allowed(f"https://{host}", host, ("*",), ())


def test_an_allowed_page_sees_the_headers_it_needs() -> None:
    headers = dict(cors_headers("https://app.test"))
    assert headers["Access-Control-Allow-Origin"] == "https://app.test"
    assert headers["Vary"] == "Origin"
    exposed = {name.strip().lower() for name in headers["Access-Control-Expose-Headers"].split(",")}
    assert {"mcp-session-id", "www-authenticate"} <= exposed


@pytest.mark.parametrize("origin", [None, ""])
def test_without_an_origin_there_is_no_cors(origin: str | None) -> None:
    assert cors_headers(origin) == ()
    headers = dict(preflight_headers(origin, "Mcp-Param-Region"))
    assert set(headers) == {"Allow"}
    assert {"GET", "POST", "DELETE", "OPTIONS"} == set(headers["Allow"].split(", "))


def test_a_preflight_names_methods_and_headers_and_no_wildcard() -> None:
    headers = dict(preflight_headers("https://app.test", None))
    assert {"GET", "POST", "DELETE"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    names = {name.strip().lower() for name in headers["Access-Control-Allow-Headers"].split(",")}
    protocol = {"mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "last-event-id"}
    assert protocol | {"content-type", "accept", "authorization"} <= names
    assert "*" not in "".join(headers.values())
    assert headers["Access-Control-Allow-Origin"] == "https://app.test"


def test_a_preflight_allows_the_parameter_headers_it_is_asked_for_and_no_other_names() -> None:
    build_request = "content-type, Mcp-Param-Region,MCP-PARAM-Tier , x-other, mcp-parameter"
    allowed = dict(preflight_headers("https://app.test", build_request))["Access-Control-Allow-Headers"]
    names = {name.strip().lower() for name in allowed.split(",")}
    assert {"mcp-param-region", "mcp-param-tier"} <= names
    assert names.isdisjoint({"x-other", "mcp-parameter"})


FORWARDED = Policy(
    allowed_hosts=("shop.example",),
    forwarded_host=True,
    forwarded_port=True,
    forwarded_scheme=("x-forwarded-proto", "https"),
)


def build_request(*lines: tuple[str, str], scheme: str = "http") -> HTTPRequest:
    return HTTPRequest(method="POST", headers=Headers([("host", "inner:8000"), *lines]), scheme=scheme)


@pytest.mark.parametrize(
    ("lines", "policy", "is_allowed"),
    [
        ([], FORWARDED, False),
        ([("x-forwarded-host", "shop.example")], FORWARDED, True),
        ([("x-forwarded-host", "shop.example")], Policy(allowed_hosts=("shop.example",)), False),
        ([("x-forwarded-host", "shop.example"), ("x-forwarded-host", "evil.example")], FORWARDED, False),
    ],
)
def test_the_host_is_that_of_a_proxy_where_the_operator_says_so(
    lines: list[tuple[str, str]], policy: Policy, is_allowed: bool
) -> None:
    assert has_allowed_host(build_request(*lines), policy) is is_allowed


@pytest.mark.parametrize(
    ("lines", "scheme", "policy", "expected"),
    [
        ([], "http", Policy(), ""),
        ([], "https", Policy(), "https"),
        ([], "http", FORWARDED, "http"),
        ([("x-forwarded-proto", "https")], "http", FORWARDED, "https"),
        ([("x-forwarded-proto", "https, http")], "http", FORWARDED, "https"),
        ([("x-forwarded-proto", "http")], "https", FORWARDED, "http"),
    ],
)
def test_the_scheme_is_that_of_a_proxy_where_it_says_one(
    lines: list[tuple[str, str]], scheme: str, policy: Policy, expected: str
) -> None:
    assert scheme_of(build_request(*lines, scheme=scheme), policy) == expected


@pytest.mark.parametrize(
    ("lines", "is_allowed"),
    [
        ([], True),
        ([("origin", "http://shop.example:8000")], True),
        ([("origin", "http://shop.example:9000")], False),
        ([("origin", "http://shop.example:8000")] * 2, False),
    ],
)
def test_a_request_comes_from_no_page_or_from_one_that_may_call(
    lines: list[tuple[str, str]], is_allowed: bool
) -> None:
    proxy = [("x-forwarded-host", "shop.example"), ("x-forwarded-port", "8000")]
    assert has_allowed_origin(build_request(*proxy, *lines), FORWARDED) is is_allowed
