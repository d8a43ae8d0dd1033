"""Build the Redis backend from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_transport.backends.base import Backend
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.redis.client import RedisClient
from mcp_transport.backends.redis.node_bus import RedisNodeBus
from mcp_transport.backends.redis.pending import IndexChanges
from mcp_transport.backends.redis.rates import RedisRateStore
from mcp_transport.backends.redis.session_index import SessionIndexWriter
from mcp_transport.backends.redis.session_search import RedisSessionIndex
from mcp_transport.backends.redis.sessions import RedisSessionStore
from mcp_transport.backends.redis.streams import RedisStreamLog
from mcp_transport.domain.policy import Policy

__all__ = ["redis_backend"]


def redis_backend(policy: Policy, cache: Mapping[str, Any], *, cluster: bool | None = None) -> Backend:
    """Build the backend; see `RedisClient` for `cache`. Raises: ImproperlyConfigured."""
    client, changes, running = RedisClient(policy, cache, cluster=cluster), IndexChanges(), RunningStreams()
    writer = SessionIndexWriter(client, changes)
    bus = RedisNodeBus(client, running, writer.write)
    return Backend(
        RedisSessionStore(client, changes, running, writer),
        RedisStreamLog(client, changes, running, bus),
        bus,
        RedisSessionIndex(client, writer, running),
        RedisRateStore(client),
    )
