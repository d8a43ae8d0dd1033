"""Real proxies in front of real nodes: each fault is found, and a correct path has no findings."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcp_transport.doctor import DoctorOptions, Finding, Status, evaluate, http_client, run_probes, tls
from tests.doctor.conftest import PAGES, Nodes
from tests.doctor.faulty_proxies import FaultyNginx, HAProxy
from tests.support.http.client import Client
from tests.support.http.losing_proxy import listening
from tests.support.processes import LOOPBACK, free_port

pytestmark = pytest.mark.servers

IDLE = 1.2
"""Four times the keep-alive interval of the shared nodes."""


async def findings(url: str, *, origin: str = PAGES, idle: float = IDLE, **options: object) -> dict[str, Finding]:
    doctor_options = DoctorOptions(url=url, origins=(origin,), idle=idle, **options)  # type: ignore[arg-type]
    return {finding.id: finding for finding in evaluate(await run_probes(doctor_options))}


def ids_with(by_id: dict[str, Finding], status: Status) -> set[str]:
    return {id for id, finding in by_id.items() if finding.status is status}


@pytest.mark.parametrize("way", [FaultyNginx, HAProxy])
async def test_nothing_is_found_on_a_good_path(nodes: Nodes, way: type[FaultyNginx | HAProxy]) -> None:
    with way(nodes.ports) as proxy:
        by_id = await findings(proxy.url, nodes=2)
    assert {finding for finding in by_id.values() if finding.status is not Status.OK} == set()
    assert by_id["nodes"].observed == "2 nodes answered on 12 new connections"


# -- faults ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A path with one fault, and the expected finding."""

    way: Callable[[Nodes], FaultyNginx | HAProxy]
    finding: str
    observed: str
    """A part of the finding's text."""
    also: tuple[str, ...] = ()
    """Other findings that are problems, too."""
    warnings: tuple[str, ...] = ()
    origin: str = PAGES
    idle: float = IDLE


BUFFERING = {
    "proxy_buffering off;": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
    # nginx forwards chunks of the node immediately, even with buffering.
    "proxy_http_version 1.1;": "proxy_http_version 1.0;",
}
HTTP_1_0 = {
    "proxy_http_version 1.1;": "proxy_http_version 1.0;",
    "proxy_set_header Connection $upgrade_connection;": "",
}
# nginx does not compress responses with a Content-Encoding, which streams have.
GZIP = (
    "proxy_hide_header Content-Encoding; gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream;"
)
LATE = 'http-response set-header Date "%[date(-300),http_date]"'

FAULTS = {
    "buffering": Fault(
        lambda nodes: FaultyNginx(nodes.ports[:1], replace=BUFFERING),
        "first-event",
        "GET: no byte within",
        also=("event-spacing", "upstream"),
    ),
    "gzip on streams": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add=GZIP), "compression", "Content-Encoding: gzip"
    ),
    "read timeout of 5 s": Fault(
        lambda nodes: FaultyNginx(
            [nodes.apart.port], replace={"proxy_read_timeout 3600s;": "proxy_read_timeout 5s;"}
        ),
        "idle",
        "GET ended after 5.",
        idle=7.0,
    ),
    "session id does not arrive": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add='proxy_set_header Mcp-Session-Id "";'),
        "headers",
        "lost on the way: Mcp-Session-Id",
    ),
    "event id does not arrive": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add='proxy_set_header Last-Event-ID "";'),
        "headers",
        "lost on the way: Last-Event-ID",
    ),
    "session id does not come back": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add="proxy_hide_header Mcp-Session-Id;"),
        "initialize",
        "without Mcp-Session-Id",
    ),
    "nodes share nothing": Fault(
        lambda nodes: FaultyNginx([nodes.apart.port, nodes.ports[0]]),
        "session-nodes",
        "times HTTP 404",
    ),
    "Nagle's algorithm": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add="tcp_nodelay off;"),
        "event-spacing",
        "% of events arrived with",
    ),
    "a corked socket": Fault(
        lambda nodes: HAProxy(nodes.ports, option=""), "event-spacing", "% of events arrived with"
    ),
    "HTTP/1.0 to the node": Fault(
        lambda nodes: FaultyNginx(nodes.ports, replace=HTTP_1_0),
        "upstream",
        "12 of 12 requests reached the node with Connection: close",
    ),
    "a page is missing from the list": Fault(
        lambda nodes: FaultyNginx(nodes.ports),
        "origin",
        "refused with 403: https://other.example",
        origin="https://other.example",
    ),
    "any origin is allowed": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add='proxy_set_header Origin "";'),
        "origin",
        "foreign origin was allowed",
    ),
    "connections are not kept": Fault(
        lambda nodes: FaultyNginx(nodes.ports, server="keepalive_timeout 0;"),
        "connection-reuse",
        "Connection: close",
    ),
    "the clock is wrong": Fault(lambda nodes: HAProxy(nodes.ports, rule=LATE), "clock", "s behind"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_planted_fault_is_found(nodes: Nodes, name: str) -> None:
    failure = FAULTS[name]
    with failure.way(nodes) as proxy:
        by_id = await findings(proxy.url, origin=failure.origin, idle=failure.idle)
    assert ids_with(by_id, Status.PROBLEM) == {failure.finding, *failure.also}, by_id
    finding = by_id[failure.finding]
    assert failure.observed in finding.observed
    assert finding.expected
    assert finding.fix
    assert ids_with(by_id, Status.WARNING) == {*failure.warnings}


async def test_lesser_faults_are_warnings(nodes: Nodes) -> None:
    changed = {"client_max_body_size 16m;": "client_max_body_size 1m;", "Host $http_host": "Host $host"}
    with FaultyNginx([nodes.apart.port], replace=changed) as proxy:
        by_id = await findings(proxy.url, nodes=2)
    assert ids_with(by_id, Status.PROBLEM) == {"nodes"}, by_id
    assert ids_with(by_id, Status.WARNING) == {"body-size", "origin"}
    assert "HTTP 413" in by_id["body-size"].observed
    assert "own origin gets 403" in by_id["origin"].observed
    assert "no comment within" in by_id["idle"].observed
    assert "--idle is too short" in by_id["idle"].observed


async def test_a_path_on_which_nobody_limits_bodies_is_a_warning(nodes: Nodes) -> None:
    daphne, uvicorn = nodes.ports
    with HAProxy([daphne], limit="") as proxy:
        by_id = await findings(proxy.url)
    assert ids_with(by_id, Status.WARNING) == {"body-limit"}
    assert "the server waits for it" in by_id["body-limit"].observed
    assert by_id["body-limit"].fix
    with HAProxy([uvicorn], limit="") as proxy:
        by_id = await findings(proxy.url)
    assert by_id["body-limit"].status is Status.OK, "the endpoint itself refuses what is announced"


async def test_challenge_that_does_not_come_through(nodes: Nodes) -> None:
    gate = 'proxy_set_header Authorization ""; if ($http_authorization != "Bearer good") { return 401; }'
    with FaultyNginx(nodes.ports, add=gate) as proxy:
        without, wrong, right = [await findings(proxy.url, token=token) for token in ("", "bad", "good")]
    assert without["authentication"].observed == "401 without WWW-Authenticate"
    assert without["initialize"].status is Status.UNKNOWN
    assert wrong["authentication"].observed.startswith("the token was refused")
    assert right["authentication"].observed == "401 without WWW-Authenticate"
    assert ids_with(right, Status.PROBLEM) == {"authentication"}


async def test_sessions_of_the_examination_are_ended(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports[:1]) as proxy:
        options = DoctorOptions(url=proxy.url, idle=IDLE)
        observed = await run_probes(options)
    client = Client(nodes.ports[1])
    for session_id in filter(None, observed.secrets):
        client.session_id = session_id
        assert (await client.request("ping")).status == 404
    await client.__aexit__()


async def test_nobody_there() -> None:
    by_id = await findings(f"http://{LOOPBACK}:{free_port()}/mcp")
    assert {id: finding.status for id, finding in by_id.items()} == {"reachable": "problem", "tls": "ok"}
    assert by_id["reachable"].observed.startswith(f"nothing listens on {LOOPBACK}:")


IN_THE_WAY = {
    "a login page": (
        'default_type text/html; return 200 "<html><title>Log in</title>";',
        "reachable",
        'HTTP 200, text/html ("Log in"): not an MCP endpoint',
    ),
    "a proxy without a route": (
        'default_type text/plain; return 404 "404 page not found";',
        "reachable",
        "HTTP 404, text/plain: not an MCP endpoint",
    ),
    "a password": (
        'auth_basic "staff"; auth_basic_user_file /dev/null;',
        "authentication",
        '401 with Basic realm="staff": a proxy asks for a password',
    ),
    "a firewall": (
        "if ($http_mcp_method) { return 403; }",
        "headers",
        "HTTP 403 of something on the way, to requests with Mcp-* headers",
    ),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
async def test_what_is_in_the_way_is_named_and_no_other_origin_is_let_in(nodes: Nodes, name: str) -> None:
    lines, id, text = IN_THE_WAY[name]
    with FaultyNginx(nodes.ports[:1], add=lines) as proxy:
        by_id = await findings(proxy.url)
    assert by_id[id].observed == text
    assert ids_with(by_id, Status.PROBLEM) <= {id, "sessionless"}, by_id


async def test_tls_on_a_plain_port_is_said(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports[:1]) as proxy:
        by_id = await findings(proxy.url.replace("http:", "https:"))
    assert by_id["reachable"].observed == f"{LOOPBACK}:{proxy.port} speaks plain HTTP, not TLS"
    assert by_id["tls"].fix == by_id["reachable"].fix


# The HTTP library does not close the socket of a handshake that takes too long.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_waits_for_the_rest_of_a_handshake_is_asked_plainly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As daphne does; the times are short for the test."""
    for module in (tls, http_client):
        name = "_TIMEOUT_SECONDS" if module is tls else "TIMEOUT_SECONDS"
        monkeypatch.setattr(module, name, 0.5)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with listening(wait) as url:
        by_id = await findings(url.replace("http:", "https:"))
    server = url.removeprefix("http://").removesuffix("/mcp")
    assert by_id["reachable"].observed == f"{server} speaks plain HTTP, not TLS"
    gc.collect()  # in this test, and not in another one


async def test_somebody_else_there(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports, add="return 301 https://elsewhere.example/;") as proxy:
        by_id = await findings(proxy.url)
    assert set(by_id) == {"reachable", "tls"}
    assert by_id["reachable"].observed == "HTTP 301 to https://elsewhere.example/"
    assert "X-Forwarded-Proto" in by_id["reachable"].fix[0]


# -- TLS -------------------------------------------------------------------------------------------------


def certificate(folder: Path, *, days: int) -> str:
    """Write a self-signed certificate for this machine; return nginx's lines for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;"


async def test_certificate_is_looked_at(nodes: Nodes, tmp_path: Path) -> None:
    lines = certificate(tmp_path, days=30)
    with FaultyNginx(nodes.ports, replace={"backlog=2048": "backlog=2048 ssl http2"}, server=lines) as proxy:
        url = proxy.url.replace("http:", "https:")
        strict, lax, plain = await findings(url), await findings(url, insecure=True), await findings(proxy.url)
    assert ids_with(strict, Status.PROBLEM) == {"reachable", "tls"}
    assert "self-signed certificate" in strict["tls"].observed
    assert any("--insecure" in line for line in strict["reachable"].fix)
    assert plain["reachable"].observed.endswith("this port speaks TLS")
    assert ids_with(lax, Status.PROBLEM) == set()
    assert ids_with(lax, Status.WARNING) == {"tls"}
    assert "certificate for 127.0.0.1 until" in lax["tls"].observed
    assert "(30 days)" in lax["tls"].observed
    assert lax["http-version"].observed == "HTTP/1.1, HTTP/2 is offered"
