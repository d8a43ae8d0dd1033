from __future__ import annotations

import inspect
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import NodeBus, SessionIndex, SessionStore, StreamLog
from mcp_transport.backends.memory import MemoryBackend
from tests.support.backends import POLICY, HandClock

REQUIRED = {
    SessionStore: """
        ping open enter leave cancel update touch close get in_flight subscribe subscriptions read_state write_state
    """,
    StreamLog: "append emit attach read checkpoint",
    NodeBus: "start stop send broadcast broadcasts last_broadcast",
    SessionIndex: "page overview",
}


@pytest.mark.parametrize("contract", REQUIRED)
def test_each_contract_says_what_must_be_written(contract: Any) -> None:
    assert contract.__abstractmethods__ == {*REQUIRED[contract].split()}
    assert all(inspect.iscoroutinefunction(getattr(contract, name)) for name in contract.__abstractmethods__)
    with pytest.raises(TypeError, match="abstract"):
        contract()


def inheriting(contract: Any) -> Any:
    """Build a part with inherited methods only."""
    part: Any = type("Part", (contract,), {})
    part.__abstractmethods__ = frozenset()
    return part()


async def test_a_part_does_nothing_special_unless_it_says_so() -> None:
    sessions, streams, bus = inheriting(SessionStore), inheriting(StreamLog), inheriting(NodeBus)
    backend = Backend(sessions, streams, bus)
    assert (backend.index, backend.shares_sessions, backend.shares_streams) == (None, False, False)
    assert (sessions.restores_sessions, streams.keeps_answers) == (False, False)
    assert await streams.claim("K", "s", "n1", "n2") is None
    assert [*await streams.stream_records("K"), *await sessions.history("K"), *await bus.nodes()] == []
    assert await bus.metrics() == ()


def test_one_object_may_be_all_parts() -> None:
    store = MemoryBackend(POLICY, HandClock())
    backend = Backend.of(store)
    assert (backend.sessions, backend.streams, backend.bus, backend.index) == (store, store, store, store)


def test_the_former_name_of_a_method_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Old\.is_in_doubt\(\) must be renamed to lease_may_be_lost\(\)"):

        class Old(NodeBus):
            def is_in_doubt(self, node: str) -> bool:
                return True


def test_a_backend_of_the_former_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="Old must inherit from the contracts of its parts"):

        class Old(Backend):
            pass
