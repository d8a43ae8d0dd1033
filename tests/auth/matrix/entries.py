"""Every entry to the endpoint: the request, and what it does for somebody who may use it.

The pages of the admin are tried in test_admin.py, the REST API for operators in tests/api/test_permissions.py.
The admin's are in test_admin.py.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tests.auth.matrix import project
from tests.auth.matrix.project import READ, WRITE
from tests.auth.matrix.scene import BATCHES, Scene, replying
from tests.support.client import until
from tests.support.requests import INITIALIZE, SESSIONLESS, Session, alone, call, post, rpc
from tests.support.wire import Answer, Request


@dataclass(frozen=True)
class Entry:
    """A request without credentials, and a look at what it did."""

    name: str
    build: Callable[[Scene], Request]
    works: Callable[[Scene, Answer], Awaitable[None]]
    needs: tuple[str, ...] = ()
    """The scopes of the tools that it calls."""
    in_session: bool = True

    def __str__(self) -> str:
        return self.name

    def request_id(self, request: Request) -> int | None:
        """Return the id that an answer to the message may repeat; nothing repeats those of a batch."""
        message = json.loads(request.body) if request.body else None
        return message.get("id") if isinstance(message, dict) and "method" in message else None


def anonymous(scene: Scene) -> Session:
    """Return the session as somebody knows it who has learnt its id, and the numbers of its calls."""
    session = Session(scene.session.id)
    for _ in range(2):
        session.call("ask")  # two numbers are taken
    return session


# -- without a session -----------------------------------------------------------------------------------


async def _opened(scene: Scene, answer: Answer) -> None:
    assert answer.status == 200, await answer.read()
    session = Session(answer.header("mcp-session-id") or "")
    assert (await scene.as_ann(session.post(rpc("ping")))).status == 200


async def _changed(scene: Scene, answer: Answer) -> None:
    assert await answer.text() == "changed 7"
    assert project.work.ran[-1] == "change 7"


async def _listed(scene: Scene, answer: Answer) -> None:
    tools = (await answer.json())["result"]["tools"]
    assert {item["name"] for item in tools} == {"announce", "ask", "change", "look", "slow"}


async def _listening(scene: Scene, answer: Answer) -> None:
    assert (await answer.message())["method"] == "notifications/subscriptions/acknowledged"
    assert (await scene.as_ann(scene.session.call("announce"))).status == 200
    assert (await answer.message())["method"] == "notifications/tools/list_changed"


# -- in a session ----------------------------------------------------------------------------------------


def _batch(scene: Scene) -> Request:
    calls = [
        rpc("tools/call", {"name": name, "arguments": {"number": 7}}, number)
        for number, name in enumerate(("look", "change"), 1)
    ]
    return post(calls, ("MCP-Session-Id", scene.batches), ("MCP-Protocol-Version", BATCHES))


async def _both_done(scene: Scene, answer: Answer) -> None:
    texts = {item["id"]: item["result"]["content"][0]["text"] for item in await answer.json()}
    assert texts == {1: "order 7", 2: "changed 7"}


async def _standing(scene: Scene, answer: Answer) -> None:
    await answer.frame()
    assert (await scene.as_ann(scene.session.call("announce"))).status == 200
    assert (await answer.message())["method"] == "notifications/tools/list_changed"
    assert await scene.stream.event() is None, "the older one gave way"


async def _resumed(scene: Scene, answer: Answer) -> None:
    await answer.frame()
    project.work.may_end.set()
    assert (await answer.message())["result"]["content"][0]["text"] == "slow", "progress is not told twice"
    assert project.work.ran == ["slow", "ask"]


async def _joined(scene: Scene, answer: Answer) -> None:
    assert (await answer.message())["method"] == "notifications/progress"
    project.work.may_end.set()
    assert await answer.text() == "slow"
    assert project.work.ran == ["slow", "ask"], "the tool runs once"


async def _replied(scene: Scene, answer: Answer) -> None:
    assert (answer.status, await answer.read()) == (202, b"")
    assert await scene.asked.text() == "accept Ann"


async def _cancelled(scene: Scene, answer: Answer) -> None:
    assert (answer.status, await answer.read()) == (202, b"")
    await until(lambda: project.work.cancelled)
    assert await scene.slow.event() is None, "a cancelled call has no result"


async def _deleted(scene: Scene, answer: Answer) -> None:
    assert (answer.status, await answer.read()) == (204, b"")
    assert await scene.stream.event() is None
    assert (await scene.as_ann(scene.session.call("announce"))).status == 404


ENTRIES = (
    Entry("initialize", lambda scene: post(INITIALIZE), _opened, in_session=False),
    Entry("alone-call", lambda scene: call("change", number=7), _changed, (WRITE,), in_session=False),
    Entry("alone-list", lambda scene: alone("tools/list", {}), _listed, in_session=False),
    Entry(
        "alone-listen",
        lambda scene: alone("subscriptions/listen", {"notifications": {"toolsListChanged": True}}),
        _listening,
        in_session=False,
    ),
    Entry("call", lambda scene: anonymous(scene).call("change", number=7), _changed, (WRITE,)),
    Entry("batch", _batch, _both_done, (READ, WRITE)),
    Entry("stream", lambda scene: anonymous(scene).get(), _standing),
    Entry("resume", lambda scene: anonymous(scene).get(scene.first_event), _resumed),
    Entry(
        "call-sent-again",
        lambda scene: replace(anonymous(scene).call("slow"), body=scene.slow_call),
        _joined,
        (READ, WRITE),
    ),
    Entry("reply", lambda scene: replying(anonymous(scene), scene.question), _replied),
    Entry("cancel", lambda scene: anonymous(scene).notify("notifications/cancelled", {"requestId": 1}), _cancelled),
    Entry("delete", lambda scene: anonymous(scene).delete(), _deleted),
)
IN_SESSIONS = tuple(entry for entry in ENTRIES if entry.in_session)


def is_sessionless(request: Request) -> bool:
    """Tell whether a request names the revision whose codes for headers are its own."""
    return ("MCP-Protocol-Version", SESSIONLESS) in request.headers
