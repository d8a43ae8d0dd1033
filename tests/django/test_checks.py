"""The warnings of `manage.py check`, W001 to W018: when each speaks, when it keeps silent, and what its hint says.

The errors have their tests in `test_faulty_settings`.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import WARNING, CheckMessage, run_checks
from django.db import connections, transaction
from django.urls import include, path

from mcp_transport import bootstrap, checks, conf, deploy_checks, settings_table, tool
from mcp_transport.declarations import Declarations
from mcp_transport.protocol.origin import REQUEST_HEADERS
from tests.django import test_faulty_settings
from tests.support.settings import INSTALLED_APPS, MIDDLEWARE

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
TABLE: dict[str, Any] = {"BACKEND": "dynamodb", "DYNAMODB": {"REGION": "eu-west-1"}}
FILE = "django.core.cache.backends.filebased.FileBasedCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"
MEMCACHED = "django.core.cache.backends.memcached.PyMemcacheCache"
REDIS = "django.core.cache.backends.redis.RedisCache"


def warnings_of(number: str, **options: Any) -> list[CheckMessage]:
    """Return this package's messages with that id; the checks run as `manage.py check` runs them."""
    return [message for message in run_checks(**options) if message.id == f"mcp_transport.{number}"]


def cache(kind: str, entries: int | None = None) -> dict[str, Any]:
    options = {} if entries is None else {"OPTIONS": {"MAX_ENTRIES": entries}}
    return {"CACHES": {"default": {"BACKEND": kind, "LOCATION": "/nowhere/cache", **options}}}


def sync_only(get_response: Any) -> Any:
    """Middleware written before Django was async."""
    return get_response


def both(get_response: Any) -> Any:
    """Middleware for both worlds."""
    return get_response


both.async_capable = True  # type: ignore[attr-defined]

ENDPOINT = path("mcp", include("mcp_transport.urls"))
PUBLIC, LOCAL = ["api.example.com"], ["localhost", "127.0.0.1"]
RESOURCE = {
    "RESOURCE_URL": "https://api.example.com/mcp",
    "AUTHORIZATION_SERVERS": ["https://auth.example.com"],
}
CORS = {
    "INSTALLED_APPS": [*INSTALLED_APPS, "corsheaders"],
    "MIDDLEWARE": ["corsheaders.middleware.CorsMiddleware", *MIDDLEWARE],
    "CORS_ALLOWED_ORIGINS": ["https://app.example"],
}
DJANGOS = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


def ours(**values: Any) -> dict[str, Any]:
    return {"MCP_TRANSPORT": values}


# The id, the settings, and words of the message and of the hint.
WARNED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "W001",
        {**ours(WORKERS=2), **cache(LOCMEM)},
        (
            "2 workers are configured, but sessions are stored in the memory of one process",
            "MCP_TRANSPORT['BACKEND']",
        ),
    ),
    (
        "W001",
        {**ours(WORKERS=2), **cache(FILE, 10_000)},
        ("2 workers are configured, but streams are stored in the memory of one process", "MCP_TRANSPORT['BACKEND']"),
    ),
    (
        "W001",
        ours(WORKERS=2, BACKEND="mcp_transport.backends.memory.MemoryBackend"),
        ("2 workers are configured, but sessions are stored in the memory of one process",),
    ),
    *(
        (
            "W016",
            {**ours(WORKERS=3, RATE_LIMITS={"caller": "1/s"}), **cache(kind)},
            ("3 workers are configured", "up to 3 times the rate", "MCP_TRANSPORT['BACKEND'] to 'redis'"),
        )
        for kind in (LOCMEM, FILE)
    ),
    (
        "W018",
        ours(**TABLE, MAX_RESULT_BYTES=33_554_433),
        (
            "MAX_RESULT_BYTES is 33554433, but the backend 'dynamodb' stores events of at most 33554432 bytes",
            "or less.",
        ),
    ),
    (
        "W015",
        ours(BACKEND="tests.backends.test_local.ShelfBackend"),
        ("The backend 'tests.backends.test_local.ShelfBackend' cannot list sessions", "Give the Backend an index"),
    ),
    (
        "W003",
        {"MIDDLEWARE": [*MIDDLEWARE, f"{__name__}.sync_only", f"{__name__}.both"]},
        (f"{__name__}.sync_only is not async-capable", "MIDDLEWARE"),
    ),
    (
        "W004",
        {"ROOT_URLCONF": (path("mcp/", include("mcp_transport.urls")),)},
        ("is served at /mcp/ only", 'path("mcp", include("mcp_transport.urls"))'),
    ),
    *(
        ("W005", {**ours(BACKEND="cache"), **cache(kind)}, ("'default' holds 300 entries", "['MAX_ENTRIES']"))
        for kind in (LOCMEM, FILE, DATABASE)
    ),
    ("W005", {**ours(BACKEND="cache"), **cache(FILE, 9_999)}, ("'default' holds 9999 entries",)),
    (
        "W006",
        {"DEBUG": True, "ALLOWED_HOSTS": ["localhost", "shop.example", "*"]},
        ("ALLOWED_HOSTS has *, shop.example", "Set DEBUG = False."),
    ),
    ("W009", {"ALLOWED_HOSTS": PUBLIC, **ours()}, ("anybody may call tools", "AUTHENTICATORS")),
    ("W009", {"ALLOWED_HOSTS": PUBLIC, **ours(AUTHENTICATORS=["user", None])}, ("AUTHENTICATORS",)),
    ("W009", {"ALLOWED_HOSTS": PUBLIC, **ours(AUTHENTICATORS=[None])}, ("AUTHENTICATORS",)),
    ("W009", {"ALLOWED_HOSTS": ["*"], **ours(AUTHENTICATORS=["user", None])}, ("AUTHENTICATORS",)),
    (
        "W010",
        {"MCP_TRANSPORT": RESOURCE, "ROOT_URLCONF": (ENDPOINT,)},
        ("/.well-known/oauth-protected-resource/mcp",),
    ),
    (
        "W013",
        CORS,
        (
            "handles /mcp,",
            "CORS_ALLOW_HEADERS lacks Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name",
            'CORS_URLS_REGEX = r"^(?!/mcp|/\\.well-known/)"',
        ),
    ),
    (
        "W013",
        {
            **CORS,
            "CORS_ALLOW_METHODS": ["GET", "POST"],
            "CORS_EXPOSE_HEADERS": ["mcp-session-id"],
            **ours(ALLOWED_ORIGINS=["https://app.example", "https://other.example", "*"]),
        },
        (
            "CORS_ALLOW_METHODS lacks DELETE, OPTIONS;",
            "CORS_EXPOSE_HEADERS lacks WWW-Authenticate, Retry-After;",
            "CORS_ALLOWED_ORIGINS lacks https://other.example.",
        ),
    ),
]
SILENT: list[tuple[str, dict[str, Any]]] = [
    ("W001", ours()),
    ("W001", ours(WORKERS=1)),
    ("W001", ours(WORKERS=4, BACKEND="shop.Shared")),
    *(("W001", {**ours(), **cache(kind)}) for kind in (LOCMEM, FILE, REDIS)),
    ("W018", ours(**TABLE)),
    ("W018", ours(**TABLE, MAX_RESULT_BYTES=33_554_432)),
    ("W018", ours(MAX_RESULT_BYTES=268_435_456)),
    ("W016", ours(WORKERS=3)),
    ("W016", ours(RATE_LIMITS={"caller": "1/s"})),
    ("W016", {**ours(WORKERS=3, RATE_LIMITS={"caller": "1/s"}), **cache(REDIS)}),
    ("W015", ours(BACKEND="shop.Shared")),
    ("W015", ours()),
    ("W001", {**ours(WORKERS=4), **cache(REDIS)}),
    ("W003", {"MIDDLEWARE": DJANGOS}),
    ("W003", {"MIDDLEWARE": ["no.such.Middleware"]}),  # which is Django's to name
    ("W004", {"ROOT_URLCONF": (ENDPOINT,)}),
    ("W004", {"ROOT_URLCONF": ()}),
    ("W005", {**ours(BACKEND="cache"), **cache(FILE, 10_000)}),
    ("W005", cache(LOCMEM)),  # the memory backend
    ("W005", cache(REDIS)),
    ("W006", {"DEBUG": False, "ALLOWED_HOSTS": ["shop.example"]}),
    ("W006", {"DEBUG": True, "ALLOWED_HOSTS": []}),
    ("W006", {"DEBUG": True, "ALLOWED_HOSTS": LOCAL}),
    ("W009", {"ALLOWED_HOSTS": PUBLIC, **ours(AUTHENTICATORS=["user"])}),
    ("W009", {"ALLOWED_HOSTS": PUBLIC, **ours(AUTHENTICATORS=[])}),
    ("W009", {"ALLOWED_HOSTS": LOCAL, **ours(AUTHENTICATORS=["user", None])}),
    ("W010", {"MCP_TRANSPORT": RESOURCE, "ROOT_URLCONF": (ENDPOINT, path("", include("mcp_transport.well_known")))}),
    ("W010", {"MCP_TRANSPORT": RESOURCE, "ROOT_URLCONF": ()}),
    ("W013", {**CORS, "CORS_URLS_REGEX": r"^/api/"}),
    ("W013", {**CORS, "CORS_URLS_REGEX": r"^(?!/mcp|/\.well-known/)"}),
    (
        "W013",
        {
            **CORS,
            "CORS_ALLOW_HEADERS": [name.lower() for name in REQUEST_HEADERS],
            **ours(ALLOWED_ORIGINS=["https://app.example"]),
        },
    ),
    ("W013", {**CORS, "ROOT_URLCONF": "tests.support.api_urls"}),  # the mount is asked before
]


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_CONCURRENCY", "GRANIAN_WORKERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("number", "changed", "expected"), WARNED, ids=lambda item: str(item)[:60])
def test_what_a_project_is_warned_of(
    number: str, changed: dict[str, Any], expected: tuple[str, ...], settings: Any
) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    [message] = warnings_of(number)
    assert message.level == WARNING
    assert all(text in f"{message.msg} {message.hint}" for text in expected)
    if changed is CORS:
        assert "CORS_EXPOSE_HEADERS" not in message.msg, "the endpoint's own are left"


@pytest.mark.parametrize(("number", "changed"), SILENT, ids=lambda item: str(item)[:60])
def test_what_is_fine(number: str, changed: dict[str, Any], settings: Any) -> None:
    for name, value in changed.items():
        setattr(settings, name, value)
    assert warnings_of(number) == []


@pytest.mark.django_db  # since Django 6.1 its own checks of JSON fields ask the database
def test_good_project_hears_nothing(settings: Any) -> None:
    del settings.MCP_TRANSPORT
    assert [message for message in run_checks() if (message.id or "").startswith("mcp_transport")] == []


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "GRANIAN_WORKERS"])
def test_workers_are_read_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv(name, "auto")
    assert warnings_of("W001") == []
    monkeypatch.setenv(name, "4")
    assert warnings_of("W001")[0].msg.startswith("4 workers")
    settings.MCP_TRANSPORT = {"WORKERS": 1}  # the setting has the last word
    assert warnings_of("W001") == []


def test_memcached_is_warned_of(settings: Any) -> None:
    settings.CACHES = cache(MEMCACHED)["CACHES"]
    [message] = checks.check_eviction()  # by itself: Django's own checks would need the client's package
    assert (message.id, "memcached" in message.msg) == ("mcp_transport.W005", True)
    assert "MCP_TRANSPORT['CACHE']" in str(message.hint)


@pytest.mark.parametrize(
    ("version", "warned"), [("2.2.9", True), ("2.3.0", False), ("2.3.9rc1", False), ("2.4.0", True), ("3.0", True)]
)
def test_sdk_that_was_not_tried_is_warned_of(version: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "mcp" else real(name))
    messages = warnings_of("W007")
    assert len(messages) == warned
    assert all(f"The MCP SDK has version {version}" in message.msg for message in messages)
    assert all('"mcp>=2.3,<2.4"' in str(message.hint) for message in messages)


def test_declarations_that_nobody_serves_are_warned_of(declarations: Declarations, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.high_level"}
    assert warnings_of("W008") == []
    tool(name="lost")(lambda: 1)
    [message] = warnings_of("W008")
    assert "MCP_TRANSPORT['SERVER'] names another server" in message.msg
    assert "MCP_TRANSPORT['SERVER']" in str(message.hint)
    settings.MCP_TRANSPORT = {}
    assert warnings_of("W008") == []


def test_asynchronous_tools_are_named_where_requests_are_atomic(
    declarations: Declarations, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later() -> int:
        return 1

    async def latest() -> int:
        return 1

    tool(name="plain")(lambda: 1)
    tool(name="late", atomic=False)(later)
    tool(name="latest")(transaction.non_atomic_requests(latest))
    tool(name="later")(later)
    assert warnings_of("W011") == []
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert warnings_of("W011")[0].msg.endswith(": later.")


@pytest.mark.parametrize(
    ("age", "options", "asgi", "warned"),
    [
        (0, {}, "shop.asgi.application", False),
        (60, {}, "shop.asgi.application", True),
        (None, {}, "shop.asgi.application", True),
        (60, {"pool": True}, "shop.asgi.application", False),
        (60, {}, None, False),
    ],
)
def test_persistent_connections_are_warned_of_under_asgi(
    age: int | None, options: Any, asgi: str | None, warned: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ASGI_APPLICATION = asgi
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", age)
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    named = ["CONN_MAX_AGE of the database 'default'" in message.msg for message in warnings_of("W012")]
    assert named == [True] * warned


@pytest.mark.parametrize(
    ("changed", "is_warned"),
    [
        ({}, True),
        ({"STATIC_ROOT": "collected"}, False),
        ({"STATIC_URL": "https://cdn.example.com/"}, False),
        ({"STATIC_URL": "//cdn.example.com/"}, False),
        ({"STATIC_URL": None}, False),
        ({"MIDDLEWARE": ["whitenoise.middleware.WhiteNoiseMiddleware"]}, False),
        ({"INSTALLED_APPS": INSTALLED_APPS}, False),
    ],
    ids=str,
)
def test_static_files_that_nobody_serves(changed: dict[str, Any], is_warned: bool, settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    settings.STATIC_URL = "/static/"
    for name, value in changed.items():
        setattr(settings, name, value)
    messages = warnings_of("W014", include_deployment_checks=True)
    assert bool(messages) is is_warned
    assert warnings_of("W014") == [], "with --deploy alone"
    assert all("WhiteNoise" in (message.hint or "") for message in messages)


def test_each_id_has_a_test() -> None:
    modules = (checks, deploy_checks, conf, settings_table, bootstrap)
    texts = [Path(str(module.__file__)).read_text() for module in modules]
    files = (Path(__file__), Path(__file__).with_name("test_deploy_checks.py"))
    tested = set(re.findall(r'"([EW]\d{3})"', "".join(file.read_text() for file in files)))
    tested |= {id for id, *_ in test_faulty_settings.FAULTS}
    assert tested == set(re.findall(r"mcp_transport\.([EW]\d{3})", "".join(texts)))
