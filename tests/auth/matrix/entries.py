"""Every entry to the endpoint, as a request without credentials.

The pages of the admin are tried in test_admin.py, the REST API for operators in tests/api/test_permissions.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.auth.matrix.project import READ, WRITE
from tests.auth.matrix.scene import BATCHES, Scene, replying
from tests.support.http.messages import INITIALIZE, SESSIONLESS, Session, alone, call, post, rpc
from tests.support.http.request import Request


@dataclass(frozen=True)
class Entry:
    """A request without credentials, and the status of the answer to somebody who may send it."""

    name: str
    build: Callable[[Scene], Request]
    status: int = 200
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


def _batch(scene: Scene) -> Request:
    calls = [
        rpc("tools/call", {"name": name, "arguments": {"number": 7}}, number)
        for number, name in enumerate(("look", "change"), 1)
    ]
    return post(calls, ("MCP-Session-Id", scene.batches), ("MCP-Protocol-Version", BATCHES))


def _cancel(scene: Scene) -> Request:
    return anonymous(scene).notify("notifications/cancelled", {"requestId": 1})


def _listen(scene: Scene) -> Request:
    return alone("subscriptions/listen", {"notifications": {"toolsListChanged": True}})


def _send_again(scene: Scene) -> Request:
    return replace(anonymous(scene).call("slow"), body=scene.slow_call)


ENTRIES = (
    Entry("initialize", lambda scene: post(INITIALIZE), in_session=False),
    Entry("alone-call", lambda scene: call("change", number=7), needs=(WRITE,), in_session=False),
    Entry("alone-list", lambda scene: alone("tools/list", {}), in_session=False),
    Entry("alone-listen", _listen, in_session=False),
    Entry("call", lambda scene: anonymous(scene).call("change", number=7), needs=(WRITE,)),
    Entry("batch", _batch, needs=(READ, WRITE)),
    Entry("stream", lambda scene: anonymous(scene).get()),
    Entry("resume", lambda scene: anonymous(scene).get(scene.first_event)),
    Entry("call-sent-again", _send_again, needs=(READ, WRITE)),
    Entry("reply", lambda scene: replying(anonymous(scene), scene.question), 202),
    Entry("cancel", _cancel, 202),
    Entry("delete", lambda scene: anonymous(scene).delete(), 204),
)
IN_SESSIONS = tuple(entry for entry in ENTRIES if entry.in_session)


def is_sessionless(request: Request) -> bool:
    """Tell whether a request names the revision whose codes for headers are its own."""
    return ("MCP-Protocol-Version", SESSIONLESS) in request.headers
