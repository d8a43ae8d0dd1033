"""The Redis backend: any node serves any session, with nothing shared but Redis (7 and newer, or Valkey)."""

from __future__ import annotations

from mcp_transport.backends.redis.backend import redis_backend

__all__ = ["redis_backend"]
