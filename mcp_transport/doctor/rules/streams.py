"""Streams: the first byte, the time between events, compression, and how long silence may last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, StreamObservation
from mcp_transport.doctor.rules.connectivity import without_tool

__all__ = ["compression", "event_spacing", "first_event", "idle"]

FIRST_WARNING, FIRST_PROBLEM = 1.0, 3.0
INTERVAL: Final = 0.01
"""How often the tool sends."""
TOGETHER: Final = 0.003
MOST_BUNCHED: Final = 0.3
"""Nagle's algorithm holds those of 40 ms back: half of the gaps are gone, or more; a corked socket those of 200."""
LONG_SILENCE: Final = 60.0
"""What nginx, AWS and others allow by default."""
NO_STREAM: Final = "no stream was opened"


def _silent(seen: Observations) -> Iterator[tuple[str, StreamObservation]]:
    """Yield the streams on which nothing happened, by name."""
    for name, heard in (("GET", seen.held), ("subscriptions/listen", seen.listened)):
        if heard is not None and (heard.is_stream or not heard.answer.status):
            yield name, heard


def first_event(seen: Observations) -> Finding:
    """Judge whether the first bytes of a stream come at once, which the server sends at once."""
    found = dict(_silent(seen))
    if not found:
        return unknown("first-event", NO_STREAM)
    took = {name: heard.pieces[0][0] if heard.pieces else None for name, heard in found.items()}
    facts = ", ".join(f"{name}: {_after(when, found[name])}" for name, when in took.items())
    expected = f"within {FIRST_WARNING:g} s: a proxy that collects an answer holds its events back"
    slowest = max(when if when is not None else float("inf") for when in took.values())
    if slowest > FIRST_PROBLEM:
        return problem("first-event", facts, expected)
    return warning("first-event", facts, expected) if slowest > FIRST_WARNING else ok("first-event", facts)


def _after(when: float | None, heard: StreamObservation) -> str:
    return f"no byte within {heard.seconds:.1f} s" if when is None else f"first bytes after {when * 1000:.0f} ms"


def event_spacing(seen: Observations) -> Finding:
    """Judge whether events come one by one, in most of the rounds: a machine that is busy collects some, too."""
    if not seen.has_tool:
        return without_tool("event-spacing", seen)
    measured = [times for heard in seen.rounds if len(times := _arrivals(heard)) > 1]
    if not measured:
        return unknown("event-spacing", "the tool's events did not arrive")
    share, wait = median(map(_bunched, measured)), median(map(_longest_wait, measured))
    facts = f"{share * 100:.0f} of 100 events came together with the one before, after up to {wait * 1000:.0f} ms"
    if share > MOST_BUNCHED:
        return problem("event-spacing", facts, f"one by one, about every {INTERVAL * 1000:.0f} ms, as they were sent")
    return ok("event-spacing", facts)


def _arrivals(heard: StreamObservation) -> list[float]:
    return [frame.seconds for frame in heard.frames if frame.message.get("method") == "notifications/progress"]


def _bunched(times: list[float]) -> float:
    """Return the share of events that came together with the one before."""
    return fmean(later - earlier < TOGETHER for earlier, later in pairwise(times))


def _longest_wait(times: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise([0.0, *times]))


def compression(seen: Observations) -> Finding:
    """Judge whether streams stay as they are, even for a client that takes gzip."""
    heard = seen.zipped
    if heard is None or not heard.is_stream:
        return unknown("compression", NO_STREAM)
    encoding = heard.answer.headers.get("content-encoding", "identity")
    if encoding in ("identity", ""):
        return ok("compression", "a client that takes gzip gets plain events")
    arrived = "bytes came" if heard.pieces else f"no byte within {heard.seconds:.1f} s"
    said = f"Content-Encoding: {encoding} on text/event-stream; {arrived}"
    return problem("compression", said, "none: a compressor collects events until it has enough")


def idle(seen: Observations) -> Finding:
    """Judge whether a silent stream is left open, and kept alive by comments."""
    found = {name: heard for name, heard in _silent(seen) if heard.is_stream}
    if not found:
        return unknown("idle", NO_STREAM)
    cut = [f"{name} {_cut(heard)}" for name, heard in found.items() if heard.end not in ("", "left")]
    if cut:
        wanted = f"open for {seen.asked.idle:g} s, with a comment after KEEPALIVE_SECONDS (15) of silence"
        return problem("idle", "; ".join(cut), wanted)
    facts = ", ".join(f"{name}: {_kept_alive(heard)}" for name, heard in found.items())
    if all(_comments(heard) for heard in found.values()):
        return ok("idle", f"open for {seen.asked.idle:g} s; {facts}")
    wanted = "a comment after KEEPALIVE_SECONDS (15) of silence; a larger --idle waits for it"
    longest = max(heard.longest_silence for heard in found.values())
    return (problem if longest >= LONG_SILENCE else warning)("idle", facts, wanted)


def _cut(heard: StreamObservation) -> str:
    last = heard.pieces[-1][0] if heard.pieces else 0.0
    return f"ended after {heard.seconds:.1f} s, {heard.seconds - last:.1f} s after its last byte ({heard.end})"


def _comments(heard: StreamObservation) -> list[float]:
    """Return when keep-alives came; what a stream begins with is none."""
    return [frame.seconds for frame in heard.frames[1:] if frame.is_comment]


def _kept_alive(heard: StreamObservation) -> str:
    if not _comments(heard):
        return f"no comment within {heard.seconds:.1f} s"
    return f"a comment every {heard.longest_silence:.1f} s"
