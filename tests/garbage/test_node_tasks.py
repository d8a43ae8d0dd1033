"""The tasks of a node: whatever is raised in them, or refused to them, they go on, and readiness tells of it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
import redis

from mcp_transport.backends.membership import Membership
from mcp_transport.backends.redis import redis_backend
from mcp_transport.backends.redis.acl import acl_rule
from mcp_transport.backends.redis.node_store import RedisNodeStore
from mcp_transport.backends.redis.session_index import SessionIndexWriter
from mcp_transport.domain.node_messages import CancelCall, NodeLost
from mcp_transport.domain.policy import Policy
from tests.support.redis.aliases import django
from tests.support.redis.backend import leave, members
from tests.support.redis.server import RedisServer
from tests.support.redis.users import PASSWORD

# Renewals may be a quarter of a second late, and Redis ends blocked reads ten times a second.
QUICK = Policy(lease=1.5)
HEARD = CancelCall("K", 1)


class Pair:
    """A node whose messages are kept, and another one that sends some."""

    def __init__(self, cache: Any, policy: Policy = QUICK) -> None:
        self.here, self.there = redis_backend(policy, cache), redis_backend(policy, cache)
        self.told: list[Any] = []
        self.told_there: list[Any] = []

    async def __aenter__(self) -> Pair:
        await self.here.bus.start("here", self.told.append)
        await self.there.bus.start("there", self.told_there.append)
        return self

    async def __aexit__(self, *_: object) -> None:
        for backend in (self.here, self.there):
            await leave(backend)

    @property
    def member(self) -> Membership:
        return members(self.here)["here"]

    async def hears(self) -> bool:
        self.told.clear()
        assert await self.there.bus.send("here", HEARD)
        await eventually(lambda: HEARD in self.told)
        return True


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something is so; each look lets the loop turn."""
    async with asyncio.timeout(60):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


def on(server: RedisServer) -> Any:
    return django(f"{server.url}/0")


def tasks_of(node: str) -> dict[str, asyncio.Task[Any]]:
    return {task.get_name(): task for task in asyncio.all_tasks() if task.get_name().endswith(f"of node {node}")}


# -- killed from inside ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
async def test_a_task_of_a_node_in_which_something_is_cancelled_goes_on(
    number: int, server: RedisServer, store: redis.Redis
) -> None:
    async with Pair(on(server)) as pair:
        found = tasks_of("here")
        assert len(found) == 3
        name = sorted(found)[number]
        await eventually(lambda: found[name]._fut_waiter is not None)  # type: ignore[attr-defined]
        found[name]._fut_waiter.cancel()  # type: ignore[attr-defined]
        assert await pair.hears()
        await eventually(lambda: pair.member.failure() is None)
        assert tasks_of("here") == found
        assert {node.name for node in await pair.there.bus.nodes()} == {"here", "there"}


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        *((Membership, step) for step in ("_heartbeat", "_check_nodes", "_journal_streams", "_description")),
        *((RedisNodeStore, step) for step in ("read_inbox", "_ack_inbox")),
    ],
)
@pytest.mark.parametrize("error", [RuntimeError("odd"), asyncio.CancelledError()], ids=["error", "cancelled"])
async def test_whatever_a_step_raises_is_logged_and_the_node_goes_on(
    owner: type[Membership | RedisNodeStore],
    step: str,
    error: BaseException,
    server: RedisServer,
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, is_armed, raised = getattr(owner, step), asyncio.Event(), asyncio.Event()

    def fail_once(member: Membership | RedisNodeStore) -> None:
        if member.node == "here" and is_armed.is_set() and not raised.is_set():
            raised.set()
            raise error

    async def fail_then_do(member: Membership | RedisNodeStore, *args: Any, **options: Any) -> Any:
        fail_once(member)
        return await real(member, *args, **options)

    def fail_then_return(member: Membership | RedisNodeStore) -> Any:
        fail_once(member)
        return real(member)

    is_async = inspect.iscoroutinefunction(real)
    monkeypatch.setattr(owner, step, fail_then_do if is_async else fail_then_return)
    async with Pair(on(server)) as pair:
        is_armed.set()
        if step == "_ack_inbox":
            assert await pair.hears()  # so that there is something to take
        async with asyncio.timeout(60):
            await raised.wait()
        assert await pair.hears()
        await eventually(lambda: pair.member.failure() is None)
        assert len(tasks_of("here")) == 3
        assert " of node here " in caplog.text or "node here " in caplog.text


async def test_an_index_that_is_not_written_keeps_no_message_from_being_read(
    server: RedisServer, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(SessionIndexWriter, "write_last_use", lambda self: hang())
    pair = Pair(on(server))
    await pair.__aenter__()
    async with asyncio.timeout(60):
        await begun.wait()
    assert await pair.hears()
    assert pair.member.failure() is None
    monkeypatch.undo()
    await pair.__aexit__()


async def test_numbers_that_cannot_be_told_cost_no_lease(
    server: RedisServer, store: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise RuntimeError("odd")

    async with Pair(on(server)) as pair:
        pair.here.bus._measure = fail  # type: ignore[attr-defined]
        await pair.member._heartbeat()
        assert [node.name for node in await pair.there.bus.nodes()] == ["here", "there"]
        assert "node here cannot report its metrics" in caplog.text
        assert len(await pair.there.bus.metrics()) == 1


# -- messages --------------------------------------------------------------------------------------------

ODD = {
    "no member": {"x": "y"},
    "no JSON": {"m": "garbage"},
    "no UTF-8": {"m": b"\xff"},
    "empty": {"m": b""},
    "another shape": {"m": b'{"kind": 1}'},
    "no members": {"m": b'["CancelCall", null]'},
    "kind of no text": {"m": b"[[], {}]"},
    "unknown kind": {"m": b'["Newer", {"key": "K"}]'},
    "missing member": {"m": b'["CancelCall", {"key": "K"}]'},
    "wrong types": {"m": b'["Superseded", {"key": [1], "stream": {}, "epoch": "x"}]'},
}


@pytest.mark.parametrize("entry", ODD.values(), ids=ODD.keys())
async def test_a_message_that_cannot_be_read_is_left_out(
    entry: dict[Any, Any], server: RedisServer, store: redis.Redis
) -> None:
    async with Pair(on(server)) as pair:
        store.xadd("mcp:{in:here}:q", entry)
        assert await pair.hears()
        assert pair.member.failure() is None
        await eventually(lambda: store.xlen("mcp:{in:here}:q") == 0)


async def test_a_newer_release_may_add_to_a_message(server: RedisServer, store: redis.Redis) -> None:
    async with Pair(on(server)) as pair:
        store.xadd("mcp:{in:here}:q", {"m": orjson.dumps(["CancelCall", {"key": "K", "request_id": 1, "why": "x"}])})
        await eventually(lambda: HEARD in pair.told)


# -- what is refused -------------------------------------------------------------------------------------


async def test_a_command_that_is_refused_is_logged_and_readiness_follows(
    server: RedisServer,
    store: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    store.execute_command("ACL SETUSER", *acl_rule(user="few").split(" ")[2:], "on", f">{PASSWORD}", "-xread")
    async with Pair(django(f"{server.url_of('few')}/0")) as pair:
        for _ in range(2):
            await eventually(lambda: pair.here.bus.failure("here") is not None)
            assert store.exists("mcp:{in:here}:lease")
            store.execute_command("ACL SETUSER", "few", "+xread")
            await eventually(lambda: pair.here.bus.failure("here") is None)
            assert await pair.hears()
            store.execute_command("ACL SETUSER", "few", "-xread")
            store.execute_command("CLIENT KILL", "USER", "few")  # what it reads already it goes on reading
        assert "the inbox of node here failed" in caplog.text
        assert "NoPermissionError: this user has no permissions to run the 'xread' command" in caplog.text
        assert "the inbox of node here works again" in caplog.text


async def test_who_cannot_write_a_lease_is_not_ready_until_he_can(server: RedisServer, store: redis.Redis) -> None:
    async with Pair(on(server)) as pair:
        assert pair.here.bus.failure("here") is None
        store.config_set("min-replicas-to-write", 3)
        try:
            await eventually(lambda: pair.here.bus.failure("here") is not None)
        finally:
            store.config_set("min-replicas-to-write", 0)
        await eventually(lambda: pair.here.bus.failure("here") is None)
        assert await pair.hears()


# -- other nodes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    [[b"garbage"], [b"\xff\xfe"], [b"a b c"], [b""], [b"garbage", b"KEY stream", b"\xff"], None],
    ids=["no blank", "no UTF-8", "too many", "empty", "one of three", "no hash"],
)
async def test_what_a_dead_node_has_left_and_cannot_be_read_is_left_out(
    left: list[bytes] | None, server: RedisServer, store: redis.Redis
) -> None:
    if left is None:
        store.set("mcp:{in:dead}:own", "garbage")
    else:
        store.hset("mcp:{in:dead}:own", mapping=dict.fromkeys(left, ""))
    store.set("mcp:{in:dead}:sweep", "garbage")  # which has no end
    store.zadd("mcp:nodes", {"dead": 1, **{b"\xff\xfe%d" % number: 0 for number in range(40)}})
    async with Pair(on(server)) as pair:
        await eventually(lambda: NodeLost("dead") in pair.told)
        if left and b"KEY stream" in left:  # which stays until somebody claims it
            await eventually(lambda: store.hkeys("mcp:{in:dead}:own") == [b"KEY stream"])
            store.hdel("mcp:{in:dead}:own", "KEY stream")
        await eventually(lambda: store.zrange("mcp:nodes", 0, -1) == [b"here", b"there"])
        assert not store.exists("mcp:{in:dead}:own")
        assert await pair.hears()


async def test_of_a_dead_node_that_has_left_nothing_every_node_is_told(
    server: RedisServer, store: redis.Redis
) -> None:
    async with Pair(on(server)) as pair:
        store.zadd("mcp:nodes", {"dead": 1})
        await eventually(lambda: NodeLost("dead") in pair.told)
        await eventually(lambda: NodeLost("dead") in pair.told_there)
        assert [*pair.told, *pair.told_there].count(NodeLost("dead")) == 2
