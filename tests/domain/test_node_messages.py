from __future__ import annotations

import pickle
import typing

import pytest

from mcp_transport.domain.node_messages import (
    Broadcast,
    CancelCall,
    CircuitClosed,
    CircuitOpened,
    Cleared,
    Closed,
    Doubted,
    Drain,
    GaveWay,
    Joined,
    LeaseLapsed,
    NodeLost,
    NodeMessage,
    Orphaned,
    Rehomed,
    ReplyArrived,
    StoreReturned,
    Superseded,
    Wake,
)

MESSAGES: list[NodeMessage] = [
    Wake("K", "g"),
    Superseded("K", "g", 2),
    GaveWay("K", 7),
    CancelCall("K", 1),
    CancelCall("K", "1"),
    Joined("K", "aa", 1),
    Doubted("K", "aa", 1, "n1"),
    Cleared("K", "aa", 1, is_over=True),
    NodeLost("n1"),
    Orphaned("K", "aa", "n1"),
    LeaseLapsed(),
    StoreReturned(),
    Drain(),
    ReplyArrived("r", {"a": 1}, None),
    ReplyArrived("r", None, {"code": 1, "message": "no"}),
    Closed("K"),
    Rehomed("K"),
    CircuitOpened("search", 2.5),
    CircuitClosed("search"),
    Broadcast("notifications/tools/list_changed"),
    Broadcast("notifications/resources/updated", "shop://1"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_a_message_survives_the_way_to_another_process(message: NodeMessage) -> None:
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - what we pickled ourselves


def test_messages_with_different_contents_differ() -> None:
    assert len({repr(message) for message in MESSAGES}) == len(MESSAGES)
    assert all(one != other for one in MESSAGES for other in MESSAGES if one is not other)


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(typing.get_args(NodeMessage))
