"""`manage.py mcp_drain`: drain this host's nodes before their servers are stopped."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import bootstrap
from mcp_transport.backends.base import Backend
from mcp_transport.backends.records import NodeRecord
from mcp_transport.domain.node_messages import Drain
from mcp_transport.exceptions import BackendError
from mcp_transport.management.argument_types import add_seconds

__all__ = ["Command"]

_POLL_SECONDS: Final = 0.25


class Command(BaseCommand):
    """Drains the nodes of this host, and no others, and waits for them; meant for a preStop hook."""

    help = (
        "Mark this host's nodes not ready and end their GET and listen streams, so that clients reconnect to other "
        "nodes; requests that still arrive are served. Returns when --wait has passed and no call is running, or at "
        "--timeout."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_seconds(parser, "--wait", 0, 5.0, "seconds for load balancers to notice")
        add_seconds(parser, "--timeout", 0.1, 15.0, "seconds after which the command returns anyway")

        parser.add_argument("--dry-run", action="store_true", help="print the nodes, and drain none")

    def handle(self, *args: Any, wait: float, timeout: float, dry_run: bool, **options: Any) -> None:
        try:
            backend = bootstrap.build_backend()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if not backend.shares_streams:
            raise CommandError(
                f"The {bootstrap.backend_name()!r} backend's nodes cannot be reached from another process. "
                "Only SIGTERM drains them; use the backend 'redis' or 'dynamodb' to drain them earlier."
            )
        try:
            if dry_run:
                async_to_sync(self._announce)(backend)
            else:
                async_to_sync(self._drain)(backend, wait, max(wait, timeout))
        except BackendError as error:
            raise CommandError(str(error)) from error

    async def _announce(self, backend: Backend) -> None:
        try:
            self.stdout.write(_announcement(await _nodes_here(backend), verb="would drain"))
        finally:
            await backend.sessions.disconnect()

    async def _drain(self, backend: Backend, wait: float, limit: float) -> None:
        try:
            started = time.monotonic()
            nodes = await _nodes_here(backend)
            self.stdout.write(_announcement(nodes))
            self.stdout.flush()
            for node in nodes:
                await backend.bus.send(node.name, Drain())
            while not _are_drained(nodes) or time.monotonic() - started < wait:
                if time.monotonic() - started >= limit:
                    calls = sum(node.calls for node in nodes)
                    self.stderr.write(f"not drained after {limit:g} s: {_count(nodes)}, running calls: {calls}")
                    return
                await asyncio.sleep(_POLL_SECONDS)
                nodes = await _nodes_here(backend)
            self.stdout.write(f"drained {_count(nodes)}")
        finally:
            await backend.sessions.disconnect()


def _announcement(nodes: list[NodeRecord], verb: str = "draining") -> str:
    """Return a line that lists the nodes to drain."""
    host = socket.gethostname()
    if not nodes:
        return f"no node is running on {host}"
    names = ", ".join(f"{node.name} (pid {node.pid})" for node in nodes)
    return f"{verb} {_count(nodes)} on {host}: {names}"


def _count(nodes: list[NodeRecord]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


async def _nodes_here(backend: Backend) -> list[NodeRecord]:
    return [node for node in await backend.bus.nodes() if node.host == socket.gethostname()]


def _are_drained(nodes: list[NodeRecord]) -> bool:
    return all(node.draining and not node.calls for node in nodes)
