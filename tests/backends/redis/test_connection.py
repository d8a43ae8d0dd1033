"""Clients made from a cache alias, on real servers: passwords, TLS, a Unix socket, Sentinel, a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache.backends.redis import RedisCache as DjangoCache
from django_redis.cache import RedisCache as DjangoRedisCache
from redis.sentinel import Sentinel

from mcp_transport.backends.redis.connection import STORE_ERRORS, connect, recover
from tests.support.certificates import make_certificates
from tests.support.processes import free_port
from tests.support.redis.aliases import QUICK, Alias, client, clusters, django, django_redis, until
from tests.support.redis.server import RedisServer
from tests.support.redis.users import ADMIN, login

pytestmark = pytest.mark.servers

both = pytest.mark.parametrize("alias", [django_redis, django])
USER = "user bob on >pass&word ~* &* +@all"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer("requirepass secret", USER) as started:
        yield started


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, str]]:
    ca, certificate, key = make_certificates(tmp_path_factory.mktemp("tls"))
    port = free_port()
    lines = (f"tls-cert-file {certificate}", f"tls-key-file {key}", f"tls-ca-cert-file {ca}")
    with RedisServer("port 0", f"tls-port {port}", "tls-auth-clients no", *lines) as started:
        yield started, f"rediss://{login(ADMIN)}127.0.0.1:{port}"


# -- one server ----------------------------------------------------------------------------------------


@both
async def test_a_password_and_a_database(alias: Any, server: RedisServer) -> None:
    options = {"PASSWORD": "secret"} if alias is django_redis else {"password": "secret"}
    async with client(alias(f"{server.url}/3", **options)) as connected:
        found = await connected.client_info()
        assert (found["user"], str(found["db"]), found["name"]) == ("default", "3", "mcp")
        await connected.set("key", b"\xff\x00")
        assert await connected.get("key") == b"\xff\x00"


@pytest.mark.parametrize(
    ("alias", "address", "options"),
    [
        (django_redis, "redis://{}", {"USERNAME": "bob", "PASSWORD": "pass&word"}),
        (django_redis, "redis://bob:pass%26word@{}", {}),
        (django, "redis://{}", {"username": "bob", "password": "pass&word"}),
        (django, "redis://bob:pass%26word@{}", {}),
        (django, "redis://{}", {"credential_provider": redis.UsernamePasswordCredentialProvider("bob", "pass&word")}),
    ],
)
async def test_a_user_with_a_password(alias: Any, address: str, options: dict[str, Any], server: RedisServer) -> None:
    async with client(alias(address.format(f"127.0.0.1:{server.port}"), **options)) as connected:
        assert (await connected.client_info())["user"] == "bob"


@both
async def test_a_unix_socket(alias: Any, server: RedisServer) -> None:
    async with client(alias(f"unix://{server.socket}?db=2&password=secret")) as connected:
        found = await connected.client_info()
        assert (found["addr"], str(found["db"])) == (f"{server.socket}:0", "2")


@both
async def test_the_cache_and_this_package_are_in_the_same_place(alias: Any, server: RedisServer) -> None:
    url = f"redis://bob:pass%26word@127.0.0.1:{server.port}/5"
    cache: Any = (DjangoRedisCache if alias is django_redis else DjangoCache)(url, {"OPTIONS": {}})
    cache.set("shared", "value")
    async with client(alias(url)) as connected:
        assert await connected.keys("*shared")
    cache.clear()
    if alias is django_redis:
        cache.client.get_client().connection_pool.disconnect()
    else:
        cache._cache.get_client(write=True).connection_pool.disconnect()


@both
async def test_tls_by_an_authority_of_ones_own(alias: Any, tls: tuple[RedisServer, str]) -> None:
    started, url = tls
    async with client(alias(url, ssl_ca_certs=str(ca_of(started)))) as connected:
        assert await connected.ping()
    async with client(alias(f"{url}?ssl_cert_reqs=none")) as connected:
        assert await connected.ping()
    async with client(alias(url)) as connected:
        with pytest.raises(redis.exceptions.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await connected.ping()


def ca_of(started: RedisServer) -> Path:
    line = next(line for line in started.lines if line.startswith("tls-ca-cert-file"))
    return Path(line.partition(" ")[2])


# -- how it behaves ------------------------------------------------------------------------------------


async def test_a_command_may_block_longer_than_an_answer_may_take(server: RedisServer) -> None:
    async with client(django(server.url, password="secret", socket_timeout=1), blocking=1.5) as connected:
        assert await connected.blpop("nothing", timeout=1.5) is None
    async with client(django(server.url, password="secret", socket_timeout=0.2)) as connected:
        with pytest.raises(redis.exceptions.TimeoutError):
            await connected.blpop("nothing", timeout=0.5)


async def test_more_callers_than_connections_queue(server: RedisServer) -> None:
    async with client(django(server.url, password="secret", max_connections=3, **QUICK)) as connected:
        assert await asyncio.gather(*(connected.echo(str(number)) for number in range(100))) == [
            str(number).encode() for number in range(100)
        ]
        others = [peer for peer in await connected.client_list() if peer["name"] == "mcp"]
        assert len(others) <= 3


async def test_a_caller_that_queues_in_vain_gets_a_store_error(server: RedisServer) -> None:
    cache = django(server.url, password="secret", max_connections=1, socket_timeout=3, socket_connect_timeout=0.2)
    async with client(cache) as connected:
        first = asyncio.create_task(connected.blpop("nothing", timeout=2))
        await until(lambda: blocked(connected))
        with pytest.raises(STORE_ERRORS, match="No connection available"):
            await connected.ping()
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert await connected.ping()


async def blocked(connected: Any) -> bool:
    return bool(connected.connection_pool._in_use_connections)


async def test_a_cancelled_read_leaves_no_answer_behind(server: RedisServer) -> None:
    async with client(django(server.url, password="secret", max_connections=1), blocking=5) as connected:
        for number in range(3):
            reading = asyncio.create_task(connected.xread({"stream": "$"}, block=5000))
            async with client(django(server.url, password="secret")) as other:
                await until(partial(blocked_clients, other))
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                await other.xadd("stream", {"number": number})
            assert await connected.echo(str(number)) == str(number).encode()


async def blocked_clients(connected: Any) -> int:
    found: int = (await connected.info("clients"))["blocked_clients"]
    return found


async def test_a_restarted_server_is_found_again() -> None:
    with RedisServer() as started:
        async with client(django(started.admin_url, **QUICK)) as connected:
            await asyncio.gather(*(connected.ping() for _ in range(5)))
            started.kill()
            with pytest.raises(STORE_ERRORS):
                await connected.ping()
            started.start()
            assert await asyncio.gather(*(connected.ping() for _ in range(5))) == [True] * 5
            await recover(connected)  # nothing to do, and no harm


# -- Sentinel ------------------------------------------------------------------------------------------


@pytest.fixture
def sentinel() -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """Start a master, its replica and a sentinel that has seen both."""
    with ExitStack() as stack:
        master = stack.enter_context(
            RedisServer("requirepass secret", "masterauth secret", "repl-diskless-sync-delay 0")
        )
        follow = f"replicaof 127.0.0.1 {master.port}"
        replica = stack.enter_context(RedisServer("requirepass secret", "masterauth secret", follow))
        # A sentinel that sees less looks again after ten seconds.
        replica.wait_for("master_link_status:up", "INFO", "replication")
        watch = (
            "requirepass other",
            f"sentinel monitor service 127.0.0.1 {master.port} 1",
            "sentinel auth-pass service secret",
            "sentinel down-after-milliseconds service 300",
            "sentinel failover-timeout service 3000",
        )
        yield master, replica, stack.enter_context(RedisServer(*watch, sentinel=True))


def through(alias: Any, watcher: RedisServer) -> Alias:
    watchers, kwargs = [("127.0.0.1", watcher.port)], {"password": "other"}
    if alias is django_redis:
        options = {"SENTINELS": watchers, "SENTINEL_KWARGS": kwargs, "PASSWORD": "secret", **QUICK}
        cache: Alias = django_redis("redis://service/1", **options, CLIENT_CLASS="django_redis.client.SentinelClient")
        return cache
    manager = Sentinel(watchers, sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
    return django("redis://service/1", sentinel_manager=manager, service_name="service", password="secret", **QUICK)


async def test_a_failover_moves_clients_to_the_new_master(
    sentinel: tuple[RedisServer, RedisServer, RedisServer],
) -> None:
    master, replica, watcher = sentinel
    async with (
        client(through(django_redis, watcher)) as one,
        client(through(django, watcher)) as other,
        client(watching(watcher)) as watch,
    ):
        await until(lambda: knows_replica(watch))
        await one.set("key", "kept")
        assert await other.get("key") == b"kept"
        assert (await one.client_info())["laddr"] == f"127.0.0.1:{master.port}"
        await until(lambda: one.wait(1, 100))
        master.kill()
        for connected in (one, other):
            with pytest.raises(STORE_ERRORS):
                await connected.get("key")
        for connected in (one, other):
            await until(partial(can_write, connected), seconds=15)
            assert (await connected.client_info())["laddr"] == f"127.0.0.1:{replica.port}"
            assert await connected.get("key") == b"kept"


def watching(watcher: RedisServer) -> Alias:
    return django(watcher.url, password="other", **QUICK)


async def knows_replica(watch: Any) -> bool:
    found = await watch.execute_command("SENTINEL REPLICAS", "service")
    return bool(found) and "disconnected" not in str(found)


async def can_write(connected: Any) -> bool:
    with suppress(*STORE_ERRORS):
        return bool(await connected.set("other", "1"))
    return False


async def test_without_a_master_the_store_does_not_answer() -> None:
    with RedisServer(sentinel=True) as watcher:
        cache = django_redis("redis://service", SENTINELS=[("127.0.0.1", watcher.port)], **QUICK)
        async with client(cache) as connected:
            with pytest.raises(STORE_ERRORS, match="No master found for 'service'"):
                await connected.ping()


# -- Cluster -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Start three masters that share the slots, and one replica of the first."""
    with ExitStack() as stack:
        settings = ("cluster-enabled yes", "cluster-node-timeout 2000")
        nodes = [stack.enter_context(RedisServer(*settings, f"cluster-port {free_port()}")) for _ in range(4)]
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        nodes[0].cli("--cluster", "create", *addresses[:3], "--cluster-yes")
        nodes[0].cli("--cluster", "add-node", addresses[3], addresses[0], "--cluster-slave")
        yield nodes


def of_cluster(alias: Any, nodes: list[RedisServer]) -> tuple[Alias, bool | None]:
    urls = [node.admin_url for node in nodes]
    if alias is django:
        return django(urls, **QUICK), True
    return django_redis(urls, REDIS_CLIENT_CLASS="redis.cluster.RedisCluster", **QUICK), None


@clusters
@both
async def test_a_cluster_is_served_on_all_its_nodes(alias: Any, cluster: list[RedisServer]) -> None:
    cache, said = of_cluster(alias, cluster[:1])
    async with client(cache, cluster=said) as connected:
        await until(lambda: can_write(connected))
        script = await connected.script_load("return {KEYS[1], KEYS[2], ARGV[1]}")
        pipeline = connected.pipeline(transaction=False)
        for number in range(30):
            pipeline.execute_command("EVALSHA", script, 2, f"mcp:{{{number}}}", f"mcp:{{{number}}}:r", "x")
        found = await pipeline.execute(raise_on_error=False)
        assert found == [[f"mcp:{{{number}}}".encode(), f"mcp:{{{number}}}:r".encode(), b"x"] for number in range(30)]
        assert len({connected.get_node_from_key(f"mcp:{{{number}}}").port for number in range(30)}) == 3


@clusters
async def test_pipelines_find_the_new_master_after_recovering(cluster: list[RedisServer]) -> None:
    cache, said = of_cluster(django, cluster)
    async with client(cache, cluster=said) as connected:
        await until(lambda: can_write(connected))
        master, replica = await until(lambda: master_of(connected, cluster))
        key = next(f"{{{n}}}" for n in range(999) if connected.get_node_from_key(f"{{{n}}}").port == master.port)

        async def works() -> bool:
            pipeline = connected.pipeline(transaction=False)
            pipeline.execute_command("SET", key, "1")
            try:
                return bool(await pipeline.execute(raise_on_error=False) == [True])
            except STORE_ERRORS:
                return False

        assert await works()
        master.kill()
        assert not await works()
        replica.cli("cluster", "failover", "takeover")
        assert not await works()  # it would never look

        async def recovers() -> bool:
            await recover(connected)
            return await works()

        await until(recovers)
        assert connected.get_node_from_key(key).port == replica.port
    master.start()


async def master_of(connected: Any, nodes: list[RedisServer]) -> tuple[RedisServer, RedisServer] | None:
    """Return the master that has a replica in step, and the replica."""
    for node in nodes:
        found = dict(line.split(":", 1) for line in node.cli("info", "replication").splitlines() if ":" in line)
        if found["role"] == "slave" and found["master_link_status"] == "up":
            await recover(connected)
            return next(each for each in nodes if str(each.port) == found["master_port"]), node
    return None


@clusters
async def test_a_server_that_is_no_cluster_is_a_store_error(server: RedisServer) -> None:
    async with client(django(server.url, password="secret", **QUICK), cluster=True) as connected:
        with pytest.raises(STORE_ERRORS, match="Cluster mode is not enabled"):
            await connected.ping()


def test_connecting_needs_neither_a_server_nor_a_loop() -> None:
    assert connect(django("redis://127.0.0.1:1")) is not None
