"""The generated files of Caddy and Traefik in front of real nodes, where these programs are installed."""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from tests.deploy.proxies import NAMED, Caddy, Proxy
from tests.deploy.stands import BUSY, OK, behind, die, named, saying
from tests.deploy.test_proxies import HEADERS, echo, where
from tests.support.cluster.stage import some_events
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.http.request import HOST, Request
from tests.support.node import Node
from tests.support.processes import LOOPBACK, MissingProgramError, program

pytestmark = [pytest.mark.servers, pytest.mark.slow]

GET = Request(method="GET", headers=(HOST,))
POST = Request(headers=(HOST,), body=b"{}")


@pytest.fixture(scope="module", params=NAMED, ids=lambda kind: kind.role)
def kind(request: pytest.FixtureRequest) -> Any:
    """Return a class of proxies for the host of the tests."""
    try:
        program(request.param.role)
    except MissingProgramError as missing:  # also in CI: Debian has no Traefik
        pytest.skip(f"{request.param.role.upper()} WAS NOT TESTED: {missing}")
    return partial(request.param, host="localhost")


@pytest.fixture(scope="module")
def proxy(kind: Any, nodes: list[Node]) -> Iterator[Proxy]:
    with kind([node.port for node in nodes]) as proxy:
        yield proxy
        print(proxy.log)  # pytest shows it if a test fails


async def test_session_is_served_by_every_node_and_its_stream_is_resumed(proxy: Proxy, nodes: list[Node]) -> None:
    async with Client(proxy.port) as client:
        await client.initialize()
        async with asyncio.timeout(PATIENCE):
            observed: set[int] = set()
            while observed != {node.pid for node in nodes}:
                observed.add(await where(client))
        answer = await client.call("tick", {"steps": 3})
        first = await answer.next_event()
        assert first is not None
        assert len(await answer.messages()) == 4
        assert len(await (await client.get(first.id)).messages()) == 4


async def test_events_arrive_as_they_are_sent(proxy: Proxy, nodes: list[Node]) -> None:
    """The call ends only after its first events have arrived, so none can have been buffered."""
    async with Client(proxy.port) as client:
        await client.initialize()
        name = secrets.token_hex(4)
        answer = await client.call("count", {"name": name})
        await some_events(answer, 3)
        (Path(nodes[0].variables["SITE_FOLDER"]) / f"{name}.open").touch()
        assert (await answer.text()).startswith("counted")


def shorten(text: str) -> str:
    """Reduce timeouts of requests to a second."""
    return re.sub(r"(read_header|read_body|dial_timeout|dialTimeout:) \d+s", r"\1 1s", text)


async def test_silent_stream_outlives_the_timeouts_of_requests(kind: Any, nodes: list[Node]) -> None:
    seconds = 2.5
    with kind([nodes[0].port], edit=shorten) as proxy:
        async with Client(proxy.port) as client:
            await client.initialize()
            assert await (await client.call("brood", {"seconds": seconds})).text() == "well thought"


async def test_headers_go_through_and_what_clients_say_of_themselves_is_not_believed(proxy: Proxy) -> None:
    false = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]
    for _ in range(6):
        headers = await echo(proxy.port, *HEADERS, *false, ("X-Real-IP", "192.0.2.1"), ("Mcp_Name", "delete"))
        assert {name.lower(): [value] for name, value in HEADERS}.items() <= headers.items()
        assert headers["x-forwarded-for"] == headers["x-real-ip"] == [LOOPBACK]
        assert headers["x-forwarded-proto"] == ["http"]
        assert "evil.example" not in headers["x-forwarded-host"]
        assert not [name for name in headers if "_" in name]


async def test_nodes_are_not_asked_to_compress_the_endpoints_answers(kind: Any) -> None:
    wishes = ("Accept-Encoding", "gzip, br")
    async with behind(kind, saying(OK)) as ([stand], client, _):
        for path in ("/mcp", "/mcp/", "/mcp?x=1", "/pages/mcp"):
            await client.send(Request(method="GET", path=path, headers=(HOST, wishes)))
    has_encoding = ["accept-encoding: gzip, br" in head.lower() for head in stand.requests]
    assert has_encoding == [False, False, False, True]


async def test_body_goes_through_up_to_the_endpoints_limit(proxy: Proxy) -> None:
    async with Client(proxy.port) as client:
        await client.initialize()
        size = Policy().max_request_bytes - 1000
        assert await (await client.call("measure", {"text": "x" * size})).text() == str(size)
        refused = await client.call("measure", {"text": "x" * Policy().max_request_bytes})
        assert refused.status == 413
        assert (await refused.json())["error"]["message"]  # the endpoint's own error


@pytest.mark.parametrize("path", ["/metrics", "/%6Detrics", "//metrics"])
async def test_numbers_are_not_for_everybody(proxy: Proxy, path: str) -> None:
    async with Client(proxy.port) as client:
        assert (await client.send(Request(method="GET", path=path, headers=(HOST,)))).status == 404


async def test_post_goes_on_where_a_node_refuses_the_connection(kind: Any) -> None:
    async with behind(kind, named("1"), dead=1) as ([stand], client, _):
        served = 0
        async with asyncio.timeout(PATIENCE):
            while served < 6:  # Traefik chooses at random, and might choose the dead one again and again
                served = served + 1 if (await client.send(POST)).status == 200 else 0
        assert len(stand.requests) >= 6


async def test_post_is_not_sent_again(kind: Any) -> None:
    async with behind(kind, die, saying(OK)) as (stands, client, _):
        posts = [(await client.send(POST)).status for _ in range(8)]
        assert posts.count(502) == len(stands[0].requests)
        assert sum(len(stand.requests) for stand in stands) == 8


async def test_refusal_reaches_the_client_where_no_node_takes_a_request(kind: Any) -> None:
    async with behind(kind, saying(BUSY), saying(BUSY)) as (_, client, _):
        for request in (GET, POST):
            answer = await client.send(request)
            assert (answer.status, answer.headers["retry-after"]) == (503, "7")


async def test_clients_are_refused_where_no_node_is_ready(kind: Any) -> None:
    async with behind(kind, named("1"), ready=False) as (_, client, proxy):
        async with asyncio.timeout(PATIENCE):
            while (answer := await client.send(GET)).status == 200:
                continue
        assert answer.status == 503
        assert not isinstance(proxy, Caddy) or answer.headers["retry-after"] == "2"


async def test_tls_is_that_of_the_certificate(kind: Any, nodes: list[Node]) -> None:
    with kind([nodes[0].port], tls=True) as proxy:
        context = ssl.create_default_context(cafile=str(proxy.certificate))
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(LOOPBACK, proxy.port, ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.transport.abort()
        async with Client(proxy.plain_port) as client:
            moved = await client.send(POST)
            assert (moved.status, moved.headers["location"]) == (308, f"https://localhost:{proxy.port}/mcp")
