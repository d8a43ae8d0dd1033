"""The errors of a failed store, each provoked on a real server by commands and by scripts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.connection import STORE_ERRORS, is_setup_error, is_store_error
from mcp_transport.exceptions import BackendError
from tests.support.processes import free_port
from tests.support.redis.aliases import QUICK, client, django, until
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

WRITE = "return redis.call('SET', KEYS[1], ARGV[1])"
SHORT = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}


async def errors_of(connected: Any) -> list[BaseException]:
    """Write by a command, a script, and a pipeline of both; return the results."""
    pipeline = connected.pipeline(transaction=False).set("a", "1")
    pipeline.execute_command("EVAL", WRITE, 1, "b", "1")
    attempts = (connected.set("c", "1"), connected.execute_command("EVAL", WRITE, 1, "d", "1"))
    found = [await outcome(attempt) for attempt in (*attempts, pipeline.execute(raise_on_error=False))]
    flat = [item for each in found for item in (each if isinstance(each, list) else [each])]
    assert all(isinstance(item, Exception) for item in flat), flat
    return flat


async def outcome(attempt: Any) -> Any:
    try:
        return await attempt
    except Exception as error:
        return error


@pytest.fixture(autouse=True)
def each_key_expires() -> None:
    """Look for no keys: servers are broken here, and have none of the package's."""


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    with RedisServer("enable-debug-command local") as started:
        yield started


@pytest.fixture
async def connected(server: RedisServer) -> AsyncIterator[Any]:
    async with client(django(server.admin_url, **QUICK)) as made:
        yield made


async def test_a_killed_server(server: RedisServer, connected: Any) -> None:
    reading = asyncio.create_task(connected.blpop("nothing", timeout=0))
    await until(lambda: blocked(server))
    server.kill()
    with pytest.raises(STORE_ERRORS):
        await reading
    assert all(isinstance(error, STORE_ERRORS) for error in await errors_of(connected))


async def blocked(server: RedisServer) -> int:
    async with client(django(server.admin_url, **QUICK)) as other:
        found: int = (await other.info("clients"))["blocked_clients"]
        return found


async def test_a_paused_server(server: RedisServer) -> None:
    async with client(django(server.admin_url, **SHORT)) as connected:
        await connected.execute_command("CLIENT", "PAUSE", "60000", "ALL")
        assert {type(error) for error in await errors_of(connected)} == {redis.exceptions.TimeoutError}


async def test_a_server_that_sleeps(server: RedisServer) -> None:
    async with (
        client(django(server.admin_url, **SHORT)) as connected,
        client(django(server.admin_url), blocking=5) as other,
    ):
        await asyncio.gather(connected.ping(), other.ping())
        sleeping = asyncio.create_task(other.execute_command("DEBUG", "SLEEP", "0.8"))
        await asyncio.sleep(0)  # sent before what follows
        assert {type(error) for error in await errors_of(connected)} == {redis.exceptions.TimeoutError}
        await sleeping
        assert await connected.ping()


async def test_a_stopped_process_accepts_and_says_nothing(server: RedisServer) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        async with client(django(server.admin_url, **SHORT)) as connected:
            with pytest.raises(STORE_ERRORS, match="Timeout"):
                await connected.ping()
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis://no-such-host.invalid", "unix:///nowhere"])
async def test_an_unreachable_server(url: str) -> None:
    async with client(django(url, **QUICK)) as connected:
        assert all(isinstance(error, STORE_ERRORS) for error in await errors_of(connected))


async def test_a_master_that_becomes_a_replica(server: RedisServer, connected: Any) -> None:
    async with client(django(server.admin_url), blocking=5) as inbox:
        reading = asyncio.create_task(inbox.xread({"inbox": "$"}, block=5000))
        await until(lambda: blocked(server))
        await connected.replicaof("127.0.0.1", free_port())
        interrupted = await outcome(reading)
        assert str(interrupted).startswith("UNBLOCKED ")
        assert is_store_error(interrupted)
    found = await errors_of(connected)
    assert {type(error) for error in found} == {ReadOnlyError}
    assert all(is_store_error(error) for error in found)
    # Without its master it may refuse even to read.
    await connected.config_set("replica-serve-stale-data", "no")
    refused = await outcome(connected.get("a"))
    assert "Link with MASTER is down" in str(refused)
    assert is_store_error(refused)


async def test_a_server_that_loads_its_data(server: RedisServer, connected: Any) -> None:
    await connected.execute_command("DEBUG", "POPULATE", "2000")
    await connected.save()
    server.end()
    # Without a user of its own: who has not logged in is told nothing of loading.
    everybody = "user default on nopass ~* &* +@all"
    slow = RedisServer("key-load-delay 1000", "loading-process-events-interval-bytes 1024", everybody)
    with slow:
        slow.end()
        (server.folder / "dump.rdb").rename(slow.folder / "dump.rdb")
        slow.start(ready=(b"-LOADING",))
        async with client(django(slow.admin_url, **QUICK)) as loading:
            found = await outcome(loading.set("a", "1"))
            assert isinstance(found, BusyLoadingError)
            assert is_store_error(found)


async def test_memory_that_is_full(connected: Any) -> None:
    await connected.config_set("maxmemory-policy", "noeviction")
    await connected.config_set("maxmemory", "1")
    found = await errors_of(connected)
    assert {type(error) for error in found} == {OutOfMemoryError}
    assert all(is_store_error(error) for error in found)


async def test_refusals_that_have_no_class_of_their_own(server: RedisServer, connected: Any) -> None:
    await connected.config_set("min-replicas-to-write", "3")
    found = await errors_of(connected)
    assert {str(error).partition(" ")[0] for error in found} == {"NOREPLICAS"}
    assert all(is_store_error(error) for error in found)
    await connected.config_set("min-replicas-to-write", "0")
    # A disk that cannot be written: by default writes are refused then.
    await connected.config_set("save", "3600 1")
    (server.folder / "dump.rdb").mkdir()
    await connected.bgsave()
    await until(lambda: failed_to_save(connected))
    found = await errors_of(connected)
    assert {str(error).partition(" ")[0] for error in found} == {"MISCONF"}
    assert all(is_store_error(error) for error in found)
    await connected.config_set("save", "")  # or it would not end


async def failed_to_save(connected: Any) -> bool:
    return bool((await connected.info("persistence"))["rdb_last_bgsave_status"] == "err")


async def test_a_script_that_runs_on(server: RedisServer, connected: Any) -> None:
    await connected.config_set("busy-reply-threshold", "10")
    async with client(django(server.admin_url), blocking=5) as other:
        await other.ping()
        running = asyncio.create_task(other.execute_command("EVAL", "while true do end", 0))
        found = await until(lambda: busy(connected))
        assert is_store_error(found)
        await connected.script_kill()
        assert isinstance(await outcome(running), ResponseError)


async def busy(connected: Any) -> Exception | None:
    found = await outcome(connected.get("a"))
    return found if isinstance(found, Exception) else None


async def test_what_an_operator_must_mend_is_told_apart() -> None:
    with RedisServer("requirepass secret", "user bob on >word ~other:* +@all -@scripting") as started:
        for options in ({}, {"password": "wrong"}, {"username": "nobody", "password": "secret"}):
            async with client(django(started.url, **options, **QUICK)) as connected:
                found = await errors_of(connected)
                assert all(is_setup_error(error) for error in found), found
                assert "secret" not in str(found)
        async with client(django(started.url, username="bob", password="word", **QUICK)) as connected:
            found = await errors_of(connected)  # neither these keys nor scripts are bob's
            assert all(is_setup_error(error) for error in found), found
            assert not any(is_store_error(error) for error in found)
        async with client(django(f"{started.url}/99", password="secret", **QUICK)) as connected:
            with pytest.raises(ResponseError, match="DB index is out of range"):
                await connected.ping()


async def test_a_right_that_is_missing_inside_a_script_is_told_in_full() -> None:
    with RedisServer("user bob on >word ~* +@all -hset") as started:
        async with client(django(started.url, username="bob", password="word", **QUICK)) as connected:
            with pytest.raises(BackendError, match="can't run this command"):
                await CommandBatcher(connected, "here").execute("EVAL", "return redis.call('HSET', 'a', 'b', 'c')", 0)


async def test_a_cluster_that_is_not_known_as_one_is_to_be_mended_too() -> None:
    with RedisServer("cluster-enabled yes", f"cluster-port {free_port()}") as node:
        async with client(django(node.admin_url, **QUICK)) as connected:
            await connected.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
            found = [await outcome(connected.get(f"{{{number}}}")) for number in range(20)]
            errors = [error for error in found if isinstance(error, Exception)]
            assert errors
            assert all(is_store_error(error) for error in errors)  # CLUSTERDOWN: not all slots are covered


async def test_a_fault_of_what_was_asked_is_no_fault_of_the_store(connected: Any) -> None:
    await connected.set("text", "x")
    wrong = (
        connected.lpush("text", "1"),
        connected.execute_command("EVALSHA", "0" * 40, 0),
        connected.execute_command("EVAL", "return redis.call('NOPE')", 0),
        connected.execute_command("NOPE"),
    )
    for attempt in wrong:
        error = await outcome(attempt)
        assert isinstance(error, ResponseError)
        assert not is_store_error(error)
        assert not is_setup_error(error)
