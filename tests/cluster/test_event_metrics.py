"""What happens between nodes is counted on /metrics and logged, each time, under a session's short name."""

from __future__ import annotations

import pytest

from mcp_transport.domain.session import session_key
from tests.cluster.conftest import each_way
from tests.support.cluster.nodes import Site, numbers, rest, take, until
from tests.support.http.client import Client

Pair = tuple[int, int]

BETWEEN_NODES = "taken_over superseded fenced abandoned rerun given_up node_lost drained"
TO_SESSIONS = "expired lost refilled rehydrated"


def lines(site: Site, client: Client, event: str) -> list[str]:
    """Return the log lines that tell of an event in a client's session; Django's logger may write each once more."""
    session = f"session={session_key(client.session_id)[:10].lower()}"
    return [line for line in site.logs().splitlines() if line.startswith(f"{event}: ") and session in line]


def test_every_event_is_on_metrics_from_the_start(site: Site) -> None:
    for event in (*BETWEEN_NODES.split(), *TO_SESSIONS.split()):
        assert all(site.count(event, number) >= 0 for number in range(len(site.nodes))), event


@each_way
@pytest.mark.parametrize("kind", ["get", "post"])
async def test_stream_that_moves_is_taken_over_here_and_superseded_there(
    site: Site, client: Client, pair: Pair, kind: str
) -> None:
    name, holder, taker = site.new_name(), *(site.ports.index(port) for port in pair)
    if kind == "get":
        first = await client.get(port=pair[0])
        await first.next_event()
    else:
        first = await client.call("count", {"name": name}, port=pair[0])
        await take(first, 3)
        stream = (first.last_event_id or "").partition("-")[0]
        await until(lambda: site.stream(client, stream).get("holder"))
    before = site.count("taken_over", taker), site.count("superseded", holder)
    await client.get(first.last_event_id, port=pair[1])
    assert await rest(first) == []
    await until(lambda: len(lines(site, client, "superseded")) == 1)
    assert (site.count("taken_over", taker), site.count("superseded", holder)) == (before[0] + 1, before[1] + 1)
    assert len(lines(site, client, "taken_over")) == 1
    site.let_go(name)


async def test_stream_that_nobody_holds_is_not_superseded(site: Site, client: Client, pair: Pair) -> None:
    before = site.count("superseded"), site.count("taken_over")
    await client.get(port=pair[0])
    assert (site.count("superseded"), site.count("taken_over")) == before


async def test_events_that_are_no_longer_kept_are_lost(site: Site, client: Client, pair: Pair) -> None:
    """The client is told how many, the operator that it happened."""
    taker, kept, gone = site.ports.index(pair[1]), 1000, 60
    answer = await client.call("flood", {"steps": kept + gone - 1, "size": 10}, port=pair[0])
    priming = await answer.next_event()
    assert priming is not None
    answer.cut()
    await until(lambda: not site.calls_in_flight(client))
    before = site.count("lost", taker)
    notice, *kept_events = await rest(await client.get(priming.id, port=pair[1]))
    assert f"{gone} messages of this stream are lost" in notice.message["params"]["data"]
    assert numbers([notice]) == [gone], "behind what is lost"
    assert numbers(kept_events) == [*range(gone + 1, kept + gone + 1)]
    assert site.count("lost", taker) == before + 1
    (line,) = [line for line in lines(site, client, "lost") if line in site.nodes[taker].log]
    assert f"events={gone}" in line
