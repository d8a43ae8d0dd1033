"""The how-to on calling other servers: its examples run, and its table of failures says what happens."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from mcp_transport.client import Client, ClientError, EndpointsUnavailable, ResultUnknown
from mcp_transport.client.circuit_breaker import RetryBudget
from tests.support.certificates import make_certificates
from tests.support.cluster.nodes import Site
from tests.support.docs import DOCS, blocks, table
from tests.support.node import Node
from tests.support.processes import LOOPBACK, free_port
from tests.support.scripted_endpoint import HANG, ScriptedEndpoint, answer, stream

PAGE = "howto/call-other-servers.md"
BLOCKS = blocks((DOCS / PAGE).read_text())
LOCAL = json.dumps({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"})
A, B = "https://a.example/mcp", "https://b.example/mcp"


@pytest.fixture(autouse=True)
def quiet_sdk() -> Iterator[None]:
    """Hide what the SDK logs: the ids of sessions."""
    logger = logging.getLogger("mcp")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


# -- examples --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A server whose tools the examples call; it asks as servers with sessions do."""
    site = "tests.support.cluster.site"
    sessions = json.dumps({"PROTOCOL_VERSIONS": ["2025-11-25"]})
    environment = {"SITE_CACHE": LOCAL, "REDIS_URL": "redis://unused", "SITE_MCP": sessions}
    with Node(settings=f"{site}.settings", application=f"{site}.asgi:application", environment=environment) as node:
        yield node


def examples(first: str, second: str) -> dict[str, Any]:
    """Run the blocks of the page with other addresses; return what they define."""
    namespace: dict[str, Any] = {"__name__": PAGE}
    for block in BLOCKS:
        exec(compile(block.replace(A, first).replace(B, second), PAGE, "exec"), namespace)  # noqa: S102
    return namespace


@pytest.fixture
def names(node: Node) -> dict[str, Any]:
    return examples(node.url, node.url.replace(LOOPBACK, "localhost"))


@pytest.mark.servers
def test_first_example_prints_what_the_page_says(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when the first endpoint is down."""
    examples(f"http://{LOOPBACK}:{free_port()}/mcp", node.url)
    assert f"This prints `{capsys.readouterr().out.strip()}`." in (DOCS / PAGE).read_text()


@pytest.mark.servers
def test_examples_run(names: dict[str, Any]) -> None:
    assert asyncio.run(names["ask"]()) == "accept Ann"
    assert names["price"](None).content == b"5"
    asyncio.run(names["shop"]())
    assert asyncio.run(names["go_on"](asyncio.run(names["begin"]()))) == "mug-blue"


def test_example_with_certificates_trusts_them(tmp_path: Path) -> None:
    authorities, *own = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    with ScriptedEndpoint(tls=context) as server, ScriptedEndpoint() as other:
        namespace: dict[str, Any] = {"Client": Client}
        [block] = [block for block in BLOCKS if "create_default_context" in block]
        exec(block.replace(A, server.url).replace(B, other.url), namespace)  # noqa: S102
        assert asyncio.run(namespace["inside"](authorities)) == "done"
        assert (server.calls, server.headers[-1]["authorization"]) == (1, "Bearer of-this-project")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "said"),
    [
        ([], "sold"),
        ([b""], "look first: it may be sold"),
        ([answer("503 No", "retry-after: 99")], "later: "),
        ([answer("403 No")], "refused: "),
    ],
)
async def test_example_tells_each_end_of_a_call(call: list[bytes], said: str) -> None:
    namespace: dict[str, Any] = {"Client": Client}
    [block] = [block for block in BLOCKS if "except ResultUnknown" in block]
    exec(block, namespace)  # noqa: S102
    with ScriptedEndpoint({"tools/call": call} if call else {}) as server:
        async with client_of(server) as client:
            assert (await namespace["sell"](client)).startswith(said)


# -- the table of failures -------------------------------------------------------------------------------

Script = Mapping[str, Sequence[bytes | None]]
JSON = "content-type: application/json"


def message(**members: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": "ID", **members}).replace('"ID"', "ID")


def document(**members: Any) -> bytes:
    return answer("200 OK", JSON, "mcp-session-id: scripted", body=message(**members))


DONE: dict[str, Any] = {"result": {"content": [{"type": "text", "text": "done"}]}}
FAILED = document(result={**DONE["result"], "isError": True})
REFUSED = document(error={"code": -32000, "message": "no"})
KEEPS = document(
    result={
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}, "experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300.0}}},
        "serverInfo": {"name": "scripted", "version": "1"},
    }
)
WITH_ID, WITHOUT_ID = stream("id: 1\ndata:\n\n"), stream(": nothing\n\n")
RESUMED = stream(f"id: 2\ndata: {message(**DONE)}\n\n")
RATHER_SOON: dict[str, Any] = {"deadline": 3.0, "attempt_timeout": 1.0}
ROWS = {first: (safe, other) for first, safe, other in table(PAGE, "What happens")}


def called(*answers: bytes | None, **more: Sequence[bytes | None]) -> Script:
    return {"tools/call": answers, **more}


def refused_on_stream(milliseconds: int) -> bytes:
    error = {"code": -32603, "message": "no", "data": {"retryable": True, "retryAfterMs": milliseconds}}
    return stream(f"data: {message(error=error)}\n\n")


# What endpoints do, by the beginning of the row.
ENDPOINTS: list[tuple[str, list[Script], dict[str, Any]]] = [
    ("An endpoint takes the call and never answers", [called(HANG), {}], RATHER_SOON),
    *(("An endpoint answers 429 or 503", [called(answer(status)), {}], {}) for status in ("429 No", "503 No")),
    *(
        ("All answer 429 or 503, with a short", [called(answer(status, "retry-after: 1"), document(**DONE))], {})
        for status in ("429 No", "503 No")
    ),
    *(
        ("All answer 429 or 503, with a `Retry-After` bey", [called(answer(status, "retry-after: 99"))] * 2, {})
        for status in ("429 No", "503 No")
    ),
    ("A stream that has begun ends with a", [called(refused_on_stream(10), document(**DONE))], {}),
    ("A refusal on a stream has", [called(refused_on_stream(99_000))], {}),
    *(("An endpoint answers 502 or 504", [called(answer(status)), {}], {}) for status in ("502 No", "504 No")),
    ("The answer is lost on the way", [called(b""), {}], {}),
    ("The answer is lost, and", [called(b"", document(**DONE), initialize=[KEEPS])], {}),
    ("A stream whose events have IDs is cut", [called(WITH_ID, GET=[RESUMED])], {}),
    ("A stream without event IDs is cut", [called(WITHOUT_ID, document(**DONE))], {}),
    ("Each stream is cut, without event IDs", [called(WITHOUT_ID)], RATHER_SOON),
    ("`deadline` has passed", [called(HANG), called(HANG)], RATHER_SOON),
    *(
        ("The server refuses", [called(refused), {}], {})
        for refused in (*(answer(f"{status} No") for status in (400, 401, 403, 500)), REFUSED)
    ),
    ("The tool reports an error", [called(FAILED), {}], {}),
]
TOOLS = [("look", 0), ("set", 0), ("sell", 1)]
"""Tools of a scripted endpoint, and the column of each."""


def cell(row: str, column: int) -> str:
    [cells] = [cells for first, cells in ROWS.items() if first.startswith(row)]
    return cells[column].replace("`", "")


@asynccontextmanager
async def client_of(*endpoints: Any, **options: Any) -> AsyncIterator[Client]:
    options = {"attempt_timeout": 1.0, **options}
    async with Client([getattr(endpoint, "url", endpoint) for endpoint in endpoints], **options) as client:
        yield client


async def outcome(client: Client, tool: str, arguments: Any = None) -> str:
    try:
        result = await client.call_tool(tool, arguments or {})
    except (ClientError, MCPError) as error:
        return type(error).__name__
    return "a result with is_error" if result.is_error else "the result"


async def each_tool(check: Callable[[str, int], Awaitable[None]]) -> None:
    """Check each tool at the same time: most of it is waiting."""
    await asyncio.gather(*(check(tool, column) for tool, column in TOOLS))


@pytest.mark.slow
@pytest.mark.parametrize(("row", "scripts", "options"), ENDPOINTS, ids=[row for row, *_ in ENDPOINTS])
async def test_row_of_the_table(row: str, scripts: list[Script], options: dict[str, Any]) -> None:
    await each_tool(lambda tool, column: check_row(row, scripts, options, tool, column))


async def check_row(row: str, scripts: list[Script], options: dict[str, Any], tool: str, column: int) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedEndpoint(script)) for script in scripts]
        async with client_of(*servers, **options) as client:
            found = await outcome(client, tool)
    assert cell(row, column).startswith(found)
    if found in ("ResultUnknown", "MCPError"):
        assert sum(server.calls for server in servers) == 1 or row.startswith("`deadline`")
    if row.startswith("The answer is lost, and"):
        keys = {headers["idempotency-key"] for headers in servers[0].headers if "idempotency-key" in headers}
        assert (servers[0].calls, len(keys)) == (2, 1)


@pytest.mark.slow
async def test_rows_of_endpoints_that_are_down(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificates(tmp_path)[1:])
    await each_tool(lambda tool, column: check_endpoints_that_are_down(tool, column, context))


async def check_endpoints_that_are_down(tool: str, column: int, context: ssl.SSLContext) -> None:
    down = f"http://{LOOPBACK}:{free_port()}/mcp"
    with ScriptedEndpoint() as working, ScriptedEndpoint(tls=context) as untrusted:
        async with client_of(down, working) as client:
            assert cell("An endpoint refuses conn", column).startswith(await outcome(client, tool))
        async with client_of(untrusted, working) as client:
            assert cell("An endpoint has a wrong", column).startswith(await outcome(client, tool))
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedEndpoint()) for _ in range(2)]
        async with client_of(*servers, deadline=1.0) as client:
            stack.close()
            for server in servers:  # so that no other test gets these ports
                held = stack.enter_context(socket.socket())
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.bind((LOOPBACK, server.server_port))
            assert cell("All endpoints are down", column).startswith(await outcome(client, tool))


@pytest.mark.slow
async def test_row_of_the_budget() -> None:
    await each_tool(check_the_budget)


async def check_the_budget(tool: str, column: int) -> None:
    failure = answer("503 No") if tool == "sell" else b""
    with ScriptedEndpoint(called(failure, failure)) as server:
        async with client_of(server) as client:
            assert client._delivery
            client._delivery._budget = RetryBudget(capacity=0.0, tokens=0.0)
            assert cell("The retry budget", column).startswith(await outcome(client, tool))


@pytest.mark.parametrize(("tool", "column"), TOOLS)
async def test_row_of_the_lost_session(tool: str, column: int) -> None:
    told: list[str] = []
    with ScriptedEndpoint(called(answer("404 Not Found"), document(**DONE))) as server:
        async with client_of(server, on_session_lost=lambda: told.append("lost")) as client:
            assert cell("The session is lost", column).startswith(await outcome(client, tool))
    assert told == ["lost"]


@pytest.mark.slow
async def test_row_of_the_session_that_is_lost_with_the_answer() -> None:
    await each_tool(check_the_session_that_is_lost_with_the_answer)


async def check_the_session_that_is_lost_with_the_answer(tool: str, column: int) -> None:
    with ScriptedEndpoint(called(b"", answer("404 Not Found"), document(**DONE), initialize=[KEEPS])) as server:
        async with client_of(server) as client:
            assert cell("The answer is lost, then the session", column).startswith(await outcome(client, tool))
    assert server.calls == (2 if tool == "sell" else 3)


@pytest.mark.parametrize(("tool", "column"), TOOLS)
async def test_row_of_an_answer_that_is_lost_within_its_body(tool: str, column: int) -> None:
    torn = answer("200 OK", JSON, "content-length: 999", body=message(**DONE))
    with ScriptedEndpoint(called(torn)) as first, ScriptedEndpoint() as second:
        async with client_of(first, second) as client:
            found = await outcome(client, tool)
    assert cell("The answer is lost on the way", column).startswith(found)


async def test_client_that_cannot_connect_raises_the_error_itself() -> None:
    with pytest.raises(EndpointsUnavailable):
        async with client_of(f"http://{LOOPBACK}:{free_port()}/mcp", deadline=0.3):
            raise AssertionError("connected to nobody")


@pytest.mark.servers
@pytest.mark.slow
async def test_rows_of_a_node_that_dies() -> None:
    """The node that runs the call is killed, once the client has had progress."""
    rows = {
        "legacy": "The node dies during the call, in a session",
        "2026-07-28": "The node dies during the call, in 20",
    }
    with Site("uvicorn", "uvicorn", mcp={"LEASE_SECONDS": 1}) as site:
        for mode, row in rows.items():
            safe, unsafe, durable = await _killed(site, mode, ("count_safely", "count", "count_durably"))
            assert (cell(row, 0).startswith(safe), cell(row, 1).startswith(unsafe)) == (True, True), (
                mode,
                safe,
                unsafe,
            )
            assert cell(row, 1).endswith("for a durable tool the result") == (durable == "the result")
            assert cell(row, 1).endswith("even for a durable tool") == (durable == "ResultUnknown")


async def _killed(site: Site, mode: str, tools: Sequence[str]) -> list[str]:
    """Kill the node on which these tools run, each called by a client of its own; return how the calls end."""
    (first, second), names = site.nodes, [site.new_name() for _ in tools]
    async with AsyncExitStack() as stack:
        calls = []
        for tool, name in zip(tools, names, strict=True):
            client = await stack.enter_async_context(client_of(first, second, mode=mode, deadline=20.0))
            calls.append(await _running_call(client, tool, name))
        first.kill()
        try:
            for name in names:
                site.let_go(name)
            ends = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            first.start()
    assert not [end for end in ends if isinstance(end, BaseException) and not isinstance(end, ResultUnknown)], ends
    return ["ResultUnknown" if isinstance(end, ResultUnknown) else "the result" for end in ends]


async def _running_call(client: Client, tool: str, name: str) -> asyncio.Future[Any]:
    has_progress = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        has_progress.set()

    call = asyncio.ensure_future(client.call_tool(tool, {"name": name, "steps": 1}, progress_callback=note))
    await asyncio.wait_for(has_progress.wait(), 20)
    return call


def test_every_row_of_the_table_has_a_case() -> None:
    elsewhere = (
        "An endpoint refuses",
        "An endpoint has a w",
        "All endpoints are down",
        "The retry budget",
        "The session is lost",
        "The answer is lost, then the session",
    )
    tested = (*(row for row, *_ in ENDPOINTS), *elsewhere, "The node dies")
    assert not [row for row in ROWS if not row.startswith(tested)]
