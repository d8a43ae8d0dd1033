"""A client that lies: session ids and event ids nobody gave it."""

from __future__ import annotations

import itertools

import pytest

from mcp_transport.domain.session import session_key
from tests.support.cluster.nodes import Site, numbers, take
from tests.support.http.client import Client

Pair = tuple[int, int]


def _forged(session_id: str) -> list[str]:
    """Return ids that are nearly the one given; each bit of it is changed in tests/engine/test_session_id.py."""
    half, key = len(session_id) // 2, session_key(session_id)
    other = "A" if session_id[half] != "A" else "B"
    changed = [session_id[:half] + other + session_id[half + 1 :], session_id.swapcase(), "." * len(session_id)]
    pieces = [session_id[:-1], session_id[:half], "." + session_id[half:], session_id[1:]]
    longer = [session_id + "A", session_id + session_id, "." + "A" * 600, "x" * 4000]
    keys = ["{" + key + "}", key, key + ":r", "*"]
    return [*changed, *pieces, *longer, *keys]


async def test_forged_session_ids_are_all_the_same_to_every_node(site: Site, client: Client, pair: Pair) -> None:
    real = client.session_id
    stream = await client.get(port=pair[0])
    for forged in _forged(real):
        client.session_id = forged
        for port in pair:
            answers = [
                await client.call("add", {"a": 1, "b": 1}, id=1, port=port),
                await client.get(port=port),
                await client.get("g-0", port=port),
                await client.delete(port=port),
            ]
            bodies = {(answer.status, (await answer.json())["error"]["message"]) for answer in answers}
            assert len(bodies) == 1, forged
            assert next(iter(bodies))[0] == 404, forged
    client.session_id = real
    await (await client.call("whisper", {"text": "still here"}, port=pair[1])).text()
    assert numbers(await take(stream, 1)) == [1]


@pytest.mark.parametrize("strange", ["\x7f", "é", "a b", "\t", "a\x01b"])
async def test_id_of_strange_characters_is_refused(client: Client, pair: Pair, strange: str) -> None:
    client.session_id = strange
    for port in pair:
        for answer in [await client.call("add", {"a": 1, "b": 1}, port=port), await client.get(port=port)]:
            assert answer.status in {400, 404}


FOREIGN_EVENTS = "g-1 g-999999999999999 g-9999999999999999999999999 g--1 g-01 g-1e3 g- -1 g x !-0 r-0 G-0 g-1-1 g:x-1"


async def test_event_ids_that_nobody_sent_are_refused(client: Client, pair: Pair) -> None:
    odd = ["0123456789abcdef-0", "0123456789abcdef-1", f"{'a' * 5000}-1", "é-1"]
    for event_id, port in itertools.product([*FOREIGN_EVENTS.split(), *odd], pair):
        refused = await client.get(event_id, port=port)
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32600), event_id
    stream = await client.get(port=pair[0])  # a refusal has taken nothing over and counted nothing
    await (await client.call("whisper", {"text": "first"}, port=pair[1])).text()
    assert numbers(await take(stream, 1)) == [1]
