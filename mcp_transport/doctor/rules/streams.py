"""Rules about streams: first byte, time between events, compression, idle timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, median
from typing import Final

from mcp_transport.doctor.findings import Finding, ok, problem, unknown, warning
from mcp_transport.doctor.observations import Observations, StreamObservation
from mcp_transport.doctor.rules.connectivity import without_tool

__all__ = ["compression", "event_spacing", "first_event", "idle"]

WARNING_SECONDS, PROBLEM_SECONDS = 1.0, 3.0
INTERVAL_SECONDS: Final = 0.01
"""The interval at which the tool sends events."""
BUNCHED_SECONDS: Final = 0.003
"""Events that arrive closer together than this were buffered."""
MAX_BUNCHED_SHARE: Final = 0.3
"""Nagle's algorithm collects the events of 40 ms, so that half of the gaps vanish or more; a corked socket 200 ms."""
KEEPALIVE_SECONDS: Final = 15.0
"""The default of the setting."""
PROXY_TIMEOUT_SECONDS: Final = 60.0
"""The default idle timeout of nginx, AWS and others."""
NO_STREAM: Final = "no stream was opened"


def _idle_streams(observed: Observations) -> Iterator[tuple[str, StreamObservation]]:
    """Yield the idle streams by name, with those that got no response."""
    for name, stream in (("GET", observed.idle_get), ("subscriptions/listen", observed.idle_listen)):
        if stream is not None and (stream.is_stream or not stream.response.status):
            yield name, stream


def first_event(observed: Observations) -> Finding:
    """Check that the first bytes of a stream arrive at once, as the server sends them."""
    idle_streams = dict(_idle_streams(observed))
    if not idle_streams:
        return unknown("first-event", NO_STREAM)
    times = {name: stream.chunks[0][0] if stream.chunks else None for name, stream in idle_streams.items()}
    summary = ", ".join(f"{name}: {_first_byte(seconds, idle_streams[name])}" for name, seconds in times.items())
    expected = f"within {WARNING_SECONDS:g} s: a proxy that buffers responses delays their events"
    slowest = max(seconds if seconds is not None else float("inf") for seconds in times.values())
    if slowest > PROBLEM_SECONDS:
        return problem("first-event", summary, expected)
    return warning("first-event", summary, expected) if slowest > WARNING_SECONDS else ok("first-event", summary)


def _first_byte(after: float | None, stream: StreamObservation) -> str:
    return f"no byte within {stream.seconds:.1f} s" if after is None else f"first bytes after {after * 1000:.0f} ms"


def event_spacing(observed: Observations) -> Finding:
    """Check that events arrive one by one in most rounds: a busy machine collects some events, too."""
    if not observed.has_tool:
        return without_tool("event-spacing", observed)
    measured = [times for stream in observed.rounds if len(times := _arrivals(stream)) > 1]
    if not measured:
        return unknown("event-spacing", "the tool's events did not arrive")
    share, wait = median(map(_bunched, measured)), median(map(_max_gap, measured))
    summary = f"{share * 100:.0f} % of events arrived with the previous one, after up to {wait * 1000:.0f} ms"
    if share > MAX_BUNCHED_SHARE:
        return problem("event-spacing", summary, f"one by one, about every {INTERVAL_SECONDS * 1000:.0f} ms")
    return ok("event-spacing", summary)


def _arrivals(stream: StreamObservation) -> list[float]:
    return [frame.seconds for frame in stream.frames if frame.message.get("method") == "notifications/progress"]


def _bunched(times: list[float]) -> float:
    """Return the share of events that arrived together with the previous one."""
    return fmean(later - earlier < BUNCHED_SECONDS for earlier, later in pairwise(times))


def _max_gap(times: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise([0.0, *times]))


def compression(observed: Observations) -> Finding:
    """Check that streams are not compressed, even for a client that accepts gzip."""
    stream = observed.gzipped
    if stream is None or not stream.is_stream:
        return unknown("compression", NO_STREAM)
    encoding = stream.response.headers.get("content-encoding", "identity")
    if encoding in ("identity", ""):
        return ok("compression", "streams are not compressed for a client that accepts gzip")
    arrived = "bytes arrived" if stream.chunks else f"no byte within {stream.seconds:.1f} s"
    text = f"Content-Encoding: {encoding} on text/event-stream; {arrived}"
    return problem("compression", text, "no compression: a compressor buffers events")


def idle(observed: Observations) -> Finding:
    """Check that an idle stream stays open and gets keep-alive comments."""
    idle_streams = {name: stream for name, stream in _idle_streams(observed) if stream.is_stream}
    if not idle_streams:
        return unknown("idle", NO_STREAM)
    closed = [f"{name} {_ending(stream)}" for name, stream in idle_streams.items() if stream.end not in ("", "left")]
    if closed:
        expected = f"open for {observed.options.idle:g} s, with a comment after KEEPALIVE_SECONDS (15) of silence"
        return problem("idle", "; ".join(closed), expected)
    summary = ", ".join(f"{name}: {_keepalive_interval(stream)}" for name, stream in idle_streams.items())
    if all(_keepalives(stream) for stream in idle_streams.values()):
        return ok("idle", f"open for {observed.options.idle:g} s; {summary}")
    if observed.options.idle <= KEEPALIVE_SECONDS:
        return unknown("idle", f"{summary}: --idle is too short to see one, {KEEPALIVE_SECONDS:g} s by default")
    expected = "a comment after KEEPALIVE_SECONDS (15) of silence; a larger --idle waits for it"
    silence = max(stream.max_silence for stream in idle_streams.values())
    return (problem if silence >= PROXY_TIMEOUT_SECONDS else warning)("idle", summary, expected)


def _ending(stream: StreamObservation) -> str:
    last = stream.chunks[-1][0] if stream.chunks else 0.0
    return f"ended after {stream.seconds:.1f} s, {stream.seconds - last:.1f} s after its last byte ({stream.end})"


def _keepalives(stream: StreamObservation) -> list[float]:
    """Return when keep-alive comments arrived; the first frame of a stream is none."""
    return [frame.seconds for frame in stream.frames[1:] if frame.is_comment]


def _keepalive_interval(stream: StreamObservation) -> str:
    if not _keepalives(stream):
        return f"no comment within {stream.seconds:.1f} s"
    return f"a comment every {stream.max_silence:.1f} s"
