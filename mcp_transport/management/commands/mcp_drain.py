"""`manage.py mcp_drain`: send this machine's clients elsewhere before its server is stopped."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import bootstrap
from mcp_transport.backends.base import Backend, NodeRecord
from mcp_transport.domain.node_messages import Drain
from mcp_transport.exceptions import BackendError
from mcp_transport.management.argument_types import seconds

__all__ = ["Command"]

# Seconds between two looks at how far the nodes are.
_LOOK_EVERY: Final = 0.25


class Command(BaseCommand):
    """Asks the nodes of this host, and no others, to drain, and waits for them; meant for a preStop hook."""

    help = (
        "Turn the readiness of this machine's servers red and end their GET and listen streams, so that clients come "
        "back elsewhere; what still arrives is served. Returns when --wait is over and no call runs, or at --timeout."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--wait",
            type=seconds(0),
            default=5.0,
            help="Seconds that load balancers have to notice (default %(default)s).",
        )
        parser.add_argument(
            "--timeout",
            type=seconds(0.1),
            default=15.0,
            help="Seconds after which it returns anyway (default %(default)s).",
        )

    def handle(self, *args: Any, wait: float, timeout: float, **options: Any) -> None:
        try:
            backend = bootstrap.build_backend()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if not backend.shares_streams:
            raise CommandError(
                f"The {bootstrap.backend_name()!r} backend's nodes cannot be reached from another process. "
                "SIGTERM alone drains them; use the redis backend to drain before it."
            )
        try:
            async_to_sync(self._drain)(backend, wait, max(wait, timeout))
        except BackendError as error:
            raise CommandError(str(error)) from error

    async def _drain(self, backend: Backend, wait: float, limit: float) -> None:
        try:
            began = time.monotonic()
            nodes = await _nodes_here(backend)
            self.stdout.write(_announcement(nodes))
            self.stdout.flush()
            for node in nodes:
                await backend.send(node.name, Drain())
            while not _are_drained(nodes) or time.monotonic() - began < wait:
                if time.monotonic() - began >= limit:
                    calls = sum(node.calls for node in nodes)
                    self.stderr.write(f"not drained after {limit:g} s: {_counted(nodes)}, calls that run: {calls}")
                    return
                await asyncio.sleep(_LOOK_EVERY)
                nodes = await _nodes_here(backend)
            self.stdout.write(f"drained {_counted(nodes)}")
        finally:
            await backend.disconnect()


def _announcement(nodes: list[NodeRecord]) -> str:
    """Return which nodes are about to be drained."""
    host = socket.gethostname()
    if not nodes:
        return f"no node runs on {host}"
    named = ", ".join(f"{node.name} (pid {node.pid})" for node in nodes)
    return f"draining {_counted(nodes)} on {host}: {named}"


def _counted(nodes: list[NodeRecord]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


async def _nodes_here(backend: Backend) -> list[NodeRecord]:
    return [node for node in await backend.nodes() if node.host == socket.gethostname()]


def _are_drained(nodes: list[NodeRecord]) -> bool:
    return all(node.draining and not node.calls for node in nodes)
