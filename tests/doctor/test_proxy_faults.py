"""Real proxies before real nodes: each planted fault is found, and nothing is found where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcp_transport.doctor import DoctorOptions, Finding, Status, examine, judge
from tests.doctor.conftest import PAGES, Nodes
from tests.doctor.faulty_proxies import FaultyNginx, HAProxy
from tests.support.http.client import Client
from tests.support.processes import LOOPBACK, free_port

pytestmark = pytest.mark.servers

IDLE = 1.2
"""Four times the keep-alive of the nodes that share."""


async def findings(url: str, *, origin: str = PAGES, idle: float = IDLE, **options: object) -> dict[str, Finding]:
    asked = DoctorOptions(url=url, origins=(origin,), idle=idle, **options)  # type: ignore[arg-type]
    return {finding.id: finding for finding in judge(await examine(asked))}


def having(found: dict[str, Finding], status: Status) -> set[str]:
    return {id for id, finding in found.items() if finding.status is status}


@pytest.mark.parametrize("way", [FaultyNginx, HAProxy])
async def test_nothing_is_found_on_a_good_path(nodes: Nodes, way: type[FaultyNginx | HAProxy]) -> None:
    with way(nodes.ports) as proxy:
        found = await findings(proxy.url, nodes=2)
    assert {finding for finding in found.values() if finding.status is not Status.OK} == set()
    assert found["nodes"].seen == "2 answered to 12 fresh connections"


# -- faults ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A way with one fault, and what is to be found on it."""

    way: Callable[[Nodes], FaultyNginx | HAProxy]
    finding: str
    seen: str
    """A part of what the finding says was seen."""
    also: tuple[str, ...] = ()
    """What else it breaks."""
    warnings: tuple[str, ...] = ()
    origin: str = PAGES
    idle: float = IDLE


BUFFERING = {
    "proxy_buffering off;": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;",
    # With chunks from the node nginx passes each one on, buffering or not.
    "proxy_http_version 1.1;": "proxy_http_version 1.0;",
}
HTTP_1_0 = {
    "proxy_http_version 1.1;": "proxy_http_version 1.0;",
    "proxy_set_header Connection $upgrade_connection;": "",
}
# nginx compresses nothing that says how it is encoded, as streams do.
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
        "lost: Mcp-Session-Id",
    ),
    "event id does not arrive": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add='proxy_set_header Last-Event-ID "";'),
        "headers",
        "lost: Last-Event-ID",
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
        warnings=("idle",),
    ),
    "Nagle's algorithm": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add="tcp_nodelay off;"), "event-spacing", "of 100 events came together"
    ),
    "a corked socket": Fault(
        lambda nodes: HAProxy(nodes.ports, option=""), "event-spacing", "of 100 events came together"
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
    "pages of any site are let in": Fault(
        lambda nodes: FaultyNginx(nodes.ports, add='proxy_set_header Origin "";'),
        "origin",
        "foreign origin was let in",
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
    fault = FAULTS[name]
    with fault.way(nodes) as proxy:
        found = await findings(proxy.url, origin=fault.origin, idle=fault.idle)
    assert having(found, Status.PROBLEM) == {fault.finding, *fault.also}, found
    finding = found[fault.finding]
    assert fault.seen in finding.seen
    assert finding.expected
    assert finding.fix
    assert having(found, Status.WARNING) == {*fault.warnings}


async def test_lesser_faults_are_warnings(nodes: Nodes) -> None:
    changed = {"client_max_body_size 16m;": "client_max_body_size 1m;", "Host $http_host": "Host $host"}
    with FaultyNginx([nodes.apart.port], replace=changed) as proxy:
        found = await findings(proxy.url, nodes=2)
    assert having(found, Status.PROBLEM) == {"nodes"}, found
    assert having(found, Status.WARNING) == {"body-size", "idle", "origin"}
    assert "HTTP 413" in found["body-size"].seen
    assert "own origin get 403" in found["origin"].seen
    assert "no comment within" in found["idle"].seen


async def test_a_path_on_which_nobody_limits_bodies_is_a_warning(nodes: Nodes) -> None:
    daphne, uvicorn = nodes.ports
    with HAProxy([daphne], limit="") as proxy:
        found = await findings(proxy.url)
    assert having(found, Status.WARNING) == {"body-limit"}
    assert "the body is waited for" in found["body-limit"].seen
    assert found["body-limit"].fix
    with HAProxy([uvicorn], limit="") as proxy:
        found = await findings(proxy.url)
    assert found["body-limit"].status is Status.OK, "the endpoint itself refuses what is announced"


async def test_challenge_that_does_not_come_through(nodes: Nodes) -> None:
    gate = 'proxy_set_header Authorization ""; if ($http_authorization != "Bearer good") { return 401; }'
    with FaultyNginx(nodes.ports, add=gate) as proxy:
        without, wrong, right = [await findings(proxy.url, token=token) for token in ("", "bad", "good")]
    assert without["authentication"].seen == "401 without WWW-Authenticate"
    assert without["initialize"].status is Status.UNKNOWN
    assert wrong["authentication"].seen.startswith("the token was refused")
    assert right["authentication"].seen == "401 without WWW-Authenticate"
    assert having(right, Status.PROBLEM) == {"authentication"}


async def test_sessions_of_the_examination_are_ended(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports[:1]) as proxy:
        asked = DoctorOptions(url=proxy.url, idle=IDLE)
        seen = await examine(asked)
    client = Client(nodes.ports[1])
    for session_id in filter(None, seen.secrets):
        client.session_id = session_id
        assert (await client.request("ping")).status == 404
    await client.__aexit__()


async def test_nobody_there() -> None:
    found = await findings(f"http://{LOOPBACK}:{free_port()}/mcp")
    assert {id: finding.status for id, finding in found.items()} == {"reachable": "problem", "tls": "ok"}
    assert "ConnectError" in found["reachable"].seen


async def test_somebody_else_there(nodes: Nodes) -> None:
    with FaultyNginx(nodes.ports, add="return 301 https://elsewhere.example/;") as proxy:
        found = await findings(proxy.url)
    assert set(found) == {"reachable", "tls"}
    assert found["reachable"].seen == "HTTP 301 to https://elsewhere.example/"
    assert "X-Forwarded-Proto" in found["reachable"].fix[0]


# -- TLS -------------------------------------------------------------------------------------------------


def certificate(folder: Path, *, days: int) -> str:
    """Write a certificate of nobody's for this machine; return nginx's lines for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = (
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
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return f"ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;"


async def test_certificate_is_looked_at(nodes: Nodes, tmp_path: Path) -> None:
    lines = certificate(tmp_path, days=30)
    with FaultyNginx(nodes.ports, replace={"backlog=2048": "backlog=2048 ssl http2"}, server=lines) as proxy:
        url = proxy.url.replace("http:", "https:")
        strict, lax = await findings(url), await findings(url, insecure=True)
    assert having(strict, Status.PROBLEM) == {"reachable", "tls"}
    assert "self-signed certificate" in strict["tls"].seen
    assert having(lax, Status.PROBLEM) == set()
    assert having(lax, Status.WARNING) == {"tls"}
    assert "certificate for 127.0.0.1 until" in lax["tls"].seen
    assert "(30 days)" in lax["tls"].seen
    assert lax["http-version"].seen == "HTTP/1.1, HTTP/2 is offered"
