"""What the nodes of a test share: a Redis or a DynamoDB table, and what tests ask of either.

`CLUSTER_STORE=dynamodb` in the environment chooses for the tests that leave it open.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.domain.session import session_key
from tests.support.processes import Process
from tests.support.redis.permanent import refuse_permanent_keys
from tests.support.redis.server import RedisServer

__all__ = ["RedisStore", "Store", "choose_store", "redis_of"]


class Store(ABC):
    """A server that nodes share, and what it has of a session."""

    @property
    @abstractmethod
    def server(self) -> Process:
        """The server."""

    def start(self) -> None:
        """Start the server, unless it runs."""
        if not self.server.alive:
            self.server.start()

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()

    @property
    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """The environment of nodes that use it, once it runs."""

    @abstractmethod
    def refuse_leftovers(self) -> None:
        """Fail if something has no end, and no reason to stay."""

    @abstractmethod
    def in_flight(self, session_id: str) -> list[str]:
        """Return the requests in flight of a session."""

    @abstractmethod
    def stream(self, session_id: str, name: str) -> dict[str, Any]:
        """Return what is stored of one stream of a session; an empty dict if there is none."""

    @abstractmethod
    def has_session(self, session_id: str) -> bool:
        """Tell whether a session is stored."""

    @abstractmethod
    def is_noted(self, session_id: str) -> bool:
        """Tell whether a sweep would find calls of a session."""

    @abstractmethod
    def leases(self) -> int:
        """Return how many nodes have a lease."""

    @abstractmethod
    def now(self) -> float:
        """Return the time of the server, in seconds since the epoch."""


class RedisStore(Store):
    """A Redis."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    @property
    def server(self) -> RedisServer:
        return self._server

    @property
    def variables(self) -> Mapping[str, str]:
        return {"REDIS_URL": self.server.url}

    def refuse_leftovers(self) -> None:
        refuse_permanent_keys(self.server)

    def in_flight(self, session_id: str) -> list[str]:
        with self.server.connect() as redis:
            found: list[Any] = list(redis.hkeys(f"{_redis_key(session_id)}:r"))
            return found

    def stream(self, session_id: str, name: str) -> dict[str, Any]:
        found = self.server.ask("HGET", f"{_redis_key(session_id)}:t", name)
        return dict(json.loads(found)) if found else {}

    def has_session(self, session_id: str) -> bool:
        return bool(self.server.ask("EXISTS", _redis_key(session_id)))

    def is_noted(self, session_id: str) -> bool:
        with self.server.connect() as redis:
            noted: list[Any] = [item for key in redis.keys("mcp:*:own") for item in redis.hkeys(key)]
        return any(item.startswith(session_key(session_id)) for item in noted)

    def leases(self) -> int:
        return int(min(len(self.server.ask("KEYS", "mcp:*:lease")), self.server.ask("ZCARD", "mcp:nodes")))

    def now(self) -> float:
        seconds, microseconds = self.server.ask("TIME")
        return int(seconds) + int(microseconds) / 1_000_000


def choose_store(name: str | None = None, *, redis: RedisServer | None = None, folder: Path | None = None) -> Store:
    """Return the store of that name, or of the environment's; a `redis` that is handed in decides by itself."""
    name = "redis" if redis is not None else name or os.environ.get("CLUSTER_STORE") or "redis"
    assert name in ("redis", "dynamodb"), name
    if name == "redis":
        return RedisStore(redis or RedisServer(folder=folder))
    from tests.support.cluster.dynamo_store import DynamoStore  # which loads boto3

    return DynamoStore(folder)


def redis_of(store: Store) -> RedisServer:
    """Return the Redis, for a test that needs one; skip it on another store."""
    if not isinstance(store, RedisStore):
        pytest.skip("this test is about Redis")
    return store.server


def _redis_key(session_id: str) -> str:
    return f"mcp:{{{session_key(session_id)}}}"
