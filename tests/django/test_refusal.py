"""Faulty settings: nothing is served with them, the client learns nothing, the log says once what to correct."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.core.handlers.asgi import ASGIHandler
from django.test import AsyncClient, Client, override_settings

from mcp_transport import bootstrap, conf
from mcp_transport.asgi import mount
from mcp_transport.auth.user import UserAuthenticator
from mcp_transport.metrics import EndpointCollector

PLAIN = "tests.django.test_refusal.Plain"
JWT = {"ISSUER": "https://auth.example", "AUDIENCE": "https://shop.example/mcp", "SECRET": "s" * 32}
REQUEST = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}
HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list", "accept": "application/json"}
BODY = json.dumps(REQUEST).encode()

Ask = Callable[[], Awaitable[tuple[int, bytes]]]


class Plain(UserAuthenticator):
    """An authenticator of a project, with options of each kind."""

    def __init__(self, *, strict: bool = True, realm: str = "", seconds: float = 1) -> None:
        self.strict, self.realm, self.seconds = strict, realm, seconds


async def through_view() -> tuple[int, bytes]:
    response = await AsyncClient().post("/mcp", BODY, "application/json", headers=HEADERS)
    return response.status_code, response.content


async def through_wsgi() -> tuple[int, bytes]:
    response = await sync_to_async(Client().post)("/mcp", BODY, "application/json", headers=HEADERS)
    return response.status_code, response.content


async def through_mount(path: str = "/mcp", method: str = "POST") -> tuple[int, bytes]:
    sent: list[Any] = []
    bodies = [{"type": "http.request", "body": BODY, "more_body": False}]

    async def receive() -> Any:
        return bodies.pop() if bodies else await asyncio.Event().wait()  # the client stays

    async def send(message: Any) -> None:
        sent.append(message)

    given = {**HEADERS, "host": "localhost", "content-type": "application/json"}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await mount(ASGIHandler())(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


every_way = pytest.mark.parametrize("ask", [through_view, through_wsgi, through_mount])

# What is wrong, the setting that the log must name, and something that helps.
FAULTS: list[tuple[Any, str, str]] = [
    # names
    ({"AUTHENTICATOR": ["token"]}, "MCP_TRANSPORT['AUTHENTICATOR']", "Did you mean 'AUTHENTICATORS'?"),
    ({"authenticators": []}, "MCP_TRANSPORT['authenticators']", "Did you mean 'AUTHENTICATORS'?"),
    ({"AUTHENTICATORS ": []}, "MCP_TRANSPORT['AUTHENTICATORS ']", "Did you mean 'AUTHENTICATORS'?"),
    ({7: 1}, "MCP_TRANSPORT[7]", "docs/reference/settings.md"),
    # the dict itself
    (None, "MCP_TRANSPORT", "must be a dict, got NoneType"),
    ([("AUTHENTICATORS", [])], "MCP_TRANSPORT", "must be a dict, got list"),
    ("", "MCP_TRANSPORT", "must be a dict, got str"),
    # values
    ({"AUTHENTICATORS": "token"}, "MCP_TRANSPORT['AUTHENTICATORS']", "expected a list, got str"),
    ({"REQUIRED_SCOPES": "read"}, "MCP_TRANSPORT['REQUIRED_SCOPES']", "expected a list of strings"),
    ({"REQUIRED_SCOPES": ["read write"]}, "MCP_TRANSPORT['REQUIRED_SCOPES']", "without blanks"),
    ({"REQUIRED_SCOPES": [""]}, "MCP_TRANSPORT['REQUIRED_SCOPES']", "without blanks"),
    ({"REQUIRED_SCOPES": ["read "]}, "MCP_TRANSPORT['REQUIRED_SCOPES']", "without blanks"),
    ({"IMPLIED_SCOPES": {"all": "read"}}, "MCP_TRANSPORT['IMPLIED_SCOPES']", "expected a list of scopes for 'all'"),
    ({"IMPLIED_SCOPES": {"all": [1]}}, "MCP_TRANSPORT['IMPLIED_SCOPES']", "expected scopes"),
    ({"IMPLIED_SCOPES": {"a b": ["read"]}}, "MCP_TRANSPORT['IMPLIED_SCOPES']", "expected scopes"),
    ({"IMPLIED_SCOPES": {1: ["read"]}}, "MCP_TRANSPORT['IMPLIED_SCOPES']", "expected scopes"),
    ({"IMPLIED_SCOPES": {"all": None}}, "MCP_TRANSPORT['IMPLIED_SCOPES']", "expected a list of scopes"),
    ({"ALLOWED_ORIGINS": ["app.example"]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins like"),
    ({"ALLOWED_ORIGINS": ["https://app.example/page"]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins"),
    ({"ALLOWED_ORIGINS": ["https://*.app.example"]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins"),
    ({"ALLOWED_ORIGINS": ["null"]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins"),
    ({"ALLOWED_ORIGINS": [""]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins"),
    ({"ALLOWED_ORIGINS": [" https://a.example"]}, "MCP_TRANSPORT['ALLOWED_ORIGINS']", "expected origins"),
    ({"SESSION_TTL_SECONDS": float("nan")}, "MCP_TRANSPORT['SESSION_TTL_SECONDS']", "expected a number, got nan"),
    ({"SESSION_MAX_AGE_SECONDS": float("inf")}, "MCP_TRANSPORT['SESSION_MAX_AGE_SECONDS']", "got inf"),
    ({"DRAIN_SECONDS": float("-inf")}, "MCP_TRANSPORT['DRAIN_SECONDS']", "got -inf"),
    ({"KEEPALIVE_SECONDS": 10**400}, "MCP_TRANSPORT['KEEPALIVE_SECONDS']", "expected a number"),
    ({"MAX_BATCH": -1}, "MCP_TRANSPORT['MAX_BATCH']", "expected 1 or more"),
    ({"PROTOCOL_VERSIONS": []}, "MCP_TRANSPORT['PROTOCOL_VERSIONS']", "expected some of"),
    ({"CACHE_HINTS": {"tools/list": 60}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milliseconds"),
    ({"CACHE_HINTS": {"tools/list": ("soon", "public")}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milliseconds"),
    ({"CACHE_HINTS": {"tools/list": (1, "everybody")}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milliseconds"),
    ({"CACHE_HINTS": {"tools/list": (-1, "public")}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milliseconds"),
    ({"CACHE_HINTS": {"tools/list": (float("nan"), "public")}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milli"),
    ({"CACHE_HINTS": {"tools/list": (1, ["public"])}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected (milliseconds"),
    ({"CACHE_HINTS": {"tools/call": (1, "public")}}, "MCP_TRANSPORT['CACHE_HINTS']", "expected some of"),
    ({"RESOURCE_URL": "shop.example/mcp"}, "MCP_TRANSPORT['RESOURCE_URL']", "is no absolute URL"),
    ({"RESOURCE_URL": "https://[::1/mcp"}, "MCP_TRANSPORT['RESOURCE_URL']", "is no absolute URL"),
    ({"CACHE": "sessions"}, "MCP_TRANSPORT['CACHE']", "expected one of CACHES, default"),
    # parts
    ({"BACKEND": "no.such.Backend"}, "MCP_TRANSPORT['BACKEND']", "cannot be used"),
    ({"SERVER": "no.such.server"}, "MCP_TRANSPORT['SERVER']", "cannot be imported"),
    ({"SERVER": "tests.django.broken_server.server"}, "MCP_TRANSPORT['SERVER']", "KeyError: 'NO_SUCH_KEY'"),
    ({"AUTHENTICATORS": ["no.such.Class"]}, "MCP_TRANSPORT['AUTHENTICATORS']", "'no.such.Class' is neither"),
    ({"AUTHENTICATORS": [7]}, "MCP_TRANSPORT['AUTHENTICATORS']", "got int"),
    # entries of AUTHENTICATORS
    ({"AUTHENTICATORS": [{"BACKEND": "jwt", "OPTION": JWT}]}, "'jwt'", "did you mean 'OPTIONS'?"),
    ({"AUTHENTICATORS": [{"backend": "jwt", "OPTIONS": JWT}]}, "MCP_TRANSPORT['AUTHENTICATORS']", "must be a name"),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "options": {}}]}, PLAIN, "did you mean 'OPTIONS'?"),
    (
        {"AUTHENTICATORS": [{"BACKEND": PLAIN, "SCOPES": []}]},
        PLAIN,
        "'SCOPES' is unknown; known are BACKEND, OPTIONS",
    ),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": None}]}, PLAIN, "must be a dict, got NoneType"),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": [("STRICT", 1)]}]}, PLAIN, "must be a dict, got list"),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": {"STRICKT": True}}]}, PLAIN, "did you mean 'STRICT'?"),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": {1: True}}]}, PLAIN, "'1' is unknown"),
    ({"AUTHENTICATORS": [{"BACKEND": "user", "OPTIONS": {"STRICT": 1}}]}, "'user'", "known are none"),
    (
        {"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": {"STRICT": True, "strict": False}}]},
        PLAIN,
        "name an option twice: STRICT, strict",
    ),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": {"STRICT": "no"}}]}, PLAIN, "STRICT: expected True or False"),
    ({"AUTHENTICATORS": [{"BACKEND": PLAIN, "OPTIONS": {"SECONDS": float("nan")}}]}, PLAIN, "expected a number"),
    ({"AUTHENTICATORS": [{"BACKEND": "jwt", "OPTIONS": {**JWT, "LEEWAY": float("inf")}}]}, "LEEWAY", "a number"),
    ({"AUTHENTICATORS": [{"BACKEND": "jwt", "OPTIONS": {**JWT, "ISSUERS": "x"}}]}, "'jwt'", "did you mean 'ISSUER'?"),
]


@pytest.fixture
def errors() -> Iterator[list[logging.LogRecord]]:
    """What any logger says at ERROR."""

    class Errors(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    kept: list[logging.LogRecord] = []
    handler = Errors(logging.ERROR)
    logging.getLogger().addHandler(handler)
    yield kept
    logging.getLogger().removeHandler(handler)


@every_way
@pytest.mark.parametrize(("value", "named", "help"), FAULTS, ids=lambda item: str(item)[:60])
async def test_faulty_setting_is_refused_and_named_in_the_log_alone(
    ask: Ask, value: Any, named: str, help: str, settings: Any, errors: Any
) -> None:
    settings.MCP_TRANSPORT = value
    status, body = await ask()
    assert (status, json.loads(body)) == (
        500,
        {"jsonrpc": "2.0", "error": {"code": -32603, "message": "Internal server error"}},
    )
    [record] = errors
    line = record.getMessage()
    assert line.startswith("MCP requests are refused, because of errors in the settings: ")
    assert named in line
    assert help in line
    assert "\n" not in line
    assert record.exc_info is None
    assert JWT["SECRET"] not in line


@pytest.mark.parametrize(("value", "named", "help"), FAULTS, ids=lambda item: str(item)[:60])
def test_check_reports_what_is_refused(value: Any, named: str, help: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = value
    messages = [message for message in run_checks() if (message.id or "").startswith("mcp_transport.E")]
    assert [(message.msg, message.hint, message.id) for message in messages] == [
        (fault.message, fault.hint, fault.id) for fault in bootstrap.faults()
    ]
    assert named in messages[0].msg
    assert help in f"{messages[0].msg} {messages[0].hint}"


@pytest.mark.parametrize(
    "name",
    [
        "MCP_TRANSPORTS",
        "MCP_TRANPORT",
        "MCP_TRANSPORT_SETTINGS",
        "MCP_TRANSPORT_CONFIG",
        "MCPTRANSPORT",
        "MCP_TRASNPORT",
        "MPC_TRANSPORT",
        "DJANGO_MCP_TRANSPORT",
        "MCP_SERVER_TRANSPORT",
    ],
)
@every_way
async def test_dict_under_a_misspelt_name_is_refused(ask: Ask, name: str, settings: Any, errors: Any) -> None:
    del settings.MCP_TRANSPORT
    setattr(settings, name, {"AUTHENTICATORS": ["token"]})
    assert (await ask())[0] == 500
    [record] = errors
    assert f"{name} is no setting, and there is no MCP_TRANSPORT. Rename {name}" in record.getMessage()
    assert [fault.id for fault in conf.faults()] == ["mcp_transport.E001"]


def test_dict_in_lower_case_is_seen_in_the_settings_module(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del settings.MCP_TRANSPORT
    monkeypatch.setattr("tests.support.settings.mcp_transport", {"AUTHENTICATORS": []}, raising=False)
    [fault] = conf.faults()
    assert fault.message.startswith("mcp_transport is no setting")


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


async def test_similar_setting_beside_ours_is_another_packages(settings: Any) -> None:
    settings.MCP_TRANSPORT, settings.MCP_TRANSPORTS = {}, {"AUTHENTICATORS": []}
    assert (await through_view())[0] == 200


@every_way
async def test_corrected_setting_serves_again(ask: Ask, errors: Any) -> None:
    with override_settings(MCP_TRANSPORT={"AUTHENTICATOR": ["token"]}):
        assert [(await ask())[0] for _ in range(3)] == [500, 500, 500]
    assert (await ask())[0] == 200
    assert len(errors) == 1


async def test_nothing_is_told_on_health_and_metadata_paths(settings: Any, errors: Any) -> None:
    settings.MCP_TRANSPORT = {"AUTHENTICATOR": ["token"], "RESOURCE_URL": "https://localhost/mcp"}
    for path in ("/readyz", "/health"):
        for status, body in (await through_mount(path, "GET"), await through_get(path)):
            assert (status, json.loads(body)) == (503, {"status": "unavailable", "reason": "misconfigured"})
    assert (await through_mount("/healthz", "GET"))[0] == 200
    assert [family.samples for family in EndpointCollector().collect()]
    status, body = await through_mount("/.well-known/oauth-protected-resource/mcp", "GET")
    assert (status, json.loads(body)["error"]["message"]) == (500, "Internal server error")
    assert (await through_mount("/.well-known/security.txt", "GET"))[0] == 404
    assert len([record for record in errors if record.name.startswith("mcp_transport")]) == 1


async def through_get(path: str) -> tuple[int, bytes]:
    response = await AsyncClient().get(path)
    return response.status_code, response.content
