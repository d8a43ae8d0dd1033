from __future__ import annotations

import inspect

import pytest

from mcp_transport.backends.base import Backend

REQUIRED = """
start stop ping send broadcast broadcasts last_broadcast open enter leave update subscribe subscriptions
touch close get in_flight read_state write_state cancel append emit attach read checkpoint
"""


def test_a_backend_has_to_write_every_operation_but_the_listing() -> None:
    assert Backend.__abstractmethods__ == {*REQUIRED.split()}
    with pytest.raises(TypeError, match="abstract"):
        Backend()  # type: ignore[abstract]


def test_every_operation_is_awaited() -> None:
    assert all(inspect.iscoroutinefunction(getattr(Backend, name)) for name in REQUIRED.split())


def test_a_backend_can_do_nothing_special_unless_it_says_so() -> None:
    assert (Backend.supports_listing, Backend.shares_sessions, Backend.shares_streams) == (False, False, False)


async def test_a_backend_that_cannot_list_says_what_to_do() -> None:
    class Silent(Backend):
        """A backend with inherited methods only."""

    Silent.__abstractmethods__ = frozenset()
    silent = Silent()  # type: ignore[abstract]
    with pytest.raises(NotImplementedError, match="Silent cannot list sessions"):
        await silent.sessions()
    assert not silent.keeps_answers
    assert await silent.claim("K", "s", "n1", "n2") is None
    assert [*await silent.streams("K"), *await silent.history("K"), *await silent.nodes()] == []


def test_the_former_name_of_a_method_with_a_default_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Old\.is_in_doubt\(\) must be renamed to lease_may_be_lost\(\)"):

        class Old(Backend):
            def is_in_doubt(self, node: str) -> bool:
                return True
