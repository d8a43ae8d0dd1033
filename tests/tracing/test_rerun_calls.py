"""A durable call that is run again stays in the trace that it came in."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from mcp_transport import tool
from mcp_transport.declarations import Declarations
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, session_key
from mcp_transport.engine.codec import decode, encode
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.sessionful.failover import FailOver
from mcp_transport.server import build_server
from tests.support.client import SessionClient
from tests.support.clock import settle
from tests.support.losing_backend import Losing
from tests.support.tools import KEYS
from tests.tracing.conftest import Spans
from tests.tracing.test_context import CALLER, HOP, place, written


async def nobody(binding: str, name: str) -> Principal:
    return Principal()


@pytest.fixture
def backend(build_endpoint: Any, clock: Any) -> Losing:
    return Losing(build_endpoint().policy, clock.now)


@pytest.fixture
async def client(backend: Losing, build_endpoint: Any, declarations: Declarations) -> SessionClient:
    @tool(durable=True)
    async def work() -> str:
        return "done"

    client = SessionClient(build_endpoint(backend, server=build_server(KEYS)), "2025-03-26")
    await client.open()
    return client


def work(number: int, meta: str | None) -> dict[str, Any]:
    params = {"name": "work", "arguments": {}, **({"_meta": {"traceparent": meta}} if meta else {})}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


async def run_again(endpoint: Endpoint, client: SessionClient, backend: Losing) -> None:
    node = await endpoint.pool.node()
    await FailOver(nobody)(node, session_key(client.session_id), backend.entered[0].stream, "lost", None)
    await settle()


@pytest.mark.parametrize(
    ("meta", "header", "is_within", "expected"),
    [
        (None, HOP, False, (HOP, [])),
        (CALLER, HOP, False, (CALLER, [HOP])),
        (CALLER, None, False, (CALLER, [])),
        (None, HOP, True, ("within", [])),
        (None, None, True, ("within", [])),
        (CALLER, None, True, (CALLER, ["within"])),
        (None, None, False, (None, [])),
    ],
)
async def test_a_call_that_is_run_again_stays_in_its_trace(
    meta: Any, header: Any, is_within: bool, expected: Any, spans: Spans, client: SessionClient, backend: Losing
) -> None:
    headers = {"traceparent": header} if header else {}
    with spans.tracer.start_as_current_span("POST /mcp") if is_within else nullcontext() as of_http:
        await client.post(work(7, meta), headers=headers)
    [first] = [span for span in spans.take() if span.name == "tools/call work"]
    await run_again(client.endpoint, client, backend)
    own = written(of_http.get_span_context()) if of_http is not None else None
    parent, links = expected
    wanted = (own if parent == "within" else parent, [own if link == "within" else link for link in links])
    assert place(first) == place(spans.only()) == wanted


async def test_the_span_of_whoever_notices_the_loss_is_no_part_of_it(
    spans: Spans, client: SessionClient, backend: Losing
) -> None:
    await client.post(work(7, None), headers={"traceparent": HOP})
    spans.take()
    node = await client.endpoint.pool.node()
    node._fail_over = FailOver(nobody)
    with spans.tracer.start_as_current_span("GET /mcp"):
        node.fail_over(session_key(client.session_id), backend.entered[0].stream, "lost")
    await settle()
    assert place(spans.only()) == (HOP, [])


async def test_the_calls_of_a_batch_are_run_again_each_in_its_trace(
    spans: Spans, client: SessionClient, backend: Losing
) -> None:
    await client.post([work(7, None), work(8, CALLER)], headers={"traceparent": HOP, "baggage": "shop=tea"})
    spans.take()
    await run_again(client.endpoint, client, backend)
    places = {(span.attributes or {})["jsonrpc.request.id"]: place(span) for span in spans.take()}
    assert places == {"7": (HOP, []), "8": (CALLER, [HOP])}


async def test_a_call_that_an_older_release_stored_is_run_again(
    spans: Spans, client: SessionClient, backend: Losing
) -> None:
    await client.post(work(7, None), headers={"traceparent": HOP})
    spans.take()
    [flight] = backend.entered
    body = {name: value for name, value in decode(flight.body).items() if name != "trace"}
    backend.entered = (
        InFlightRequest(
            **{name: getattr(flight, name) for name in InFlightRequest.__slots__} | {"body": encode(body)}
        ),
    )
    await run_again(client.endpoint, client, backend)
    assert place(spans.only()) == (None, [])
