"""Rules about the path to the server: addresses, TLS, HTTP, clocks and body sizes."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from mcp_transport.doctor.connection_faults import Fault
from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, Response

__all__ = [
    "body_limit",
    "body_size",
    "clock",
    "connection_reuse",
    "health",
    "http_version",
    "tls",
    "upstream",
    "without_tool",
]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MIN_CERTIFICATE_DAYS: Final = 14
MAX_SKEW_SECONDS, MAX_LEEWAY_SECONDS = 3.0, 10.0
NEEDS_TOOL: Final = "install mcp_transport.contrib.doctor on the server"


def tls(observed: Observations) -> Finding:
    """Check the certificate and the version of TLS."""
    parts, handshake = urlsplit(observed.options.url), observed.tls
    if handshake is None:
        if parts.hostname in LOOPBACK:
            return ok("tls", "plain HTTP to this machine")
        return warning("tls", "plain HTTP: tokens and session IDs can be read on the way", "https")
    if not handshake.version:
        return _without_handshake(observed.anonymous.fault, handshake.failure)
    days = (handshake.expires - observed.now) / 86400
    until = datetime.fromtimestamp(handshake.expires, UTC).date().isoformat()
    names = ", ".join(handshake.names) or "no name"
    summary = f"{handshake.version}, certificate for {names} until {until} ({days:.0f} days)"
    if handshake.failure:
        severity = warning if observed.options.insecure else problem
        expected = "a certificate that clients trust"
        return severity("tls", f"{summary}: {handshake.failure}", expected, fix="certificate")
    if handshake.version not in ("TLSv1.2", "TLSv1.3"):
        return problem("tls", summary, "TLS 1.2 or 1.3")
    if days < MIN_CERTIFICATE_DAYS:
        return warning("tls", summary, f"{MIN_CERTIFICATE_DAYS} days or more")
    return ok("tls", summary)


def _without_handshake(fault: Fault, failure: str) -> Finding:
    if fault in (Fault.REFUSED, Fault.UNRESOLVED, Fault.TIMEOUT):
        return unknown("tls", "no connection: see reachable")
    fix = "plain-http" if fault is Fault.PLAIN else "tls"
    return problem("tls", failure, "a successful handshake", fix=fix)


def http_version(observed: Observations) -> Finding:
    """Check the HTTP version of the first hop, and those of the others in Via."""
    response = observed.anonymous
    offered = observed.tls.protocol if observed.tls is not None else ""
    summary = f"{response.http}, {'HTTP/2 is offered' if offered == 'h2' else 'HTTP/2 is not offered'}"
    old = [hop.strip() for hop in response.headers.get("via", "").split(",") if hop.strip().startswith("1.0 ")]
    if response.http == "HTTP/1.0" or old:
        return problem("http-version", f"{summary}; Via: {', '.join(old) or 'none'}", "HTTP/1.1 or later everywhere")
    return ok("http-version", summary)


def health(observed: Observations) -> Finding:
    """Check /healthz and /readyz."""
    summary = ", ".join(f"{path} {response.outcome}{_reason(response)}" for path, response in observed.health.items())
    statuses = {response.status for response in observed.health.values()}
    if statuses == {200}:
        return ok("health", summary)
    if 503 in statuses:
        return problem("health", summary, "200 from both")
    return unknown("health", f"{summary}: not public, or not installed")


def _reason(response: Response) -> str:
    reason = response.message.get("reason")
    return f" ({reason})" if isinstance(reason, str) else ""


def connection_reuse(observed: Observations) -> Finding:
    """Check that a second request can use the same connection."""
    first, *others = observed.reused or (Response(),)
    if not others or not all(response.status and response.local_address for response in observed.reused):
        return unknown("connection-reuse", first.failure or "no two responses to compare")
    if first.local_address == others[0].local_address:
        return ok("connection-reuse", "two requests used one connection")
    text = f"the second request needed a new connection (Connection: {first.headers.get('connection', 'nothing')})"
    expected = "persistent connections: otherwise each request needs new TCP and TLS handshakes"
    return problem("connection-reuse", text, expected)


def upstream(observed: Observations) -> Finding:
    """Check how the last proxy sends requests to the node."""
    if not observed.node_reports:
        return without_tool("upstream", observed)
    versions = sorted({f"HTTP/{report.http}" for report in observed.node_reports if report.http})
    closing = sum(report.connection.lower() == "close" for report in observed.node_reports)
    protocols = f", over {', '.join(versions)}" if versions else ""
    summary = f"{closing} of {len(observed.node_reports)} requests reached the node with Connection: close{protocols}"
    if closing or "HTTP/1.0" in versions:
        expected = "HTTP/1.1 without Connection: close (HTTP/1.0 has neither persistent connections nor chunks)"
        return problem("upstream", summary, expected)
    return ok("upstream", summary)


def without_tool(id: str, observed: Observations) -> Finding:
    """Return the finding of a rule that needs the tool when no tool was called."""
    if observed.session_id or observed.has_sessionless:
        return unknown(id, NEEDS_TOOL)
    return unknown(id, "no tool could be called: see authentication, initialize and sessionless")


def clock(observed: Observations) -> Finding:
    """Compare the Date headers of responses, set by any server on the path, with this machine's clock."""
    responses = (
        observed.anonymous,
        observed.discover,
        observed.initialize,
        *observed.health.values(),
        *observed.pings,
    )
    skews = [skew for response in responses if (skew := _skew(response)) is not None]
    if not skews:
        return unknown("clock", "no response has a valid Date")
    skew = max(skews, key=abs)
    summary = f"Date is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's clock"
    expected = f"less than {MAX_SKEW_SECONDS:g} s: tokens expire by the clock"
    if abs(skew) > MAX_LEEWAY_SECONDS:
        return problem("clock", summary, expected)
    if abs(skew) > MAX_SKEW_SECONDS:
        return warning("clock", summary, expected)
    return ok("clock", f"{len(skews)} responses, none dated more than {abs(skew):.0f} s off this machine's clock")


def _skew(response: Response) -> float | None:
    """Return the smallest possible clock skew: Date has whole seconds, and was written at any time of the request."""
    try:
        parsed = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    date = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    lower, upper = date - response.received_at, date + 1 - (response.received_at - response.seconds)
    return lower if lower > 0 else min(upper, 0.0)


def body_size(observed: Observations) -> Finding:
    """Check that a body of 1.5 MB reaches the endpoint."""
    response = observed.large_body or Response()
    if response.status == 413 and response.error:
        return ok("body-size", f"the endpoint's own limit: {response.error.get('message')}")
    if response.status == 413 or (response.failure and not response.status):
        return warning("body-size", f"1.5 MB: {response.outcome}", "no proxy has a smaller limit than the endpoint")
    if response.status == 200:
        return ok("body-size", "1.5 MB reached the endpoint")
    return unknown("body-size", f"1.5 MB: {response.outcome}")


def body_limit(observed: Observations) -> Finding:
    """Check that a body of 1 GiB is refused before it is sent, which daphne and Django's view do not do."""
    response = observed.announced_body or Response()
    if 400 <= response.status < 500:
        return ok("body-limit", f"1 GiB was refused with HTTP {response.status} before it was sent")
    if "no answer" in response.failure:
        expected = "a refusal before the body: a server that accepts it writes it to its disk"
        return warning("body-limit", f"1 GiB was announced: {response.failure}, the server waits for it", expected)
    return unknown("body-limit", f"1 GiB was announced: {response.outcome}")
