"""The table of servers that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.clients import Client, Handshakeless, OldSSE, Sessionless

HOST = "127.0.0.1"
SITE = {"DJANGO_SETTINGS_MODULE": "tests.bench.site.settings"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One entry: how it is started, and what it can do."""

    name: str
    title: str
    kind: str
    """limit, django (no MCP behind it), ours or peer."""
    command: tuple[str, ...]
    """`{port}` and `{workers}` stand for themselves, `{bin}` for the folder of the environment's programs."""
    environment: str = "project"
    """One of `tests.bench.environments.ENVIRONMENTS`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    path: str = "/mcp"
    redis: bool = False
    """Whether it is given a Redis of its own, by REDIS_URL."""
    session: type[Client] | None = Client
    alone: type[Client] | None = Sessionless
    """The clients for calls in a session and without one; None where it has no such thing."""
    streams: bool = True
    """Whether `count` is answered with a stream of its progress."""
    listens: bool = True
    """Whether a session has a GET stream."""
    resumes: bool = False
    """Whether a stream can be resumed from its log."""
    workers: bool = False
    """Whether several processes can serve one session."""
    base: str = ""
    """The hand-written handler, or view, on the same server that it is compared to."""

    @property
    def is_old(self) -> bool:
        """Whether it speaks HTTP+SSE, whose streams are other ones."""
        return self.session is OldSSE


def uvicorn(application: str) -> tuple[str, ...]:
    """Run under uvicorn as its documentation has it for speed: uvloop, httptools, no access log."""
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    options += ["--timeout-keep-alive", "60"]  # a load that other processes hold up finds its connections again
    return ("{bin}/python", "-m", "uvicorn", "--host", HOST, "--port", "{port}", *options, *_WORKERS, application)


def daphne(application: str) -> tuple[str, ...]:
    """Run under daphne, without its access log."""
    options = ["--verbosity", "0", "--no-server-name"]
    return ("{bin}/python", "-m", "daphne", "--bind", HOST, "--port", "{port}", *options, application)


def gunicorn(application: str, *options: str) -> tuple[str, ...]:
    """Run under gunicorn."""
    bind = ["--bind", HOST + ":{port}", "--log-level", "warning"]
    return ("{bin}/python", "-m", "gunicorn", *bind, *_WORKERS, *options, application)


def granian(application: str) -> tuple[str, ...]:
    """Run under granian with uvloop; it writes no access log unless asked."""
    options = ["--interface", "asgi", "--loop", "uvloop", "--log-level", "warning"]
    return ("{bin}/granian", "--host", HOST, "--port", "{port}", *options, *_WORKERS, application)


_WORKERS = ("--workers", "{workers}")
_DEFAULT = {"BENCH_MIDDLEWARE": "default"}
_RAW, _ASGI_WORKER = "tests.bench.peers.raw:application", ("--worker-class", "asgi")
_MOUNT, _DJANGO = "tests.bench.site.asgi:mounted", "tests.bench.site.asgi:django"


def _raw(name: str, title: str, command: tuple[str, ...]) -> Server:
    return Server(name=name, title=title, kind="limit", command=command, workers=name == "raw")


def _ours(name: str, title: str, command: tuple[str, ...], backend: str, base: str, **variables: str) -> Server:
    return Server(
        name=name,
        title=title,
        kind="ours",
        command=command,
        base=base,
        variables={**SITE, "BENCH_BACKEND": backend, **variables},
        redis=backend != "memory",
        resumes=True,
        workers=backend == "redis" and "{workers}" in command,
    )


def _bare(name: str, title: str, command: tuple[str, ...], **variables: str) -> Server:
    return Server(
        name=name, title=title, kind="django", command=command, variables={**SITE, **variables}, path="/bare"
    )


def _peer(name: str, title: str, command: tuple[str, ...], mode: str = "", **facts: Any) -> Server:
    variables = {**facts.pop("variables", {}), "BENCH_MODE": mode}
    return Server(name=name, title=title, kind="peer", command=command, variables=variables, **facts)


_SDK, _FASTMCP = uvicorn("tests.bench.peers.sdk:application"), uvicorn("tests.bench.peers.fastmcp:application")
_NODE = ("node", "{bin}/server.mjs")
_DRF = uvicorn("tests.bench.peers.drf:application")
_LOCMEM, _REDIS = {"BENCH_CACHE": "locmem"}, {"BENCH_CACHE": "redis"}
_THREADS = ("--worker-class", "gthread", "--threads", "10")
_QUIET = {"FASTMCP_LOG_ENABLED": "false", "FASTMCP_LOG_LEVEL": "WARNING"}

_ALL = (
    _raw("raw", "raw ASGI handler, uvicorn", uvicorn(_RAW)),
    _raw("raw-daphne", "raw ASGI handler, daphne", daphne(_RAW)),
    _raw("raw-gunicorn", "raw ASGI handler, gunicorn", gunicorn(_RAW, *_ASGI_WORKER)),
    _raw("raw-granian", "raw ASGI handler, granian", granian(_RAW)),
    _bare("django-uvicorn", "bare Django view, uvicorn", uvicorn(_DJANGO)),
    _bare("django-daphne", "bare Django view, daphne", daphne(_DJANGO)),
    _bare("django-middleware", "bare Django view, default middleware, uvicorn", uvicorn(_DJANGO), **_DEFAULT),
    _ours("mount-uvicorn-redis", "mount, uvicorn, Redis", uvicorn(_MOUNT), "redis", "raw"),
    _ours("mount-uvicorn-memory", "mount, uvicorn, memory", uvicorn(_MOUNT), "memory", "raw"),
    _ours("mount-uvicorn-cache", "mount, uvicorn, cache", uvicorn(_MOUNT), "cache", "raw"),
    _ours("mount-daphne-redis", "mount, daphne, Redis", daphne(_MOUNT), "redis", "raw-daphne"),
    _ours("mount-gunicorn-redis", "mount, gunicorn, Redis", gunicorn(_MOUNT, *_ASGI_WORKER), "redis", "raw-gunicorn"),
    _ours("mount-granian-redis", "mount, granian, Redis", granian(_MOUNT), "redis", "raw-granian"),
    _ours("view-uvicorn-redis", "view, uvicorn, Redis", uvicorn(_DJANGO), "redis", "django-uvicorn"),
    _ours("view-uvicorn-memory", "view, uvicorn, memory", uvicorn(_DJANGO), "memory", "django-uvicorn"),
    _ours("view-daphne-redis", "view, daphne, Redis", daphne(_DJANGO), "redis", "django-daphne"),
    _ours(
        "view-middleware-redis",
        "view, default middleware, uvicorn, Redis",
        uvicorn(_DJANGO),
        "redis",
        "django-middleware",
        **_DEFAULT,
    ),
    _peer("sdk-json", "Python SDK, JSON", _SDK, "json", streams=False),
    _peer("sdk-sse", "Python SDK, SSE", _SDK, "sse"),
    _peer("sdk-stateless", "Python SDK, stateless", _SDK, "stateless", session=None, alone=Handshakeless),
    _peer("http+sse", "Python SDK, old HTTP+SSE", _SDK, "http+sse", session=OldSSE, alone=None, path="/sse"),
    _peer("fastmcp-json", "FastMCP, JSON", _FASTMCP, "json", streams=False, variables=_QUIET),
    _peer("fastmcp-sse", "FastMCP, SSE", _FASTMCP, "sse", variables=_QUIET),
    _peer("fastmcp-events", "FastMCP, SSE, event store", _FASTMCP, "events", resumes=True, variables=_QUIET),
    _peer("typescript-json", "TypeScript SDK, JSON", _NODE, "json", environment="typescript", streams=False),
    _peer("typescript-sse", "TypeScript SDK, SSE", _NODE, "sse", environment="typescript"),
    _peer("drf-locmem", "drf-mcp-server, LocMem", _DRF, environment="drf", variables=_LOCMEM),
    _peer("drf-redis", "drf-mcp-server, Redis", _DRF, environment="drf", variables=_REDIS, redis=True),
    _peer(
        "drf-wsgi",
        "drf-mcp-server, gunicorn gthread, LocMem",
        gunicorn("tests.bench.peers.drf:application", *_THREADS),
        "sync",
        environment="drf",
        variables=_LOCMEM,
        streams=False,
        listens=False,
    ),
    _peer(
        "mcpz",
        "django-mcpz, gunicorn gthread",
        gunicorn("tests.bench.peers.mcpz:application", *_THREADS),
        environment="mcpz",
        streams=False,
        listens=False,
    ),
)

SERVERS: Mapping[str, Server] = {server.name: server for server in _ALL}
QUICK_SERVERS = ("raw", "django-uvicorn", "mount-uvicorn-redis", "view-uvicorn-redis", "sdk-json", "sdk-sse")
