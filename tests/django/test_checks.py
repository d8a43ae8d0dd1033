"""Every system check: when it speaks, when it keeps silent, and that its hint says what to change."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.urls import include, path

from mcp_transport import bootstrap, checks, conf, tool
from mcp_transport.declarations import Declarations
from mcp_transport.protocol.origin import REQUEST_HEADERS
from tests.support.settings import INSTALLED_APPS

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
FILE = "django.core.cache.backends.filebased.FileBasedCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"
MEMCACHED = "django.core.cache.backends.memcached.PyMemcacheCache"
REDIS = "django.core.cache.backends.redis.RedisCache"


def found(number: str) -> list[CheckMessage]:
    """Return this package's messages with that id; the checks run as `manage.py check` runs them."""
    return [message for message in run_checks() if message.id == f"mcp_transport.{number}"]


def one(number: str) -> CheckMessage:
    [message] = found(number)
    assert message.level == (40 if number.startswith("E") else 30)
    return message


@pytest.fixture
def cached(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Configure a cache of some kind; a folder of its own does for any."""

    def configure(kind: str, **options: Any) -> dict[str, Any]:
        return {"default": {"BACKEND": kind, "LOCATION": str(tmp_path / "cache"), **options}}

    return configure


@pytest.mark.django_db  # since Django 6.1 its own checks of JSON fields ask the database
def test_good_project_hears_nothing(settings: Any) -> None:
    del settings.MCP_TRANSPORT
    assert [message for message in run_checks() if (message.id or "").startswith("mcp_transport")] == []


def test_checks_are_registered_once_and_have_hints(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"NAMES": 1, "NAME": 1}
    messages = [message for message in run_checks() if (message.id or "").startswith("mcp_transport")]
    assert [message.id for message in messages] == ["mcp_transport.E001", "mcp_transport.E002"]
    assert all(message.hint for message in messages)


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ALLOWED_ORIGIN", "Did you mean 'ALLOWED_ORIGINS'?"),
        ("allowed_origins", "Did you mean 'ALLOWED_ORIGINS'?"),
        ("SESSION_TTL", "Did you mean 'SESSION_TTL_SECONDS'?"),
        ("FROBNICATE", "docs/reference/settings.md lists the known ones."),
        (7, "docs/reference/settings.md lists the known ones."),
    ],
)
def test_unknown_setting_is_an_error(name: Any, hint: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {name: 1}
    message = one("E001")
    assert (message.msg, message.hint) == (f"MCP_TRANSPORT[{name!r}] is no setting.", hint)


def test_wrong_value_is_an_error(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"NAME": 1, "MAX_BATCH": 0, "TITLE": "right"}
    first, second = found("E002")
    assert (first.msg, first.hint) == (
        "MCP_TRANSPORT['NAME']: expected a string, got 1.",
        "Correct MCP_TRANSPORT['NAME'] in your settings.",
    )
    assert second.msg == "MCP_TRANSPORT['MAX_BATCH']: expected 1 or more, got 0."


@pytest.mark.parametrize("value", [["NAME"], None, "NAME"])
def test_settings_that_are_no_dict_are_an_error_and_no_crash(value: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = value
    message = one("E002")
    assert "MCP_TRANSPORT must be a dict" in message.msg
    assert message.hint == "Correct MCP_TRANSPORT in your settings."


# -- parts that cannot be built --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"SERVER": "no.such.module"}, "SERVER"),
        ({"SERVER": "django.conf.settings"}, "SERVER"),
        ({"BACKEND": "redis"}, "BACKEND"),
        ({"BACKEND": "no.such.Backend"}, "BACKEND"),
        ({"BACKEND": "tests.django.test_checks.one"}, "BACKEND"),
    ],
)
def test_part_that_cannot_be_built_is_an_error(values: dict[str, Any], name: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = values
    message = one("E003")
    assert message.msg.startswith(f"MCP_TRANSPORT['{name}'] cannot be used: ")
    assert message.hint == f"Correct MCP_TRANSPORT[{name!r}]."


@pytest.mark.parametrize(
    ("location", "options", "problem"),
    [
        ("nonsense", {}, "LOCATION must be redis://"),
        ("redis://localhost:port", {}, "LOCATION must be redis://"),
        ("redis://localhost:99999", {}, "LOCATION must be redis://"),
        ("redis://[::1", {}, "LOCATION must be redis://"),
        ("http://localhost:6379", {}, "LOCATION must be redis://"),
        ("", {}, "LOCATION names no server"),
        ("redis://localhost", {"max_connections": "many"}, "max_connections"),
        ("redis://localhost:6379/0", {}, ""),
    ],
)
def test_redis_that_cannot_be_read_is_an_error(
    location: str, options: dict[str, Any], problem: str, settings: Any
) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": location, "OPTIONS": options}}
    assert [problem in message.msg for message in found("E003")] == [True] * bool(problem)


def test_requests_are_refused_without_a_stack(settings: Any, client: Client, caplog: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "nonsense"}}
    answer = client.post("/mcp", "{}", "application/json")
    assert (answer.status_code, answer.content) == (500, bootstrap.REFUSAL.body)
    assert "LOCATION must be redis://" in caplog.text
    assert not any(record.exc_info and "mcp_transport" in record.name for record in caplog.records)


@pytest.mark.parametrize("words", [["mcp_sessions", "list"], ["mcp_drain"]], ids=" ".join)
@pytest.mark.parametrize("skip_checks", [False, True])
def test_commands_name_a_redis_that_cannot_be_read(words: list[str], skip_checks: bool, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "nonsense"}}
    with pytest.raises(CommandError, match="LOCATION must be redis://"):
        call_command(*words, skip_checks=skip_checks)


def test_unknown_cache_is_an_error(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"CACHE": "sessions"}
    settings.CACHES = {"default": {"BACKEND": LOCMEM}, "other": {"BACKEND": LOCMEM}}
    message = one("E004")
    assert message.msg == "MCP_TRANSPORT['CACHE']: expected one of CACHES, default, other, got 'sessions'."
    assert message.hint == "Correct MCP_TRANSPORT['CACHE'] in your settings."
    settings.CACHES = {"default": {"BACKEND": LOCMEM}, "sessions": {"BACKEND": LOCMEM}}
    assert not found("E004")


@pytest.mark.parametrize("value", [7, None])
def test_cache_of_the_wrong_type_is_an_error_and_no_crash(value: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"CACHE": value}
    assert one("E002").msg.startswith("MCP_TRANSPORT['CACHE']: expected a string")


# -- several workers ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_CONCURRENCY", "GRANIAN_WORKERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("kind", "kept"), [(LOCMEM, "sessions"), (FILE, "streams")])
def test_several_workers_without_shared_streams_are_warned_of(
    kind: str, kept: str, cached: Any, settings: Any
) -> None:
    settings.MCP_TRANSPORT = {"WORKERS": 2}
    settings.CACHES = cached(kind, OPTIONS={"MAX_ENTRIES": 10_000})
    message = one("W001")
    assert message.msg.startswith(f"2 workers are configured, but {kept} live in one process's memory")
    assert "MCP_TRANSPORT['BACKEND']" in str(message.hint)


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "GRANIAN_WORKERS"])
def test_workers_are_read_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv(name, "4")
    assert one("W001").msg.startswith("4 workers")
    settings.MCP_TRANSPORT = {"WORKERS": 1}  # the setting has the last word
    assert not found("W001")


@pytest.mark.parametrize("values", [{}, {"WORKERS": 1}, {"WORKERS": 4, "BACKEND": "shop.Shared"}])
def test_one_worker_or_a_backend_of_ones_own_is_fine(values: dict[str, Any], settings: Any) -> None:
    settings.MCP_TRANSPORT = values
    assert not found("W001")


def test_words_in_the_environment_are_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "auto")
    assert not found("W001")


# -- middleware --------------------------------------------------------------------------------------------


def sync_only(get_response: Any) -> Any:
    """Middleware written before Django was async."""
    return get_response


def both(get_response: Any) -> Any:
    """Middleware for both worlds."""
    return get_response


both.async_capable = True  # type: ignore[attr-defined]


def test_middleware_that_is_not_async_is_warned_of(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.sync_only", f"{__name__}.both"]
    message = one("W003")
    assert message.msg.startswith(f"{__name__}.sync_only is not async-capable")
    assert "MIDDLEWARE" in str(message.hint)


def test_djangos_own_middleware_is_fine(settings: Any) -> None:
    settings.MIDDLEWARE = [
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
    assert not found("W003")


def test_middleware_that_cannot_be_imported_is_djangos_business(settings: Any) -> None:
    settings.MIDDLEWARE = ["no.such.Middleware"]
    assert not found("W003")


# -- the URL -------------------------------------------------------------------------------------------------


class Slashed:
    urlpatterns = (path("mcp/", include("mcp_transport.urls")),)


class Bare:
    urlpatterns = (path("mcp", include("mcp_transport.urls")),)


class Mounted:
    urlpatterns = ()


def test_url_with_a_slash_is_warned_of(settings: Any) -> None:
    settings.ROOT_URLCONF = Slashed
    message = one("W004")
    assert "answers at /mcp/ only" in message.msg
    assert 'path("mcp", include("mcp_transport.urls"))' in str(message.hint)


@pytest.mark.parametrize("urls", [Bare, Mounted])
def test_url_without_a_slash_or_no_url_is_fine(urls: Any, settings: Any) -> None:
    settings.ROOT_URLCONF = urls
    assert not found("W004")


# -- caches that forget ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LOCMEM, FILE, DATABASE])
def test_small_cache_is_warned_of(kind: str, cached: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "cache"}
    settings.CACHES = cached(kind)
    message = one("W005")
    assert "'default' keeps 300 entries" in message.msg
    assert "CACHES['default']['OPTIONS']['MAX_ENTRIES']" in str(message.hint)
    settings.CACHES = cached(kind, OPTIONS={"MAX_ENTRIES": 9_999})
    assert "9999" in one("W005").msg
    settings.CACHES = cached(kind, OPTIONS={"MAX_ENTRIES": 10_000})
    assert not found("W005")


def test_memcached_is_warned_of(cached: Any, settings: Any) -> None:
    settings.CACHES = cached(MEMCACHED)
    [message] = checks.check_eviction()  # by itself: Django's own checks would need the client's package
    assert (message.id, "memcached" in message.msg) == ("mcp_transport.W005", True)
    assert "MCP_TRANSPORT['CACHE']" in str(message.hint)


def test_cache_that_is_not_used_or_keeps_all_is_fine(cached: Any, settings: Any) -> None:
    settings.CACHES = cached(LOCMEM)
    assert not found("W005")  # the memory backend
    settings.CACHES = cached(REDIS)
    assert not found("W005")


# -- the rest ------------------------------------------------------------------------------------------------


def test_debug_on_a_public_host_is_warned_of(settings: Any) -> None:
    settings.DEBUG, settings.ALLOWED_HOSTS = True, ["localhost", "shop.example", "*"]
    message = one("W006")
    assert "ALLOWED_HOSTS names *, shop.example" in message.msg
    assert message.hint == "Set DEBUG = False."


@pytest.mark.parametrize(
    ("debug", "hosts"), [(False, ["shop.example"]), (True, []), (True, ["localhost", "127.0.0.1"])]
)
def test_debug_at_home_is_fine(debug: bool, hosts: list[str], settings: Any) -> None:
    settings.DEBUG, settings.ALLOWED_HOSTS = debug, hosts
    assert not found("W006")


@pytest.mark.parametrize(
    ("version", "warned"), [("2.2.9", True), ("2.3.0", False), ("2.3.9rc1", False), ("2.4.0", True), ("3.0", True)]
)
def test_sdk_that_was_not_tried_is_warned_of(version: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "mcp" else real(name))
    assert len(found("W007")) == warned
    if warned:
        assert f"The MCP SDK is {version}" in one("W007").msg
        assert '"mcp>=2.3,<2.4"' in str(one("W007").hint)


def test_declarations_that_nobody_serves_are_warned_of(declarations: Declarations, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.high_level"}
    assert not found("W008")
    tool(name="lost")(lambda: 1)
    message = one("W008")
    assert "MCP_TRANSPORT['SERVER'] names another server" in message.msg
    assert "MCP_TRANSPORT['SERVER']" in str(message.hint)
    settings.MCP_TRANSPORT = {}
    assert not found("W008")


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
    assert not found("W011")
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert one("W011").msg.endswith(": later.")


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
    age: int | None,
    options: dict[str, Any],
    asgi: str | None,
    warned: bool,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ASGI_APPLICATION = asgi
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", age)
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    assert bool(found("W012")) == warned
    if warned:
        assert "CONN_MAX_AGE of the database 'default'" in one("W012").msg


def test_each_id_has_a_test_here() -> None:
    tested = set(re.findall(r'(?:one|found)\("([EW]\d{3})"\)', Path(__file__).read_text()))
    sources = "".join(Path(str(module.__file__)).read_text() for module in (checks, conf, bootstrap))
    assert tested == set(re.findall(r"mcp_transport\.([EW]\d{3})", sources))


# -- who gets in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "authenticators", "speaks"),
    [
        (["api.example.com"], ["user", None], True),
        (["api.example.com"], [None], True),
        (["*"], ["user", None], True),
        (["api.example.com"], ["user"], False),
        (["api.example.com"], [], False),
        (["localhost", "127.0.0.1"], ["user", None], False),
    ],
)
def test_public_host_that_lets_anybody_in_is_warned_of(
    hosts: list[str], authenticators: list[Any], speaks: bool, settings: Any
) -> None:
    settings.ALLOWED_HOSTS, settings.MCP_TRANSPORT = hosts, {"AUTHENTICATORS": authenticators}
    assert bool(found("W009")) == speaks
    if speaks:
        assert "AUTHENTICATORS" in str(one("W009").hint)


def test_the_default_is_warned_of_on_a_public_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.MCP_TRANSPORT = ["api.example.com"], {}
    assert "anybody may call tools" in one("W009").msg


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("frobnicate", "'frobnicate' is neither user, session, jwt"),
        ("mcp_transport.nowhere.Authenticator", "is neither"),
        ({"BACKEND": "user", "OPTIONS": {"WRONG": 1}}, "'user': "),
        ({"OPTIONS": {}}, "must be a name"),
        (7, "got int"),
        ("builtins.dict", "is no Authenticator"),
    ],
    ids=repr,
)
def test_authenticator_that_cannot_be_built_is_refused(entry: Any, problem: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATORS": [entry]}
    message = one("E003")
    assert problem in message.msg
    assert "AUTHENTICATORS" in str(message.hint)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://api.example.com/mcp", ""),
        ("http://127.0.0.1:8000/mcp", ""),
        ("http://localhost/mcp", ""),
        ("", ""),
        ("api.example.com/mcp", "no absolute URL"),
        ("https:///mcp", "no absolute URL"),
        ("http://api.example.com/mcp", "not https"),
        ("https://api.example.com/mcp?a=1", "a query"),
        ("https://api.example.com/mcp#a", "fragment"),
    ],
)
def test_resource_url_is_one_that_tokens_can_be_bound_to(url: str, fault: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": url}
    assert bool(found("E005")) == bool(fault)
    if fault:
        assert fault in one("E005").msg


def test_metadata_that_nobody_serves_are_warned_of(settings: Any) -> None:
    settings.MCP_TRANSPORT = {
        "RESOURCE_URL": "https://api.example.com/mcp",
        "AUTHORIZATION_SERVERS": ["https://auth.example.com"],
    }
    settings.ROOT_URLCONF = (path("mcp", include("mcp_transport.urls")),)
    assert "/.well-known/oauth-protected-resource/mcp" in one("W010").msg
    settings.ROOT_URLCONF = (
        path("mcp", include("mcp_transport.urls")),
        path("", include("mcp_transport.well_known")),
    )
    assert found("W010") == []
    settings.ROOT_URLCONF = ()
    assert found("W010") == []


# -- django-cors-headers -----------------------------------------------------------------------------------

CORS = "corsheaders.middleware.CorsMiddleware"


@pytest.fixture
def cors(settings: Any) -> Any:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
    settings.MIDDLEWARE = [CORS, *settings.MIDDLEWARE]
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    return settings


def test_cors_headers_that_lack_mcps_own_are_named(cors: Any) -> None:
    message = one("W013")
    assert "answers for /mcp," in message.msg
    assert (
        "CORS_ALLOW_HEADERS lacks Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name"
        in message.msg
    )
    assert "CORS_EXPOSE_HEADERS" not in message.msg, "the endpoint's own are left"
    assert 'CORS_URLS_REGEX = r"^(?!/mcp|/\\.well-known/)"' in str(message.hint)


def test_each_cors_setting_is_compared(cors: Any) -> None:
    cors.CORS_ALLOW_METHODS = ["GET", "POST"]
    cors.CORS_EXPOSE_HEADERS = ["mcp-session-id"]
    cors.MCP_TRANSPORT = {"ALLOWED_ORIGINS": ["https://app.example", "https://other.example", "*"]}
    message = one("W013")
    assert "CORS_ALLOW_METHODS lacks DELETE, OPTIONS;" in message.msg
    assert "CORS_EXPOSE_HEADERS lacks WWW-Authenticate, Retry-After;" in message.msg
    assert "CORS_ALLOWED_ORIGINS lacks https://other.example." in message.msg


@pytest.mark.parametrize("regex", [r"^/api/", r"^(?!/mcp|/\.well-known/)"])
def test_cors_headers_that_leave_the_endpoint_alone_are_fine(regex: str, cors: Any) -> None:
    cors.CORS_URLS_REGEX = regex
    assert not found("W013")


def test_cors_headers_that_grant_all_are_fine(cors: Any) -> None:
    cors.CORS_ALLOW_HEADERS = [name.lower() for name in REQUEST_HEADERS]
    cors.MCP_TRANSPORT = {"ALLOWED_ORIGINS": ["https://app.example"]}
    assert not found("W013")


def test_cors_headers_do_not_matter_to_the_mount(cors: Any) -> None:
    cors.ROOT_URLCONF = "tests.support.api_urls"
    assert not found("W013")


# -- static files --------------------------------------------------------------------------------------


def deployed() -> list[CheckMessage]:
    """Return what `manage.py check --deploy` says of static files."""
    return [item for item in run_checks(include_deployment_checks=True) if item.id == "mcp_transport.W014"]


@pytest.mark.parametrize(
    ("change", "is_warned"),
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
def test_static_files_that_nobody_serves(change: dict[str, Any], is_warned: bool, settings: Any) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.staticfiles"]
    settings.STATIC_URL = "/static/"
    for name, value in change.items():
        setattr(settings, name, value)
    messages = deployed()
    assert bool(messages) is is_warned
    assert found("W014") == [], "with --deploy alone"
    assert all("WhiteNoise" in (message.hint or "") for message in messages)
