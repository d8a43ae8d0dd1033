"""Both generated proxies with TLS: HTTP/2, unbuffered streams, redirect of plain HTTP."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.deploy.proxies import KINDS, Proxy
from tests.support.http.answer import PATIENCE
from tests.support.http.client import Client
from tests.support.http.messages import SESSIONLESS
from tests.support.http.request import BOTH, HOST, Request
from tests.support.node import Node
from tests.support.processes import LOOPBACK, program
from tests.support.programs import need

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    need("nginx", "haproxy", "openssl", "curl")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.role)
def secure(request: pytest.FixtureRequest, nodes: list[Node]) -> Iterator[Proxy]:
    with request.param([node.port for node in nodes], tls=True) as proxy:
        yield proxy


async def test_http2_is_negotiated(secure: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(secure.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(LOOPBACK, secure.port, ssl=context, server_hostname="localhost")
    own = writer.get_extra_info("ssl_object")
    assert (own.selected_alpn_protocol(), own.version()) == ("h2", "TLSv1.3")
    writer.transport.abort()


async def test_old_tls_is_refused(secure: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(secure.certificate))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(LOOPBACK, secure.port, ssl=context, server_hostname="localhost")


async def test_events_arrive_as_they_are_sent_over_http2(secure: Proxy, nodes: list[Node]) -> None:
    """The call ends only after its first events have arrived, so none can have been buffered."""
    meta = {"io.modelcontextprotocol/protocolVersion": SESSIONLESS, "io.modelcontextprotocol/clientCapabilities": {}}
    arguments = {"name": secrets.token_hex(4)}
    params = {"name": "count", "arguments": arguments, "_meta": {**meta, "progressToken": "p"}}
    headers = {"Content-Type": "application/json", "Accept": BOTH, "MCP-Protocol-Version": SESSIONLESS}
    headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "count"}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    process = await asyncio.create_subprocess_exec(
        *(program("curl"), "--http2", "-sSN", "--noproxy", "*", "--cacert", str(secure.certificate), "-i"),
        *("-w", "\n%{http_version} %{http_code}", "-d", body),
        *(argument for name, value in headers.items() for argument in ("-H", f"{name}: {value}")),
        f"https://localhost:{secure.port}/mcp",
        stdout=PIPE,
    )
    assert process.stdout is not None
    output = ""
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stdout.readline()).decode():
            output += line
            if output.count("notifications/progress") == 3:
                (Path(nodes[0].variables["SITE_FOLDER"]) / f"{arguments['name']}.open").touch()
        await process.wait()
    assert "strict-transport-security: max-age=86400" in output
    assert "counted" in output
    assert output.endswith("2 200")


def test_nodes_are_told_of_https_by_the_proxy_alone(secure: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(secure.certificate))
    with closing(HTTPSConnection("localhost", secure.port, timeout=PATIENCE, context=context)) as connection:
        connection.request("GET", "/echo", headers={**dict([HOST]), "X-Forwarded-Proto": "http"})
        headers = json.loads(connection.getresponse().read())["headers"]
    assert [value for name, value in headers if name.lower() == "x-forwarded-proto"] == ["https"]


async def test_plain_http_is_sent_to_https(secure: Proxy) -> None:
    async with Client(secure.plain_port) as client:
        answer = await client.send(Request(path="/mcp?a=b", headers=(HOST,), body=b"{}"))
        assert answer.status == 308
        assert answer.headers["location"] == f"https://mcp.example.com:{secure.port}/mcp?a=b"
