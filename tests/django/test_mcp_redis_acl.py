"""`manage.py mcp_redis_acl` prints the rights that the settings need, and asks nothing of Redis."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from mcp_transport.backends.redis.acl import acl_rule

DJANGO, DJANGO_REDIS = "django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"
LOCAL = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
NOWHERE = "redis://nowhere.invalid"


def printed(*words: str) -> str:
    out = io.StringIO()
    call_command("mcp_redis_acl", *words, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])
def test_the_rights_are_for_the_alias_that_is_named(backend: str, settings: Any) -> None:
    settings.CACHES = {"default": LOCAL, "mcp": {"BACKEND": backend, "LOCATION": NOWHERE, "KEY_PREFIX": "shop"}}
    settings.MCP_TRANSPORT = {"CACHE": "mcp"}
    assert printed() == f"{acl_rule('shop:')}\n"


def test_without_a_prefix_for_a_user_of_another_name(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": NOWHERE}}
    assert printed("--user", "ann") == f"{acl_rule(user='ann')}\n"


def test_a_cluster_needs_more_whoever_says_that_it_is_one(settings: Any) -> None:
    options = {"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}
    of_class = {"BACKEND": DJANGO_REDIS, "LOCATION": NOWHERE, "OPTIONS": options}
    plain = {"BACKEND": DJANGO, "LOCATION": NOWHERE}
    for cache, said, is_cluster in (
        (of_class, None, True),
        (of_class, False, False),
        (plain, None, False),
        (plain, True, True),
    ):
        settings.CACHES, settings.MCP_TRANSPORT = {"default": cache}, {"REDIS_CLUSTER": said}
        assert printed() == f"{acl_rule(cluster=is_cluster)}\n"


@pytest.mark.parametrize("chosen", [{}, {"BACKEND": "cache"}, {"BACKEND": "redis"}])
def test_another_backend_needs_no_rights(chosen: dict[str, str], settings: Any) -> None:
    settings.CACHES, settings.MCP_TRANSPORT = {"default": LOCAL}, chosen
    with pytest.raises(CommandError, match=r"does not use Redis|needs a Redis cache"):
        printed()


@pytest.mark.parametrize("name", ["", " ", "ann bob", "ann\n", "it's", 'a"b', "a\\b"])
def test_a_name_that_redis_would_read_as_more_is_refused(name: str, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": DJANGO, "LOCATION": NOWHERE}}
    with pytest.raises(CommandError, match="must not contain spaces"):
        printed("--user", name)
