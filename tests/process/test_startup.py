"""The first request of a process prepares it: once, and after what it serves with has been built."""

from __future__ import annotations

import pytest

from mcp_transport.process import startup


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    order: list[str] = []
    monkeypatch.setattr(startup, "is_prepared", False)
    monkeypatch.setattr(startup, "drain_before_sigterm", lambda drain: order.append("signal"))
    monkeypatch.setattr(startup, "freeze_gc", lambda: order.append("freeze"))
    return order


async def drain(ports_closed: bool) -> None: ...


async def test_the_node_is_built_before_its_objects_are_frozen(order: list[str]) -> None:
    async def start_node() -> None:
        assert startup.is_prepared, "a second request that arrives meanwhile prepares nothing"
        order.append("node")

    await startup.prepare(start_node, drain)
    assert order == ["node", "signal", "freeze"]


async def test_a_node_that_does_not_start_is_reported_by_the_request(order: list[str]) -> None:
    async def start_node() -> None:
        raise RuntimeError("no lifespan")

    await startup.prepare(start_node, drain)
    assert order == ["signal", "freeze"]


async def test_a_test_run_is_not_prepared(order: list[str]) -> None:
    startup.skip()
    assert startup.is_prepared
    assert order == []
