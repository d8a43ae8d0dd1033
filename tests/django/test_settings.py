"""Each setting of MCP_TRANSPORT: what it takes and refuses, the policy made of it, and that a changed one is seen."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mcp_transport import conf, tool
from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.versions import REVISIONS
from tests.support.calls import call, result_of, returned
from tests.support.client import send
from tests.support.project import Serve

# Something of each kind that is right, as a project would write it. Defaults and minimums: `tests/docs`.
RIGHT: dict[str, list[Any]] = {
    "NAME": ["shop"],
    "VERSION": ["1.0"],
    "TITLE": ["The shop", None],
    "INSTRUCTIONS": ["Search first.", None],
    "WEBSITE_URL": ["https://shop.example", None],
    "CACHE_HINTS": [{"tools/list": (60_000, "public")}],
    "SERVER": ["shop.mcp.server", None],
    "FAST_PATH": [True, False],
    "BACKEND": ["memory", "cache", "redis", "dynamodb", "auto", "shop.sessions.Backend"],
    "DYNAMODB": [
        {},
        {"TABLE": "a.b-c_d", "REGION": "us-gov-west-1", "ENDPOINT_URL": None},
        {"REGIONS": ("eu-west-1", "us-east-1"), "REGION_LOST_SECONDS": 1.5, "ENDPOINT_URL": "http://{region}.test"},
    ],
    "REGION": ["", "eu-west-1", "frankfurt"],
    "REDIS_CLUSTER": [True, False, None],
    "CACHE": ["default"],
    "PROTOCOL_VERSIONS": [["2025-11-25"], ("2025-11-25", "2026-07-28")],
    "ALLOWED_ORIGINS": [["https://app.example"], (), ["*"]],
    "TRUSTED_PROXIES": [["10.0.0.0/8", "::1", "unix"], ("127.0.0.1",), []],
    "REHYDRATE": [True, False],
    "MAX_REQUEST_VALUES": [100, 1_000_000],
    "MAX_RESULT_BYTES": [1024, 268_435_456],
    "AUTHENTICATORS": [["user"], ("user", None), [], [{"BACKEND": "user", "OPTIONS": {}}]],
    "COALESCE": [True, False],
    "CALL_CONTEXT": ["shop.tenants.call_context", None],
    "PREWARM": [["shop.catalogue.load"], ()],
    "RATE_LIMITS": [{}, {"caller": "600/min", "shop.limits.tenant": ["50/s burst 100", "1000/h"]}],
    "RATE_LIMITS_WITHOUT_STORE": ["count", "refuse"],
    "THROTTLE_CLASSES": [["rest_framework.throttling.UserRateThrottle"], ()],
    "RESOURCE_URL": ["https://shop.example/mcp"],
    "AUTHORIZATION_SERVERS": [["https://auth.example"], [], None],
    "REQUIRED_SCOPES": [["orders:read"], ()],
    "IMPLIED_SCOPES": [{"orders": ["orders:read"]}],
    "AUDIT_ARGUMENTS": [True, False],
    "FAILURE_PAYLOADS": [True, False],
    "LOG_EXCEPTION_TEXTS": [True, False, None],
}
WRONG: dict[Any, list[Any]] = {
    str: [1, None, b"bytes"],
    str | None: [1, b"bytes"],
    dict: [[], "text", None],
    list: ["text", [1], {"a"}, None],
    list | None: ["text", [1], {"a"}],
    Sequence: ["user", {"BACKEND": "user"}, None],
    int: ["1", 1.5, True, None],
    int | None: ["1", 1.5, True],
    float: ["1", True, None],
    float | None: ["1", True],
    bool: ["yes", 1, None],
    bool | None: ["yes", 1],
}
every_setting = pytest.mark.parametrize("name", conf.SETTINGS)


def test_without_settings_each_has_its_default(settings: Any) -> None:
    del settings.MCP_TRANSPORT
    assert conf.problems() == {}
    assert {name: conf.get(name) for name in conf.SETTINGS} == {
        name: setting.default for name, setting in conf.SETTINGS.items()
    }


@every_setting
def test_a_right_value_is_taken(name: str, settings: Any) -> None:
    for value in RIGHT.get(name, [conf.SETTINGS[name].minimum, 5]):
        settings.MCP_TRANSPORT = {name: value}
        assert conf.problems() == {}
        assert conf.get(name) == value


@every_setting
def test_a_value_of_another_type_or_below_the_minimum_is_refused(name: str, settings: Any) -> None:
    kind, minimum = conf.SETTINGS[name].kind, conf.SETTINGS[name].minimum
    for value in WRONG[kind]:
        settings.MCP_TRANSPORT = {name: value}
        assert list(conf.problems()) == [name]
        shown = type(value).__name__ if kind is Sequence else repr(value)  # options may be secret
        assert re.fullmatch(rf"expected (a |an |True ).*got {re.escape(shown)}", conf.problems()[name])
    if minimum is not None:
        settings.MCP_TRANSPORT = {name: minimum - 1}
        assert conf.problems() == {name: f"expected {minimum:g} or more, got {minimum - 1!r}"}


def test_results_that_redis_takes_no_more_are_refused(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"MAX_RESULT_BYTES": 268_435_457}
    assert conf.problems() == {"MAX_RESULT_BYTES": "expected at most 268435456, got 268435457"}


@pytest.mark.parametrize("entry", ["*", "", "proxy", "10.0.0.1/8", "10.0.0.1:80", "[::1]", "10.0.0.0/33"])
def test_proxies_must_be_addresses_or_networks(entry: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"TRUSTED_PROXIES": ["10.0.0.0/8", entry]}
    expected = f"expected IP addresses, networks such as '10.0.0.0/8', or 'unix', got {entry!r}: "
    assert conf.problems()["TRUSTED_PROXIES"].startswith(expected)


@pytest.mark.parametrize("region", ["EU", "eu_west", "eu west", "-eu", "eu--west", "a" * 33, "eu\n"])
def test_a_region_must_fit_into_headers_and_ids(region: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"REGION": region}
    expected = f"expected at most 32 of a-z, 0-9 and single '-', such as 'eu-west-1', got {region!r}"
    assert conf.problems()["REGION"] == expected


# -- the policy made of them -------------------------------------------------------------------------


def test_policy_without_settings_has_the_engines_defaults(settings: Any) -> None:
    del settings.MCP_TRANSPORT
    settings.ALLOWED_HOSTS = ["shop.example"]
    assert conf.policy() == dataclasses.replace(Policy(), allowed_hosts=("shop.example",))


def test_every_member_of_the_policy_can_be_set(settings: Any) -> None:
    """Django's own settings say the others, RESOURCE_URL the last of them."""
    values: dict[str, Any] = {
        "PROTOCOL_VERSIONS": ("2025-06-18",),
        "ALLOWED_ORIGINS": ("https://app.example",),
        "TRUSTED_PROXIES": ("10.0.0.1",),
        "REHYDRATE": False,
    }
    members = {setting.policy: name for name, setting in conf.SETTINGS.items() if setting.policy}
    djangos = {"allowed_hosts", "forwarded_host", "forwarded_port", "forwarded_scheme", "secure_host"}
    assert {field.name for field in dataclasses.fields(Policy)} - set(members) == djangos
    for member, name in members.items():
        value = values.get(name, 7)
        settings.MCP_TRANSPORT = {name: list(value) if isinstance(value, tuple) else value}
        assert getattr(conf.policy(), member) == value


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


async def test_descriptions_reach_the_client(settings: Any, serve: Serve) -> None:
    info = {"name": "bookshop", "version": "4.2", "title": "Books", "websiteUrl": "https://books.example"}
    settings.MCP_TRANSPORT = {
        "NAME": info["name"],
        "VERSION": info["version"],
        "TITLE": info["title"],
        "WEBSITE_URL": info["websiteUrl"],
        "INSTRUCTIONS": "Search before you buy.",
        "CACHE_HINTS": {"tools/list": (60_000, "public")},
    }
    discovered = await result_of(serve(), "server/discover")
    assert discovered["instructions"] == "Search before you buy."
    assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"] == info
    tools = await result_of(serve(), "tools/list")
    assert (tools["ttlMs"], tools["cacheScope"]) == (60_000, "public")


async def test_an_endpoint_already_in_use_has_changed_limits_versions_origins_and_hosts(
    settings: Any, serve: Serve
) -> None:
    page: dict[str, str | None] = {"origin": "https://app.example"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    before = [(await send(serve(), raw=b" " * 100)).status, (await send(serve(), "OPTIONS", headers=page)).status]
    assert (await result_of(serve(), "server/discover"))["supportedVersions"] == ["2026-07-28"]
    settings.MCP_TRANSPORT = {"MAX_REQUEST_BYTES": 99, "ALLOWED_ORIGINS": ["https://app.example"]}
    after = [(await send(serve(), raw=b" " * 100)).status, (await send(serve(), "OPTIONS", headers=page)).status]
    assert (before, after) == ([400, 403], [413, 204])
    settings.MCP_TRANSPORT = {"PROTOCOL_VERSIONS": [name for name in REVISIONS if name != "2026-07-28"]}
    assert (await send(serve(), body=ping)).status == 400
    settings.ALLOWED_HOSTS = ["shop.example"]
    statuses = [
        (await send(serve(), "OPTIONS", headers={"host": host})).status for host in ("localhost", "shop.example")
    ]
    assert statuses[0] == 400 != statuses[1]


@pytest.mark.parametrize("threads", [1, 2])
async def test_tool_threads_bounds_synchronous_tools(
    threads: int, settings: Any, declarations: Any, serve: Serve
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
    one, other = await asyncio.gather(returned(endpoint, "meet"), returned(endpoint, "meet"))
    assert one is other is (threads == 2)


async def test_tool_call_needs_no_setting(settings: Any, declarations: Any, serve: Serve) -> None:
    del settings.MCP_TRANSPORT
    tool(name="hello")(lambda: "hello")
    assert (await call(serve(), "hello"))["content"] == [{"type": "text", "text": "hello"}]
