"""The processes of these tests start, answer, die and come back as they are told."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

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
)
from tests.support.redis.server import RedisServer


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


@pytest.mark.parametrize("server", SERVERS)
def test_node_is_killed_paused_and_ended_and_comes_back_on_its_port(server: str) -> None:
    with Node(server) as node, ThreadPoolExecutor(1) as pool:
        port, pid = node.port, node.pid
        node.kill()
        assert not node.alive
        with pytest.raises(urllib.error.URLError):
            status_of(port)
        node.start()
        assert (node.port, node.pid != pid) == (port, True)
        node.pause()
        asking = pool.submit(status_of, port)
        with pytest.raises(TimeoutError):
            asking.result(0.2)
        node.resume()
        assert asking.result(10) == 200
        node.terminate()
        assert node.wait(10)
        node.restart()
        assert status_of(port) == 200
        node.pause()
        node.stop()
        assert not exists(node.pid)
        assert is_free(port)
        assert "healthz" in node.log or "Uvicorn running" in node.log


@pytest.mark.parametrize("kind", [RedisServer, Node, lambda **port: Node("uvicorn", **port)])
def test_taken_port_is_left_alone_or_an_error_where_it_was_asked_for(kind: type[Process]) -> None:
    process = kind()
    with socket.create_server((LOOPBACK, taken := process.port)), process:
        assert process.port != taken
    with socket.create_server((LOOPBACK, port := free_port())):
        process = kind(port=port)
        with pytest.raises((StartError, OSError), match=r"(?i)address already in use"):
            process.__enter__()
        assert not process.alive


def test_one_that_cannot_start_says_why_and_takes_the_others_with_it() -> None:
    processes: list[Process] = [RedisServer(), Node(application="no_such_module:application")]
    with pytest.raises(StartError, match="no_such_module"):
        start_all(processes)
    assert not any(process.alive for process in processes)


def test_missing_program_is_named() -> None:
    with pytest.raises(MissingProgramError, match="apt-get install no-such-program"):
        program("no-such-program")
