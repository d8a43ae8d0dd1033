"""The endpoint of the settings: which backend it has, and when it is built anew."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mcp_transport import bootstrap
from mcp_transport.backends.cache import CacheBackend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.backends.redis.sessions import RedisSessionStore
from tests.support.calls import opened
from tests.support.dynamodb.backend import client_of
from tests.support.project import Serve

BACKENDS = {"memory": MemoryBackend, "cache": CacheBackend, "redis": RedisSessionStore}


class OwnBackend(MemoryBackend):
    """A project's own backend."""


def caches(kind: str, location: str = "redis://somewhere") -> dict[str, Any]:
    return {"default": {"BACKEND": f"django.core.cache.backends.{kind}", "LOCATION": location}}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("locmem.LocMemCache", "memory"),
        ("dummy.DummyCache", "memory"),
        ("filebased.FileBasedCache", "cache"),
        ("db.DatabaseCache", "cache"),
        ("redis.RedisCache", "redis"),
        ("memcached.PyMemcacheCache", "cache"),
    ],
)
def test_auto_backend_goes_by_the_kind_of_cache(kind: str, name: str, settings: Any) -> None:
    settings.CACHES = caches(kind)
    assert bootstrap.backend_name() == name
    assert type(bootstrap.build_backend().sessions) is BACKENDS[name]


def test_auto_backend_looks_at_the_cache_that_is_named(settings: Any) -> None:
    settings.CACHES = {**caches("locmem.LocMemCache"), "sessions": caches("redis.RedisCache")["default"]}
    settings.MCP_TRANSPORT = {"CACHE": "sessions"}
    assert bootstrap.backend_name() == "redis"


@pytest.mark.parametrize("name", ["memory", "cache"])
def test_named_backend_is_built_whatever_the_cache(name: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": name}
    for cache in ("locmem.LocMemCache", "redis.RedisCache"):
        settings.CACHES = caches(cache)
        assert type(bootstrap.build_backend().sessions) is BACKENDS[name]


def test_a_table_is_used_only_by_name_and_without_connecting(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "dynamodb", "DYNAMODB": {"REGION": "eu-west-1"}}
    backend = bootstrap.build_backend()
    assert type(backend.sessions).__name__ == "DynamoSessionStore"
    assert backend.shares_streams and backend.index is not None and backend.rates is not None


REGIONS = ["eu-west-1", "us-east-1"]


def test_a_global_table_is_used_in_the_region_of_the_process(settings: Any) -> None:
    url = "https://dynamodb.{region}.example"
    settings.MCP_TRANSPORT = {"BACKEND": "dynamodb", "REGION": "us-east-1"}
    settings.MCP_TRANSPORT["DYNAMODB"] = {"REGIONS": REGIONS, "ENDPOINT_URL": url, "REGION_LOST_SECONDS": 12}
    sessions: Any = bootstrap.build_backend().sessions
    assert type(sessions).__name__ == "RoutedSessionStore"
    assert (sessions.router.own.name, [*sessions.router.others]) == ("us-east-1", ["eu-west-1"])
    own = client_of(sessions.router.own.backend)._settings
    other = client_of(sessions.router.others["eu-west-1"].backend)._settings
    assert (own.endpoint_url, own.namespace, own.is_remote) == (url.format(region="us-east-1"), "us-east-1", False)
    assert (other.endpoint_url, other.namespace, other.is_remote) == (
        url.format(region="eu-west-1"),
        "eu-west-1",
        True,
    )


@pytest.mark.parametrize("region", ["", "eu-central-1"])
def test_a_process_in_none_of_the_tables_regions_serves_nothing(region: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "dynamodb", "REGION": region, "DYNAMODB": {"REGIONS": REGIONS}}
    [fault] = bootstrap.faults()
    assert (fault.setting, fault.id) == ("BACKEND", "mcp_transport.E003")
    expected = f"MCP_TRANSPORT['REGION'] is {region!r}, but must be one of MCP_TRANSPORT['DYNAMODB']['REGIONS']"
    assert expected in fault.message
    with pytest.raises(bootstrap.Misconfigured):
        bootstrap.endpoint()


async def test_backend_of_the_projects_own_serves_sessions(settings: Any, serve: Serve) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": f"{__name__}.OwnBackend"}
    assert type(serve().backend.sessions) is OwnBackend
    client = await opened(serve())
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("name", ["redis", "no.such.Backend", f"{__name__}.NoBackend"])
def test_backend_that_is_not_there_is_the_operators_fault(name: str, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": name}
    otherwise = "must be auto, memory, cache, redis, dynamodb or a dotted path"
    expected = "needs a Redis cache" if name == "redis" else otherwise
    with pytest.raises(ImproperlyConfigured, match=expected):
        bootstrap.build_backend()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            r"needs a region, but neither MCP_TRANSPORT\['DYNAMODB'\]\['REGION'\], the environment",
        ),
        ({"AWS_PROFILE": "nobody"}, r"DynamoDB cannot be used: The config profile \(nobody\) could not be found"),
    ],
)
def test_a_table_without_a_region_is_the_operators_fault(
    changes: dict[str, str], expected: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "dynamodb"}
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    for name, value in {"AWS_CONFIG_FILE": "/nonexistent", **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=expected):
        bootstrap.build_backend()


def test_a_table_without_boto3_is_the_operators_fault(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "dynamodb"}
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ImproperlyConfigured, match=r"needs boto3, which is not installed: pip install 'django-mcp-"):
        bootstrap.build_backend()


async def test_sessions_in_a_cache_survive_a_restart(settings: Any, serve: Serve, tmp_path: Any) -> None:
    settings.CACHES = caches("filebased.FileBasedCache", str(tmp_path))
    client = await opened(serve())
    before = client.endpoint
    await before.pool.stop()
    settings.MCP_TRANSPORT = {}
    client.endpoint = serve()
    assert client.endpoint is not before
    assert (await client.request("ping")).json["result"] == {}


@pytest.mark.parametrize("step", [7200.0, -7200.0])
async def test_sessions_of_a_process_outlive_a_step_of_the_machines_clock(
    step: float, settings: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MCP_TRANSPORT = {"SESSION_TTL_SECONDS": 3600}
    endpoint = serve()
    before, now = await opened(endpoint), time.time
    monkeypatch.setattr(time, "time", lambda: now() + step)
    after = await opened(endpoint)
    for client in (before, after):
        assert (await client.request("ping")).status == 200


def test_endpoint_is_built_once_by_whoever_comes_first() -> None:
    built: list[Any] = []
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
