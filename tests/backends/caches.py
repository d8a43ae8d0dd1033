"""Backends over caches, and caches that fail or pause on a test's command."""

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
"""Timeout of a test that waits for a cache, in seconds."""


class FailingCache(LocMemCache):
    """A cache whose `failing` operations raise the exception of a client library without a server."""

    failing: ClassVar[frozenset[str]] = frozenset()
    operations: ClassVar[frozenset[str]] = frozenset(
        {"get", "get_many", "set", "set_many", "add", "delete", "delete_many", "touch", "incr", "has_key", "clear"}
    )

    def __getattribute__(self, name: str) -> Any:
        if name in FailingCache.failing:
            raise ConnectionError("secret-host:6379 refused")
        return super().__getattribute__(name)


class PausingCache(LocMemCache):
    """A cache that pauses once before it writes one key: it sets `reached`, and waits for `proceed`."""

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
    """Return a function that builds a backend over a configured cache, whose entries expire by the test's clock."""
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
