"""A measured server as a process: pinned to its cores, its memory and its processor time read from /proc."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.environments import ENVIRONMENTS
from tests.bench.servers import Server
from tests.support.processes import LOOPBACK, START_SECONDS, Process, StartError, program
from tests.support.redis.server import RedisServer

_CORES = sorted(os.sched_getaffinity(0))
_TICKS = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"
# An idle node renews its lease in a second; a worker that starts takes all of one.
_SETTLED_SECONDS = 0.2

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def load_core() -> int:
    """Return the core of the load, and of Redis where there are only two."""
    return _CORES[-1]


def redis_core() -> int:
    """Return the core of Redis: one of its own where there is one to spare."""
    return _CORES[-2] if len(_CORES) > 3 else _CORES[-1]


def server_cores(workers: int) -> Sequence[int]:
    """Return the cores of a server; where its workers are as many as the cores, they share them with the load."""
    others = [core for core in _CORES if core not in (load_core(), redis_core())] or _CORES[:1]
    return others[:workers] if workers <= len(others) else _CORES


def pinned(command: Sequence[str], cores: Sequence[int]) -> list[str]:
    """Return the command line that runs on these cores alone."""
    return [program("taskset"), "--cpu-list", ",".join(map(str, cores)), *command]


class PinnedRedis(RedisServer):
    """A redis-server on the core that is not the server's, on which each project may do all."""

    def __init__(self) -> None:
        super().__init__("user default on nopass ~* &* +@all")

    def command(self) -> list[str]:
        return pinned(super().command(), [redis_core()])

    def used_memory(self) -> int:
        """Return the bytes that it has allocated."""
        return int(self.ask("INFO", "memory")["used_memory"])


class ServerProcess(Process):
    """One measured server."""

    role = "server"

    def __init__(self, server: Server, *, workers: int = 1, redis: PinnedRedis | None = None) -> None:
        super().__init__(server.name)
        self.server, self.workers, self.redis = server, workers, redis

    def command(self) -> list[str]:
        environment = ENVIRONMENTS[self.server.environment]
        places = {"bin": str(environment.programs), "port": str(self.port), "workers": str(self.workers)}
        command = [part.format(**places) for part in self.server.command]
        return pinned(command, server_cores(self.workers))

    def environment(self) -> dict[str, str]:
        own = {"REDIS_URL": self.redis.url} if self.redis is not None else {}
        own["BENCH_DATABASE"] = str(self.folder / "db.sqlite3")
        return {**os.environ, "PORT": str(self.port), **own, **self.server.variables}

    def is_ready(self) -> bool:
        try:
            _opener.open(f"http://{LOOPBACK}:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()  # it answers, whatever it says
        except OSError:
            return False
        return True

    def await_ready(self) -> None:
        """Wait until it answers, and all its workers have settled: the first one alone would get all connections."""
        super().await_ready()
        deadline, used = time.monotonic() + START_SECONDS, -1.0
        while self.workers > 1 and self.cpu_seconds() - used > _SETTLED_SECONDS:
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} does not come to rest:\n{self.fresh_log}")
            used = self.cpu_seconds()
            time.sleep(1.0)

    # -- what it takes

    def memory(self) -> int:
        """Return the bytes that it, and its children, share with nobody."""
        return sum(_private_bytes(pid) for pid in _family(self.pid))

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have had."""
        return sum(cpu_seconds(pid) for pid in _family(self.pid))

    def connections(self) -> int:
        """Return how many connections it holds."""
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        own = f":{self.port:04X}"
        return sum(1 for line in lines if line.split()[1].endswith(own) and line.split()[3] == _ESTABLISHED)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _family(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
