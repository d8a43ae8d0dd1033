"""Faulty settings: nothing is served with them, a client learns nothing, `check` and the log say what to correct.

The errors of `manage.py check` are E001 to E005; its warnings have their tests in `test_checks`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.checks import ERROR, CheckMessage, run_checks
from django.core.handlers.asgi import ASGIHandler
from django.core.management import CommandError, call_command
from django.test import AsyncClient, Client, override_settings
from rest_framework.throttling import SimpleRateThrottle

from mcp_transport import bootstrap, conf
from mcp_transport.asgi import mount
from mcp_transport.auth.request_user import UserAuthenticator
from mcp_transport.metrics import EndpointCollector
from tests.support.client import ENVELOPE
from tests.support.http.inprocess import Direct
from tests.support.http.messages import alone
from tests.support.http.request import Request

PLAIN = "tests.django.test_faulty_settings.Plain"
REDIS = "django.core.cache.backends.redis.RedisCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
JWT = {"ISSUER": "https://auth.example", "AUDIENCE": "https://shop.example/mcp", "SECRET": "s" * 32}
HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list", "accept": "application/json"}
BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}).encode()
REFUSAL = {"jsonrpc": "2.0", "error": {"code": -32603, "message": "Internal server error"}}
NAN, INFINITE = float("nan"), float("inf")

Ask = Callable[[], Awaitable[tuple[int, bytes]]]


class Plain(UserAuthenticator):
    """An authenticator of a project, with options of each kind."""

    def __init__(self, *, strict: bool = True, realm: str = "", seconds: float = 1) -> None:
        self.strict, self.realm, self.seconds = strict, realm, seconds


class NoRate(SimpleRateThrottle):  # type: ignore[misc]
    """A throttle class whose rate is not set."""

    scope = "unset"


async def through_view() -> tuple[int, bytes]:
    response = await AsyncClient().post("/mcp", BODY, "application/json", headers=HEADERS)
    return response.status_code, response.content


async def through_wsgi() -> tuple[int, bytes]:
    response = await sync_to_async(Client().post)("/mcp", BODY, "application/json", headers=HEADERS)
    return response.status_code, response.content


async def through_mount() -> tuple[int, bytes]:
    return await at_mount(alone("tools/list", {}))


async def at_mount(request: Request) -> tuple[int, bytes]:
    carrier = Direct(mount(ASGIHandler()))
    answer = await carrier.send(request)
    status, body = answer.status, await answer.read()
    await carrier.close()
    return status, body


every_way = pytest.mark.parametrize("ask", [through_view, through_wsgi, through_mount])


def reported() -> list[CheckMessage]:
    """Return this package's errors as `manage.py check` finds them."""
    return [item for item in run_checks() if (item.id or "").startswith("mcp_transport.E")]


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """Return the one line that was logged as an error; it has no stack."""
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is None
    return record.getMessage()


def plain(**entry: Any) -> list[Any]:
    return [{"BACKEND": PLAIN, **entry}]


# The id, the setting ("" is the dict itself), its value, and words that help.
FAULTS: list[tuple[str, Any, Any, tuple[str, ...]]] = [
    ("E001", "AUTHENTICATOR", ["token"], ("Did you mean 'AUTHENTICATORS'?",)),
    ("E001", "authenticators", [], ("Did you mean 'AUTHENTICATORS'?",)),
    ("E001", "AUTHENTICATORS ", [], ("Did you mean 'AUTHENTICATORS'?",)),
    ("E001", "SESSION_TTL", 1, ("is not a setting.", "Did you mean 'SESSION_TTL_SECONDS'?")),
    ("E001", "FROBNICATE", 1, ("See docs/reference/settings.md for all settings.",)),
    ("E001", 7, 1, ("See docs/reference/settings.md for all settings.",)),
    ("E002", "", None, ("must be a dict, got NoneType", "Correct MCP_TRANSPORT in your settings.")),
    ("E002", "", [("AUTHENTICATORS", [])], ("must be a dict, got list",)),
    ("E002", "", "", ("must be a dict, got str",)),
    ("E002", "NAME", 1, ("expected a string, got 1.", "Correct MCP_TRANSPORT['NAME'] in your settings.")),
    ("E002", "CACHE", 7, ("expected a string",)),
    ("E002", "CACHE", None, ("expected a string",)),
    ("E002", "AUTHENTICATORS", "token", ("expected a list, got str",)),
    ("E002", "REQUIRED_SCOPES", "read", ("expected a list of strings",)),
    ("E002", "REQUIRED_SCOPES", ["read write"], ("without spaces",)),
    ("E002", "REQUIRED_SCOPES", [""], ("without spaces",)),
    ("E002", "REQUIRED_SCOPES", ["read "], ("without spaces",)),
    ("E002", "IMPLIED_SCOPES", {"all": "read"}, ("expected a list of scopes for 'all'",)),
    ("E002", "IMPLIED_SCOPES", {"all": None}, ("expected a list of scopes",)),
    ("E002", "IMPLIED_SCOPES", {"all": [1]}, ("expected scopes",)),
    ("E002", "IMPLIED_SCOPES", {"a b": ["read"]}, ("expected scopes",)),
    ("E002", "IMPLIED_SCOPES", {1: ["read"]}, ("expected scopes",)),
    ("E002", "ALLOWED_ORIGINS", ["app.example"], ("expected origins like",)),
    ("E002", "ALLOWED_ORIGINS", ["https://app.example/page"], ("expected origins",)),
    ("E002", "ALLOWED_ORIGINS", ["https://*.app.example"], ("expected origins",)),
    ("E002", "ALLOWED_ORIGINS", ["null"], ("expected origins",)),
    ("E002", "ALLOWED_ORIGINS", [""], ("expected origins",)),
    ("E002", "ALLOWED_ORIGINS", [" https://a.example"], ("expected origins",)),
    ("E002", "SESSION_TTL_SECONDS", NAN, ("expected a number, got nan",)),
    ("E002", "SESSION_MAX_AGE_SECONDS", INFINITE, ("got inf",)),
    ("E002", "DRAIN_SECONDS", -INFINITE, ("got -inf",)),
    ("E002", "KEEPALIVE_SECONDS", 10**400, ("expected a number",)),
    ("E002", "MAX_BATCH", -1, ("expected 1 or more, got -1.",)),
    ("E002", "PROTOCOL_VERSIONS", [], ("expected some of 2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28",)),
    ("E002", "PROTOCOL_VERSIONS", ["2025-11-25", "2024-11-05"], ("expected some of",)),
    ("E002", "CACHE_HINTS", {"tools/list": 60}, ("expected (milliseconds",)),
    ("E002", "CACHE_HINTS", {"tools/list": ("soon", "public")}, ("expected (milliseconds",)),
    ("E002", "CACHE_HINTS", {"tools/list": (1, "everybody")}, ("expected (milliseconds",)),
    ("E002", "CACHE_HINTS", {"tools/list": (-1, "public")}, ("expected (milliseconds",)),
    ("E002", "CACHE_HINTS", {"tools/list": (NAN, "public")}, ("expected (milli",)),
    ("E002", "CACHE_HINTS", {"tools/list": (1, ["public"])}, ("expected (milliseconds",)),
    ("E002", "CACHE_HINTS", {"tools/call": (1, "public")}, ("expected some of",)),
    ("E002", "RATE_LIMITS", {"user": "1/s"}, ("expected caller, session, address, tool or the dotted path",)),
    ("E002", "RATE_LIMITS", {5: "1/s"}, ("expected caller",)),
    ("E002", "RATE_LIMITS", {"a..b": "1/s"}, ("expected caller",)),
    ("E002", "RATE_LIMITS", {"caller": "often"}, ("'caller': expected a rate", "such as '600/min'", "got 'often'")),
    ("E002", "RATE_LIMITS", {"tool": ["1/s", 5]}, ("'tool': expected a rate", "got 5")),
    ("E002", "RATE_LIMITS", {"tool": []}, ("got an empty list",)),
    ("E002", "RATE_LIMITS_WITHOUT_STORE", "admit", ("expected 'count' or 'refuse', got 'admit'",)),
    ("E003", "RATE_LIMITS", {"no.such.function": "1/s"}, ("'no.such.function' cannot be imported",)),
    ("E003", "RATE_LIMITS", {"django.VERSION": "1/s"}, ("'django.VERSION' must be a synchronous function",)),
    ("E003", "RATE_LIMITS", {f"{__name__}.through_view": "1/s"}, ("must be a synchronous function",)),
    ("E003", "PREWARM", ["no.such.function"], ("'no.such.function' cannot be imported",)),
    ("E003", "PREWARM", ["nodots"], ("'nodots' cannot be imported",)),
    ("E003", "PREWARM", ["django.VERSION"], ("'django.VERSION' is not callable",)),
    ("E003", "PREWARM", ["tests.django.test_prewarm.needs"], ("must be callable without arguments",)),
    ("E003", "THROTTLE_CLASSES", ["no.such.Throttle"], ("'no.such.Throttle' cannot be imported",)),
    ("E003", "THROTTLE_CLASSES", ["builtins.dict"], ("'builtins.dict' is not a throttle class",)),
    ("E003", "THROTTLE_CLASSES", [f"{__name__}.NoRate"], ("No default throttle rate set",)),
    ("E003", "BACKEND", "no.such.Backend", ("is invalid: ", "Correct MCP_TRANSPORT['BACKEND'].")),
    ("E003", "BACKEND", "redis", ("is invalid: ",)),
    ("E003", "BACKEND", "tests.django.test_faulty_settings.reported", ("is invalid: ",)),
    ("E003", "SERVER", "no.such.server", ("is invalid: ", "cannot be imported")),
    ("E003", "SERVER", "django.conf.settings", ("is invalid: ",)),
    ("E003", "SERVER", "tests.django.broken_server.server", ("KeyError: 'NO_SUCH_KEY'",)),
    ("E003", "AUTHENTICATORS", ["frobnicate"], ("'frobnicate' must be one of user, session, jwt",)),
    ("E003", "AUTHENTICATORS", ["no.such.Class"], ("'no.such.Class' must be one of",)),
    ("E003", "AUTHENTICATORS", ["mcp_transport.nowhere.Authenticator"], ("or the dotted path",)),
    ("E003", "AUTHENTICATORS", ["builtins.dict"], ("is not a subclass of Authenticator",)),
    ("E003", "AUTHENTICATORS", [7], ("got int",)),
    ("E003", "AUTHENTICATORS", [{"OPTIONS": {}}], ("must be a name",)),
    ("E003", "AUTHENTICATORS", [{"backend": "jwt", "OPTIONS": JWT}], ("must be a name",)),
    ("E003", "AUTHENTICATORS", [{"BACKEND": "jwt", "OPTION": JWT}], ("'jwt'", "did you mean 'OPTIONS'?")),
    ("E003", "AUTHENTICATORS", plain(options={}), (PLAIN, "did you mean 'OPTIONS'?")),
    ("E003", "AUTHENTICATORS", plain(SCOPES=[]), (PLAIN, "unknown key 'SCOPES'; valid keys are BACKEND, OPTIONS")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS=None), (PLAIN, "must be a dict, got NoneType")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS=[("STRICT", 1)]), (PLAIN, "must be a dict, got list")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS={"STRICKT": True}), (PLAIN, "did you mean 'STRICT'?")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS={1: True}), (PLAIN, "unknown key '1'")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS={"STRICT": 1, "strict": 1}), ("set an option twice: STRICT, strict",)),
    ("E003", "AUTHENTICATORS", plain(OPTIONS={"STRICT": "no"}), (PLAIN, "STRICT: expected True or False")),
    ("E003", "AUTHENTICATORS", plain(OPTIONS={"SECONDS": NAN}), (PLAIN, "expected a number")),
    ("E003", "AUTHENTICATORS", [{"BACKEND": "user", "OPTIONS": {"STRICT": 1}}], ("'user': ", "valid keys are none")),
    ("E003", "AUTHENTICATORS", [{"BACKEND": "jwt", "OPTIONS": {**JWT, "LEEWAY": INFINITE}}], ("LEEWAY", "a number")),
    ("E003", "AUTHENTICATORS", [{"BACKEND": "jwt", "OPTIONS": {**JWT, "ISSUERS": "x"}}], ("did you mean 'ISSUER'?",)),
    ("E004", "CACHE", "sessions", ("expected one of CACHES, default, got 'sessions'.",)),
    ("E005", "RESOURCE_URL", "shop.example/mcp", ("expected an absolute URL",)),
    ("E005", "RESOURCE_URL", "https://[::1/mcp", ("expected an absolute URL",)),
    ("E005", "RESOURCE_URL", "https:///mcp", ("expected an absolute URL",)),
    ("E005", "RESOURCE_URL", "http://api.example.com/mcp", ("expected an https URL",)),
    ("E005", "RESOURCE_URL", "https://api.example.com/mcp?a=1", ("without query",)),
    ("E005", "RESOURCE_URL", "https://api.example.com/mcp#a", ("fragment",)),
]


@pytest.mark.parametrize(("id", "name", "value", "expected"), FAULTS, ids=lambda item: str(item)[:40])
def test_a_faulty_setting_is_told_by_check_and_the_log_and_to_no_client(
    id: str, name: Any, value: Any, expected: tuple[str, ...], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MCP_TRANSPORT = value if name == "" else {name: value}
    setting = "MCP_TRANSPORT" if name == "" else f"MCP_TRANSPORT[{name!r}]"
    first, *others = reported()
    assert [(item.msg, item.hint, item.id) for item in (first, *others)] == [
        (fault.message, fault.hint, fault.id) for fault in bootstrap.faults()
    ]
    assert (first.id, first.level, setting in first.msg) == (f"mcp_transport.{id}", ERROR, True)
    assert first.hint and all(text in f"{first.msg} {first.hint}" for text in expected)

    answer = Client().post("/mcp", BODY, "application/json", headers=HEADERS)
    assert (answer.status_code, answer.json()) == (500, REFUSAL)
    line = logged(caplog)
    assert line.startswith("MCP requests are refused because of errors in the settings: ")
    assert setting in line and all(text in line for text in expected)
    assert "\n" not in line and JWT["SECRET"] not in line


def test_every_fault_is_reported(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"NAMES": 1, "NAME": 1, "MAX_BATCH": 0, "TITLE": "right"}
    assert [item.id for item in reported()] == ["mcp_transport.E001", "mcp_transport.E002", "mcp_transport.E002"]


@pytest.mark.parametrize("url", ["https://api.example.com/mcp", "http://127.0.0.1:8000/mcp", "http://localhost/mcp"])
def test_a_resource_url_that_tokens_can_be_bound_to_is_fine(url: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": url, "CACHE": "sessions"}
    settings.CACHES = {"default": {"BACKEND": LOCMEM}, "sessions": {"BACKEND": LOCMEM}}
    assert reported() == []


# -- a Redis that cannot be reached by what is configured ----------------------------------------------------


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
    assert [(item.id, problem in item.msg) for item in reported()] == [("mcp_transport.E003", True)] * bool(problem)


def test_requests_and_commands_name_it(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "nonsense"}}
    answer = Client().post("/mcp", "{}", "application/json")
    assert (answer.status_code, answer.content) == (500, bootstrap.ERROR_REPLY.body)
    assert "LOCATION must be redis://" in logged(caplog)
    for arguments in (["mcp_sessions", "list"], ["mcp_drain"]):
        for skip_checks in (False, True):
            with pytest.raises(CommandError, match="LOCATION must be redis://"):
                call_command(*arguments, skip_checks=skip_checks)


# -- a name that is nearly MCP_TRANSPORT ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("MCP_TRANSPORTS", "MCP_TRANPORT", "MCP_TRANSPORT_SETTINGS", "MCP_TRANSPORT_CONFIG", "MCPTRANSPORT"),
        *("MCP_TRASNPORT", "MPC_TRANSPORT", "DJANGO_MCP_TRANSPORT", "MCP_SERVER_TRANSPORT"),
    ],
)
def test_a_dict_under_a_misspelt_name_is_refused(name: str, settings: Any) -> None:
    del settings.MCP_TRANSPORT
    setattr(settings, name, {"AUTHENTICATORS": ["token"]})
    [fault] = conf.faults()
    assert fault.id == "mcp_transport.E001"
    assert fault.message.startswith(f"{name} is set, but MCP_TRANSPORT is not")
    assert fault.hint.startswith(f"Rename {name}")


def test_a_dict_in_lower_case_is_seen_in_the_settings_module(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del settings.MCP_TRANSPORT
    monkeypatch.setattr("tests.support.settings.mcp_transport", {"AUTHENTICATORS": []}, raising=False)
    [fault] = conf.faults()
    assert fault.message.startswith("mcp_transport is set, but")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCP_TRANSPORTS", {}),
        ("MCP_TRANSPORT_URL", "https://x"),
        ("SMS_TRANSPORT", {"A": 1}),
        ("EMAIL_TRANSPORT", {"A": 1}),
        ("MCP", {"A": 1}),
        ("MCP_SERVERS", {"A": 1}),
    ],
)
async def test_another_setting_is_not_taken_for_ours(name: str, value: Any, settings: Any) -> None:
    del settings.MCP_TRANSPORT
    setattr(settings, name, value)
    assert conf.faults() == []
    assert (await through_view())[0] == 200


async def test_a_similar_setting_beside_ours_is_another_packages(settings: Any) -> None:
    settings.MCP_TRANSPORT, settings.MCP_TRANSPORTS = {}, {"AUTHENTICATORS": []}
    assert (await through_view())[0] == 200


# -- what is served meanwhile, and afterwards ----------------------------------------------------------------


@every_way
@pytest.mark.parametrize("name", ["MCP_TRANSPORT", "MCP_TRANSPORTS"])
async def test_a_fault_is_logged_once_and_a_corrected_setting_serves_again(
    ask: Ask, name: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    del settings.MCP_TRANSPORT
    with override_settings(**{name: {"AUTHENTICATOR": ["token"]}}):
        answers = [await ask() for _ in range(3)]
    assert [(status, json.loads(body)) for status, body in answers] == [(500, REFUSAL)] * 3
    settings.MCP_TRANSPORT = {}
    assert (await ask())[0] == 200
    assert name in logged(caplog)


async def test_nothing_is_told_on_health_and_metadata_paths(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def at(path: str) -> tuple[int, Any]:
        status, body = await at_mount(Request(method="GET", path=path, headers=(("Host", "localhost"),)))
        return status, json.loads(body) if b"{" in body else None

    settings.MCP_TRANSPORT = {"AUTHENTICATOR": ["token"], "RESOURCE_URL": "https://localhost/mcp"}
    unavailable = {"status": "unavailable", "reason": "misconfigured"}
    for path in ("/readyz", "/health"):
        response = await AsyncClient().get(path)
        assert (response.status_code, response.json()) == await at(path) == (503, unavailable)
    assert (await at("/healthz"))[0] == 200
    assert [family.samples for family in EndpointCollector().collect()]
    assert await at("/.well-known/oauth-protected-resource/mcp") == (500, REFUSAL)
    assert (await at("/.well-known/security.txt"))[0] == 404
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len([record for record in errors if record.name.startswith("mcp_transport")]) == 1
