"""Backends over caches, and caches that fail, or stop in the middle, when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.core.cache.backends.locmem import LocMemCache

from mcp_transport.backends.cache import CacheBackend
from tests.support.backends import POLICY, HandClock

BOUND = 5.0
"""Seconds after which a test that waits for a cache has failed."""


class FailingCache(LocMemCache):
    """Raises what a client library raises when its server is gone, in the operations named by `failing`."""

    failing: ClassVar[frozenset[str]] = frozenset()
    operations: ClassVar[frozenset[str]] = frozenset(
        {"get", "get_many", "set", "set_many", "add", "delete", "delete_many", "touch", "incr", "has_key", "clear"}
    )

    def __getattribute__(self, name: str) -> Any:
        if name in FailingCache.failing:
            raise ConnectionError("secret-host:6379 refused")
        return super().__getattribute__(name)


class PausingCache(LocMemCache):
    """Stops before it writes one key, once: `reached` is set, and it goes on when `proceed` is."""

    paused_key: ClassVar[str] = ""
    reached: ClassVar[threading.Event] = threading.Event()
    proceed: ClassVar[threading.Event] = threading.Event()

    @classmethod
    def pause_before(cls, key: str) -> None:
        """Arm the pause."""
        cls.paused_key, cls.reached, cls.proceed = key, threading.Event(), threading.Event()

    def set(self, key: str, *args: Any, **kwargs: Any) -> None:
        if key == PausingCache.paused_key:
            PausingCache.paused_key = ""
            PausingCache.reached.set()
            assert PausingCache.proceed.wait(BOUND)
        super().set(key, *args, **kwargs)


Build = Callable[[dict[str, Any]], CacheBackend]
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def build(settings: Any, clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Build a backend over the cache that a configuration describes, whose entries age by the test's clock."""
    for module in ("base", "locmem", "filebased"):
        monkeypatch.setattr(f"django.core.cache.backends.{module}.time", SimpleNamespace(time=clock))
    built: list[CacheBackend] = []

    def build(configuration: dict[str, Any]) -> CacheBackend:
        settings.CACHES = {
            "default": {"BACKEND": "tests.backends.caches.FailingCache"},
            "mcp": {"LOCATION": uuid4().hex, **configuration},
        }
        built.append(CacheBackend(POLICY, clock, "mcp"))
        return built[-1]

    yield build
    for backend in built:
        for executor in backend._executors:
            executor.shutdown()
