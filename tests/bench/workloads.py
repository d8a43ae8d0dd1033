"""The table of workloads."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench import calls, growth, streams
from tests.bench.servers import Server
from tests.bench.stage import Facts, Stage

_GROWING = (
    "raw",
    "mount-uvicorn-redis",
    "mount-uvicorn-memory",
    "view-uvicorn-redis",
    "sdk-json",
    "sdk-sse",
    "http+sse",
    "typescript-json",
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One entry: what is done, and which servers it can be done to."""

    run: Callable[[Stage], Coroutine[Any, Any, Facts]]
    suits: Callable[[Server], bool]
    workers: int = 1
    fresh: bool = False
    """Whether it needs a process that has done nothing else, since it looks at memory or at workers."""


def _streams(server: Server) -> bool:
    return server.streams and server.session is not None and not server.is_old


def _has_sessions(server: Server) -> bool:
    return server.listens and server.session is not None and not server.is_old


WORKLOADS: Mapping[str, Workload] = {
    "session": Workload(calls.in_session, lambda server: server.session is not None),
    "alone": Workload(calls.alone, lambda server: server.alone is not None),
    "query": Workload(calls.query, lambda server: server.kind == "ours" or server.path == "/bare"),
    "stream": Workload(streams.stream, _streams),
    "first-event": Workload(streams.first_event, _streams),
    "spacing": Workload(streams.spacing, _streams),
    "resume": Workload(streams.resume, lambda server: server.resumes),
    "sessions": Workload(calls.sessions, _has_sessions, fresh=True),
    "idle": Workload(streams.idle, _has_sessions, fresh=True),
    "clients": Workload(growth.clients, lambda server: server.name in _GROWING, fresh=True),
    "one-worker": Workload(growth.workers, lambda server: server.workers, fresh=True),
    "two-workers": Workload(growth.workers, lambda server: server.workers, workers=2, fresh=True),
    "stored": Workload(growth.stored, lambda server: server.name == "mount-uvicorn-redis", fresh=True),
}
