"""One redis-server for the tests of the backend, and a backend whose clock a test moves by hand."""

from __future__ import annotations

from tests.support.redis.backend import admin, backend, clock, server

__all__ = ["admin", "backend", "clock", "server"]
