"""The way to the server: addresses, TLS, HTTP, clocks and sizes."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Answer, Observations

__all__ = [
    "body_limit",
    "body_size",
    "clock",
    "connection_reuse",
    "health",
    "http_version",
    "reachable",
    "tls",
    "upstream",
    "without_tool",
]

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
DAYS_TO_RENEW: Final = 14
SKEW_WARNING, SKEW_PROBLEM = 3.0, 10.0
NEEDS_TOOL: Final = "install mcp_transport.contrib.doctor on the server for this"


def reachable(seen: Observations) -> Finding:
    """Judge whether the endpoint answered at all, and was the endpoint."""
    answer = seen.anonymous
    expected = "an answer of the endpoint to initialize: 200, or 401 where it wants credentials"
    if not answer.status:
        return problem("reachable", answer.fault, expected)
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "")
        fix = "slash" if _adds_slash(where, seen.asked.url) else "redirect"
        return problem("reachable", f"HTTP {answer.status} to {where}", "no redirect", fix=fix)
    if answer.status == 500 and b"APPEND_SLASH" in answer.body:  # Django's page, with DEBUG
        return problem("reachable", f"{answer.outcome}, a page that names APPEND_SLASH", expected, fix="slash")
    if _refuses_host(answer):
        return problem("reachable", answer.outcome, expected, fix="host")
    if not seen.is_reached or answer.status >= 500:
        return problem("reachable", answer.outcome, expected)
    return ok("reachable", f"{answer.outcome} within {answer.seconds * 1000:.0f} ms")


def _adds_slash(location: str, url: str) -> bool:
    """Tell whether a redirect leads to the same path with a slash behind it."""
    try:
        return urlsplit(location).path == f"{urlsplit(url).path}/"
    except ValueError:  # servers say what they like
        return False


def _refuses_host(answer: Answer) -> bool:
    """Tell whether the Host is refused: by the endpoint, by a page of Django's, or by the SDK's own application."""
    is_page = answer.status == 400 and not answer.message
    return is_page or answer.status == 421 or (answer.status == 400 and "Host header" in answer.outcome)


def tls(seen: Observations) -> Finding:
    """Judge the certificate and the version of TLS."""
    parts, found = urlsplit(seen.asked.url), seen.tls
    if found is None:
        if parts.hostname in LOOPBACK:
            return ok("tls", "plain HTTP to this machine")
        return warning("tls", "plain HTTP: tokens and sessions can be read on the way", "https")
    if not found.version:
        return problem("tls", found.fault, "a handshake")
    days = (found.expires - seen.now) / 86400
    until = datetime.fromtimestamp(found.expires, UTC).date().isoformat()
    facts = f"{found.version}, certificate for {', '.join(found.names) or 'no name'} until {until} ({days:.0f} days)"
    if found.fault:
        judged = warning if seen.asked.insecure else problem
        return judged("tls", f"{facts}: {found.fault}", "a certificate that clients trust")
    if found.version not in ("TLSv1.2", "TLSv1.3"):
        return problem("tls", facts, "TLS 1.2 or 1.3")
    if days < DAYS_TO_RENEW:
        return warning("tls", facts, f"{DAYS_TO_RENEW} days or more")
    return ok("tls", facts)


def http_version(seen: Observations) -> Finding:
    """Judge what is spoken on the first part of the way, and what Via says of the others."""
    answer = seen.anonymous
    offered = seen.tls.protocol if seen.tls is not None else ""
    facts = f"{answer.http}, {'HTTP/2 is offered' if offered == 'h2' else 'HTTP/2 is not offered'}"
    old = [hop.strip() for hop in answer.headers.get("via", "").split(",") if hop.strip().startswith("1.0 ")]
    if answer.http == "HTTP/1.0" or old:
        return problem("http-version", f"{facts}; Via: {', '.join(old) or 'none'}", "HTTP/1.1 or later everywhere")
    return ok("http-version", facts)


def health(seen: Observations) -> Finding:
    """Judge /healthz and /readyz."""
    said = {path: answer.outcome + _reason(answer) for path, answer in seen.health.items()}
    facts = ", ".join(f"{path} {outcome}" for path, outcome in said.items())
    statuses = {answer.status for answer in seen.health.values()}
    if statuses == {200}:
        return ok("health", facts)
    if 503 in statuses:
        return problem("health", facts, "200 from both")
    return unknown("health", f"{facts}: not for outsiders here, or not there")


def _reason(answer: Answer) -> str:
    reason = answer.message.get("reason")
    return f" ({reason})" if isinstance(reason, str) else ""


def connection_reuse(seen: Observations) -> Finding:
    """Judge whether a second request may come by the same connection."""
    first, *others = seen.kept or (Answer(),)
    if not others or not all(answer.status and answer.line for answer in seen.kept):
        return unknown("connection-reuse", first.fault or "no two answers to compare")
    if first.line == others[0].line:
        return ok("connection-reuse", "two requests came by one connection")
    said = first.headers.get("connection", "nothing")
    return problem(
        "connection-reuse",
        f"the second request needed a connection of its own (Connection: {said})",
        "connections are kept: else each request pays for TCP and TLS anew",
    )


def upstream(seen: Observations) -> Finding:
    """Judge how the last proxy asks the node."""
    if not seen.visits:
        return without_tool("upstream", seen)
    versions = sorted({f"HTTP/{visit.http}" for visit in seen.visits if visit.http})
    closing = sum(visit.connection.lower() == "close" for visit in seen.visits)
    spoken = f", by {', '.join(versions)}" if versions else ""
    facts = f"{closing} of {len(seen.visits)} requests reached the node with Connection: close{spoken}"
    if closing or "HTTP/1.0" in versions:
        wanted = (
            "HTTP/1.1 without Connection: close (HTTP/1.0 can neither keep connections nor end a stream in order)"
        )
        return problem("upstream", facts, wanted)
    return ok("upstream", facts)


def without_tool(id: str, seen: Observations) -> Finding:
    """Say why a judgement that needs the tool's word cannot be made."""
    if seen.session_id or seen.has_sessionless:
        return unknown(id, NEEDS_TOOL)
    return unknown(id, "no tool could be called: see authentication, initialize and sessionless")


def clock(seen: Observations) -> Finding:
    """Judge the times that answers were dated with, by whatever dated them, against ours."""
    answers = (seen.anonymous, seen.discover, seen.initialize, *seen.health.values(), *seen.pings)
    skews = [skew for answer in answers if (skew := _skew(answer)) is not None]
    if not skews:
        return unknown("clock", "no answer has a Date that can be read")
    skew = max(skews, key=abs)
    facts = f"Date is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's clock"
    expected = f"less than {SKEW_WARNING:g} s: tokens are judged by the clock"
    if abs(skew) > SKEW_PROBLEM:
        return problem("clock", facts, expected)
    if abs(skew) > SKEW_WARNING:
        return warning("clock", facts, expected)
    return ok("clock", f"{len(skews)} answers, none dated more than {abs(skew):.0f} s off this machine's clock")


def _skew(answer: Answer) -> float | None:
    """Return by how much clocks differ at least: a Date is cut to its second, and written at some time of a wait."""
    try:
        said = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    date = (said if said.tzinfo else said.replace(tzinfo=UTC)).timestamp()
    ahead, behind = date - answer.when, date + 1 - (answer.when - answer.seconds)
    return ahead if ahead > 0 else min(behind, 0.0)


def body_size(seen: Observations) -> Finding:
    """Judge whether a body of a megabyte and a half comes through."""
    answer = seen.large or Answer()
    if answer.status == 413 and answer.error:
        return ok("body-size", f"the endpoint's own limit: {answer.error.get('message')}")
    if answer.status == 413 or (answer.fault and not answer.status):
        return warning("body-size", f"1.5 MB: {answer.outcome}", "no proxy has a smaller limit than the endpoint")
    if answer.status == 200:
        return ok("body-size", "1.5 MB came through")
    return unknown("body-size", f"1.5 MB: {answer.outcome}")


def body_limit(seen: Observations) -> Finding:
    """Judge whether a body of a gibibyte is refused before it comes, which daphne and Django's view do not."""
    answer = seen.announced or Answer()
    if 400 <= answer.status < 500:
        return ok("body-limit", f"1 GiB was refused with HTTP {answer.status} before it was sent")
    if "no answer" in answer.fault:
        expected = "an answer before the body: a server that takes it whole writes it to its disk"
        return warning("body-limit", f"1 GiB was announced: {answer.fault}, the body is waited for", expected)
    return unknown("body-limit", f"1 GiB was announced: {answer.outcome}")
