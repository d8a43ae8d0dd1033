"""The benchmark's own parts: what it reads off the wire, what it calls a wrong answer, what it publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from tests.bench import messages, report
from tests.bench.environments import ENVIRONMENTS
from tests.bench.load import drive, guarded, quantile
from tests.bench.results import Results, command, slower_than
from tests.bench.servers import QUICK_SERVERS, SERVERS
from tests.bench.tables import LIMIT, NEW, OLD, OURS
from tests.bench.wire import Answer, Connection, WrongAnswer, data_of, id_of
from tests.bench.workloads import WORKLOADS

pytestmark = pytest.mark.slow

JSON = b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\nMcp-Session-Id: one\r\n\r\n{"a":1}'
EVENTS = b': ping\n\nid: 1\ndata:\n\nid: 2\ndata: {"b":1}\n\ndata: {"c":2}\r\n\r\n'
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (EVENTS[:30], EVENTS[30:31], EVENTS[31:], b"")
)

every_size = pytest.mark.parametrize("size", [1, 3, 17, 1000])
REQUEST = messages.request("GET", "/", 1, {})


class Wire:
    """Takes the place of a transport; what is asked is answered in pieces of some size."""

    def __init__(self, answer: bytes, size: int, close: bool = False) -> None:
        self.connection = Connection()
        self.connection.connection_made(self)  # type: ignore[arg-type]
        self._pieces = [answer[first : first + size] for first in range(0, len(answer), size)]
        self._close = close

    def write(self, request: bytes) -> None:
        assert request == REQUEST
        loop = asyncio.get_running_loop()
        for piece in self._pieces:
            loop.call_soon(self.connection.data_received, piece)
        if self._close:
            loop.call_soon(self.connection.connection_lost, None)


@every_size
async def test_an_answer_of_known_length_is_read(size: int) -> None:
    connection = Wire(JSON, size).connection
    for _ in range(2):
        answer = await connection.ask(REQUEST)
        assert (answer.status, answer.body, answer.header("mcp-session-id")) == (200, b'{"a":1}', "one")


@every_size
async def test_events_are_heard_one_by_one(size: int) -> None:
    connection = Wire(CHUNKED, size).connection
    for _ in range(2):
        heard: list[bytes] = []
        answer = await connection.ask(REQUEST, heard.append)
        ids_and_data = [(id_of(event), data_of(event)) for event in heard]
        assert ids_and_data == [("", b""), ("1", b""), ("2", b'{"b":1}'), ("", b'{"c":2}')]
        assert answer.body == b""


@every_size
async def test_a_chunked_answer_is_put_together(size: int) -> None:
    answer = await Wire(CHUNKED, size).connection.ask(REQUEST)
    assert answer.body == EVENTS
    assert messages.outcome(answer) == {"c": 2}


async def test_an_answer_may_end_with_its_connection_unless_that_breaks() -> None:
    answer = await Wire(b"HTTP/1.1 200 OK\r\n\r\nall", 4, close=True).connection.ask(REQUEST)
    assert answer.body == b"all"
    answer = await Wire(JSON[:-1], 1000, close=True).connection.ask(REQUEST)
    assert answer.status == 0
    with pytest.raises(WrongAnswer, match="broke"):
        messages.outcome(answer)


# -- what is wrong


def made(message: object, status: int = 200) -> Answer:
    answer = Answer()
    answer.status, answer.body = status, orjson.dumps(message)
    return answer


def result(number: int, text: str, **more: object) -> dict[str, object]:
    return {"id": number, "result": {"content": [{"type": "text", "text": text}], **more}}


def test_a_wrong_sum_is_found() -> None:
    for right in ("1000009", '{"sum":1000009}'):
        messages.check_sum(result(1_000_002, right), 1_000_002)
    for wrong in (
        result(1_000_003, "1000009"),
        result(1_000_002, "1000010"),
        result(1_000_002, "no number"),
        result(1_000_002, "1000009", isError=True),
        {"id": 1_000_002, "error": {"code": -32603, "message": "1000009"}},
    ):
        with pytest.raises(WrongAnswer):
            messages.check_sum(wrong, 1_000_002)
    with pytest.raises(WrongAnswer, match="503"):
        messages.outcome(made(result(1, "1"), 503))


def test_a_wrong_step_or_end_is_found() -> None:
    step = {"method": "notifications/progress", "params": {"progressToken": 7, "progress": 2}}
    messages.check_progress(step, 7, 2)
    for number, progress in ((7, 1), (8, 2)):
        with pytest.raises(WrongAnswer):
            messages.check_progress(step, number, progress)
    messages.check_count(result(7, "20"), 7, 20)
    with pytest.raises(WrongAnswer):
        messages.check_count(result(7, "19"), 7, 20)


async def test_a_fault_in_a_callback_ends_the_run() -> None:
    def break_down() -> None:
        raise WrongAnswer("seen")

    async def work() -> None:
        asyncio.get_running_loop().call_soon(break_down)
        await asyncio.Event().wait()

    with pytest.raises(WrongAnswer, match="seen"):
        await guarded(work())


async def test_a_client_without_an_answer_fails_the_measurement() -> None:
    def answered(_: int, done: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(done)

    assert (await drive([answered], 0.05, 0.0)).rate > 0
    with pytest.raises(WrongAnswer, match="1 of 2"):
        await drive([answered, lambda *_: None], 0.05, 0.0)


# -- numbers


def test_requests_of_one_kind_differ_in_their_number_alone() -> None:
    template = messages.template(messages.request("POST", "/mcp", 1, {}, messages.add()))
    one, other = template % {b"n": 1_000_000}, template % {b"n": 9_876_543}
    assert one == messages.request("POST", "/mcp", 1, {}, messages.add())
    assert other == one.replace(b"1000000", b"9876543")


def test_rounds_become_medians_and_ratios() -> None:
    assert (quantile([3, 1, 2], 0.5), quantile([*range(100)], 0.99)) == (2, 99)
    results = measured(raw=(10, 30, 20), **{"sdk-json": (4, 5, 900)})
    assert results.get("raw", "session", "rate") == 20
    assert results.ratio("session", "rate", "sdk-json", "raw") == 0.25
    assert results.ratio("session", "rate", "mcpz", "raw") is None
    assert [server.name for server in results.servers("session")] == ["raw", "sdk-json"]


def measured(**rates: tuple[int, ...]) -> Results:
    """Return rounds of calls in a session."""
    runs = [
        {"server": server, "workload": "session", "facts": {"rate": rate}}
        for server, found in rates.items()
        for rate in found
    ]
    return Results({"runs": runs})


def test_calls_that_are_slower_beside_the_limit_than_published_are_named() -> None:
    published = measured(ours=(50,), raw=(100,))
    assert slower_than(published, measured(ours=(31,), raw=(100,)), "ours", ["raw", "sdk"]) == []
    assert slower_than(published, measured(ours=(29,), raw=(100,)), "ours", ["raw", "sdk"]) == [
        "session against raw: 0.290, published 0.500"
    ]


def test_what_the_table_of_servers_names_exists() -> None:
    assert {server.base for server in SERVERS.values()} - {""} <= set(SERVERS)
    assert {server.environment for server in SERVERS.values()} == set(ENVIRONMENTS)
    assert {*QUICK_SERVERS, OURS, LIMIT, OLD, *NEW} <= set(SERVERS)


def test_every_server_and_workload_has_something_to_do() -> None:
    for server in SERVERS.values():
        assert any(workload.suits(server) for workload in WORKLOADS.values()), server.name
    for name, workload in WORKLOADS.items():
        assert any(workload.suits(server) for server in SERVERS.values()), name


def test_the_command_is_published_without_the_place_it_writes_to() -> None:
    assert command([]) == "python -m tests.bench"
    words = ["--quick", "--output", "somewhere", "--rounds", "2"]
    assert command(words) == "python -m tests.bench --quick --rounds 2"


def test_the_page_says_what_was_measured() -> None:
    page = report.PAGE.read_text()
    assert report.filled(page, Results.read(report.FIGURES)) == page
    for figure in report.FIGURES.glob("*.svg"):
        assert f"(performance/{figure.name})" in page
