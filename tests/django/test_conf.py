"""Each setting: its default, what it refuses, and that a changed one is seen."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mcp_transport import conf, tool
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.versions import REVISIONS
from tests.support.calls import call, result_of, returned
from tests.support.client import send

DEFAULTS = {
    "NAME": "django",
    "VERSION": "",
    "TITLE": None,
    "INSTRUCTIONS": None,
    "WEBSITE_URL": None,
    "CACHE_HINTS": {},
    "SERVER": None,
    "BACKEND": "auto",
    "REDIS_CLUSTER": None,
    "CACHE": "default",
    "WORKERS": None,
    "TOOL_THREADS": 32,
    "CALL_CONTEXT": None,
    "AUTHENTICATORS": ("user", None),
    "RESOURCE_URL": "",
    "AUTHORIZATION_SERVERS": None,
    "REQUIRED_SCOPES": (),
    "IMPLIED_SCOPES": {},
    "AUDIT_ARGUMENTS": False,
    "LOG_EXCEPTION_TEXTS": None,
    "PROTOCOL_VERSIONS": ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"),
    "ALLOWED_ORIGINS": (),
    "TRUSTED_PROXIES": (),
    "SESSION_TTL_SECONDS": 3600,
    "SESSION_MAX_AGE_SECONDS": 604_800,
    "MAX_SESSIONS_PER_PRINCIPAL": 10_000,
    "SESSION_HISTORY": 20,
    "MAX_REQUEST_BYTES": 4_194_304,
    "MAX_REQUEST_VALUES": 100_000,
    "MAX_RESULT_BYTES": 8_388_608,
    "MAX_BYTES_IN_FLIGHT": 134_217_728,
    "MAX_BYTES_IN_FLIGHT_PER_CALLER": 67_108_864,
    "MAX_BATCH": 100,
    "BODY_TIMEOUT_SECONDS": 30,
    "SSE_AFTER_SECONDS": 1,
    "KEEPALIVE_SECONDS": 15,
    "RETRY_MILLISECONDS": 1000,
    "CLIENT_REPLY_TIMEOUT_SECONDS": 300,
    "WRITE_TIMEOUT_SECONDS": 30,
    "STREAM_MAX_EVENTS": 1000,
    "STREAM_MAX_BYTES": 8_388_608,
    "STREAM_KEEP_SECONDS": 300,
    "STREAM_QUEUE": 256,
    "LEASE_SECONDS": 10,
    "DRAIN_SECONDS": 20,
    "REHYDRATE": True,
}
MINIMUMS = {
    "WORKERS": 1,
    "TOOL_THREADS": 1,
    "SESSION_TTL_SECONDS": 1,
    "SESSION_MAX_AGE_SECONDS": 1,
    "MAX_SESSIONS_PER_PRINCIPAL": 1,
    "SESSION_HISTORY": 0,
    "MAX_REQUEST_BYTES": 1,
    "MAX_REQUEST_VALUES": 100,
    "MAX_RESULT_BYTES": 1024,
    "MAX_BYTES_IN_FLIGHT": 1,
    "MAX_BYTES_IN_FLIGHT_PER_CALLER": 1,
    "MAX_BATCH": 1,
    "BODY_TIMEOUT_SECONDS": 0.001,
    "SSE_AFTER_SECONDS": 0,
    "KEEPALIVE_SECONDS": 0.001,
    "RETRY_MILLISECONDS": 0,
    "CLIENT_REPLY_TIMEOUT_SECONDS": 0.001,
    "WRITE_TIMEOUT_SECONDS": 0.001,
    "STREAM_MAX_EVENTS": 1,
    "STREAM_MAX_BYTES": 1,
    "STREAM_KEEP_SECONDS": 0,
    "STREAM_QUEUE": 1,
    "LEASE_SECONDS": 0.5,
    "DRAIN_SECONDS": 0,
}
# Something of each kind that is right, as a project would write it, and things that are not.
RIGHT: dict[str, list[Any]] = {
    "NAME": ["shop"],
    "VERSION": ["1.0"],
    "TITLE": ["The shop", None],
    "INSTRUCTIONS": ["Search first.", None],
    "WEBSITE_URL": ["https://shop.example", None],
    "CACHE_HINTS": [{"tools/list": (60_000, "public")}],
    "SERVER": ["shop.mcp.server", None],
    "BACKEND": ["memory", "cache", "redis", "auto", "shop.sessions.Backend"],
    "REDIS_CLUSTER": [True, False, None],
    "CACHE": ["default"],
    "PROTOCOL_VERSIONS": [["2025-11-25"], ("2025-11-25", "2026-07-28")],
    "ALLOWED_ORIGINS": [["https://app.example"], (), ["*"]],
    "TRUSTED_PROXIES": [["10.0.0.0/8", "::1", "unix"], ("127.0.0.1",), []],
    "REHYDRATE": [True, False],
    "MAX_REQUEST_VALUES": [100, 1_000_000],
    "MAX_RESULT_BYTES": [1024, 268_435_456],
    "AUTHENTICATORS": [["user"], ("user", None), [], [{"BACKEND": "user", "OPTIONS": {}}]],
    "CALL_CONTEXT": ["shop.tenants.call_context", None],
    "RESOURCE_URL": ["https://shop.example/mcp"],
    "AUTHORIZATION_SERVERS": [["https://auth.example"], [], None],
    "REQUIRED_SCOPES": [["orders:read"], ()],
    "IMPLIED_SCOPES": [{"orders": ["orders:read"]}],
    "AUDIT_ARGUMENTS": [True, False],
    "LOG_EXCEPTION_TEXTS": [True, False, None],
}


def wrong_values(name: str) -> list[Any]:
    kind = conf.SETTINGS[name].kind
    wrong: dict[Any, list[Any]] = {
        str: [1, None, b"bytes"],
        str | None: [1, b"bytes"],
        dict: [[], "text", None],
        list: ["text", [1], {"a"}, None],
        list | None: ["text", [1], {"a"}],
        Sequence: ["user", {"BACKEND": "user"}, None],
        int: ["1", 1.5, True, None],
        int | None: ["1", 1.5, True],
        float: ["1", True, None],
        bool: ["yes", 1, None],
        bool | None: ["yes", 1],
    }
    return wrong[kind]


@pytest.mark.parametrize("name", conf.SETTINGS)
def test_default_is_the_documented_one(name: str, settings: Any) -> None:
    del settings.MCP_TRANSPORT
    value = conf.get(name)
    assert value == DEFAULTS[name]
    assert conf.problems() == {}


def test_no_setting_is_left_out_here() -> None:
    assert set(DEFAULTS) == set(conf.SETTINGS)
    assert set(MINIMUMS) == {name for name, setting in conf.SETTINGS.items() if setting.minimum is not None}


@pytest.mark.parametrize("name", conf.SETTINGS)
def test_right_value_is_accepted(name: str, settings: Any) -> None:
    for value in RIGHT.get(name, [MINIMUMS.get(name), 5]):
        settings.MCP_TRANSPORT = {name: value}
        assert conf.problems() == {}
        assert conf.get(name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in conf.SETTINGS for value in wrong_values(name)])
def test_value_of_another_type_is_refused(name: str, value: Any, settings: Any) -> None:
    settings.MCP_TRANSPORT = {name: value}
    assert list(conf.problems()) == [name]
    assert re.match(r"expected (a |an |True )", conf.problems()[name])
    shown = type(value).__name__ if conf.SETTINGS[name].kind is Sequence else repr(value)  # options may be secret
    assert conf.problems()[name].endswith(f"got {shown}")


@pytest.mark.parametrize(("name", "minimum"), MINIMUMS.items())
def test_value_below_the_minimum_is_refused(name: str, minimum: float, settings: Any) -> None:
    settings.MCP_TRANSPORT = {name: minimum}
    assert conf.problems() == {}
    settings.MCP_TRANSPORT = {name: minimum - 1}
    assert conf.problems() == {name: f"expected {minimum:g} or more, got {minimum - 1!r}"}


@pytest.mark.parametrize("value", [[], ["2024-11-05"], ["2025-11-25", "1.0"]])
def test_versions_must_be_known_ones(value: list[str], settings: Any) -> None:
    settings.MCP_TRANSPORT = {"PROTOCOL_VERSIONS": value}
    assert "2025-03-26, 2025-06-18, 2025-11-25, 2026-07-28" in conf.problems()["PROTOCOL_VERSIONS"]


@pytest.mark.parametrize("entry", ["*", "", "proxy", "10.0.0.1/8", "10.0.0.1:80", "[::1]", "10.0.0.0/33"])
def test_proxies_must_be_addresses_or_networks(entry: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"TRUSTED_PROXIES": ["10.0.0.0/8", entry]}
    assert conf.problems()["TRUSTED_PROXIES"].startswith(
        f"expected addresses, networks such as '10.0.0.0/8', or 'unix', got {entry!r}: "
    )


def test_settings_must_be_a_dict(settings: Any) -> None:
    settings.MCP_TRANSPORT = ["NAME"]
    assert conf.problems() == {"": "MCP_TRANSPORT must be a dict, got list"}


# -- the policy made of them -------------------------------------------------------------------------


def test_policy_without_settings_has_the_engines_defaults(settings: Any) -> None:
    del settings.MCP_TRANSPORT
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert conf.policy() == dataclasses.replace(Policy(), allowed_hosts=("shop.example",))


def test_every_member_of_the_policy_can_be_set() -> None:
    members = {field.name for field in dataclasses.fields(Policy)}
    set_by_name = {setting.policy for setting in conf.SETTINGS.values() if setting.policy}
    djangos = {"allowed_hosts", "forwarded_host", "forwarded_port", "forwarded_scheme"}
    assert members - set_by_name == {
        *djangos,
        "secure_host",
    }  # Django's own settings say these, RESOURCE_URL the last


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("", ""),
        ("https://shop.example/mcp", "shop.example"),
        ("HTTPS://Shop.Example.:8443/mcp", "shop.example"),
        ("https://[2001:DB8::A]/mcp", "[2001:db8::a]"),
        ("http://localhost:8000/mcp", ""),
        ("https://[", ""),  # faults are told before anything is served
        (None, ""),
        (7, ""),
    ],
)
def test_host_of_an_https_resource_is_known(url: Any, host: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"RESOURCE_URL": url}
    assert conf.policy().secure_host == host


@pytest.mark.parametrize("name", [name for name, setting in conf.SETTINGS.items() if setting.policy])
def test_setting_reaches_the_policy(name: str, settings: Any) -> None:
    lists = {
        "PROTOCOL_VERSIONS": ["2025-06-18"],
        "ALLOWED_ORIGINS": ["https://app.example"],
        "TRUSTED_PROXIES": ["10.0.0.1"],
    }
    value = {**lists, "REHYDRATE": False}.get(name, 7)
    settings.MCP_TRANSPORT = {name: value}
    assert getattr(conf.policy(), conf.SETTINGS[name].policy) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("hosts", "debug", "allowed"),
    [
        (["shop.example"], False, ("shop.example",)),
        (["shop.example"], True, ("shop.example",)),
        ([], True, (".localhost", "127.0.0.1", "[::1]")),
        ([], False, ()),
    ],
)
def test_hosts_are_allowed_as_django_allows_them(hosts: list[str], debug: bool, allowed: Any, settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.DEBUG = hosts, debug
    assert conf.policy().allowed_hosts == allowed


# -- a changed setting is seen by the next request ---------------------------------------------------


async def test_descriptions_reach_the_client(settings: Any, serve: Any) -> None:
    described = {
        "NAME": "bookshop",
        "VERSION": "4.2",
        "TITLE": "Books",
        "WEBSITE_URL": "https://books.example",
        "INSTRUCTIONS": "Search before you buy.",
        "CACHE_HINTS": {"tools/list": (60_000, "public")},
    }
    settings.MCP_TRANSPORT = described
    discovered = await result_of(serve(), "server/discover")
    assert discovered["instructions"] == "Search before you buy."
    assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"] == {
        "name": "bookshop",
        "version": "4.2",
        "title": "Books",
        "websiteUrl": "https://books.example",
    }
    tools = await result_of(serve(), "tools/list")
    assert (tools["ttlMs"], tools["cacheScope"]) == (60_000, "public")


async def test_override_reaches_an_endpoint_already_in_use(settings: Any, serve: Any) -> None:
    before = await send(serve(), raw=b" " * 100)
    settings.MCP_TRANSPORT = {"MAX_REQUEST_BYTES": 99}
    after = await send(serve(), raw=b" " * 100)
    assert (before.status, after.status) == (400, 413)


async def test_versions_reach_the_endpoint(settings: Any, serve: Any) -> None:
    assert (await result_of(serve(), "server/discover"))["supportedVersions"] == ["2026-07-28"]
    settings.MCP_TRANSPORT = {"PROTOCOL_VERSIONS": [name for name in REVISIONS if name != "2026-07-28"]}
    answer = await send(serve(), body={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert answer.status == 400


async def test_origins_reach_the_endpoint(settings: Any, serve: Any) -> None:
    page = {"origin": "https://app.example"}
    refused = await send(serve(), "OPTIONS", headers=page)
    settings.MCP_TRANSPORT = {"ALLOWED_ORIGINS": ["https://app.example"]}
    allowed = await send(serve(), "OPTIONS", headers=page)
    assert (refused.status, allowed.status) == (403, 204)


@pytest.mark.parametrize("threads", [1, 2])
async def test_tool_threads_bounds_synchronous_tools(
    threads: int, settings: Any, declarations: Any, serve: Any
) -> None:
    settings.MCP_TRANSPORT = {"TOOL_THREADS": threads}
    meeting = threading.Barrier(2)

    @tool
    def meet() -> bool:
        """Wait for another call to come; with one thread, none can."""
        try:
            meeting.wait(0.2 if threads == 1 else 5)
        except threading.BrokenBarrierError:
            return False
        return True

    endpoint = serve()
    both = await asyncio.gather(returned(endpoint, "meet"), returned(endpoint, "meet"))
    assert both == [threads == 2] * 2


async def test_tool_call_needs_no_setting(settings: Any, declarations: Any, serve: Any) -> None:
    del settings.MCP_TRANSPORT

    @tool
    def hello() -> str:
        return "hello"

    assert (await call(serve(), "hello"))["content"] == [{"type": "text", "text": "hello"}]


def test_results_that_redis_takes_no_more_are_refused(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": 268_435_457}
    assert conf.problems() == {"MAX_RESULT_BYTES": "expected 268435456 or less, got 268435457"}
