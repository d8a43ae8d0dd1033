"""Rules about sessions and sessionless requests: on every node, with all headers, until the session ends."""

from __future__ import annotations

from collections import Counter

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import SESSIONLESS, Observations, Response, StreamObservation
from mcp_transport.doctor.rules.connectivity import NEEDS_TOOL, without_tool

__all__ = ["delete", "headers", "initialize", "nodes", "resume", "session_nodes", "sessionless"]

HEADER_MISMATCH = -32020
REFUSALS = (400, 403, 406, 431, 501)
NO_SESSION = "no session was opened"
SESSION_UNKNOWN = "the node did not know the session: see session-nodes"


def initialize(observed: Observations) -> Finding:
    """Check that `initialize` opens a session."""
    response = observed.initialize
    if response.status == 200 and response.result:
        version = response.result.get("protocolVersion")
        if not observed.session_id:
            expected = "the response has Mcp-Session-Id"
            return problem("initialize", f"{version}, but without Mcp-Session-Id", expected, fix="headers")
        return ok("initialize", f"{version} within {response.seconds * 1000:.0f} ms")
    if response.status == 401:
        return unknown("initialize", "credentials are required: use --token")
    if observed.has_sessionless and response.status == 400:
        return unknown("initialize", "the server supports no session-based revision")
    return problem("initialize", response.outcome, "200 with the negotiated revision")


def sessionless(observed: Observations) -> Finding:
    """Check that the server supports 2026-07-28."""
    response = observed.discover
    if observed.has_sessionless:
        return ok("sessionless", f"{SESSIONLESS} within {response.seconds * 1000:.0f} ms")
    if response.error.get("code") == HEADER_MISMATCH:
        return problem("sessionless", response.outcome, "MCP-Protocol-Version and Mcp-Method arrive", fix="headers")
    if response.status == 401:
        return unknown("sessionless", "credentials are required: use --token")
    if observed.session_id and 400 <= response.status < 500:
        return unknown("sessionless", f"{SESSIONLESS} is not supported: {response.outcome}")
    return problem("sessionless", response.outcome, "200 to server/discover", fix="initialize")


def session_nodes(observed: Observations) -> Finding:
    """Check that every node that answers knows the session."""
    if not observed.pings:
        return unknown("session-nodes", NO_SESSION)
    outcomes = Counter(response.failure or f"HTTP {response.status}" for response in observed.pings)
    summary = f"the session was known on {outcomes['HTTP 200']} of {len(observed.pings)} new connections"
    if outcomes["HTTP 200"] == len(observed.pings):
        return ok("session-nodes", summary)
    others = ", ".join(f"{count} times {outcome}" for outcome, count in outcomes.items() if outcome != "HTTP 200")
    if _session_id_is_lost(observed):
        return unknown("session-nodes", "Mcp-Session-Id does not arrive: see headers")
    return problem("session-nodes", f"{summary}, {others}", "every node knows every session")


def nodes(observed: Observations) -> Finding:
    """Compare the number of nodes that answered with `--expect-nodes`."""
    if not observed.node_reports:
        return without_tool("nodes", observed)
    names = Counter(report.node for report in observed.node_reports)
    summary = f"{len(names)} nodes answered on {len(observed.node_reports)} new connections"
    if not observed.options.nodes or len(names) == observed.options.nodes:
        return ok("nodes", summary)
    expected = f"{observed.options.nodes} (--expect-nodes; each process counts)"
    severity = problem if len(names) < observed.options.nodes else warning
    return severity("nodes", summary, expected)


def headers(observed: Observations) -> Finding:
    """Check which headers reach the server: it refuses an invalid value only if it received it."""
    event_id = observed.bad_event_id
    arrivals = {
        "Mcp-Session-Id": not _session_id_is_lost(observed) if observed.pings else None,
        "MCP-Protocol-Version": _has_arrived(observed.bad_version),
        "Last-Event-ID": _has_arrived(event_id.response if event_id is not None else None),
        "Mcp-Method": False if _lacks_header(observed.discover) else _has_arrived(observed.mismatch),
    }
    if refused := _refused_on_the_way(observed):
        text = f"{refused.outcome} of something on the way, to requests with Mcp-* headers"
        return problem("headers", text, "requests arrive with all their headers")
    lost = [name for name, has_arrived in arrivals.items() if has_arrived is False]
    arrived = [name for name, has_arrived in arrivals.items() if has_arrived]
    if lost:
        return problem("headers", f"lost on the way: {', '.join(lost)}", "requests arrive with all their headers")
    if not arrived:
        return unknown("headers", "no request could be sent with them")
    return ok("headers", f"arrived: {', '.join(arrived)}")


def _lacks_header(response: Response) -> bool:
    """Return whether the server misses a header that was sent."""
    return bool(response.error.get("code") == HEADER_MISMATCH)


def _refused_on_the_way(observed: Observations) -> Response | None:
    """Return a refusal that is not the endpoint's, if `initialize`, which has no such headers, was let through."""
    if not observed.anonymous.message:
        return None
    probes = (observed.discover, observed.mismatch, observed.bad_version, *observed.pings)
    return next((one for one in probes if one is not None and one.status in REFUSALS and not one.message), None)


def _session_id_is_lost(observed: Observations) -> bool:
    """Return whether the server did not receive the session ID: it answers 400, and 404 for an unknown one."""
    return bool(observed.pings) and all(response.status == 400 for response in observed.pings)


def _has_arrived(response: Response | None) -> bool | None:
    """Return whether an invalid value was refused (400) or not received (200); None for any other status."""
    return {400: True, 200: False}.get(response.status) if response is not None else None


def resume(observed: Observations) -> Finding:
    """Check that an interrupted stream can be resumed."""
    if not observed.session_id:
        return unknown("resume", NO_SESSION)
    if observed.bad_event_id is not None and _has_arrived(observed.bad_event_id.response) is False:
        return unknown("resume", "Last-Event-ID does not arrive: see headers")
    if observed.interrupted is not None and observed.interrupted.response.status == 404:
        return unknown("resume", SESSION_UNKNOWN)
    if observed.interrupted is not None and observed.interrupted.end == "closed":
        return unknown("resume", "the stream of a call arrived as one chunk: see first-event and event-spacing")
    if observed.resumed is None:
        return unknown("resume", "no event with an id arrived on a stream")
    response = observed.resumed.response
    if observed.resumed.is_stream and observed.interrupted is not None:
        return _continuation(observed.interrupted, observed.resumed)
    if observed.resumed.is_stream and observed.resumed.frames:
        return ok("resume", f"Last-Event-ID was accepted; {NEEDS_TOOL} to see whether events are lost")
    if response.status == 404:
        return unknown("resume", SESSION_UNKNOWN)
    if not response.status:
        return unknown("resume", f"{response.failure}: see first-event")
    return problem("resume", response.outcome, "200, and the stream continues after that event")


def _continuation(interrupted: StreamObservation, resumed: StreamObservation) -> Finding:
    """Check both parts of a call's stream: each report once, in order, and the result at the end."""
    before, after = _progress_values(interrupted), _progress_values(resumed)
    summary = f"{len(before)} reports of a call, an interruption, {len(after)} more"
    is_whole = before + after == list(range(1, len(before) + len(after) + 1))
    if is_whole and any("result" in frame.message for frame in resumed.frames):
        return ok("resume", f"{summary}, and its result")
    return problem("resume", f"{summary}; some are missing or repeated, or the result is missing", "each once")


def _progress_values(stream: StreamObservation) -> list[float]:
    """Return the progress values of a stream."""
    params = [frame.message.get("params") for frame in stream.frames]
    return [item["progress"] for item in params if isinstance(item, dict) and "progress" in item]


def delete(observed: Observations) -> Finding:
    """Check that DELETE ends a session."""
    if observed.deleted is None or observed.after_delete is None:
        return unknown("delete", NO_SESSION)
    summary = f"DELETE: {observed.deleted.outcome}; ping after it: {observed.after_delete.outcome}"
    if _session_id_is_lost(observed):
        return unknown("delete", "Mcp-Session-Id does not arrive: see headers")
    if observed.deleted.status == 404:
        return unknown("delete", SESSION_UNKNOWN)
    if observed.deleted.status in (200, 202, 204) and observed.after_delete.status == 404:
        return ok("delete", f"HTTP {observed.deleted.status}, and 404 after it")
    return problem("delete", summary, "204, and 404 after it")
