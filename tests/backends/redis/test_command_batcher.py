"""Commands on the shared connection: in order, each with its own answer, even if the connection breaks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcp_transport.backends.redis import command_batcher as pipelines
from mcp_transport.backends.redis.command_batcher import CommandBatcher
from mcp_transport.backends.redis.connection import connect
from mcp_transport.backends.redis.scripts import Script
from mcp_transport.exceptions import BackendError, Unreadable
from tests.support.redis.aliases import django, until
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers

WITHIN = 0.3
OPTIONS = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
WAYS = ["shared connection", "redis-py"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "redis-py":
        monkeypatch.setattr(pipelines, "_HAS_HIREDIS", False)
    return str(request.param)


@asynccontextmanager
async def pipeline_to(server: RedisServer, **options: Any) -> AsyncIterator[CommandBatcher]:
    pipeline = CommandBatcher(connect(django(server.admin_url, **(OPTIONS | options))), "here")
    try:
        yield pipeline
    finally:
        async with asyncio.timeout(60):
            await pipeline.close()


async def connections(server: RedisServer) -> int:
    """Return how many clients the server has, without the one that asks."""
    return server.cli("CLIENT", "LIST").count("name=mcp")


async def served(pipeline: CommandBatcher) -> bool:
    try:
        return bool(await pipeline.execute("PING"))
    except BackendError:
        return False


async def test_each_command_has_its_own_answer(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("FLUSHALL")
        answers = [pipeline.execute("INCR", "n", deferred=bool(number % 2)) for number in range(100)]
        assert await asyncio.gather(*answers) == list(range(1, 101))
        assert (await pipeline.execute("XRANGE", "none", "-", "+")) == []
        await pipeline.execute("XADD", "stream", "1-1", "name", "value")
        assert await pipeline.execute("XRANGE", "stream", "-", "+") == [(b"1-1", {b"name": b"value"})]


async def test_all_that_are_under_way_share_one_connection(server: RedisServer) -> None:
    async with pipeline_to(server) as pipeline:
        first = pipeline.execute("PING")
        more = [pipeline.execute("ECHO", str(number)) for number in range(50)]
        await asyncio.gather(first, *more)
        assert await connections(server) == 1


async def test_what_nobody_waits_for_goes_with_the_next(server: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(pipelines, "_DEFER_SECONDS", 3600.0)
    async with pipeline_to(server) as pipeline:
        deferred = pipeline.execute("ECHO", "deferred", deferred=True)
        assert not deferred.done()
        assert await pipeline.execute("ECHO", "now") == b"now"
        assert await deferred == b"deferred"


async def test_what_nobody_waits_for_goes_alone_after_a_moment(server: RedisServer) -> None:
    async with pipeline_to(server) as pipeline, asyncio.timeout(60):
        assert await pipeline.execute("ECHO", "deferred", deferred=True) == b"deferred"


async def test_what_is_deferred_is_sent_before_the_end(server: RedisServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(pipelines, "_DEFER_SECONDS", 3600.0)
    async with pipeline_to(server) as pipeline:
        pipeline.post("SET", "last", "words")
    assert server.cli("GET", "last").strip() == "words"
    await until(lambda: _none(server))


async def _none(server: RedisServer) -> bool:
    return await connections(server) == 0


async def test_an_error_is_the_answer_of_one_command_alone(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        good, bad, also = (pipeline.execute(*words) for words in (("PING",), ("NOPE",), ("PING",)))
        assert (await good, await also) == (True, True)
        with pytest.raises(Exception, match="unknown command"):
            await bad


@pytest.mark.parametrize("word", ["\udcff", None, object()])
async def test_a_command_that_cannot_be_written_takes_nobody_elses_answer(
    word: Any, server: RedisServer, way: str
) -> None:
    async with pipeline_to(server) as pipeline, asyncio.timeout(60):
        for _ in range(2):  # before there is a connection, and on it
            answers = [pipeline.execute("ECHO", text) for text in ("one", word, "two")]
            found = await asyncio.gather(*answers, return_exceptions=True)
            if way == "shared connection":
                assert (found[0], found[2]) == (b"one", b"two")
            assert isinstance(found[1], Exception)
            assert await pipeline.execute("ECHO", "three") == b"three"


async def test_a_key_of_another_type_is_unreadable_to_one_command_alone(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("SET", "text", "x")
        script = Script("return redis.call('HGET', KEYS[1], 'x')", "a" * 40)
        wrong = pipeline.execute("HGET", "text", "x"), pipeline.run(script, ["text"], [])
        good = pipeline.execute("GET", "text")
        for answer in wrong:
            with pytest.raises(Unreadable, match="WRONGTYPE"):
                await answer
        assert await good == b"x"
        await pipeline.execute("DEL", "text")


async def test_an_error_that_nobody_waits_for_is_no_lost_exception(
    server: RedisServer, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("SET", "text", "x")
        with caplog.at_level("ERROR", logger="asyncio"):
            for deferred in (False, True):
                pipeline.execute("HGET", "text", "field", deferred=deferred)
                await pipeline.execute("PING")
            gc.collect()
    assert not caplog.records


async def test_a_script_that_is_not_known_is_sent_in_full(server: RedisServer, way: str) -> None:
    script = Script("return {KEYS[1], ARGV[1]}", "f" * 40)
    async with pipeline_to(server) as pipeline:
        assert await pipeline.run(script, ["key"], ["value"]) == [b"key", b"value"]


async def test_a_script_that_is_not_known_is_run_before_the_end(server: RedisServer, way: str) -> None:
    script = Script("return redis.call('INCR', KEYS[1])", "e" * 40)
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("DEL", "runs")
        answer = pipeline.run(script, ["runs"], [], deferred=True)
    assert await answer == 1


async def test_what_was_cancelled_is_not_overtaken(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("DEL", "early", "late", "line")
        under_way = pipeline.execute("BLPOP", "early", 5)
        await until(lambda: _blocked(server))
        for command in (("BLPOP", "late", 5), ("RPUSH", "line", "first")):
            pipeline.execute(*command).cancel()  # before it is sent
        waiting = asyncio.ensure_future(pipeline.flush())
        await asyncio.sleep(0)
        server.cli("RPUSH", "early", "now")
        await under_way
        assert waiting.done() is (way == "shared connection")
        server.cli("RPUSH", "late", "now")
        await waiting
        await pipeline.execute("RPUSH", "line", "second")
        assert server.cli("LRANGE", "line", "0", "-1").split() == ["first", "second"]


async def test_a_caller_who_leaves_takes_nobody_elses_answer(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        leaving = asyncio.ensure_future(pipeline.execute("ECHO", "left"))
        staying = pipeline.execute("ECHO", "stayed")
        leaving.cancel()
        assert await staying == b"stayed"


async def broken_by(pipeline: CommandBatcher, blow: Callable[[], Awaitable[Any]]) -> None:
    """Break the connection while a command waits for its answer."""
    await pipeline.execute("PING")
    waiting = asyncio.ensure_future(pipeline.execute("BLPOP", "never", 0))
    await asyncio.sleep(0)
    await blow()
    with pytest.raises(BackendError):
        async with asyncio.timeout(60):
            await waiting


async def test_after_a_cut_connection_the_next_command_is_served(server: RedisServer) -> None:
    async with pipeline_to(server) as pipeline:

        async def cut() -> None:
            await until(lambda: _blocked(server))
            server.cli("CLIENT", "KILL", "TYPE", "normal")

        await broken_by(pipeline, cut)
        assert await served(pipeline)
        assert await connections(server) == 1


async def _blocked(server: RedisServer) -> bool:
    return " flags=b " in server.cli("CLIENT", "LIST")


async def test_a_server_that_owes_an_answer_for_too_long_is_given_up(server: RedisServer) -> None:
    async with pipeline_to(server, socket_timeout=WITHIN) as pipeline:
        await until(lambda: served(pipeline))
        began = asyncio.get_running_loop().time()
        owed = [pipeline.execute("BLPOP", "never", 2), pipeline.execute("PING")]
        for answer in owed:
            with pytest.raises(BackendError, match="TimeoutError"):
                await answer
        assert asyncio.get_running_loop().time() - began >= WITHIN
        await until(lambda: served(pipeline))


async def test_a_server_that_comes_back_is_found_again(way: str) -> None:
    with RedisServer() as server:
        async with pipeline_to(server) as pipeline:
            assert await served(pipeline)
            server.stop()
            await until(lambda: _refused(pipeline))
            answers = await asyncio.gather(*(pipeline.execute("PING") for _ in range(10)), return_exceptions=True)
            assert all(isinstance(answer, BackendError) for answer in answers)
            server.start()
            await until(lambda: served(pipeline))


async def _refused(pipeline: CommandBatcher) -> bool:
    return not await served(pipeline)


async def test_a_master_that_became_a_replica_is_left(server: RedisServer) -> None:
    async with pipeline_to(server) as pipeline:
        await pipeline.execute("SET", "a", "1")
        before = pipeline._connection
        server.cli("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(BackendError, match="ReadOnlyError"):
                await pipeline.execute("SET", "a", "2")
        finally:
            server.cli("REPLICAOF", "NO", "ONE")
        assert await pipeline.execute("SET", "a", "3")
        assert pipeline._connection is not before


async def test_many_that_come_while_it_connects_are_all_served(server: RedisServer, way: str) -> None:
    async with pipeline_to(server) as pipeline:
        answers = []
        for number in range(50):
            answers.append(pipeline.execute("ECHO", str(number)))
            await asyncio.sleep(0)
        assert await asyncio.gather(*answers) == [str(number).encode() for number in range(50)]
