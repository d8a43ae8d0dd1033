"""What is hidden is answered as what does not exist, in each method, however a request is written (ADR 23).

Each pair of names is asked for in both eras; `MCP_HIDDEN=all` asks in each revision of them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

from mcp_transport import Principal, prompt, resource, tool
from mcp_transport.declarations import Declarations
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.server import build_server
from tests.auth.hidden_pairs import METHODS, REVISIONS, SESSIONS, Form, forms
from tests.auth.shop import declare, serve_declared
from tests.support.client import ENVELOPE, SessionClient, request, send
from tests.support.clock import FakeClock, settle

pytestmark = [pytest.mark.usefixtures("declarations"), pytest.mark.slow]

Serve = Callable[..., Endpoint]


def nothing() -> str:
    return ""


class Noticing:
    """A middleware of a project, which notes what it sees of requests and of their answers."""

    def __init__(self, server: Any) -> None:
        self._server, self.noticed = lowlevel(server), list[str]()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        schema = self._server.get_tool_input_schema
        known = schema(str((ctx.params or {}).get("name"))) if ctx.method == "tools/call" and schema else None
        try:
            result = await call_next(ctx)
        except Exception as error:
            self.noticed.append(f"{ctx.method} {ctx.params} {known} {type(error)} {getattr(error, 'error', None)}")
            raise
        self.noticed.append(f"{ctx.method} {ctx.params} {known} {result}")
        return result

    def taken(self) -> list[str]:
        """Return what was noticed since the last time, but for the beginning of a session."""
        noticed, self.noticed = self.noticed, []
        return [line for line in noticed if not line.startswith(("initialize", "notifications/initialized"))]


@pytest.fixture
def serve(build_endpoint: Any, declarations: Declarations) -> Serve:
    """Serve what is declared, for people who may use all of it or little."""

    def build(*, completes: bool = False, around: Callable[[Any], Any] | None = None, place: int = 0) -> Endpoint:
        if not declarations.access:
            declare(completes=completes)
        server = build_server((b"k" * 32,))
        if around is not None:
            lowlevel(server).middleware.insert(place, around(server))
        return serve_declared(build_endpoint(server=None), declarations, server)

    return build


class Caller:
    """Sends the requests of a form, in a session or alone."""

    def __init__(self, endpoint: Endpoint, revision: str, user: str) -> None:
        self._endpoint, self._revision, self._user = endpoint, revision, user
        self._client: SessionClient | None = None
        self._numbers = itertools.count(100_000)

    async def ask(self, form: Form, name: str) -> tuple[int, dict[str, str], bytes]:
        """Return all that a client sees of an answer, but for the request's id, and of a stream its first word."""
        params = form.named(name)
        if self._revision not in SESSIONS and isinstance(meta := params.get("_meta", {}), dict):
            params["_meta"] = {**ENVELOPE, **meta}
        body = request(form.method, params, id=form.id(next(self._numbers)))
        own_id = json.dumps(body["id"]).encode()
        if form.is_notification:
            del body["id"]
        headers = {**await self._headers(form.method, params), **form.headers}
        answer = await send(self._endpoint, body=body, headers=headers, user=self._user, streaming=form.streaming)
        if answer.stream is None:
            return answer.status, answer.headers, answer.body.replace(own_id, b"ID")
        first = json.dumps(await answer.message()).encode()
        answer.close()
        return answer.status, answer.headers, first.replace(own_id, b"ID")

    async def _headers(self, method: str, params: dict[str, Any]) -> dict[str, str | None]:
        if self._revision in SESSIONS:
            if self._client is None:
                self._client = SessionClient(self._endpoint, self._revision, user=self._user)
                await self._client.open()
            return self._client.headers
        named = params.get("name", params.get("uri"))
        headers: dict[str, str | None] = {"mcp-protocol-version": self._revision, "mcp-method": method}
        return {**headers, **({"mcp-name": named} if isinstance(named, str) else {})}


async def difference(caller: Caller, form: Form, hidden: str, missing: str) -> str:
    """Say how the answers of a pair differ, if they do."""
    told, (status, headers, body) = [await caller.ask(form, name) for name in (hidden, missing)]
    as_hidden = {name: value.replace(missing, hidden) for name, value in headers.items()}
    expected = (status, as_hidden, body.replace(missing.encode(), hidden.encode()))
    return "" if told == expected else f"{told} instead of {expected}"


def pairs(method: str) -> Iterator[tuple[Form, str, str]]:
    for form, names in forms(method):
        for hidden, missing in names.items():
            yield form, hidden, missing


def pairs_in(revision: str, method: str) -> Iterator[tuple[Form, str, str]]:
    """Return the pairs to ask for in a revision: of those with sessions, each has its share."""
    if revision not in SESSIONS or os.environ.get("MCP_HIDDEN") == "all":
        return pairs(method)
    return itertools.islice(pairs(method), SESSIONS.index(revision), None, len(SESSIONS))


@pytest.mark.parametrize("method", METHODS)
async def test_no_request_tells_what_is_hidden_from_what_does_not_exist(
    serve: Serve, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    caplog.set_level(logging.WARNING, "mcp_transport")  # thousands of requests, one line each
    endpoint, count, differences = serve(completes=True), 0, []
    for revision in REVISIONS:
        caller = Caller(endpoint, revision, "bob")
        for form, hidden, missing in pairs_in(revision, method):
            count += 1
            if told := await difference(caller, form, hidden, missing):
                differences.append(f"{revision} {form.method} {form.label} {hidden}: {told}")
    assert not differences, f"{len(differences)} of {count} pairs differ:\n" + "\n".join(
        line[:400] for line in differences[:10]
    )


async def test_without_a_completion_a_hidden_prompt_is_as_unknown_as_a_missing_one(serve: Serve) -> None:
    endpoint = serve(completes=False)
    for revision in REVISIONS:
        caller = Caller(endpoint, revision, "bob")
        for form, hidden, missing in itertools.islice(pairs("completion/complete"), None, 100, 5):
            assert not await difference(caller, form, hidden, missing), f"{revision} {form.label} {hidden}"


async def test_a_batch_tells_nothing(serve: Serve) -> None:
    client = SessionClient(serve(), "2025-03-26", user="bob")
    await client.open()
    numbers = itertools.count(100_000)
    for form, hidden, missing in itertools.islice(itertools.chain(*map(pairs, METHODS)), None, None, 3):
        if form.headers or form.is_notification or not form.streaming or form.id is not int:
            continue
        told = []
        for name in (hidden, missing):
            calls = [request(form.method, form.named(name), id=next(numbers)) for _ in range(2)]
            answers = (await client.post([*calls, request("ping", id=next(numbers))])).body.replace(
                missing.encode(), hidden.encode()
            )
            told.append(re.sub(rb"1\d{5}", b"ID", answers))
        assert told[0] == told[1], f"{form.method} {form.label} {hidden}"


@pytest.mark.parametrize("place", [0, 100], ids=["outermost", "innermost"])
async def test_a_middleware_of_the_project_sees_no_difference(serve: Serve, place: int) -> None:
    around: list[Noticing] = []

    def put_around(server: Any) -> Noticing:
        around.append(Noticing(server))
        return around[0]

    endpoint = serve(completes=True, around=put_around, place=place)
    for revision, method in itertools.product(("2025-11-25", "2026-07-28"), METHODS):
        caller = Caller(endpoint, revision, "bob")
        for form, hidden, missing in itertools.islice(pairs(method), None, None, 5):
            noticed = []
            for name in (hidden, missing):
                await caller.ask(form, name)
                await settle()
                noticed.append(repr(around[0].taken()).replace(missing, hidden))
            assert noticed[0] == noticed[1], f"{revision} {form.method} {form.label} {hidden}"


@pytest.mark.slow
async def test_subscriptions_to_hidden_resources_take_as_much_room_as_to_missing_ones(serve: Serve) -> None:
    endpoint = serve()
    for uris in ("shop://orders/{}", "shop://ordurs/{}"):
        client = SessionClient(endpoint, user="bob")
        await client.open()
        for number in range(1001):
            answer = await client.request("resources/subscribe", {"uri": uris.format(number)})
            assert answer.json["result"] == {}, number
        answer = await client.request("resources/subscribe", {"uri": uris.format("7" * 3000)})
        assert (answer.status, answer.error_code) == (400, -32602)


async def test_a_missing_name_is_judged_as_often_as_a_hidden_one(serve: Serve, declarations: Declarations) -> None:
    judged: list[str] = []

    def nobody(principal: Principal) -> bool:
        judged.append(principal.subject)
        return False

    tool(name="hidden", visible=nobody)(nothing)
    prompt(name="data://hidden", visible=nobody)(nothing)
    resource("data://hidden", visible=nobody)(nothing)
    caller = Caller(serve(), "2026-07-28", "bob")
    for method in METHODS:
        form, _ = next(forms(method))
        counts = []
        for name in ("hidden", "absent"):
            judged.clear()
            await caller.ask(form, name if method == "tools/call" else f"data://{name}")
            counts.append(len(judged))
        assert counts == [1, 1], method


class Waiting:
    """A middleware of a project that holds what it sees until its client has left."""

    def __init__(self, server: Any) -> None:
        self.reached = asyncio.Event()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "tools/call":
            self.reached.set()
            await asyncio.Event().wait()
        return await call_next(ctx)


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_hidden_tool_is_not_counted_as_called(serve: Serve, clock: FakeClock, leaves: bool) -> None:
    around: list[Waiting] = []

    def put_around(server: Any) -> Waiting:
        around.append(Waiting(server))
        return around[0]

    endpoint = serve(around=put_around if leaves else None)
    form, _ = next(forms("tools/call"))
    asking = asyncio.create_task(Caller(endpoint, "2026-07-28", "bob").ask(form, "orders"))
    if leaves:
        await around[0].reached.wait()
        asking.cancel()
    await asyncio.wait([asking])
    await settle()
    await clock.advance(60)  # so that the interval is over
    counted = endpoint.process_metrics()
    assert "tools/call" in str(counted)
    assert "orders" not in str(counted)
