"""The fields of nodes, of all sessions together, and of the traffic within the last minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from mcp_transport.backends.records import NodeRecord, Overview
from mcp_transport.domain.circuit_breaker import BreakerRecord, BreakerState
from mcp_transport.domain.metrics import Histogram, Point, TrafficSummary
from mcp_transport.operators.representation import formats, kinds
from mcp_transport.operators.representation.fields import Field, Label, Table, detail_rows, pick, records, table
from mcp_transport.operators.representation.kinds import Kind
from mcp_transport.operators.representation.refusals import reason_text

__all__ = [
    "BREAKER",
    "NODE",
    "OPERATION_COLUMNS",
    "OVERVIEW",
    "POINT",
    "REFUSED",
    "TRAFFIC",
    "CallsOf",
    "breakdown_tables",
    "breaker_table",
    "node_table",
    "operations_of",
    "overview_rows",
    "traffic_rows",
    "traffic_tables",
]


def _load(attribute: str) -> tuple[Field[Any], ...]:
    """Return the fields of a record's load, but for what runs."""
    waiting = attrgetter(f"{attribute}.waiting")
    return (
        Field("waiting", _("Calls waiting"), kinds.COUNT, waiting, "Those that wait until they may run."),
        Field(
            "threads",
            _("Threads in use"),
            kinds.COUNT,
            attrgetter(f"{attribute}.threads"),
            "Threads in which synchronous functions run; at most `TOOL_THREADS` in each process.",
        ),
        Field(
            "lost_threads",
            _("Threads lost"),
            kinds.COUNT,
            attrgetter(f"{attribute}.lost_threads"),
            "Of these, the ones whose calls have ended.",
        ),
    )


NODE: Final[tuple[Field[NodeRecord], ...]] = (
    Field("name", _("Node")),
    Field("host", _("Host")),
    Field("pid", _("Process"), Kind(kinds.COUNT.schema)),
    Field("calls", _("Calls"), kinds.COUNT),
    *_load("load"),
    Field("age", _("Last heartbeat"), Kind(kinds.NUMBER.schema, formats.seconds_ago), note="Seconds since then."),
    Field("draining", _("Draining"), kinds.FLAG),
)


def node_table(nodes: Iterable[NodeRecord]) -> Table:
    """Return the table of live nodes."""
    return table("nodes", _("Nodes"), NODE, nodes)


# -- all sessions ----------------------------------------------------------------------------------------

# By the field's name: the key of `Overview.values`, the title of a table, and the head of its first column.
_BREAKDOWNS: Final[dict[str, tuple[str, Label, Label]]] = {
    "clients": ("client", _("Sessions by client"), _("Client")),
    "users": ("user", _("Sessions by user"), _("User")),
    "protocols": ("protocol_version", _("Sessions by protocol revision"), _("Revision")),
    "nodes": ("node", _("Sessions by node"), _("Node")),
}
_BYTES_OR_NULL: Final = Kind({"type": ["integer", "null"]}, formats.size, lambda count: count or None)


def _counts(column: Label) -> tuple[Field[tuple[str, int]], ...]:
    value: Field[tuple[str, int]] = Field("value", column, kinds.TEXT, itemgetter(0))
    return value, Field("sessions", pgettext_lazy("of clients", "Sessions"), kinds.COUNT, itemgetter(1))


def _breakdown(name: str) -> Field[Overview]:
    key, title, column = _BREAKDOWNS[name]
    note = f"The most common {name}, and the number of sessions with each."
    return Field(name, title, records(_counts(column)), lambda overview: overview.values.get(key, ()), note)


OVERVIEW: Final[tuple[Field[Overview], ...]] = (
    Field("sessions", pgettext_lazy("of clients", "Sessions"), kinds.COUNT, attrgetter("total")),
    Field("opened", _("New sessions within a minute"), kinds.COUNT),
    Field(
        "mean_duration",
        _("Average session age"),
        kinds.DURATION,
        note="Seconds from the start of a session to its last use.",
    ),
    Field("median_duration", _("Median session age"), kinds.DURATION),
    Field("sampled", _("Sampled from"), kinds.COUNT, note="The number of sessions whose age was averaged."),
    Field("memory", _("Redis memory"), _BYTES_OR_NULL, note="Bytes in use for all data; null: unknown."),
    Field("memory_limit", _("Redis memory limit"), _BYTES_OR_NULL, note="Bytes; null: none, or unknown."),
    *map(_breakdown, _BREAKDOWNS),
)


def _with_sample(field: Field[Overview]) -> Field[Overview]:
    def value(overview: Overview) -> str:
        sample = ngettext("of %(count)d session", "of %(count)d sessions", overview.sampled)
        return f"{field.text(overview)} ({sample % {'count': overview.sampled}})"

    return Field(field.name, field.label, kinds.TEXT, value)


def _memory(overview: Overview) -> str:
    sizes = {"used": formats.size(overview.memory), "limit": formats.size(overview.memory_limit)}
    return str(_("%(used)s of %(limit)s") % sizes if overview.memory_limit else sizes["used"])


def overview_rows(overview: Overview) -> list[list[str]]:
    """Return the rows that summarize all sessions; the memory only if it is known."""
    ages = map(_with_sample, pick(OVERVIEW, "mean_duration", "median_duration"))
    memory = Field("memory", _("Redis memory"), kinds.TEXT, _memory)
    fields = (*pick(OVERVIEW, "sessions", "opened"), *ages, *((memory,) if overview.memory else ()))
    return detail_rows(fields, overview)


def breakdown_tables(overview: Overview, *names: str) -> Iterator[Table]:
    """Yield a table of the most common values for each of the named fields."""
    for field in pick(OVERVIEW, *names):
        _key, title, column = _BREAKDOWNS[field.name]
        yield table(f"by-{field.name}", title, _counts(column), field.read(overview))


# -- traffic ---------------------------------------------------------------------------------------------


class CallsOf(NamedTuple):
    """The calls of one operation, or all of them."""

    traffic: TrafficSummary
    calls: Histogram
    operation: str = ""


class CountOf(NamedTuple):
    """The calls of one protocol revision, or the refused requests of one status."""

    traffic: TrafficSummary
    name: str
    number: int


_P95_NOTE: Final = "The 95th percentile of durations, in seconds; null without calls."


# Names from clients are not counted, since there may be any number of them.
_OPERATION_LABELS: Final[dict[str, Label]] = {
    "tools/call": _("tools/call (refused, or of an unknown tool)"),
    "prompts/get": _("prompts/get (refused, or of an unknown prompt)"),
    "unknown": _("an unknown method"),
}


def _percentile(share: float) -> Callable[[CallsOf], float | None]:
    return lambda item: item.calls.percentile(share) if item.calls.calls else None


_CALLS: Final[tuple[Field[CallsOf], ...]] = (
    Field("calls", _("Calls"), kinds.COUNT, attrgetter("calls.calls")),
    Field("errors", _("Errors"), kinds.COUNT, attrgetter("calls.errors")),
    Field("calls_per_second", _("Calls per second"), kinds.RATE, lambda item: item.traffic.rate(item.calls.calls)),
    Field(
        "error_rate",
        _("Error rate"),
        kinds.PERCENT,
        lambda item: item.calls.errors / item.calls.calls if item.calls.calls else None,
        "From 0 to 1; null without calls.",
    ),
    Field("p50", _("p50 latency"), kinds.LATENCY, _percentile(0.5), "The median of durations, as `p95`."),
    Field("p95", _("p95 latency"), kinds.LATENCY, _percentile(0.95), _P95_NOTE),
    Field("max", _("Longest"), kinds.LATENCY, _percentile(1.0), "The longest duration, to a fifth, as `p95`."),
)
_OPERATION: Final[tuple[Field[CallsOf], ...]] = (Field("operation", _("Operation")), *_CALLS)
OPERATION_COLUMNS: Final[tuple[Field[CallsOf], ...]] = (
    Field(
        "operation",
        _("Operation"),
        kinds.TEXT,
        lambda item: str(_OPERATION_LABELS.get(item.operation, item.operation)),
    ),
    *pick(_OPERATION, "calls", "calls_per_second", "errors", "error_rate", "p50", "p95", "max"),
)
_SHORT_OPERATION_COLUMNS: Final = pick(
    OPERATION_COLUMNS, "operation", "calls", "calls_per_second", "p95", "error_rate"
)

_REVISION: Final[tuple[Field[CountOf], ...]] = (
    Field("value", _("Revision"), kinds.TEXT, attrgetter("name")),
    Field("calls", _("Calls"), kinds.COUNT, attrgetter("number")),
)
_REVISION_COLUMNS: Final[tuple[Field[CountOf], ...]] = (
    *_REVISION,
    Field("rate", _("Calls per second"), kinds.RATE, lambda item: item.traffic.rate(item.number)),
)

_STATES: Final[dict[BreakerState, Label]] = {
    BreakerState.CLOSED: _("closed"),
    BreakerState.HALF_OPEN: _("half-open"),
    BreakerState.OPEN: _("open"),
}


def _state_text(state: BreakerState) -> str:
    return str(_STATES[state])


_REASON: Final = Kind(kinds.TEXT.schema, reason_text)
REFUSED: Final[tuple[Field[CountOf], ...]] = (
    Field("reason", _("Reason"), _REASON, attrgetter("name")),
    Field("requests", _("Requests"), kinds.COUNT, attrgetter("number")),
)

POINT: Final[tuple[Field[Point], ...]] = (
    Field("age", _("Seconds ago"), kinds.NUMBER),
    Field("calls_per_second", _("Calls per second"), kinds.RATE, attrgetter("calls")),
    Field("errors_per_second", _("Errors per second"), kinds.RATE, attrgetter("errors")),
    Field("p95", _("p95 latency"), kinds.LATENCY, lambda point: point.p95 or None, _P95_NOTE),
    Field("streams", _("Streams"), kinds.COUNT, note="The number of streams to which a client was connected."),
)


BREAKER: Final[tuple[Field[BreakerRecord], ...]] = (
    Field("tool", _("Tool")),
    Field("state", _("State"), Kind(kinds.choice(state.value for state in BreakerState), _state_text, str)),
    Field("since", _("Since"), kinds.TIME, note="When it opened."),
    Field("until", _("Until"), kinds.TIME, note="When the next call may run."),
    Field("processes", _("Processes"), kinds.COUNT, note="In how many processes it is not closed."),
)


def _of_total(field: Field[CallsOf]) -> Field[TrafficSummary]:
    def value(traffic: TrafficSummary) -> Any:
        return field.read(CallsOf(traffic, traffic.total))

    return Field(field.name, field.label, field.kind, value, field.note)


def operations_of(traffic: TrafficSummary) -> list[CallsOf]:
    """Return the calls of each operation."""
    return [CallsOf(traffic, calls, operation) for operation, calls in traffic.operations.items()]


def _counts_of(attribute: str) -> Callable[[TrafficSummary], list[CountOf]]:
    return lambda traffic: [CountOf(traffic, *item) for item in getattr(traffic, attribute).items()]


def _in_batches(name: str) -> Callable[[TrafficSummary], int]:
    return lambda traffic: traffic.batches.get(name, 0)


TRAFFIC: Final[tuple[Field[TrafficSummary], ...]] = (
    Field("processes", _("Processes"), kinds.COUNT),
    Field("seconds", _("Seconds"), kinds.NUMBER, note="The length of the period that ends now."),
    *map(_of_total, _CALLS),
    Field("operations", _("Calls by operation"), records(_OPERATION), operations_of),
    Field("protocols", _("Calls by protocol revision"), records(_REVISION), _counts_of("versions")),
    Field(
        "refused",
        _("Refused"),
        records(REFUSED),
        _counts_of("refused"),
        "By HTTP status, or by the setting or option that limits the load; `room`: sessions evicted because their "
        "caller reached the session limit.",
    ),
    Field("opened", _("Sessions opened"), kinds.COUNT),
    Field(
        "coalesced",
        _("Requests coalesced"),
        kinds.COUNT,
        note="Those that were answered by the run of an equal one.",
    ),
    Field("batched", _("Calls batched"), kinds.COUNT, _in_batches("calls"), "Calls that ran in batches."),
    Field("batches", _("Batches"), kinds.COUNT, _in_batches("batches"), "How many batches these calls were."),
    Field("running", _("Requests running"), kinds.COUNT, attrgetter("load.running"), "Requests that run."),
    *_load("load"),
    Field(
        "waited", _("Calls that waited"), kinds.COUNT, attrgetter("waits.calls"), "Those that could not run at once."
    ),
    Field(
        "wait_p95",
        _("p95 wait"),
        kinds.LATENCY,
        lambda traffic: traffic.waits.percentile(0.95) if traffic.waits.calls else None,
        "The 95th percentile of how long those calls waited, in seconds; null if none did.",
    ),
    Field("breakers", _("Circuit breakers that are not closed"), records(BREAKER)),
    Field("points", _("Last five minutes in numbers"), records(POINT, "Point"), note="The oldest first."),
)


def _sample(traffic: TrafficSummary) -> str:
    sample = ngettext(
        "%(count)d process, over %(seconds)d seconds",
        "%(count)d processes, over %(seconds)d seconds",
        traffic.processes,
    )
    return sample % {"count": traffic.processes, "seconds": traffic.seconds}


_TRAFFIC_ROWS: Final[tuple[Field[TrafficSummary], ...]] = (
    *pick(TRAFFIC, "calls", "calls_per_second", "p95", "error_rate", "opened", "coalesced", "batched", "batches"),
    *pick(TRAFFIC, "running", "waiting", "waited", "wait_p95", "threads", "lost_threads"),
    Field("sampled", _("Sampled from"), kinds.TEXT, _sample),
)


def traffic_rows(traffic: TrafficSummary) -> list[list[str]]:
    """Return the rows that summarize all traffic."""
    return detail_rows(_TRAFFIC_ROWS, traffic)


def breaker_table(traffic: TrafficSummary) -> Table:
    """Return the table of circuit breakers that are not closed."""
    [breakers] = pick(TRAFFIC, "breakers")
    return table("breakers", breakers.label, BREAKER, traffic.breakers)


def traffic_tables(traffic: TrafficSummary) -> tuple[Table, Table, Table, Table]:
    """Return the tables of operations (tool calls first), of protocol revisions, of refusals and of points."""
    operations, revisions, refused, points = pick(TRAFFIC, "operations", "protocols", "refused", "points")
    tools_first = sorted(operations.read(traffic), key=lambda item: not item.operation.startswith("tools/call"))
    return (
        table("operations", operations.label, _SHORT_OPERATION_COLUMNS, tools_first),
        table("revisions", revisions.label, _REVISION_COLUMNS, revisions.read(traffic)),
        table("refused", refused.label, REFUSED, refused.read(traffic)),
        table("points", points.label, POINT, reversed(traffic.points)),
    )
