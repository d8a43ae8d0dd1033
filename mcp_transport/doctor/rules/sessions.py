"""Both eras: sessions on every node, headers on their way, the end of a session."""

from __future__ import annotations

from collections import Counter

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import SESSIONLESS, Answer, Observations, StreamObservation
from mcp_transport.doctor.rules.connectivity import NEEDS_TOOL, without_tool

__all__ = ["delete", "headers", "initialize", "nodes", "resume", "session_nodes", "sessionless"]

HEADER_MISMATCH = -32020
NO_SESSION = "no session was opened"
UNKNOWN_THERE = "the session was not known there: see session-nodes"


def initialize(seen: Observations) -> Finding:
    """Judge how a session begins."""
    answer = seen.initialize
    if answer.status == 200 and answer.result:
        version = answer.result.get("protocolVersion")
        if not seen.session_id:
            expected = "the answer carries Mcp-Session-Id"
            return problem("initialize", f"{version}, but without Mcp-Session-Id", expected, fix="headers")
        return ok("initialize", f"{version} within {answer.seconds * 1000:.0f} ms")
    if answer.status == 401:
        return unknown("initialize", "credentials are wanted: give --token")
    if seen.has_sessionless and answer.status == 400:
        return unknown("initialize", "no revision with sessions is served")
    return problem("initialize", answer.outcome, "200 with the revision that is spoken")


def sessionless(seen: Observations) -> Finding:
    """Judge whether 2026-07-28 is served."""
    answer = seen.discover
    if seen.has_sessionless:
        return ok("sessionless", f"{SESSIONLESS} within {answer.seconds * 1000:.0f} ms")
    if answer.error.get("code") == HEADER_MISMATCH:
        return problem("sessionless", answer.outcome, "MCP-Protocol-Version and Mcp-Method arrive", fix="headers")
    if answer.status == 401:
        return unknown("sessionless", "credentials are wanted: give --token")
    if seen.session_id and 400 <= answer.status < 500:
        return unknown("sessionless", f"{SESSIONLESS} is not served: {answer.outcome}")
    return problem("sessionless", answer.outcome, "200 to server/discover", fix="initialize")


def session_nodes(seen: Observations) -> Finding:
    """Judge whether every node that can be met knows the session."""
    if not seen.pings:
        return unknown("session-nodes", NO_SESSION)
    outcomes = Counter(answer.fault or f"HTTP {answer.status}" for answer in seen.pings)
    facts = f"{outcomes['HTTP 200']} of {len(seen.pings)} fresh connections"
    if outcomes["HTTP 200"] == len(seen.pings):
        return ok("session-nodes", f"the session was known to {facts}")
    others = ", ".join(f"{count} times {outcome}" for outcome, count in outcomes.items() if outcome != "HTTP 200")
    if _lost_id(seen):
        return unknown("session-nodes", "Mcp-Session-Id does not arrive: see headers")
    return problem("session-nodes", f"the session was known to {facts}, {others}", "every node knows every session")


def nodes(seen: Observations) -> Finding:
    """Judge how many nodes answered."""
    if not seen.visits:
        return without_tool("nodes", seen)
    names = Counter(visit.node for visit in seen.visits)
    facts = f"{len(names)} answered to {len(seen.visits)} fresh connections"
    if not seen.asked.nodes or len(names) == seen.asked.nodes:
        return ok("nodes", facts)
    expected = f"{seen.asked.nodes} (--expect-nodes; each process counts)"
    judged = problem if len(names) < seen.asked.nodes else warning
    return judged("nodes", facts, expected)


def headers(seen: Observations) -> Finding:
    """Judge which headers reach the server, by what it refuses: only what it has seen can be wrong."""
    told = {
        "Mcp-Session-Id": _arrival(bool(seen.pings), lost=_lost_id(seen)),
        "MCP-Protocol-Version": _judged(seen.false_version),
        "Last-Event-ID": _judged(seen.false_event.answer if seen.false_event is not None else None),
        "Mcp-Method": _judged(seen.crossed),
    }
    lost = [name for name, arrives in told.items() if arrives is False]
    arrived = [name for name, arrives in told.items() if arrives]
    if lost:
        return problem("headers", f"on the way lost: {', '.join(lost)}", "requests arrive with all their headers")
    if not arrived:
        return unknown("headers", "there was nothing to send them with")
    return ok("headers", f"arrived: {', '.join(arrived)}")


def _lost_id(seen: Observations) -> bool:
    """Tell whether the server asks for the id that every request had: 400, where an unknown one would be 404."""
    return bool(seen.pings) and all(answer.status == 400 for answer in seen.pings)


def _arrival(known: bool, *, lost: bool) -> bool | None:
    return not lost if known else None


def _judged(answer: Answer | None) -> bool | None:
    """Tell whether a wrong value was refused (400) or not seen (200); None where the answer says neither."""
    return {400: True, 200: False}.get(answer.status) if answer is not None else None


def resume(seen: Observations) -> Finding:
    """Judge whether a stream that broke off can be taken up again."""
    if not seen.session_id:
        return unknown("resume", NO_SESSION)
    if seen.false_event is not None and _judged(seen.false_event.answer) is False:
        return unknown("resume", "Last-Event-ID does not arrive: see headers")
    if seen.cut is not None and seen.cut.answer.status == 404:
        return unknown("resume", UNKNOWN_THERE)
    if seen.cut is not None and seen.cut.end == "closed":
        return unknown("resume", "the stream of a call came in one piece: see first-event and event-spacing")
    if seen.resumed is None:
        return unknown("resume", "no event with an id arrived on a stream")
    answer = seen.resumed.answer
    if seen.resumed.is_stream and seen.cut is not None:
        return _continued(seen.cut, seen.resumed)
    if seen.resumed.is_stream and seen.resumed.frames:
        return ok("resume", f"Last-Event-ID was taken; {NEEDS_TOOL} to see whether events are missed")
    if answer.status == 404:
        return unknown("resume", UNKNOWN_THERE)
    if not answer.status:
        return unknown("resume", f"{answer.fault}: see first-event")
    return problem("resume", answer.outcome, "200, and the stream goes on after the event that was named")


def _continued(cut: StreamObservation, resumed: StreamObservation) -> Finding:
    """Judge the two parts of a call's stream: each report once, in order, and the result at the end."""
    before, after = _reports(cut), _reports(resumed)
    facts = f"{len(before)} reports of a call, a break, {len(after)} more"
    is_whole = before + after == list(range(1, len(before) + len(after) + 1))
    if is_whole and any("result" in frame.message for frame in resumed.frames):
        return ok("resume", f"{facts}, and its result")
    return problem("resume", f"{facts}; some are missing, come twice, or the result does not", "all of them, once")


def _reports(heard: StreamObservation) -> list[float]:
    """Return the numbers of progress in a stream."""
    params = [frame.message.get("params") for frame in heard.frames]
    return [item["progress"] for item in params if isinstance(item, dict) and "progress" in item]


def delete(seen: Observations) -> Finding:
    """Judge whether a session can be ended, and is over then."""
    if seen.deleted is None or seen.after_delete is None:
        return unknown("delete", NO_SESSION)
    facts = f"DELETE: {seen.deleted.outcome}; ping after it: {seen.after_delete.outcome}"
    if _lost_id(seen):
        return unknown("delete", "Mcp-Session-Id does not arrive: see headers")
    if seen.deleted.status == 404:
        return unknown("delete", UNKNOWN_THERE)
    if seen.deleted.status in (200, 202, 204) and seen.after_delete.status == 404:
        return ok("delete", f"HTTP {seen.deleted.status}, and 404 after it")
    return problem("delete", facts, "204, and 404 after it")
