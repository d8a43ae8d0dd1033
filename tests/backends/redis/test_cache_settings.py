"""Reading the settings of a cache alias, without a server."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import BlockingConnectionPool, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.sentinel import Sentinel

from mcp_transport.backends.redis.connection import connect, describe, is_redis, key_prefix
from tests.support.redis.aliases import DJANGO, DJANGO_REDIS, Alias, django, django_redis

NEW = int(redis.__version__.partition(".")[0]) >= 6
clusters = pytest.mark.skipif(not NEW, reason="a Cluster needs redis-py 6")
both = pytest.mark.parametrize("alias", [django_redis, django])
SENTINELS = [("s1", 26379), ("s2", 26379)]


def kwargs(cache: Alias, **arguments: Any) -> dict[str, Any]:
    connected = connect(cache, **arguments)
    return dict(
        connected.connection_kwargs
        if isinstance(connected, RedisCluster)
        else connected.connection_pool.connection_kwargs
    )


# -- which alias ---------------------------------------------------------------------------------------


class OwnCache:
    """A cache that is not Redis."""


def test_redis_aliases_are_known_by_their_class() -> None:
    from django.core.cache.backends import redis as of_django

    class Own(of_django.RedisCache):
        pass

    of_django.OwnForTest = Own  # type: ignore[attr-defined]
    try:
        assert is_redis({"BACKEND": "django.core.cache.backends.redis.OwnForTest"})
    finally:
        del of_django.OwnForTest  # type: ignore[attr-defined]
    assert is_redis({"BACKEND": DJANGO_REDIS})
    assert is_redis({"BACKEND": DJANGO})


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.locmem.LocMemCache",
        f"{__name__}.OwnCache",
        "not.installed.RedisCache",
        "RedisCache",
        "",
    ],
)
def test_other_aliases_are_not_redis(backend: str) -> None:
    assert not is_redis({"BACKEND": backend})


@pytest.mark.parametrize(("cache", "prefix"), [({}, ""), ({"KEY_PREFIX": ""}, ""), ({"KEY_PREFIX": "shop"}, "shop:")])
def test_keys_begin_with_the_prefix_of_the_alias(cache: Alias, prefix: str) -> None:
    assert key_prefix(cache) == prefix


# -- where it says the store is ------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("redis://me:secret@h:1/2", "redis://h:1/2"),
        ("rediss://:secret@h?password=secret", "rediss://h:6379"),
        ("unix://me:secret@/run/redis.sock?db=1&password=secret", "unix:///run/redis.sock"),
        ("redis://[::1]:7000", "redis://[::1]:7000"),
        (["redis://:secret@a:1", "redis://:secret@b:2"], "redis://a:1, redis://b:2"),
        ("redis://:sec?ret@h:1", "(unreadable)"),
        ("redis://:se/cret@h:1", "(unreadable)"),
        ("redis://:secret", "(unreadable)"),
        ("h:secret", "(unreadable)"),
        (None, "no address"),
    ],
)
def test_a_description_holds_no_password(alias: Any, location: Any, text: str) -> None:
    cache = alias(location, PASSWORD="secret", password="secret", USERNAME="me")
    assert describe(cache) == text


def test_a_description_names_the_sentinels_and_the_nodes_of_a_cluster() -> None:
    assert describe(django_redis("redis://service/1", SENTINELS=SENTINELS)) == (
        "redis://service:6379/1 behind Sentinel at s1:26379, s2:26379"
    )
    nodes = {"startup_nodes": [{"host": "a", "port": 1}, SimpleNamespace(host="b", port=2)]}
    assert describe(django_redis("redis://cluster", REDIS_CLIENT_KWARGS=nodes)) == "a:1, b:2"


# -- what a connection gets ----------------------------------------------------------------------------


@both
def test_a_command_is_never_sent_twice_nor_waited_for_without_end(alias: Any) -> None:
    found = kwargs(alias("redis://h", socket_timeout=None, retry_on_timeout=True, retry_on_error=[OSError]))
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (5.0, 2.0)
    assert found["retry"]._retries == 0
    assert not {"retry_on_timeout", "retry_on_error"} & set(found)
    assert (found["client_name"], found["decode_responses"], found["health_check_interval"]) == ("mcp", False, 0)


@pytest.mark.parametrize(
    "cache",
    [
        django_redis("redis://h", SOCKET_TIMEOUT=3, SOCKET_CONNECT_TIMEOUT=0.5),
        django_redis("redis://h", SOCKET_TIMEOUT=9, socket_timeout=3, socket_connect_timeout=0.5),
        django("redis://h", socket_timeout=3, socket_connect_timeout=0.5),
        django("redis://h?socket_timeout=3&socket_connect_timeout=0.5", socket_timeout=7),
    ],
)
def test_the_alias_limits_the_seconds(cache: Alias) -> None:
    assert (kwargs(cache)["socket_timeout"], kwargs(cache)["socket_connect_timeout"]) == (3.0, 0.5)
    assert kwargs(cache, blocking=2.5)["socket_timeout"] == 5.5


def test_a_value_of_zero_or_none_does_not_mean_for_ever() -> None:
    assert kwargs(django("redis://h", socket_timeout=0))["socket_timeout"] == 5.0
    assert kwargs(django("redis://h?socket_timeout=0", socket_connect_timeout=None))["socket_connect_timeout"] == 2.0


@both
def test_what_serves_synchronous_clients_only_is_left_out(alias: Any) -> None:
    cache = alias(
        "redis://h?decode_responses=True&health_check_interval=5",
        parser_class="redis.connection.DefaultParser",
        redis_connect_func=print,
        client_name="other",
        protocol=3,
        decode_responses=True,
        encoding="latin-1",
        connection_class=redis.Connection,
        serializer="own.Serializer",
        SERIALIZER="own.Serializer",
        IGNORE_EXCEPTIONS=True,
        COMPRESSOR="own.Compressor",
        PARSER_CLASS="redis.connection.DefaultParser",
        REDIS_CLIENT_KWARGS={"ssl": True, "socket_timeout": 99},
    )
    found = kwargs(cache)
    assert not {"parser_class", "redis_connect_func", "encoding", "serializer", "ssl", "connection_class"} & set(
        found
    )
    assert (found["client_name"], found["decode_responses"], found["protocol"]) == ("mcp", False, 2)
    assert (found["health_check_interval"], found["socket_timeout"]) == (0, 5.0)


@both
def test_callers_queue_for_connections_as_many_as_the_alias_allows(alias: Any) -> None:
    pool = connect(alias("redis://h", max_connections=7, socket_connect_timeout=0.5)).connection_pool  # type: ignore[union-attr]
    assert isinstance(pool, BlockingConnectionPool)
    assert (pool.max_connections, pool.timeout) == (7, 0.5)
    assert connect(alias("redis://h")).connection_pool.max_connections == 100  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        (django_redis("redis://u:p@h:1/3", USERNAME="x", PASSWORD="y"), ("u", "p", "h", 1, 3)),
        (django_redis("redis://h:1/3", USERNAME="x", PASSWORD="y"), ("x", "y", "h", 1, 3)),
        (django_redis("redis://h:1,redis://replica:2", PASSWORD="y"), (None, "y", "h", 1, None)),
        (django_redis(("redis://h:1", "redis://replica:2")), (None, None, "h", 1, None)),
        (django_redis("redis://h:1", DB=5), (None, None, "h", 1, None)),  # nor does django-redis look at it
        (django("redis://h:1;redis://replica:2", username="x", password="y", db=3), ("x", "y", "h", 1, 3)),
        (django("redis://h:1/2, redis://replica:2", db=3), (None, None, "h", 1, 2)),
        (django(["redis://:p%40%2F@h:1"], db="3"), (None, "p@/", "h", 1, "3")),
    ],
)
def test_the_first_address_is_used_and_has_the_last_word(cache: Alias, expected: tuple[object, ...]) -> None:
    found = kwargs(cache)
    assert tuple(found.get(name) for name in ("username", "password", "host", "port", "db")) == expected


@both
def test_the_address_chooses_the_kind_of_connection(alias: Any) -> None:
    kinds = {"redis://h": Connection, "rediss://h": SSLConnection, "unix:///run/s?db=1": UnixDomainSocketConnection}
    found = {url: connect(alias(url, socket_keepalive=True)).connection_pool.connection_class for url in kinds}  # type: ignore[union-attr]
    assert found == kinds


@pytest.mark.parametrize("given", [{"ssl": True}, {"connection_class": redis.SSLConnection}, {}])
@both
def test_tls_is_taken_from_the_alias_with_all_it_checks(alias: Any, given: dict[str, Any]) -> None:
    pool: Any = connect(
        alias("redis://h" if given else "rediss://h", ssl_ca_certs="ca", ssl_cert_reqs=None, **given)
    ).connection_pool  # type: ignore[union-attr]
    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "ca"
    assert pool.connection_kwargs["ssl_cert_reqs"] is None


# -- Sentinel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cache",
    [
        django_redis("redis://service/2", SENTINELS=SENTINELS, CLIENT_CLASS="django_redis.client.SentinelClient"),
        django_redis(["redis://service/2?is_master=0", "redis://service/2?is_master=1"], SENTINELS=SENTINELS),
        django("redis://any/2", service_name="service", sentinel_manager=Sentinel(SENTINELS)),  # type: ignore[no-untyped-call]
    ],
)
def test_sentinels_are_asked_for_the_master(cache: Alias) -> None:
    pool: Any = connect(cache).connection_pool  # type: ignore[union-attr]
    assert BlockingConnectionPool in type(pool).__mro__
    assert (pool.service_name, pool.is_master, pool.connection_kwargs["db"]) == ("service", True, 2)
    assert pool.connection_class is SentinelManagedConnection
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in asked] == SENTINELS
    assert {(each["socket_timeout"], each["socket_connect_timeout"], each["retry"]._retries) for each in asked} == {
        (2.0, 2.0, 0)
    }


def test_sentinels_and_servers_have_passwords_and_tls_of_their_own() -> None:
    cache = django_redis(
        "redis://service",
        SENTINELS=SENTINELS,
        SENTINEL_KWARGS={"password": "theirs", "ssl": True, "ssl_ca_certs": "ca1"},
        PASSWORD="ours",
        ssl=True,
        ssl_ca_certs="ca2",
    )
    pool: Any = connect(cache).connection_pool  # type: ignore[union-attr]
    assert pool.connection_class is SentinelManagedSSLConnection
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["ssl_ca_certs"]) == ("ours", "ca2")
    asked = pool.sentinel_manager.sentinels[0].connection_pool
    assert asked.connection_class is SSLConnection
    assert (asked.connection_kwargs["password"], asked.connection_kwargs["ssl_ca_certs"]) == ("theirs", "ca1")


# -- Cluster -------------------------------------------------------------------------------------------


@clusters
@pytest.mark.parametrize(
    "cache",
    [
        django_redis("redis://h:1", REDIS_CLIENT_CLASS="redis.cluster.RedisCluster"),
        django_redis("redis://h:1/0", CLIENT_CLASS="django_redis_cluster.client.ClusterClient"),
        django_redis("redis://h:1", CONNECTION_FACTORY="project.redis.ClusterConnectionFactory"),
        django_redis("redis://h:1", CONNECTION_POOL_CLASS="rediscluster.connection.ClusterConnectionPool"),
        django_redis(
            "redis://cluster",
            REDIS_CLIENT_CLASS="redis.cluster.RedisCluster",
            REDIS_CLIENT_KWARGS={"startup_nodes": [{"host": "h", "port": 1}], "skip_full_coverage_check": True},
        ),
    ],
)
def test_a_class_in_the_alias_says_that_it_is_a_cluster(cache: Alias) -> None:
    found = connect(cache)
    assert isinstance(found, RedisCluster)
    assert list(found.nodes_manager.startup_nodes) == ["h:1"]
    assert found.retry.get_retries() == 0 if hasattr(found.retry, "get_retries") else found.retry._retries == 0


@clusters
def test_where_the_alias_cannot_say_it_is_a_cluster_the_argument_does() -> None:
    cache = django("redis://a:1,redis://b:2", password="p", max_connections=9)
    assert not isinstance(connect(cache), RedisCluster)
    found = connect(cache, cluster=True)
    assert isinstance(found, RedisCluster)
    assert sorted(found.nodes_manager.startup_nodes) == ["a:1", "b:2"]
    assert (found.connection_kwargs["password"], found.connection_kwargs["max_connections"]) == ("p", 9)
    assert connect(django("redis://a"), cluster=True).connection_kwargs["max_connections"] == 1000  # type: ignore[union-attr]
    cache = django_redis("redis://a", REDIS_CLIENT_CLASS="redis.cluster.RedisCluster")
    assert not isinstance(connect(cache, cluster=False), RedisCluster)


@clusters
@pytest.mark.parametrize(
    "options", [{}, {"CLIENT_CLASS": "django_redis.client.HerdClient"}, {"REDIS_CLIENT_CLASS": "redis.Redis"}]
)
def test_an_ordinary_client_is_not_taken_for_a_cluster(options: dict[str, str]) -> None:
    assert not isinstance(connect(django_redis("redis://h", **options)), RedisCluster)


@clusters
def test_a_cluster_takes_tls_and_timeouts() -> None:
    given = {"ssl_ca_certs": "ca", "username": "u", "socket_timeout": 3}
    cache = django_redis("rediss://h", REDIS_CLIENT_CLASS="redis.cluster.RedisCluster", REDIS_CLIENT_KWARGS=given)
    found = kwargs(cache, blocking=1)
    assert found["connection_class"] is SSLConnection
    assert (found["ssl_ca_certs"], found["username"], found["socket_timeout"]) == ("ca", "u", 4.0)


# -- what is refused -----------------------------------------------------------------------------------

SHARDS = "django_redis.client.ShardClient"


@pytest.mark.parametrize(
    ("cache", "says"),
    [
        (django(None), "names no server"),
        (django_redis([]), "names no server"),
        (django("127.0.0.1:6379"), "must be redis://"),
        (django_redis("redis://:secret"), "special characters"),
        (django_redis("redis://:sec?ret@h/0"), "special characters"),
        (django_redis("service/s1:26379/0"), "must be redis://"),
        (django_redis(["redis://a", "redis://b"], CLIENT_CLASS=SHARDS), "an alias with one server"),
        (django_redis("redis://s?is_master=0", SENTINELS=SENTINELS), "sessions are written"),
        (django_redis("redis:///1", SENTINELS=SENTINELS), "names no service"),
        (django("rediss://h", ssl_validate_ocsp=True), "ssl_validate_ocsp"),
    ],
)
def test_an_alias_that_cannot_be_followed_is_refused_without_its_password(cache: Alias, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(says)) as caught:
        connect(cache)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@clusters
@pytest.mark.parametrize(("url", "says"), [("unix:///run/s", "no Unix socket"), ("redis://h/1", "no database but 0")])
def test_a_cluster_has_no_socket_and_no_second_database(url: str, says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says):
        connect(django(url), cluster=True)


def test_a_cluster_needs_a_client_that_can_be_kept_from_retrying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "__version__", "5.2.1")
    with pytest.raises(ImproperlyConfigured, match=r"redis-py 6 or newer, this is 5\.2\.1"):
        connect(django("redis://h"), cluster=True)


def test_one_shard_is_one_server() -> None:
    assert kwargs(django_redis("redis://h:1", CLIENT_CLASS=SHARDS))["port"] == 1
