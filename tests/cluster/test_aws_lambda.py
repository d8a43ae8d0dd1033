"""Functions of AWS Lambda beside a node that always runs, on one store: frozen between events, and never missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from tests.support.aws_lambda.events import DOORS, answer
from tests.support.aws_lambda.sandbox import Sandbox
from tests.support.cluster.nodes import SITE, Site, until
from tests.support.http.messages import INITIALIZE, Session, post
from tests.support.http.request import Request

LEASE = 1.0
KEY = ("Idempotency-Key", '"once"')


class Functions(NamedTuple):
    """Two sandboxes of a function, and the site whose store they share."""

    site: Site
    one: Sandbox
    other: Sandbox


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    with ExitStack() as stack:
        site = stack.enter_context(Site("uvicorn", mcp={"LEASE_SECONDS": LEASE}))
        variables = site.nodes[0].variables
        one, other = (stack.enter_context(Sandbox(f"{SITE}.settings", variables)) for _ in range(2))
        yield Functions(site, one.ready(), other.ready())


async def ask(sandbox: Sandbox, request: Request, seconds: float = 900.0) -> tuple[int, dict[str, str], Any]:
    """Have a sandbox answer a request; return status, headers and JSON."""
    response = await asyncio.to_thread(sandbox.invoke, DOORS["http"](request), seconds)
    status, lines, body = answer("http", response)
    return status, dict(lines), json.loads(body) if body else None


async def open_session(sandbox: Sandbox) -> Session:
    status, headers, _ = await ask(sandbox, post(INITIALIZE))
    assert status == 200
    return Session(headers["mcp-session-id"])


async def result(sandbox: Sandbox, request: Request, seconds: float = 900.0) -> str:
    status, _, body = await ask(sandbox, request, seconds)
    assert status == 200 and "result" in body, body
    return str(body["result"]["content"][0]["text"])


async def test_frozen_function_is_missed_by_nobody(functions: Functions) -> None:
    site, sandbox, other = functions
    session = await open_session(sandbox)
    assert await result(sandbox, session.call("remember", name="drink", value="tea")) == "kept"
    assert (site.store.leases(), site.store.in_flight(session.id)) == (1, [])
    sandbox.freeze()
    try:
        await asyncio.sleep(3 * LEASE)  # a lease of the function would have lapsed, and the node looks three times
        assert await result(other, session.call("recall", name="drink")) == "tea"
        assert site.store.leases() == 1
    finally:
        sandbox.thaw()
    assert await result(sandbox, session.call("recall", name="drink")) == "tea"
    assert "died with" not in site.logs()
    assert site.count("node_lost") == 0


async def test_keyed_call_that_a_client_repeats_runs_once(functions: Functions) -> None:
    """While it runs the function has a lease: no other one takes the call over."""
    site, sandbox, other = functions
    session, name = await open_session(sandbox), site.new_name()
    call = session.call("silent", name=name).adding(KEY)
    running = asyncio.ensure_future(ask(sandbox, call))
    await site.until_runs(name)
    await until(lambda: site.store.leases() == 2)
    assert (await ask(other, call))[0] == 409
    site.let_go(name)
    status, _, body = await running
    assert status == 200 and "result" in body
    assert (await ask(other, call))[2] == body
    assert len(site.pids(name)) == 1
    assert (site.store.leases(), site.store.in_flight(session.id)) == (1, [])


async def test_call_is_cancelled_by_another_function(functions: Functions) -> None:
    site, sandbox, other = functions
    session, name = await open_session(sandbox), site.new_name()
    call = session.call("silent", name=name)
    running = asyncio.ensure_future(ask(sandbox, call))
    await site.until_runs(name)
    request_id = json.loads(call.body)["id"]
    assert (await ask(other, session.notify("notifications/cancelled", {"requestId": request_id})))[0] == 202
    assert "cancelled" in (await running)[2]["error"]["message"]
    await site.until_cancelled(name)
    assert site.store.in_flight(session.id) == []


async def test_call_that_outlives_the_function_ends_with_an_error(functions: Functions) -> None:
    site, sandbox, other = functions
    session, name = await open_session(sandbox), site.new_name()
    status, _, body = await ask(sandbox, session.call("silent", name=name), seconds=2.0)
    assert status == 200
    assert "the time of the function ended before the call ended" in body["error"]["message"]
    assert body["error"]["data"] == {"retryable": False}
    await site.until_cancelled(name)
    assert (site.store.leases(), site.store.in_flight(session.id)) == (1, [])
    assert await result(other, session.call("add", a=1, b=2)) == "3"
