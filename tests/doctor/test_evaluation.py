"""Each rule on its own, with synthetic observations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from mcp_transport.doctor.connection_faults import Fault
from mcp_transport.doctor.evaluation import RULES, evaluate
from mcp_transport.doctor.findings import Finding
from mcp_transport.doctor.fixes import FIXES
from mcp_transport.doctor.observations import (
    TLS,
    DoctorOptions,
    NodeReport,
    Observations,
    Response,
    StreamObservation,
)
from mcp_transport.doctor.report import as_json, lines
from mcp_transport.doctor.rules import access, connectivity, reachability, regions, sessions, streams, traffic

URL = "https://mcp.example.com/mcp"
NOW = 1_800_000_000.0
METADATA = f'Bearer resource_metadata="{URL}/.well-known/oauth-protected-resource/mcp"'


def reply(status: int = 200, value: Any = None, **headers: str) -> Response:
    body = b"" if value is None else json.dumps(value).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(
        status=status, http="HTTP/1.1", headers=named, body=body, seconds=0.01, received_at=NOW, local_address="1"
    )


def result(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": members}


def error(code: int, message: str = "no") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}


def stream_of(*chunks: tuple[float, str], seconds: float = 20.0, end: str = "", **options: Any) -> StreamObservation:
    head = options.get("head", reply(content_type="text/event-stream"))
    return StreamObservation(head, tuple((received_at, text.encode()) for received_at, text in chunks), seconds, end)


RESULT = f"data: {json.dumps(result())}\n\n"
PRIMING, COMMENT = "id: g-0\ndata: \n\n", ": keep-alive\n\n"
QUIET = stream_of((0.01, PRIMING), (10.0, COMMENT), (20.0, COMMENT), seconds=20.5)
OPENED = reply(200, result(protocolVersion="2025-11-25"), mcp_session_id="secret-session")
DISCOVERED = reply(200, result(supportedVersions=["2026-07-28"]))
OK, REFUSED, LOST = reply(200, result()), reply(400, error(-32600)), reply(404, error(-32600))
SILENT = Response(failure="no answer within 20 s")


def observe(options: dict[str, Any] | None = None, **members: Any) -> Observations:
    return Observations(options=DoctorOptions(**{"url": URL, **(options or {})}), now=NOW, **members)


def tls(**members: Any) -> TLS:
    return TLS(**{"version": "TLSv1.3", "protocol": "h2", "expires": NOW + 30 * 86400, **members})


def dated(skew: float, *, seconds: float = 0.01, usegmt: bool = True) -> Observations:
    return observe(
        anonymous=Response(
            status=200, headers={"date": formatdate(NOW + skew, usegmt=usegmt)}, received_at=NOW, seconds=seconds
        )
    )


def reports_of(*nodes: str, http: str = "1.1", connection: str = "") -> tuple[NodeReport, ...]:
    return tuple(NodeReport(node=node, http=http, connection=connection) for node in nodes)


def reports(*times: float) -> StreamObservation:
    """Return a stream of reports that arrive at these milliseconds, followed by the result."""
    text = f"data: {json.dumps({'method': 'notifications/progress', 'params': {'progress': 1}})}\n\n"
    return stream_of(*((received_at / 1000, text) for received_at in times), (max(times) / 1000, RESULT))


def progress(*numbers: int, end: str = "") -> StreamObservation:
    """Return a stream with a priming event and these progress values."""
    text = "".join(f"data: {json.dumps({'params': {'progress': number}})}\n\n" for number in numbers)
    return stream_of((0.01, PRIMING + text + end))


def spaced(*rounds: tuple[int, ...]) -> Observations:
    return observe(has_tool=True, rounds=tuple(reports(*times) for times in rounds))


PAGE_ORIGIN = "https://a.example"


def paged(observed: Response) -> Observations:
    """Return observations with this response to an allowed origin."""
    return observe(foreign_origin=reply(403), origins={PAGE_ORIGIN: observed})


def challenged(resource: str) -> Observations:
    """Return observations with a challenge for this resource."""
    metadata = reply(200, {"resource": resource, "authorization_servers": ["x"]})
    return observe(anonymous=reply(401, www_authenticate=METADATA), metadata=metadata)


EVEN, NAGLE, CORKED = (0, 10, 20, 30, 40), (2, 42, 42, 42, 52), (200, 200, 200, 200, 200)
TWO = (reply(), reply())
ZIPPED = reply(content_type="text/event-stream", content_encoding="br")
CASES: list[tuple[Callable[[Observations], Finding], str, Observations]] = [
    (reachability.reachable, "ok", observe(anonymous=OPENED)),
    (reachability.reachable, "ok", observe(anonymous=reply(401))),
    (regions.regions, "unknown", observe()),  # more: test_regions.py
    (regions.regions, "problem", observe(initialize=OPENED)),
    (regions.regions, "ok", observe(initialize=replace(OPENED, headers={**OPENED.headers, "x-mcp-region": "eu"}))),
    (reachability.reachable, "ok", observe(anonymous=reply(400, error(-32022)))),
    (reachability.reachable, "problem", observe(anonymous=Response(failure="ConnectError"))),
    (reachability.reachable, "problem", observe(anonymous=reply(301, location="/x"))),
    (reachability.reachable, "problem", observe(anonymous=reply(400, error(-32600, "Host header not allowed")))),
    (reachability.reachable, "problem", observe(anonymous=reply(404))),
    (reachability.reachable, "problem", observe(anonymous=reply(200))),
    (reachability.reachable, "problem", observe(anonymous=reply(503, error(-32603)))),
    (connectivity.tls, "ok", observe({"url": "http://127.0.0.1:8000/mcp"})),
    (connectivity.tls, "warning", observe({"url": "http://mcp.example.com/mcp"})),
    (connectivity.tls, "ok", observe(tls=tls())),
    (connectivity.tls, "problem", observe(tls=TLS(failure="SSLError"))),
    (connectivity.tls, "unknown", observe(tls=TLS(failure="OSError"), anonymous=Response(fault=Fault.REFUSED))),
    (connectivity.tls, "problem", observe(tls=tls(failure="certificate has expired"))),
    (connectivity.tls, "warning", observe({"insecure": True}, tls=tls(failure="self-signed"))),
    (connectivity.tls, "problem", observe(tls=tls(version="TLSv1.1"))),
    (connectivity.tls, "warning", observe(tls=tls(expires=NOW + 13 * 86400))),
    (connectivity.http_version, "ok", observe(anonymous=reply(via="1.1 cdn"))),
    (connectivity.http_version, "problem", observe(anonymous=reply(via="1.1 cdn, 1.0 old"))),
    (connectivity.http_version, "problem", observe(anonymous=Response(status=200, http="HTTP/1.0"))),
    (connectivity.health, "ok", observe(health={"/healthz": reply(), "/readyz": reply()})),
    (
        connectivity.health,
        "problem",
        observe(health={"/healthz": reply(), "/readyz": reply(503, {"reason": "gone"})}),
    ),
    (connectivity.health, "unknown", observe(health={"/healthz": reply(404), "/readyz": reply(404)})),
    (connectivity.connection_reuse, "ok", observe(reused=TWO)),
    (connectivity.connection_reuse, "problem", observe(reused=(reply(), Response(status=200, local_address="2")))),
    (connectivity.connection_reuse, "unknown", observe(reused=(reply(), Response(failure="ReadError")))),
    (connectivity.connection_reuse, "unknown", observe()),
    (connectivity.connection_reuse, "unknown", observe(reused=(Response(status=200), Response(status=200)))),
    (connectivity.upstream, "ok", observe(node_reports=reports_of("a"))),
    (connectivity.upstream, "ok", observe(node_reports=reports_of("a", http=""))),
    (connectivity.upstream, "problem", observe(node_reports=reports_of("a", http="1.0"))),
    (connectivity.upstream, "problem", observe(node_reports=reports_of("a", connection="close"))),
    (connectivity.upstream, "unknown", observe()),
    (connectivity.clock, "ok", dated(-1)),
    (connectivity.clock, "ok", dated(0.9)),
    (connectivity.clock, "ok", dated(0.9, usegmt=False)),
    (connectivity.clock, "ok", dated(-4)),
    (connectivity.clock, "problem", observe(anonymous=dated(0).anonymous, pings=(dated(20).anonymous,))),
    (connectivity.clock, "warning", dated(5)),
    (connectivity.clock, "warning", dated(-5)),
    (connectivity.clock, "problem", dated(12)),
    (connectivity.clock, "problem", dated(-12)),
    (connectivity.clock, "ok", dated(-12, seconds=12)),
    (connectivity.clock, "unknown", observe(anonymous=reply(date="soon"))),
    (connectivity.body_size, "ok", observe(large_body=OK)),
    (connectivity.body_size, "ok", observe(large_body=reply(413, error(-32600)))),
    (connectivity.body_size, "warning", observe(large_body=reply(413))),
    (connectivity.body_size, "warning", observe(large_body=Response(failure="WriteError"))),
    (connectivity.body_size, "unknown", observe(large_body=REFUSED)),
    (connectivity.body_size, "unknown", observe(large_body=Response(status=502, failure="ReadError"))),
    (connectivity.body_limit, "ok", observe(announced_body=Response(status=413))),
    (connectivity.body_limit, "ok", observe(announced_body=Response(status=401))),
    (connectivity.body_limit, "warning", observe(announced_body=Response(failure="no answer within 3 s"))),
    (connectivity.body_limit, "unknown", observe(announced_body=Response(failure="ConnectionResetError"))),
    (connectivity.body_limit, "unknown", observe(announced_body=Response(status=502))),
    (connectivity.body_limit, "unknown", observe()),
    (access.authentication, "ok", observe({"url": "http://127.0.0.1:8000/mcp"}, anonymous=OPENED)),
    (access.authentication, "warning", observe(anonymous=OPENED)),
    (access.authentication, "problem", observe(anonymous=reply(401, www_authenticate='Basic realm="x"'))),
    (access.authentication, "unknown", observe(anonymous=reply(503))),
    (access.authentication, "problem", observe(anonymous=reply(401))),
    (access.authentication, "warning", observe(anonymous=reply(401, www_authenticate="Bearer"))),
    (access.authentication, "problem", observe(anonymous=reply(401, www_authenticate=METADATA), metadata=reply(404))),
    (access.authentication, "problem", challenged("https://other.example/mcp")),
    (access.authentication, "ok", challenged(URL)),
    (access.authentication, "problem", observe({"token": "t"}, anonymous=reply(401), initialize=reply(401))),
    (access.origin, "ok", observe(foreign_origin=reply(403))),
    (access.origin, "unknown", observe(foreign_origin=SILENT)),
    (access.origin, "problem", observe(foreign_origin=reply(200))),
    (access.origin, "unknown", observe(foreign_origin=reply(400))),
    (access.origin, "unknown", observe(foreign_origin=reply(401))),
    (access.origin, "warning", observe(foreign_origin=reply(403), own_origin=reply(403))),
    (access.origin, "problem", paged(reply(403))),
    (access.origin, "problem", paged(reply(200))),
    (access.origin, "problem", paged(reply(access_control_allow_origin=f"{PAGE_ORIGIN}, {PAGE_ORIGIN}"))),
    (access.origin, "ok", paged(reply(access_control_allow_origin=PAGE_ORIGIN))),
    (sessions.initialize, "ok", observe(initialize=OPENED)),
    (sessions.initialize, "problem", observe(initialize=reply(200, result(protocolVersion="2025-11-25")))),
    (sessions.initialize, "problem", observe(initialize=reply(200, error(-32603), mcp_session_id="x"))),
    (sessions.initialize, "unknown", observe(initialize=reply(401))),
    (sessions.initialize, "unknown", observe(initialize=reply(400, error(-32022)), discover=DISCOVERED)),
    (sessions.initialize, "problem", observe(initialize=reply(400, error(-32022)))),
    (sessions.sessionless, "ok", observe(discover=DISCOVERED)),
    (sessions.sessionless, "problem", observe(discover=reply(400, error(-32020)))),
    (sessions.sessionless, "unknown", observe(discover=reply(401))),
    (sessions.sessionless, "unknown", observe(discover=REFUSED, initialize=OPENED)),
    (sessions.sessionless, "problem", observe(discover=reply(502), initialize=OPENED)),
    (sessions.session_nodes, "ok", observe(pings=(OK, OK))),
    (sessions.session_nodes, "problem", observe(pings=(OK, LOST))),
    (sessions.session_nodes, "problem", observe(pings=(OK, SILENT))),
    (sessions.session_nodes, "unknown", observe(pings=(REFUSED, REFUSED))),
    (sessions.session_nodes, "unknown", observe()),
    (sessions.nodes, "ok", observe(node_reports=reports_of("a", "b", "a"))),
    (sessions.nodes, "ok", observe({"nodes": 2}, node_reports=reports_of("a", "b", "a"))),
    (sessions.nodes, "problem", observe({"nodes": 3}, node_reports=reports_of("a", "b", "a"))),
    (sessions.nodes, "warning", observe({"nodes": 1}, node_reports=reports_of("a", "b", "a"))),
    (sessions.nodes, "unknown", observe({"nodes": 1})),
    (sessions.headers, "ok", observe(pings=(OK,), bad_version=REFUSED, mismatch=REFUSED)),
    (sessions.headers, "problem", observe(pings=(REFUSED,))),
    (sessions.headers, "problem", observe(pings=(OK,), bad_version=OK)),
    (sessions.headers, "problem", observe(bad_event_id=stream_of())),
    (sessions.headers, "problem", observe(mismatch=OK)),
    (sessions.headers, "problem", observe(discover=reply(400, error(-32020)))),
    (sessions.headers, "problem", observe(anonymous=OPENED, discover=reply(403))),
    (sessions.headers, "unknown", observe(anonymous=reply(401), discover=reply(403))),
    (sessions.headers, "unknown", observe(mismatch=SILENT)),
    (sessions.resume, "ok", observe(initialize=OPENED, resumed=stream_of((0.01, PRIMING)))),
    (
        sessions.resume,
        "ok",
        observe(initialize=OPENED, interrupted=progress(1, 2), resumed=progress(3, 4, end=RESULT)),
    ),
    (
        sessions.resume,
        "problem",
        observe(initialize=OPENED, interrupted=progress(1, 2), resumed=progress(4, end=RESULT)),
    ),
    (
        sessions.resume,
        "problem",
        observe(initialize=OPENED, interrupted=progress(1, 2), resumed=progress(2, 3, end=RESULT)),
    ),
    (sessions.resume, "problem", observe(initialize=OPENED, interrupted=progress(1, 2), resumed=progress(3))),
    (sessions.resume, "problem", observe(initialize=OPENED, resumed=StreamObservation(REFUSED))),
    (sessions.resume, "unknown", observe(initialize=OPENED, resumed=StreamObservation(LOST))),
    (sessions.resume, "unknown", observe(initialize=OPENED, resumed=StreamObservation(SILENT))),
    (sessions.resume, "unknown", observe(initialize=OPENED)),
    (sessions.resume, "unknown", observe(initialize=OPENED, interrupted=StreamObservation(LOST))),
    (
        sessions.resume,
        "unknown",
        observe(initialize=OPENED, interrupted=stream_of(end="closed"), resumed=progress(1)),
    ),
    (
        sessions.resume,
        "unknown",
        observe(initialize=OPENED, bad_event_id=stream_of(), resumed=StreamObservation(REFUSED)),
    ),
    (sessions.resume, "unknown", observe()),
    (sessions.delete, "ok", observe(deleted=reply(204), after_delete=LOST)),
    (sessions.delete, "problem", observe(deleted=reply(204), after_delete=OK)),
    (sessions.delete, "problem", observe(deleted=reply(405), after_delete=OK)),
    (sessions.delete, "unknown", observe(deleted=LOST, after_delete=LOST)),
    (sessions.delete, "unknown", observe(deleted=REFUSED, after_delete=REFUSED, pings=(REFUSED,))),
    (sessions.delete, "unknown", observe()),
    (streams.first_event, "ok", observe(idle_get=QUIET, idle_listen=QUIET)),
    (streams.first_event, "warning", observe(idle_get=stream_of((1.5, PRIMING)))),
    (streams.first_event, "problem", observe(idle_get=stream_of((3.5, PRIMING)))),
    (streams.first_event, "problem", observe(idle_get=QUIET, idle_listen=stream_of())),
    (streams.first_event, "problem", observe(idle_get=StreamObservation(SILENT))),
    (streams.first_event, "unknown", observe(idle_get=StreamObservation(LOST))),
    (streams.event_spacing, "ok", spaced(EVEN, EVEN, EVEN)),
    (streams.event_spacing, "ok", spaced((0, 10, 35, 36, 40), (0, 1, 2, 3, 4), EVEN)),
    (streams.event_spacing, "problem", spaced(EVEN, NAGLE, NAGLE)),
    (streams.event_spacing, "problem", spaced(CORKED)),
    (streams.event_spacing, "unknown", observe(has_tool=True, rounds=(stream_of(),))),
    (streams.event_spacing, "unknown", observe()),
    (streams.compression, "ok", observe(gzipped=stream_of())),
    (streams.compression, "problem", observe(gzipped=stream_of(head=ZIPPED))),
    (streams.compression, "unknown", observe(gzipped=StreamObservation(LOST))),
    (streams.idle, "ok", observe(idle_get=QUIET)),
    (
        streams.idle,
        "problem",
        observe(idle_get=QUIET, idle_listen=stream_of((0.01, PRIMING), seconds=5.0, end="ReadError")),
    ),
    (streams.idle, "problem", observe(idle_get=stream_of((0.01, PRIMING), seconds=5.0, end="closed"))),
    (streams.idle, "warning", observe(idle_get=stream_of((0.01, COMMENT)))),
    (streams.idle, "unknown", observe({"idle": 5.0}, idle_get=stream_of((0.01, PRIMING), seconds=5.0))),
    (streams.idle, "warning", observe(idle_get=QUIET, idle_listen=stream_of((0.01, COMMENT)))),
    (streams.idle, "problem", observe(idle_get=QUIET, idle_listen=stream_of((0.01, COMMENT), seconds=61.0))),
    (streams.idle, "problem", observe(idle_get=stream_of((0.01, PRIMING), seconds=61.0))),
    (streams.idle, "unknown", observe(idle_get=StreamObservation(LOST))),
    (traffic.tool_list, "ok", observe(tools=9, list_bytes=99_999)),
    (traffic.tool_list, "warning", observe(tools=90, list_bytes=100_001)),
    (traffic.tool_list, "unknown", observe()),
    (traffic.restarts, "ok", observe(watched=(OK, OK))),
    (traffic.restarts, "ok", observe(watched=(OK, reply(503, retry_after="2")))),
    (traffic.restarts, "warning", observe(watched=(OK, reply(502)))),
    (traffic.restarts, "warning", observe(watched=(OK, SILENT))),
    (traffic.restarts, "problem", observe(watched=(OK, reply(404)))),
    (traffic.restarts, "unknown", observe(watched=(OK, LOST))),
    (traffic.restarts, "unknown", observe()),
]


@pytest.mark.parametrize(("rule", "status", "observed"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_judgement(rule: Callable[[Observations], Finding], status: str, observed: Observations) -> None:
    finding = rule(observed)
    assert (finding.status, finding.id) == (status, rule.__name__.replace("_", "-")), finding
    assert finding.observed
    is_mended = status in ("warning", "problem")
    assert bool(finding.expected) is is_mended
    assert bool(finding.fix) is is_mended


@pytest.mark.parametrize(
    ("rule", "observed", "text"),
    [
        (connectivity.clock, dated(12), "12 s ahead of"),
        (connectivity.clock, dated(-13), "12 s behind"),
        (
            connectivity.tls,
            observe(tls=tls(names=("mcp.example.com",))),
            "certificate for mcp.example.com until 2027-02-14",
        ),
        (connectivity.tls, observe(tls=tls()), "certificate for no name"),
        (connectivity.http_version, observe(tls=tls(), anonymous=reply()), "HTTP/2 is offered"),
        (connectivity.http_version, observe(anonymous=reply()), "HTTP/2 is not offered"),
        (connectivity.http_version, observe(anonymous=reply(via="1.0 old")), "Via: 1.0 old"),
        (connectivity.upstream, observe(discover=DISCOVERED), "install mcp_transport.contrib.doctor"),
        (connectivity.upstream, observe(), "no tool could be called"),
        (sessions.nodes, observe(initialize=OPENED), "install mcp_transport.contrib.doctor"),
        (sessions.session_nodes, observe(pings=(OK, LOST, SILENT)), "1 of 3 new connections, 1 times HTTP 404"),
        (sessions.headers, observe(pings=(OK,), mismatch=OK), "lost on the way: Mcp-Method"),
        (sessions.headers, observe(pings=(OK,), mismatch=REFUSED), "arrived: Mcp-Session-Id, Mcp-Method"),
        (streams.event_spacing, spaced(NAGLE), "50 % of events arrived with the previous one, after up to 40"),
        (streams.first_event, observe(idle_get=stream_of(seconds=2.5)), "GET: no byte within 2.5 s"),
        (
            streams.idle,
            observe(idle_get=stream_of((0.5, PRIMING), seconds=5.5, end="closed")),
            "after 5.5 s, 5.0 s after its",
        ),
        (streams.idle, observe(idle_get=QUIET), "GET: a comment every 10.0 s"),
    ],
)
def test_what_was_seen_is_told_with_numbers(
    rule: Callable[[Observations], Finding], observed: Observations, text: str
) -> None:
    assert text in rule(observed).observed


PAGE = Response(status=400, headers={"content-type": "text/html"}, body=b"<h1>Bad Request (400)</h1>")


def page(status: int, body: bytes, kind: str = "text/html; charset=utf-8") -> Response:
    return Response(status=status, headers={"content-type": kind}, body=body)


DEBUG_PAGE = Response(status=500, body=b"RuntimeError: ... and you have APPEND_SLASH set.")


@pytest.mark.parametrize(
    ("observed", "fix"),
    [
        (PAGE, "host"),
        (page(200, b"<!DOCTYPE html><html><title>Log in | Site</title>"), "page"),
        (page(404, b"404 page not found", "text/plain"), "no-route"),
        (page(400, b"<h1>400</h1>The plain HTTP request was sent to HTTPS port"), "host"),
        (reply(200), "reachable"),
        (reply(400, error(-32600, "Host header not allowed")), "host"),
        (reply(421), "host"),
        (DEBUG_PAGE, "slash"),
        (reply(500), "reachable"),
        (reply(301, location="/mcp/"), "slash"),
        (reply(308, location="https://mcp.example.com/mcp/"), "slash"),
        (reply(301, location="https://mcp.example.com/mcp"), "redirect"),
        (reply(302, location="/login/?next=/mcp/"), "login"),
        (reply(302, location="//["), "redirect"),
    ],
)
def test_what_is_not_the_endpoint_is_mended_by_what_it_says(observed: Response, fix: str) -> None:
    assert reachability.reachable(observe(anonymous=observed)).fix == FIXES[fix]


@pytest.mark.parametrize(
    ("observed", "text", "fix"),
    [
        (Response(failure="ConnectError", fault=Fault.REFUSED), "nothing listens on mcp.example.com:80", "listen"),
        (Response(failure="ConnectError", fault=Fault.UNRESOLVED), "the name mcp.example.com has no address", "dns"),
        (
            Response(failure="ConnectError: self-signed", fault=Fault.CERTIFICATE),
            "the certificate is not trusted: ConnectError: self-signed",
            "certificate",
        ),
        (Response(failure="x", fault=Fault.PLAIN), "mcp.example.com:80 speaks plain HTTP, not TLS", "plain-http"),
        (
            Response(failure="x", fault=Fault.CLOSED),
            "mcp.example.com:80 closed the connection without an answer",
            "closed",
        ),
        (
            Response(failure="no answer within 15 s", fault=Fault.TIMEOUT),
            "mcp.example.com:80 does not answer: no answer within 15 s",
            "unanswered",
        ),
        (Response(failure="InvalidURL: x", fault=Fault.OTHER), "InvalidURL: x", "reachable"),
        (
            page(200, b"<html><title>Log in</title>"),
            'HTTP 200, text/html ("Log in"): not an MCP endpoint',
            "page",
        ),
        (reply(200), "HTTP 200 without a body: not an MCP endpoint", "reachable"),
        (
            page(400, b"<h1>The plain HTTP request was sent to HTTPS port</h1>"),
            'HTTP 400, text/html ("The plain HTTP request was sent to HTTPS port"): not an MCP endpoint: this port '
            "speaks TLS",
            "https",
        ),
        (
            reply(308, location="https://mcp.example.com/mcp"),
            "HTTP 308 to https://mcp.example.com/mcp",
            "https",
        ),
    ],
)
def test_what_answers_in_place_of_the_endpoint_is_named(observed: Response, text: str, fix: str) -> None:
    finding = reachability.reachable(observe({"url": "http://mcp.example.com/mcp"}, anonymous=observed))
    assert (finding.status, finding.observed, finding.fix) == ("problem", text, FIXES[fix])


def test_each_rule_has_a_case_of_each_kind() -> None:
    statuses_of = {rule: {status for other, status, _ in CASES if other is rule} for rule in RULES}
    assert all(statuses_of.values())
    assert {rule.__name__ for rule, statuses in statuses_of.items() if "ok" not in statuses} == set()
    assert {rule.__name__ for rule, statuses in statuses_of.items() if not statuses & {"problem", "warning"}} == set()


def test_a_refusal_alone_is_judged_by_every_rule() -> None:
    assert evaluate(observe(anonymous=reply(401)))


def test_fixes_name_a_rule_or_a_case_of_one() -> None:
    cases = {"host", "redirect", "slash", "token", "cors", "listen", "dns", "plain-http", "https", "certificate"}
    cases |= {"region-header", "region-names", "region-cors"}
    cases |= {"closed", "unanswered", "page", "login", "no-route", "password", "open"}
    borrows = {"sessionless"}
    assert {rule.__name__.replace("_", "-") for rule in RULES} - borrows | cases == set(FIXES)


def test_what_a_server_says_cannot_control_a_terminal_or_repeat_a_secret() -> None:
    evil = "\x1b[31mred\r\n token-1 secret-session"
    observed = observe({"token": "token-1"}, anonymous=OPENED, health={"/readyz": reply(503, {"reason": evil})})
    findings = evaluate(observed)
    printed = "\n".join(lines(URL, findings)) + json.dumps(as_json(URL, findings))
    assert "?[31mred?? *** ***" in printed
    for hidden in ("\x1b", "\r", "token-1", "secret-session"):
        assert hidden not in printed
    assert "token-1" not in repr(observed.options)


def test_report_counts() -> None:
    findings = [rule(observed) for rule, _, observed in CASES]
    *_, last = lines(URL, findings)
    text = {status.rstrip("s"): int(count) for count, status in (part.split(" ") for part in last.split(", "))}
    assert text == {status: sum(case[1] == status for case in CASES) for status in text}
    assert as_json(URL, findings)["problem"] is True
    assert as_json(URL, findings[:2])["problem"] is False
