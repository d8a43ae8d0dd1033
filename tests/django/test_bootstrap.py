"""The endpoint from the settings: which backend, which server, which keys."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

from mcp_transport import Context, bootstrap, server, tool
from mcp_transport.backends.cache import CacheBackend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.redis import RedisBackend
from tests.support import mcp_servers as servers
from tests.support.calls import call, error_of, listed, opened, result_of
from tests.support.client import send, send_sessionless

OLD, NEW = "the old key", "the new key"
KINDS = {
    "locmem.LocMemCache": "memory",
    "dummy.DummyCache": "memory",
    "filebased.FileBasedCache": "cache",
    "db.DatabaseCache": "cache",
    "redis.RedisCache": "redis",
    "memcached.PyMemcacheCache": "cache",
}


class OwnBackend(MemoryBackend):
    """A project's own backend."""


def caches(kind: str, location: str = "redis://somewhere") -> dict[str, Any]:
    return {"default": {"BACKEND": f"django.core.cache.backends.{kind}", "LOCATION": location}}


# -- the backend -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_auto_backend_goes_by_the_kind_of_cache(kind: str, name: str, settings: Any) -> None:
    settings.CACHES = caches(kind)
    assert bootstrap.backend_name() == name
    backends = {"memory": MemoryBackend, "cache": CacheBackend, "redis": RedisBackend}
    assert type(bootstrap.build_backend()) is backends[name]


def test_auto_backend_looks_at_the_cache_that_is_named(settings: Any) -> None:
    settings.CACHES = {**caches("locmem.LocMemCache"), "sessions": caches("redis.RedisCache")["default"]}
    settings.MCP_TRANSPORT = {"CACHE": "sessions"}
    assert bootstrap.backend_name() == "redis"


@pytest.mark.parametrize(("name", "kind"), [("memory", MemoryBackend), ("cache", CacheBackend)])
def test_named_backend_is_built_whatever_the_cache(name: str, kind: type, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": name}
    for cache in ("locmem.LocMemCache", "redis.RedisCache"):
        settings.CACHES = caches(cache)
        assert type(bootstrap.build_backend()) is kind


async def test_backend_of_the_projects_own_serves_sessions(settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.django.test_bootstrap.OwnBackend"}
    assert type(serve().backend) is OwnBackend
    client = await opened(serve())
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("name", ["redis", "no.such.Backend", "tests.django.test_bootstrap.NoBackend"])
def test_backend_that_is_not_there_is_the_operators_fault(name: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": name}
    otherwise = "neither auto, memory, cache or redis nor a class"
    expected = "needs a cache that is Redis" if name == "redis" else otherwise
    with pytest.raises(ImproperlyConfigured, match=expected):
        bootstrap.build_backend()


async def test_sessions_in_a_cache_survive_a_restart(settings: Any, serve: Any, tmp_path: Any) -> None:
    settings.CACHES = caches("filebased.FileBasedCache", str(tmp_path))
    client = await opened(serve())
    await client.endpoint.stop()
    bootstrap._forget(setting="MCP_TRANSPORT")
    client.endpoint = serve()
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("step", [7200.0, -7200.0])
async def test_sessions_of_a_process_outlive_a_step_of_the_machines_clock(
    step: float, settings: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCP_TRANSPORT = {"SESSION_TTL_SECONDS": 3600}
    endpoint = serve()
    before, now = await opened(endpoint), time.time
    monkeypatch.setattr(time, "time", lambda: now() + step)
    after = await opened(endpoint)
    for client in (before, after):
        assert (await client.request("ping")).status == 200


def test_endpoint_is_built_once_by_whoever_comes_first() -> None:
    built = []
    threads = [threading.Thread(target=lambda: built.append(bootstrap.endpoint())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(built) == 8
    assert len(set(map(id, built))) == 1


@pytest.mark.parametrize(
    "name", ["MCP_TRANSPORT", "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "ALLOWED_HOSTS", "DEBUG"]
)
def test_changed_setting_builds_anew(name: str, settings: Any) -> None:
    before = bootstrap.endpoint()
    setattr(settings, name, getattr(settings, name))
    assert bootstrap.endpoint() is not before
    again = bootstrap.endpoint()
    settings.LANGUAGE_CODE = "de"
    assert bootstrap.endpoint() is again


# -- the server ------------------------------------------------------------------------------------------


def test_server_without_setting_has_what_the_apps_declare() -> None:
    assert "search_products" in server.declared.tools  # of mcpsite.shop, which is installed
    assert bootstrap.served_server()._tool_manager.get_tool("search_products") is not None


def test_server_that_cannot_be_imported_is_the_operators_fault(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "no.such.server"}
    with pytest.raises(
        ImproperlyConfigured, match=r"MCP_TRANSPORT\['SERVER'\] = 'no.such.server' cannot be imported"
    ):
        bootstrap.served_server()


@pytest.mark.parametrize(
    ("name", "info"),
    [("high_level", {"name": "high", "version": "2"}), ("low_level", {"name": "low", "version": "3"})],
)
async def test_sdk_server_is_served_unchanged_in_both_eras(name: str, info: Any, settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"NAME": "not this", "SERVER": f"tests.support.mcp_servers.{name}"}
    servers.lives.clear()
    endpoint = serve()
    discovered = await result_of(endpoint, "server/discover")
    assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"] == info
    assert (await listed(endpoint, "tools", "where"))["inputSchema"]["required"] == ["thing"]
    ann = User(pk=7, username="ann")
    assert (await call(endpoint, "where", {"thing": "tea"}, user=ann))["content"][0]["text"] == "tea left True"

    client = await opened(endpoint)
    answer = await client.call("where", {"thing": "tea"})
    result = (await answer.messages())[-1]["result"] if answer.stream else answer.json["result"]
    assert result["content"][0]["text"] == "tea left False"
    assert servers.lives == ["entered"]
    await endpoint.stop()
    assert servers.lives == ["entered", "left"]


async def test_sdk_servers_resources_and_prompts_are_served(settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.high_level"}
    [content] = (await result_of(serve(), "resources/read", {"uri": "high://hours"}))["contents"]
    assert content["text"] == "9 to 5"
    [message] = (await result_of(serve(), "prompts/get", {"name": "praise", "arguments": {"thing": "tea"}}))[
        "messages"
    ]
    assert message["content"]["text"] == "Praise tea."


async def test_sdk_server_answers_unknown_methods_as_it_would_itself(settings: Any, serve: Any) -> None:
    settings.MCP_TRANSPORT = {"SERVER": "tests.support.mcp_servers.low_level"}
    assert (await error_of(serve(), "resources/list"))["code"] == -32601


# -- the keys --------------------------------------------------------------------------------------------


def test_keys_differ_by_purpose_and_come_newest_first(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old", b"older", "new"]
    ring = bootstrap.derived_keys("replies")
    assert len(ring) == len(set(ring)) == 3
    assert all(len(key) == 32 for key in ring)
    assert set(ring).isdisjoint(bootstrap.derived_keys("request-state"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    assert bootstrap.derived_keys("replies") == ring[1:2]


@pytest.fixture
def ask(declarations: Any) -> None:
    """A tool that asks by returning, and remembers its question in the sealed state."""

    @tool
    def ask(ctx: Context) -> Any:
        if ctx.input_responses is None:
            form = ElicitRequestFormParams(message="Sure?", requested_schema={"type": "object", "properties": {}})
            return InputRequiredResult(
                input_requests={"sure": ElicitRequest(params=form)}, request_state="plain text"
            )
        return f"{ctx.request_state}: {ctx.input_responses['sure'].action}"


ELICITS = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}


async def sealed(endpoint: Any, **options: Any) -> str:
    result = await call(endpoint, "ask", meta=ELICITS, **options)
    assert result["resultType"] == "input_required"
    assert "plain text" not in result["requestState"]
    state: str = result["requestState"]
    return state


async def answer_with(endpoint: Any, state: str, **options: Any) -> Any:
    responses = {"sure": {"action": "accept", "content": {}}}
    params = {"name": "ask", "arguments": {}, "requestState": state, "inputResponses": responses}
    return (await send_sessionless(endpoint, "tools/call", params, meta=ELICITS, **options)).json


@pytest.mark.usefixtures("ask")
async def test_state_sealed_with_a_retired_key_still_opens(settings: Any, serve: Any) -> None:
    settings.SECRET_KEY = OLD
    state = await sealed(serve())
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    opened_state = (await answer_with(serve(), state))["result"]
    assert opened_state["content"][0]["text"] == "plain text: accept"
    settings.SECRET_KEY_FALLBACKS = []
    assert (await answer_with(serve(), state))["error"]["code"] == -32602


@pytest.mark.usefixtures("ask")
async def test_new_state_is_sealed_with_the_new_key(settings: Any, serve: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    state = await sealed(serve())
    settings.SECRET_KEY_FALLBACKS = []
    assert "result" in await answer_with(serve(), state)


@pytest.mark.usefixtures("ask")
async def test_state_is_bound_to_its_user(serve: Any) -> None:
    ann, bob = User(pk=1, username="ann"), User(pk=2, username="bob")
    state = await sealed(serve(), user=ann)
    assert "result" in await answer_with(serve(), state, user=ann)
    assert (await answer_with(serve(), state, user=bob))["error"]["code"] == -32602
    assert (await answer_with(serve(), state))["error"]["code"] == -32602


async def test_question_sent_before_a_key_rotation_can_still_be_answered(
    declarations: Any, settings: Any, serve: Any
) -> None:
    """The proof in the id of a server's request is made with a key of the same ring."""

    @tool
    async def ask(ctx: Context) -> str:
        return (await ctx.elicit_form("Sure?", {"type": "object", "properties": {}})).action

    settings.SECRET_KEY = OLD
    client = await opened(serve())
    answer = await client.call("ask")
    question = await answer.message()
    node = await client.endpoint.node()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    node._keys = bootstrap.derived_keys("replies")  # as after a restart of the process that takes the reply
    assert (await client.reply(question["id"], {"action": "accept", "content": {}})).status == 202
    assert (await answer.message())["result"]["content"][0]["text"] == "accept"


async def test_hosts_of_django_hold_here_too(settings: Any, serve: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.example"]
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await send(serve(), body=body, headers={"host": "localhost"})).status == 400
    assert (await send_sessionless(serve(), "server/discover", headers={"host": "shop.example"})).status == 200
