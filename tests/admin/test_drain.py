"""A node is drained from the dashboard: after a question, by who may, and only if it is live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from mcp_transport.backends.records import NodeRecord
from mcp_transport.operators import service
from tests.support.visits import LIST, messages, page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

DRAIN = f"{LIST}dashboard/drain/"
NODES = (
    NodeRecord("n1", "web-1", 12, calls=3),
    NodeRecord("n2", "web-2", 13),
    NodeRecord("n3", "web-3", 14, draining=True),
)


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have three nodes; return those that are told to drain."""
    told: list[str] = []

    async def nodes() -> tuple[NodeRecord, ...]:
        return NODES

    async def drain(name: str) -> bool:
        told.append(name)
        return True

    monkeypatch.setattr(service, "nodes", nodes)
    monkeypatch.setattr(service, "drain_node", drain)
    return told


def test_a_node_is_drained_when_that_is_confirmed(admin_client: Client, drained: list[str]) -> None:
    text = page(admin_client.get(f"{DRAIN}?node=n1"))
    for said in ("web-1:12 · n1", "3 calls are running there", "Nothing undoes it", "1 other node stays ready."):
        assert said in text
    assert drained == []
    response = admin_client.post(DRAIN, {"node": "n1"}, follow=True)
    assert (response.redirect_chain, drained) == ([(f"{LIST}dashboard/", 302)], ["n1"])
    assert messages(response) == ["The node web-1:12 · n1 is being drained."]
    [entry] = LogEntry.objects.all()
    assert (entry.object_repr, entry.get_change_message()) == ("web-1:12 · n1", "Drained the node.")


def test_the_last_ready_node_is_warned_of(
    admin_client: Client, drained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nodes() -> tuple[NodeRecord, ...]:
        return NODES[1:]

    monkeypatch.setattr(service, "nodes", nodes)
    assert "No other node would be ready" in page(admin_client.get(f"{DRAIN}?node=n2"))


@pytest.mark.parametrize(
    ("name", "said"), [("n3", "That node is already draining."), ("n9", "That node is not live."), ("", "not live")]
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_other_nodes_are_not_drained(
    method: str, name: str, said: str, admin_client: Client, drained: list[str]
) -> None:
    response = getattr(admin_client, method)(DRAIN, {"node": name}, follow=True)
    assert said in messages(response)[0]
    assert (drained, LogEntry.objects.count()) == ([], 0)


@pytest.mark.parametrize(("permissions", "links"), [(["view"], 0), (["view", "drain_mcp_nodes"], 2)], ids=str)
def test_who_may_drain_has_a_link_for_each_node_that_does_not(
    permissions: list[str], links: int, log_in: Callable[..., Client], drained: list[str]
) -> None:
    client = log_in(*permissions)
    assert page(client.get(f"{LIST}dashboard/")).count('href="drain/?node=') == links
    assert client.get(f"{DRAIN}?node=n1").status_code == (200 if links else 403)


def test_node_that_does_not_live_is_not_drained(shared_cache: Any) -> None:
    from asgiref.sync import async_to_sync

    assert async_to_sync(service.drain_node)("nothing") is False
