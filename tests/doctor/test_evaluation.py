"""Each judgement alone, over observations that are made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from mcp_transport.doctor.evaluation import RULES, judge
from mcp_transport.doctor.findings import Finding
from mcp_transport.doctor.fixes import FIXES
from mcp_transport.doctor.observations import TLS, Answer, DoctorOptions, Observations, StreamObservation, Visit
from mcp_transport.doctor.report import lines, record
from mcp_transport.doctor.rules import access, connectivity, sessions, streams

URL = "https://mcp.example.com/mcp"
NOW = 1_800_000_000.0
METADATA = f'Bearer resource_metadata="{URL}/.well-known/oauth-protected-resource/mcp"'


def answer(status: int = 200, value: Any = None, **headers: str) -> Answer:
    body = b"" if value is None else json.dumps(value).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status=status, http="HTTP/1.1", headers=named, body=body, seconds=0.01, when=NOW, line="1")


def result(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": members}


def error(code: int, message: str = "no") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}


def heard(*pieces: tuple[float, str], seconds: float = 20.0, end: str = "", **options: Any) -> StreamObservation:
    head = options.get("head", answer(content_type="text/event-stream"))
    return StreamObservation(head, tuple((when, text.encode()) for when, text in pieces), seconds, end)


RESULT = f"data: {json.dumps(result())}\n\n"
PRIMING, COMMENT = "id: g-0\ndata: \n\n", ": keep-alive\n\n"
QUIET = heard((0.01, PRIMING), (10.0, COMMENT), (20.0, COMMENT), seconds=20.5)
OPENED = answer(200, result(protocolVersion="2025-11-25"), mcp_session_id="secret-session")
DISCOVERED = answer(200, result(supportedVersions=["2026-07-28"]))
OK, REFUSED, LOST = answer(200, result()), answer(400, error(-32600)), answer(404, error(-32600))
SILENT = Answer(fault="no answer within 20 s")


def seen(asked: dict[str, Any] | None = None, **members: Any) -> Observations:
    return Observations(asked=DoctorOptions(**{"url": URL, **(asked or {})}), now=NOW, **members)


def tls(**members: Any) -> TLS:
    return TLS(**{"version": "TLSv1.3", "protocol": "h2", "expires": NOW + 30 * 86400, **members})


def dated(skew: float, *, seconds: float = 0.01, usegmt: bool = True) -> Observations:
    return seen(
        anonymous=Answer(
            status=200, headers={"date": formatdate(NOW + skew, usegmt=usegmt)}, when=NOW, seconds=seconds
        )
    )


def visits(*nodes: str, http: str = "1.1", connection: str = "") -> tuple[Visit, ...]:
    return tuple(Visit(node=node, http=http, connection=connection) for node in nodes)


def reports(*times: float) -> StreamObservation:
    """Return a stream of reports that arrive at these milliseconds, and the result at once after them."""
    told = f"data: {json.dumps({'method': 'notifications/progress', 'params': {'progress': 1}})}\n\n"
    return heard(*((when / 1000, told) for when in times), (max(times) / 1000, RESULT))


def progress(*numbers: int, end: str = "") -> StreamObservation:
    """Return a stream that begins with a priming event, and reports these numbers."""
    told = "".join(f"data: {json.dumps({'params': {'progress': number}})}\n\n" for number in numbers)
    return heard((0.01, PRIMING + told + end))


def spaced(*rounds: tuple[int, ...]) -> Observations:
    return seen(has_tool=True, rounds=tuple(reports(*times) for times in rounds))


PAGE_ORIGIN = "https://a.example"


def paged(observed: Answer) -> Observations:
    """Have a page that is allowed to call answered so."""
    return seen(foreign=answer(403), origins={PAGE_ORIGIN: observed})


def challenged(resource: str) -> Observations:
    """Have the endpoint name metadata of this resource."""
    metadata = answer(200, {"resource": resource, "authorization_servers": ["x"]})
    return seen(anonymous=answer(401, www_authenticate=METADATA), metadata=metadata)


EVEN, NAGLE, CORKED = (0, 10, 20, 30, 40), (2, 42, 42, 42, 52), (200, 200, 200, 200, 200)
TWO = (answer(), answer())
ZIPPED = answer(content_type="text/event-stream", content_encoding="br")
CASES: list[tuple[Callable[[Observations], Finding], str, Observations]] = [
    (connectivity.reachable, "ok", seen(anonymous=OPENED)),
    (connectivity.reachable, "ok", seen(anonymous=answer(401))),
    (connectivity.reachable, "ok", seen(anonymous=answer(400, error(-32022)))),
    (connectivity.reachable, "problem", seen(anonymous=Answer(fault="ConnectError"))),
    (connectivity.reachable, "problem", seen(anonymous=answer(301, location="/x"))),
    (connectivity.reachable, "problem", seen(anonymous=answer(400, error(-32600, "Host header not allowed")))),
    (connectivity.reachable, "problem", seen(anonymous=answer(404))),
    (connectivity.reachable, "problem", seen(anonymous=answer(200))),
    (connectivity.reachable, "problem", seen(anonymous=answer(503, error(-32603)))),
    (connectivity.tls, "ok", seen({"url": "http://127.0.0.1:8000/mcp"})),
    (connectivity.tls, "warning", seen({"url": "http://mcp.example.com/mcp"})),
    (connectivity.tls, "ok", seen(tls=tls())),
    (connectivity.tls, "problem", seen(tls=TLS(fault="TimeoutError"))),
    (connectivity.tls, "problem", seen(tls=tls(fault="certificate has expired"))),
    (connectivity.tls, "warning", seen({"insecure": True}, tls=tls(fault="self-signed"))),
    (connectivity.tls, "problem", seen(tls=tls(version="TLSv1.1"))),
    (connectivity.tls, "warning", seen(tls=tls(expires=NOW + 13 * 86400))),
    (connectivity.http_version, "ok", seen(anonymous=answer(via="1.1 cdn"))),
    (connectivity.http_version, "problem", seen(anonymous=answer(via="1.1 cdn, 1.0 old"))),
    (connectivity.http_version, "problem", seen(anonymous=Answer(status=200, http="HTTP/1.0"))),
    (connectivity.health, "ok", seen(health={"/healthz": answer(), "/readyz": answer()})),
    (connectivity.health, "problem", seen(health={"/healthz": answer(), "/readyz": answer(503, {"reason": "gone"})})),
    (connectivity.health, "unknown", seen(health={"/healthz": answer(404), "/readyz": answer(404)})),
    (connectivity.connection_reuse, "ok", seen(kept=TWO)),
    (connectivity.connection_reuse, "problem", seen(kept=(answer(), Answer(status=200, line="2")))),
    (connectivity.connection_reuse, "unknown", seen(kept=(answer(), Answer(fault="ReadError")))),
    (connectivity.connection_reuse, "unknown", seen()),
    (connectivity.connection_reuse, "unknown", seen(kept=(Answer(status=200), Answer(status=200)))),
    (connectivity.upstream, "ok", seen(visits=visits("a"))),
    (connectivity.upstream, "ok", seen(visits=visits("a", http=""))),
    (connectivity.upstream, "problem", seen(visits=visits("a", http="1.0"))),
    (connectivity.upstream, "problem", seen(visits=visits("a", connection="close"))),
    (connectivity.upstream, "unknown", seen()),
    (connectivity.clock, "ok", dated(-1)),
    (connectivity.clock, "ok", dated(0.9)),
    (connectivity.clock, "ok", dated(0.9, usegmt=False)),
    (connectivity.clock, "ok", dated(-4)),
    (connectivity.clock, "problem", seen(anonymous=dated(0).anonymous, pings=(dated(20).anonymous,))),
    (connectivity.clock, "warning", dated(5)),
    (connectivity.clock, "warning", dated(-5)),
    (connectivity.clock, "problem", dated(12)),
    (connectivity.clock, "problem", dated(-12)),
    (connectivity.clock, "ok", dated(-12, seconds=12)),
    (connectivity.clock, "unknown", seen(anonymous=answer(date="soon"))),
    (connectivity.body_size, "ok", seen(large=OK)),
    (connectivity.body_size, "ok", seen(large=answer(413, error(-32600)))),
    (connectivity.body_size, "warning", seen(large=answer(413))),
    (connectivity.body_size, "warning", seen(large=Answer(fault="WriteError"))),
    (connectivity.body_size, "unknown", seen(large=REFUSED)),
    (connectivity.body_size, "unknown", seen(large=Answer(status=502, fault="ReadError"))),
    (connectivity.body_limit, "ok", seen(announced=Answer(status=413))),
    (connectivity.body_limit, "ok", seen(announced=Answer(status=401))),
    (connectivity.body_limit, "warning", seen(announced=Answer(fault="no answer within 3 s"))),
    (connectivity.body_limit, "unknown", seen(announced=Answer(fault="ConnectionResetError"))),
    (connectivity.body_limit, "unknown", seen(announced=Answer(status=502))),
    (connectivity.body_limit, "unknown", seen()),
    (access.authentication, "ok", seen(anonymous=OPENED)),
    (access.authentication, "unknown", seen(anonymous=answer(503))),
    (access.authentication, "problem", seen(anonymous=answer(401))),
    (access.authentication, "warning", seen(anonymous=answer(401, www_authenticate="Bearer"))),
    (access.authentication, "problem", seen(anonymous=answer(401, www_authenticate=METADATA), metadata=answer(404))),
    (access.authentication, "problem", challenged("https://other.example/mcp")),
    (access.authentication, "ok", challenged(URL)),
    (access.authentication, "problem", seen({"token": "t"}, anonymous=answer(401), initialize=answer(401))),
    (access.origin, "ok", seen(foreign=answer(403))),
    (access.origin, "unknown", seen(foreign=SILENT)),
    (access.origin, "problem", seen(foreign=answer(200))),
    (access.origin, "warning", seen(foreign=answer(403), own=answer(403))),
    (access.origin, "problem", paged(answer(403))),
    (access.origin, "problem", paged(answer(200))),
    (access.origin, "problem", paged(answer(access_control_allow_origin=f"{PAGE_ORIGIN}, {PAGE_ORIGIN}"))),
    (access.origin, "ok", paged(answer(access_control_allow_origin=PAGE_ORIGIN))),
    (sessions.initialize, "ok", seen(initialize=OPENED)),
    (sessions.initialize, "problem", seen(initialize=answer(200, result(protocolVersion="2025-11-25")))),
    (sessions.initialize, "problem", seen(initialize=answer(200, error(-32603), mcp_session_id="x"))),
    (sessions.initialize, "unknown", seen(initialize=answer(401))),
    (sessions.initialize, "unknown", seen(initialize=answer(400, error(-32022)), discover=DISCOVERED)),
    (sessions.initialize, "problem", seen(initialize=answer(400, error(-32022)))),
    (sessions.sessionless, "ok", seen(discover=DISCOVERED)),
    (sessions.sessionless, "problem", seen(discover=answer(400, error(-32020)))),
    (sessions.sessionless, "unknown", seen(discover=answer(401))),
    (sessions.sessionless, "unknown", seen(discover=REFUSED, initialize=OPENED)),
    (sessions.sessionless, "problem", seen(discover=answer(502), initialize=OPENED)),
    (sessions.session_nodes, "ok", seen(pings=(OK, OK))),
    (sessions.session_nodes, "problem", seen(pings=(OK, LOST))),
    (sessions.session_nodes, "problem", seen(pings=(OK, SILENT))),
    (sessions.session_nodes, "unknown", seen(pings=(REFUSED, REFUSED))),
    (sessions.session_nodes, "unknown", seen()),
    (sessions.nodes, "ok", seen(visits=visits("a", "b", "a"))),
    (sessions.nodes, "ok", seen({"nodes": 2}, visits=visits("a", "b", "a"))),
    (sessions.nodes, "problem", seen({"nodes": 3}, visits=visits("a", "b", "a"))),
    (sessions.nodes, "warning", seen({"nodes": 1}, visits=visits("a", "b", "a"))),
    (sessions.nodes, "unknown", seen({"nodes": 1})),
    (sessions.headers, "ok", seen(pings=(OK,), false_version=REFUSED, crossed=REFUSED)),
    (sessions.headers, "problem", seen(pings=(REFUSED,))),
    (sessions.headers, "problem", seen(pings=(OK,), false_version=OK)),
    (sessions.headers, "problem", seen(false_event=heard())),
    (sessions.headers, "problem", seen(crossed=OK)),
    (sessions.headers, "unknown", seen(crossed=SILENT)),
    (sessions.resume, "ok", seen(initialize=OPENED, resumed=heard((0.01, PRIMING)))),
    (sessions.resume, "ok", seen(initialize=OPENED, cut=progress(1, 2), resumed=progress(3, 4, end=RESULT))),
    (sessions.resume, "problem", seen(initialize=OPENED, cut=progress(1, 2), resumed=progress(4, end=RESULT))),
    (sessions.resume, "problem", seen(initialize=OPENED, cut=progress(1, 2), resumed=progress(2, 3, end=RESULT))),
    (sessions.resume, "problem", seen(initialize=OPENED, cut=progress(1, 2), resumed=progress(3))),
    (sessions.resume, "problem", seen(initialize=OPENED, resumed=StreamObservation(REFUSED))),
    (sessions.resume, "unknown", seen(initialize=OPENED, resumed=StreamObservation(LOST))),
    (sessions.resume, "unknown", seen(initialize=OPENED, resumed=StreamObservation(SILENT))),
    (sessions.resume, "unknown", seen(initialize=OPENED)),
    (sessions.resume, "unknown", seen(initialize=OPENED, cut=StreamObservation(LOST))),
    (sessions.resume, "unknown", seen(initialize=OPENED, cut=heard(end="closed"), resumed=progress(1))),
    (sessions.resume, "unknown", seen(initialize=OPENED, false_event=heard(), resumed=StreamObservation(REFUSED))),
    (sessions.resume, "unknown", seen()),
    (sessions.delete, "ok", seen(deleted=answer(204), after_delete=LOST)),
    (sessions.delete, "problem", seen(deleted=answer(204), after_delete=OK)),
    (sessions.delete, "problem", seen(deleted=answer(405), after_delete=OK)),
    (sessions.delete, "unknown", seen(deleted=LOST, after_delete=LOST)),
    (sessions.delete, "unknown", seen(deleted=REFUSED, after_delete=REFUSED, pings=(REFUSED,))),
    (sessions.delete, "unknown", seen()),
    (streams.first_event, "ok", seen(held=QUIET, listened=QUIET)),
    (streams.first_event, "warning", seen(held=heard((1.5, PRIMING)))),
    (streams.first_event, "problem", seen(held=heard((3.5, PRIMING)))),
    (streams.first_event, "problem", seen(held=QUIET, listened=heard())),
    (streams.first_event, "problem", seen(held=StreamObservation(SILENT))),
    (streams.first_event, "unknown", seen(held=StreamObservation(LOST))),
    (streams.event_spacing, "ok", spaced(EVEN, EVEN, EVEN)),
    (streams.event_spacing, "ok", spaced((0, 10, 35, 36, 40), (0, 1, 2, 3, 4), EVEN)),
    (streams.event_spacing, "problem", spaced(EVEN, NAGLE, NAGLE)),
    (streams.event_spacing, "problem", spaced(CORKED)),
    (streams.event_spacing, "unknown", seen(has_tool=True, rounds=(heard(),))),
    (streams.event_spacing, "unknown", seen()),
    (streams.compression, "ok", seen(zipped=heard())),
    (streams.compression, "problem", seen(zipped=heard(head=ZIPPED))),
    (streams.compression, "unknown", seen(zipped=StreamObservation(LOST))),
    (streams.idle, "ok", seen(held=QUIET)),
    (streams.idle, "problem", seen(held=QUIET, listened=heard((0.01, PRIMING), seconds=5.0, end="ReadError"))),
    (streams.idle, "problem", seen(held=heard((0.01, PRIMING), seconds=5.0, end="closed"))),
    (streams.idle, "warning", seen(held=heard((0.01, COMMENT)))),
    (streams.idle, "warning", seen(held=QUIET, listened=heard((0.01, COMMENT)))),
    (streams.idle, "problem", seen(held=QUIET, listened=heard((0.01, COMMENT), seconds=61.0))),
    (streams.idle, "problem", seen(held=heard((0.01, PRIMING), seconds=61.0))),
    (streams.idle, "unknown", seen(held=StreamObservation(LOST))),
]


@pytest.mark.parametrize(("rule", "status", "observed"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_judgement(rule: Callable[[Observations], Finding], status: str, observed: Observations) -> None:
    finding = rule(observed)
    assert (finding.status, finding.id) == (status, rule.__name__.replace("_", "-")), finding
    assert finding.seen
    is_mended = status in ("warning", "problem")
    assert bool(finding.expected) is is_mended
    assert bool(finding.fix) is is_mended


@pytest.mark.parametrize(
    ("rule", "observed", "words"),
    [
        (connectivity.clock, dated(12), "12 s ahead of"),
        (connectivity.clock, dated(-13), "12 s behind"),
        (
            connectivity.tls,
            seen(tls=tls(names=("mcp.example.com",))),
            "certificate for mcp.example.com until 2027-02-14",
        ),
        (connectivity.tls, seen(tls=tls()), "certificate for no name"),
        (connectivity.http_version, seen(tls=tls(), anonymous=answer()), "HTTP/2 is offered"),
        (connectivity.http_version, seen(anonymous=answer()), "HTTP/2 is not offered"),
        (connectivity.http_version, seen(anonymous=answer(via="1.0 old")), "Via: 1.0 old"),
        (connectivity.upstream, seen(discover=DISCOVERED), "install mcp_transport.contrib.doctor"),
        (connectivity.upstream, seen(), "no tool could be called"),
        (sessions.nodes, seen(initialize=OPENED), "install mcp_transport.contrib.doctor"),
        (sessions.session_nodes, seen(pings=(OK, LOST, SILENT)), "1 of 3 fresh connections, 1 times HTTP 404"),
        (sessions.headers, seen(pings=(OK,), crossed=OK), "on the way lost: Mcp-Method"),
        (sessions.headers, seen(pings=(OK,), crossed=REFUSED), "arrived: Mcp-Session-Id, Mcp-Method"),
        (
            streams.event_spacing,
            spaced(NAGLE),
            "50 of 100 events came together with the one before, after up to 40",
        ),
        (streams.first_event, seen(held=heard(seconds=2.5)), "GET: no byte within 2.5 s"),
        (streams.idle, seen(held=heard((0.5, PRIMING), seconds=5.5, end="closed")), "after 5.5 s, 5.0 s after its"),
        (streams.idle, seen(held=QUIET), "GET: a comment every 10.0 s"),
    ],
)
def test_what_was_seen_is_told_with_numbers(
    rule: Callable[[Observations], Finding], observed: Observations, words: str
) -> None:
    assert words in rule(observed).seen


PAGE = Answer(status=400, headers={"content-type": "text/html"}, body=b"<h1>Bad Request (400)</h1>")
DEBUG_PAGE = Answer(status=500, body=b"RuntimeError: ... and you have APPEND_SLASH set.")


@pytest.mark.parametrize(
    ("observed", "fix"),
    [
        (PAGE, "host"),
        (answer(400, error(-32600, "Host header not allowed")), "host"),
        (answer(421), "host"),
        (DEBUG_PAGE, "slash"),
        (answer(500), "reachable"),
        (answer(301, location="/mcp/"), "slash"),
        (answer(308, location="https://mcp.example.com/mcp/"), "slash"),
        (answer(301, location="https://mcp.example.com/mcp"), "redirect"),
        (answer(302, location="/login/?next=/mcp/"), "redirect"),
        (answer(302, location="//["), "redirect"),
    ],
)
def test_what_is_not_the_endpoint_is_mended_by_what_it_says(observed: Answer, fix: str) -> None:
    assert connectivity.reachable(seen(anonymous=observed)).fix == FIXES[fix]


def test_each_rule_has_a_case_of_each_kind() -> None:
    known = {rule: {status for other, status, _ in CASES if other is rule} for rule in RULES}
    assert all(known.values())
    assert {rule.__name__ for rule, statuses in known.items() if "ok" not in statuses} == set()
    assert {rule.__name__ for rule, statuses in known.items() if not statuses & {"problem", "warning"}} == set()


def test_a_refusal_alone_is_judged_by_every_rule() -> None:
    assert judge(seen(anonymous=answer(401)))


def test_fixes_name_a_rule_or_a_case_of_one() -> None:
    cases = {"host", "redirect", "slash", "token", "cors"}
    borrows = {"sessionless"}
    assert {rule.__name__.replace("_", "-") for rule in RULES} - borrows | cases == set(FIXES)


def test_what_a_server_says_cannot_control_a_terminal_or_repeat_a_secret() -> None:
    evil = "\x1b[31mred\r\n token-1 secret-session"
    observed = seen({"token": "token-1"}, anonymous=OPENED, health={"/readyz": answer(503, {"reason": evil})})
    findings = judge(observed)
    printed = "\n".join(lines(URL, findings)) + json.dumps(record(URL, findings))
    assert "?[31mred?? *** ***" in printed
    for hidden in ("\x1b", "\r", "token-1", "secret-session"):
        assert hidden not in printed
    assert "token-1" not in repr(observed.asked)


def test_report_counts() -> None:
    findings = [rule(observed) for rule, _, observed in CASES]
    *_, last = lines(URL, findings)
    told = {status: int(count) for count, status in (part.split(" ") for part in last.split(", "))}
    assert told == {status: sum(case[1] == status for case in CASES) for status in told}
    assert record(URL, findings)["problem"] is True
    assert record(URL, findings[:2])["problem"] is False
