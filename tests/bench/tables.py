"""The tables of docs/explanation/performance.md, each made of results alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tests.bench.results import Results
from tests.bench.servers import Server

OURS = "mount-uvicorn-redis"
LIMIT = "raw"
OLD = "http+sse"
NEW = (OURS, "mount-uvicorn-memory", "sdk-sse", "sdk-json")

Row = Iterable[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """Build a table whose first column is text and whose others are numbers."""
    head = list(head)
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 0, unit: str = "") -> str:
    """Write a number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def times(value: float | None) -> str:
    """Write a ratio."""
    return number(value, 2 if value is None or value < 10 else 0)


def _name(server: Server) -> str:
    return f"**{server.title}**" if server.kind == "ours" else server.title


def conditions(results: Results) -> str:
    """List the machine, the versions and the command."""
    content = results.content
    facts = [f"{name} {value}" for name, value in content["machine"].items()]
    packages = [f"{name} {version}" for name, version in content["versions"].items()]
    run = f"rounds: {content['rounds']}, seconds: {content['seconds']:g}, connections: {content['connections']}"
    return "\n".join(
        [
            f"- Machine: {', '.join(facts)}",
            f"- Versions: {', '.join(packages)}",
            f"- Run: `{content['command']}` ({run})",
            f"- Other processes used {content['others_busy']:.2f} cores when it began",
        ]
    )


def calls(results: Results) -> str:
    """Compare calls in a session and without one."""
    head = ["", "in a session /s", "of the limit", "p50 ms", "p99 ms", "without one /s", "of the limit", "p99 ms"]
    rows = []
    for server in results.servers("session", "alone"):
        row = [_name(server)]
        for workload, latencies in (("session", ("p50", "p99")), ("alone", ("p99",))):
            row.append(number(results.get(server.name, workload, "rate")))
            row.append(times(results.ratio(workload, "rate", server.name, LIMIT)))
            row += [number(results.get(server.name, workload, latency), 1) for latency in latencies]
        rows.append(row)
    return table(head, rows)


def ratios(results: Results) -> str:
    """Say how many times each other's figures ours are."""
    columns = {"session": "in a session", "alone": "without one", "sessions": "sessions", "stream": "20 events"}
    rows = [
        [server.title, *(times(results.ratio(workload, "rate", OURS, server.name)) for workload in columns)]
        for server in results.servers(*columns, only=lambda server: server.kind != "ours" and not server.is_old)
    ]
    return table(["the mount on uvicorn with Redis against", *columns.values()], rows)


def bases(results: Results) -> str:
    """Compare each of ours with a hand-written handler, or view, on the same server."""
    head = ["", "against", "in a session", "without one", "20 events", "first event"]
    names = {server.name: server.title for server in results.servers("session")}
    rows = []
    for server in results.servers("session", only=lambda server: server.base in names):
        rates = [results.ratio(name, "rate", server.name, server.base) for name in ("session", "alone", "stream")]
        first = results.ratio("first-event", "p50", server.name, server.base)
        rows.append([_name(server), names[server.base], *map(times, rates), times(first)])
    return table(head, rows)


def streams(results: Results) -> str:
    """Compare calls that are answered with a stream."""
    head = ["", "calls /s", "p99 ms", "first event ms", "p99 ms", "apart ms", "p99 ms", "resumed /s"]
    columns = [("stream", "rate", 0), ("stream", "p99", 1), ("first-event", "p50", 2), ("first-event", "p99", 2)]
    columns += [("spacing", "p50", 1), ("spacing", "p99", 1), ("resume", "rate", 0)]
    return _facts(results, head, columns, results.servers("stream", "resume"))


def sessions(results: Results) -> str:
    """Compare the opening and keeping of sessions, and idle streams."""
    head = ["", "opened /s", "p99 ms", "KiB each", "KiB in Redis", "KiB per idle stream", "calls beside them"]
    columns = [("sessions", "rate", 0), ("sessions", "p99", 1), ("sessions", "server_kib", 1)]
    columns += [("sessions", "redis_kib", 1), ("idle", "kib", 1), ("idle", "kept", 2)]
    return _facts(results, head, columns, results.servers("sessions", "idle"))


def _facts(results: Results, head: Row, columns: Iterable[tuple[str, str, int]], servers: Iterable[Server]) -> str:
    columns = list(columns)
    return table(
        head,
        (
            [_name(server), *(number(results.get(server.name, work, fact), digits) for work, fact, digits in columns)]
            for server in servers
        ),
    )


def clients(results: Results) -> str:
    """Show how calls grow with clients."""
    counts = results.counts("clients", " rate")
    rows = []
    for server in results.servers("clients"):
        cells = []
        for count in counts:
            rate = number(results.get(server.name, "clients", f"{count} rate"))
            cells.append(f"{rate} ({number(results.get(server.name, 'clients', f'{count} p99'), 1)})")
        rows.append([_name(server), *cells])
    return table(["clients: calls/s (p99 ms)", *map(str, counts)], rows)


def transports(results: Results) -> str:
    """Compare Streamable HTTP with the transport it replaced."""
    facts = {
        "calls /s": ("rate", 0),
        "visits /s": ("visits", 0),
        "a visit, ms": ("visit_p50", 1),
        "connections, calling": ("connections", 0),
        "connections, resting": ("resting", 0),
        "KiB per client": ("kib", 0),
    }
    measured = results.servers("clients", only=lambda server: server.name in (OLD, *NEW))
    rows, counts = [], results.counts("clients", " rate")
    for count in counts:
        for title, (fact, digits) in facts.items():
            if fact == "kib" and count < max(counts):
                continue  # a few clients disappear in what is free in the heap
            values = [results.get(server.name, "clients", f"{count} {fact}") for server in measured]
            rows.append([f"{count} clients: {title}", *(number(value, digits) for value in values)])
    return table(["", *map(_name, measured)], rows)


def workers(results: Results) -> str:
    """Compare one process with two."""
    head = ["", "one /s", "two /s", "times", "cores busy, one", "cores busy, two", "times, per busy core"]
    rows = []
    for server in results.servers("two-workers"):
        one, two = (_rate_and_cores(results, server, workload) for workload in ("one-worker", "two-workers"))
        each = [number(one[0]), number(two[0]), times(two[0] / one[0]), number(one[1], 2), number(two[1], 2)]
        rows.append([_name(server), *each, times((two[0] / two[1]) / (one[0] / one[1]))])
    return table(head, rows)


def _rate_and_cores(results: Results, server: Server, workload: str) -> tuple[float, float]:
    rate, cores = (results.get(server.name, workload, fact) for fact in ("rate", "server_busy"))
    assert rate and cores
    return rate, cores


def stored(results: Results) -> str:
    """Show what a full store costs."""
    counts = results.counts("stored")
    rows = [
        [_name(server), *(number(results.get(server.name, "stored", str(count))) for count in counts)]
        for server in results.servers("stored")
    ]
    return table(["sessions in Redis: calls/s", *(f"{count:,}" for count in counts)], rows)


TABLES: Mapping[str, Callable[[Results], str]] = {
    function.__name__: function
    for function in (conditions, calls, ratios, bases, streams, sessions, clients, transports, workers, stored)
}
