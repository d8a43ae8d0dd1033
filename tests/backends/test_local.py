"""A third party's backend: records in a dict of JSON, everything else from `LocalBackend`."""

from __future__ import annotations

import json
from abc import ABCMeta
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from mcp_transport import bootstrap
from mcp_transport.backends.base import Backend
from mcp_transport.backends.local import Change, LocalBackend
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from tests.backends.contract import BackendContract
from tests.support.backends import ANN, KEY, OTHER_KEY, POLICY, HandClock, in_flight, session


class ShelfBackend(LocalBackend):
    """Stores JSON under a key; does not list sessions."""

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        super().__init__(policy, now)
        self.records: dict[str, str] = {}
        self.states: dict[str, dict[str, bytes]] = {}

    async def ping(self) -> None:
        return None

    async def open(self, session: Session) -> tuple[str, ...]:
        self._write(session)
        return ()

    async def load(self, key: str) -> Session | None:
        if key not in self.records:
            return None
        members = json.loads(self.records[key])
        session = Session(**members)
        return session if self.remaining(session) > 0 else None

    async def modify(self, key: str, change: Change) -> Session | None:
        session = await self.load(key)
        changed = change(session) if session is not None else None
        if changed is not None:
            self._write(changed)
        return changed

    def _write(self, session: Session) -> None:
        self.records[session.key] = json.dumps(asdict(session))

    async def remove(self, key: str) -> None:
        self.records.pop(key, None)
        self.states.pop(key, None)

    async def read_state(self, key: str) -> dict[str, bytes]:
        return dict(self.states.get(key, {})) if await self.load(key) else {}

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        if not await self.load(key):
            return False
        state = self.states.setdefault(key, {})
        known = name in state
        if value is None:
            state.pop(name, None)
        else:
            state[name] = value
        return known


class TestThirdParty(BackendContract):
    @pytest.fixture
    def backend(self, clock: HandClock) -> Backend:
        return Backend.of(ShelfBackend(POLICY, clock))


def test_a_backend_of_a_third_party_is_named_by_its_path(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "tests.backends.test_local.ShelfBackend", "SESSION_TTL_SECONDS": 7}
    backend = bootstrap.build_backend()
    assert type(backend.sessions) is ShelfBackend
    assert backend.index is None
    assert backend.sessions._policy.session_ttl == 7


@pytest.mark.parametrize("missing", ["load", "modify", "remove", "ping", "open", "read_state", "write_state"])
def test_a_subclass_has_to_say_where_records_live(missing: str) -> None:
    members = {name: member for name, member in vars(ShelfBackend).items() if name not in (missing, "__dict__")}
    incomplete = ABCMeta("Incomplete", (LocalBackend,), members)
    with pytest.raises(TypeError, match=f"abstract method '?{missing}'?"):
        incomplete(POLICY, HandClock())


async def test_what_is_kept_here_of_an_expired_session_goes_when_another_one_is_used() -> None:
    clock = HandClock()
    backend = ShelfBackend(POLICY, clock)
    for key in (KEY, OTHER_KEY):
        await backend.open(session(clock, key))
        await backend.enter(key, ANN, "n1", [in_flight(1)])
        clock.advance(POLICY.session_ttl + 1)
    assert await backend.stream_records(KEY) == ()
    assert list(backend._local) == [OTHER_KEY]
