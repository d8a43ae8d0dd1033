"""The processes start, answer, die and come back as they are told."""

from __future__ import annotations

import asyncio
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from redis.exceptions import MovedError

from tests.support.cluster.arrangement import Arrangement
from tests.support.cluster.client import Client
from tests.support.node import SERVERS, Node
from tests.support.processes import (
    LOOPBACK,
    MissingProgramError,
    Process,
    StartError,
    free_port,
    is_free,
    program,
    start_all,
    stop_all,
)
from tests.support.redis.server import RedisServer, form_cluster


def status_of(port: int) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{LOOPBACK}:{port}/healthz", timeout=10) as answer:
        status: int = answer.status
    return status


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(params=SERVERS)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with Node(request.param) as running:
        yield running


# -- Redis -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aof", [False, True])
def test_redis_remembers_only_what_it_writes_to_a_file(aof: bool) -> None:
    with RedisServer(aof=aof) as server:
        server.ask("SET", "key", "value")
        port, pid = server.port, server.pid
        server.kill()
        assert not exists(pid)
        server.start()
        assert (server.port, server.pid != pid) == (port, True)
        assert server.ask("GET", "key") == ("value" if aof else None)


def test_redis_is_replicated_and_asks_for_its_password() -> None:
    with RedisServer(password="secret") as first:
        first.ask("SET", "key", "value")
        with RedisServer(replica_of=first, password="secret") as second:
            assert second.ask("GET", "key") == "value"
            assert second.ask("INFO", "replication")["role"] == "slave"
        assert f":secret@{LOOPBACK}:{first.port}" in first.url


def test_redis_servers_form_a_cluster() -> None:
    servers = [RedisServer(cluster=True, name=f"redis-{number}") for number in range(3)]
    start_all(servers)
    try:
        form_cluster(servers)
        refused = 0
        for server in servers:
            try:
                server.ask("SET", "key", "value")
            except MovedError:
                refused += 1
        assert refused == 2
    finally:
        stop_all(servers)


# -- nodes -----------------------------------------------------------------------------------------------


def test_node_dies_and_comes_back_on_its_port(node: Node) -> None:
    port, pid = node.port, node.pid
    assert status_of(port) == 200
    node.kill()
    assert not node.alive
    with pytest.raises(urllib.error.URLError):
        status_of(port)
    node.start()
    assert (node.port, node.pid != pid) == (port, True)
    assert status_of(port) == 200


def test_node_ends_in_good_order(node: Node) -> None:
    node.terminate()
    assert node.wait(10)
    node.restart()
    assert status_of(node.port) == 200
    node.stop()
    assert not exists(node.pid)
    assert is_free(node.port)
    assert "healthz" in node.log or "Uvicorn running" in node.log


async def test_paused_node_answers_when_it_is_resumed(node: Node) -> None:
    node.pause()
    asking = asyncio.create_task(asyncio.to_thread(status_of, node.port))
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done
    node.resume()
    assert await asking == 200


def test_paused_node_can_be_stopped(node: Node) -> None:
    node.pause()
    node.stop()
    assert not exists(node.pid)


# -- what can go wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RedisServer, Node, lambda: Node("uvicorn")])
def test_taken_port_is_left_alone(kind: type[Process]) -> None:
    process = kind()
    taken = process.port
    with socket.create_server((LOOPBACK, taken)), process:
        assert process.port != taken


@pytest.mark.parametrize("kind", [RedisServer, lambda port: Node("uvicorn", port=port), Node])
def test_port_that_was_asked_for_is_not_exchanged(kind: type[Process]) -> None:
    with socket.create_server((LOOPBACK, port := free_port())):
        process = kind(port=port)
        with pytest.raises((StartError, OSError), match=r"(?i)address already in use"):
            process.__enter__()
        assert not process.alive


def test_node_that_cannot_start_says_why() -> None:
    with pytest.raises(StartError, match="no_such_module"):
        Node(application="no_such_module:application").__enter__()


def test_one_that_fails_takes_the_others_with_it() -> None:
    processes: list[Process] = [RedisServer(), Node(application="no_such_module:application")]
    with pytest.raises(StartError):
        start_all(processes)
    assert not any(process.alive for process in processes)


def test_missing_program_is_named() -> None:
    with pytest.raises(MissingProgramError, match="apt-get install no-such-program"):
        program("no-such-program")


# -- all of them -------------------------------------------------------------------------------------------


async def test_arrangement_serves_by_all_nodes_and_leaves_nothing_behind() -> None:
    with Arrangement(["daphne", "uvicorn"]) as arrangement:
        pids = {process.pid for process in arrangement.processes}
        assert len(pids) == 4
        assert all(exists(pid) for pid in pids)
        async with Client(arrangement.nginx.port) as client:
            for _ in range(4):
                answer = await client.call_alone("test_simple_text")
                assert await answer.text() == "This is a simple text response for testing."
        one, two = (f"{LOOPBACK}:{node.port}" for node in arrangement.nodes)
        assert arrangement.nginx.await_turns(4) == [one, two, one, two]
    assert not any(exists(pid) for pid in pids)
    assert all(is_free(process.port) for process in arrangement.processes)
