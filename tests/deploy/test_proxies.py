"""Both generated proxies in front of real nodes: all revisions, unbuffered streams, limits, WebSockets, affinity."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from mcp_transport.domain.policy import Policy
from tests.deploy.proxies import KINDS, Proxy
from tests.deploy.stands import BUSY, OK, behind, die, saying, until_all
from tests.support.cluster.stage import some_events
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.http.messages import SESSIONLESS
from tests.support.http.request import HOST, Request
from tests.support.node import Node
from tests.support.processes import LOOPBACK
from tests.support.programs import need

SILENCE = 2.5
MANY = 24

POST = Request(headers=(HOST,), body=b"{}")
GET = Request(method="GET", headers=(HOST,))

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.role)


pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    need("nginx", "haproxy", "openssl")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.role)
def proxy(request: pytest.FixtureRequest, nodes: list[Node]) -> Iterator[Proxy]:
    with request.param([node.port for node in nodes]) as proxy:
        yield proxy
        print(proxy.log)  # pytest shows it if a test fails


async def where(client: Client) -> int:
    """Return the process that serves a call."""
    return int(await (await client.call("where")).text())


async def status_of(client: Client, request: Request) -> int:
    """Return the status of the answer to a request."""
    return (await client.send(request)).status


# -- configuration -------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("affinity", ["none", "session", "address"])
def test_own_program_finds_no_fault(kind: type[Proxy], affinity: str, tls: bool, tmp_path: Path) -> None:
    proxy = kind([8001, 8002], folder=tmp_path, affinity=affinity, tls=tls)
    judged = proxy.check()
    assert judged.returncode == 0, judged.stderr
    assert not re.search("warn", judged.stderr, re.I), judged.stderr


@every_kind
def test_own_program_finds_a_fault(kind: type[Proxy], tmp_path: Path) -> None:
    proxy = kind([8001], folder=tmp_path, edit=lambda text: re.sub(r"(connect\w*) 2s", r"\1 soon", text))
    assert proxy.check().returncode != 0


# -- revisions -----------------------------------------------------------------------------------------------


async def test_session_is_served_by_every_node(proxy: Proxy, nodes: list[Node]) -> None:
    async with Client(proxy.port) as client:
        assert await (await client.call_alone("add", {"a": 1, "b": 2})).text() == "3"
        await client.initialize()
        await until_all({node.pid for node in nodes}, lambda: where(client))
        assert (await client.delete()).status in (200, 204)


async def test_stream_is_resumed(proxy: Proxy) -> None:
    async with Client(proxy.port) as client:
        await client.initialize()
        answer = await client.call("tick", {"steps": 3})
        first = await answer.next_event()
        assert first is not None
        assert len(await answer.messages()) == 4
        again = await client.get(first.id)
        assert len(await again.messages()) == 4


# -- streams -------------------------------------------------------------------------------------------------


async def test_events_arrive_as_they_are_sent(proxy: Proxy, nodes: list[Node]) -> None:
    """The call ends only after its first events have arrived, so none can have been buffered."""
    async with Client(proxy.port) as client:
        await client.initialize()
        for call in (client.call, client.call_alone):
            name = secrets.token_hex(4)
            answer = await call("count", {"name": name})
            await some_events(answer, 3)
            (Path(nodes[0].variables["SITE_FOLDER"]) / f"{name}.open").touch()
            assert (await answer.text()).startswith("counted")


async def test_silent_stream_lives(proxy: Proxy) -> None:
    async with Client(proxy.port) as client:
        await client.initialize()
        assert await (await client.call("brood", {"seconds": SILENCE})).text() == "well thought"


def shorten(text: str) -> str:
    """Reduce the read timeout to one second."""
    return re.sub(r"(proxy_read_timeout|timeout (?:client|server)) \d+s", r"\1 1s", text)


@every_kind
async def test_short_timeouts_would_be_noticed(kind: type[Proxy], nodes: list[Node]) -> None:
    with kind([nodes[0].port], edit=shorten) as proxy:
        async with Client(proxy.port) as client:
            await client.initialize()
            answer = await client.call("brood", {"seconds": SILENCE})
            assert [message["method"] for message in await answer.messages()] == ["notifications/progress"]


# -- headers and bodies --------------------------------------------------------------------------------------

HEADERS = (
    ("Authorization", "Bearer of-news"),
    ("Mcp-Session-Id", "s"),
    ("Last-Event-ID", "e-1"),
    ("MCP-Protocol-Version", SESSIONLESS),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "add"),
    ("Origin", "https://elsewhere.example"),
)


async def echo(port: int, *headers: tuple[str, str]) -> dict[str, list[str]]:
    """Return the headers that a node receives, by name."""
    async with Client(port) as client:
        answer = await client.send(Request(method="GET", path="/echo", headers=(HOST, *headers)))
        received: dict[str, list[str]] = {}
        for name, value in (await answer.json())["headers"]:
            received.setdefault(name.lower(), []).append(value)
        return received


async def test_headers_go_through(proxy: Proxy) -> None:
    headers = await echo(proxy.port, *HEADERS)
    assert {name.lower(): [value] for name, value in HEADERS}.items() <= headers.items()
    assert "close" not in headers.get("connection", [])


async def test_nodes_are_not_asked_to_compress_the_endpoints_answers(proxy: Proxy) -> None:
    wishes = ("Accept-Encoding", "gzip, br")
    assert (await echo(proxy.port, wishes))["accept-encoding"] == ["gzip, br"], "pages may be"
    async with behind(type(proxy), saying(OK)) as ([stand], client, _):
        for path in ("/mcp", "/mcp/", "/mcp?x=1", "/pages/mcp"):
            await client.send(Request(method="GET", path=path, headers=(HOST, wishes)))
    has_encoding = ["accept-encoding: gzip, br" in head.lower() for head in stand.requests]
    assert has_encoding == [False, False, False, True]


async def test_what_clients_say_of_themselves_is_not_believed(proxy: Proxy) -> None:
    false = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]
    false.append(("X-Real-IP", "192.0.2.1"))
    for _ in range(8):  # reaches every node: daphne itself drops names with underscores, uvicorn does not
        headers = await echo(proxy.port, *false, ("Mcp_Name", "delete"), ("X_Forwarded_Proto", "https"))
        assert headers["x-forwarded-for"] == headers["x-real-ip"] == [LOOPBACK]
        assert headers["x-forwarded-proto"] == ["http"]
        assert "evil.example" not in headers["x-forwarded-host"]
        assert not [name for name in headers if "_" in name]


async def test_body_goes_through_up_to_the_endpoints_limit(proxy: Proxy) -> None:
    async with Client(proxy.port) as client:
        await client.initialize()
        size = Policy().max_request_bytes - 1000
        assert await (await client.call("measure", {"text": "x" * size})).text() == str(size)
        refused = await client.call("measure", {"text": "x" * Policy().max_request_bytes})
        assert refused.status == 413
        assert (await refused.json())["error"]["message"]  # the endpoint's own error
        huge = Request(method="PUT", headers=(HOST, ("Content-Length", str(4 * Policy().max_request_bytes + 1))))
        answer = await client.send(huge)
        assert (answer.status, "application/json" in answer.headers["content-type"]) == (413, False)


@pytest.mark.parametrize("path", ["/metrics", "/%6Detrics"])
async def test_numbers_are_not_for_everybody(proxy: Proxy, nodes: list[Node], path: str) -> None:
    request = Request(method="GET", path=path, headers=(HOST,))
    async with Client(proxy.port) as client:
        assert (await client.send(request, nodes[0].port)).status == 200
        assert (await client.send(request)).status == 404


async def test_health_is_for_everybody(proxy: Proxy) -> None:
    async with Client(proxy.port) as client:
        for path in ("/healthz", "/readyz", "/health"):
            async with asyncio.timeout(PATIENCE):
                while (  # noqa: ASYNC110 (what a load balancer does)
                    status := (await client.send(Request(method="GET", path=path, headers=(HOST,)))).status
                ) == 503:
                    await asyncio.sleep(0.01)  # a node warms up
            assert status == 200


async def test_websocket_goes_through(proxy: Proxy) -> None:
    async with connect(f"ws://{LOOPBACK}:{proxy.port}/admin/sessions/live/", proxy=None) as socket:
        await socket.send("heard")
        async with asyncio.timeout(PATIENCE):
            assert await socket.recv() == "heard"


# -- nodes that fail -----------------------------------------------------------------------------------------


@every_kind
async def test_post_goes_on_where_a_node_refuses_the_connection(kind: type[Proxy]) -> None:
    async with behind(kind, saying(OK), dead=1) as ([stand], client, _):
        for _ in range(6):
            assert (await client.send(POST)).status == 200
        assert len(stand.requests) == 6


@every_kind
async def test_post_is_not_sent_again_and_get_is(kind: type[Proxy]) -> None:
    async with behind(kind, die, saying(OK)) as (stands, client, _):
        posts = await until_all({200, 502}, lambda: status_of(client, POST))
        assert (posts.count(502), posts.count(200)) == tuple(len(stand.requests) for stand in stands)
        assert {(await client.send(GET)).status for _ in range(6)} == {200}


@every_kind
async def test_refusal_reaches_the_client_where_no_node_takes_a_request(kind: type[Proxy]) -> None:
    async with behind(kind, saying(BUSY), saying(OK)) as (_, client, _):
        assert {(await client.send(GET)).status for _ in range(6)} == {200}
        await until_all({200, 503}, lambda: status_of(client, POST))
    async with behind(kind, saying(BUSY), saying(BUSY)) as (_, client, _):
        for request in 3 * [GET, POST]:
            answer = await client.send(request)
            assert (answer.status, answer.headers["retry-after"]) == (503, "7")


@every_kind
async def test_one_dead_node_does_not_hide_the_refusal_of_the_others(kind: type[Proxy]) -> None:
    """With Redis away all nodes answer 503; another node that is down makes no 502 of it, but of a lost POST."""
    async with behind(kind, saying(BUSY), dead=2) as ([stand], client, _):
        for _ in range(8):
            answer = await client.send(GET)
            assert (answer.status, "retry-after" in answer.headers) == (503, True)
    async with behind(kind, die) as ([stand], client, _):
        assert [(await client.send(POST)).status for _ in range(3)] == [502] * 3
        assert len(stand.requests) == 3


# -- affinity ------------------------------------------------------------------------------------------------


@every_kind
async def test_session_stays_at_a_node_if_it_shall(kind: type[Proxy], nodes: list[Node]) -> None:
    with kind([node.port for node in nodes], affinity="session") as proxy:
        homes = set()
        for _ in range(MANY):
            async with Client(proxy.port) as client:
                await client.initialize()
                own = {await where(client) for _ in range(4)}
                assert len(own) == 1
                homes |= own
        assert len(homes) > 1
        async with Client(proxy.port) as client:
            alone = [await (await client.call_alone("where")).text() for _ in range(MANY)]
            assert len(set(alone)) > 1


@every_kind
async def test_address_stays_at_a_node_if_it_shall(kind: type[Proxy], nodes: list[Node]) -> None:
    with kind([node.port for node in nodes], affinity="address") as proxy:
        homes = set()
        for _ in range(6):
            async with Client(proxy.port) as client:
                await client.initialize()
                homes |= {await where(client) for _ in range(2)}
        assert len(homes) == 1


@every_kind
@pytest.mark.parametrize("affinity", ["session", "address"])
async def test_affinity_gives_way_where_a_node_is_gone(kind: type[Proxy], affinity: str) -> None:
    async with behind(kind, saying(OK), dead=1) as (_, client, _):
        for number in range(8):
            request = POST.adding(("Mcp-Session-Id", f"session-{number}"))
            assert (await client.send(request)).status == 200
