"""What the attacks are judged by: an instrument that finds nothing proves nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from tests.attack import attacks  # noqa: F401 (they enter themselves into the table)
from tests.attack.attack import ATTACKS, KEPT_BYTES, PAUSE_SECONDS, PEAK_BYTES, Measured
from tests.attack.generated.examples import example
from tests.attack.generated.mutations import mutated
from tests.attack.generated.requests import Generated, Generator
from tests.attack.generated.run import Findings
from tests.attack.wire import Seen, ask, matches
from tests.support.processes import LOOPBACK

FINE = Measured(
    attack=dataclasses.replace(ATTACKS["listen-to-numbers"], expected=("413 -32600",)),
    place="nowhere",
    seen=(Seen("413 -32600", "too large", 200),),
    seconds=1.0,
    pause=0.1,
    pause_on_the_clock=0.1,
    ping=0.1,
    peak=100,
    kept=0,
    logged=0,
    alive=True,
    neighbour=(),
)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, 0),
        ({"seen": (Seen("200 result"),)}, 1),
        ({"seen": (Seen("no answer"),)}, 1),
        ({"seen": (Seen("413 -32600", size=10**6),)}, 1),
        ({"pause": PAUSE_SECONDS + 0.01}, 1),
        ({"peak": PEAK_BYTES + 1}, 1),
        ({"kept": KEPT_BYTES + 1}, 1),
        ({"logged": 10**6}, 1),
        ({"alive": False}, 1),
        ({"neighbour": ("ping: 404",)}, 1),
        ({"faults": ("something",)}, 1),
    ],
    ids=str,
)
def test_each_limit_that_is_broken_is_named(change: dict[str, Any], broken: int) -> None:
    assert len(dataclasses.replace(FINE, **change).outside) == broken


def test_answers_are_expected_as_a_whole_or_by_their_beginning() -> None:
    assert matches("400 -32600", ["400 -32600"])
    assert matches("400 -32600", ["413", "400*"])
    assert not matches("400 -32600", ["400", "40", "400 -3260"])


@pytest.mark.parametrize(
    ("sent", "summary"),
    [
        (b"", "closed"),
        (b'HTTP/1.1 400 B\r\nContent-Length: 26\r\n\r\n{"error": {"code": -32600}}'[:-1], "400 text"),
        (b'HTTP/1.1 400 B\r\n\r\n{"error": {"code": -32600}}', "400 -32600"),
        (b'HTTP/1.1 200 O\r\n\r\n{"result": {"isError": true}}', "200 isError"),
        (b"HTTP/1.1 200 O\r\nContent-Length: 90\r\n\r\n{}", "200 object unfinished"),
        (b"HTTP/1.1 200 O\r\nContent-Type: text/event-stream\r\n\r\nid: 1\ndata:\n\n", "200 without answer"),
        (b'HTTP/1.1 200 O\r\nContent-Type: text/event-stream\r\n\r\ndata: {"result":{}}\n\n', "200 result"),
        (b"HTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "200 object unfinished"),
        (b"HTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "200 object"),
        (b"HTTP/1.1 200 O\r\n\r\n" + b"x" * 2_000_000, "200 large"),
    ],
)
async def test_answers_are_told_apart(sent: bytes, summary: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n", 10)).summary == summary


async def test_who_does_not_answer_is_found_out() -> None:
    left = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(keep_silent, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n", 0.1)).summary == "no answer"
        await asyncio.wait_for(left.wait(), 10)


SCHEMA = {
    "type": "object",
    "required": ["a"],
    "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    "$defs": {"A": {"type": "array", "items": {"enum": ["x", "y"]}}},
}


def test_examples_are_what_a_schema_allows() -> None:
    for number in range(50):
        made = example(SCHEMA, Random(number))  # noqa: S311
        assert set(made) <= {"a", "b"}
        assert set(made["a"]) <= {"x", "y"}
        assert isinstance(made.get("b"), int | None)


@pytest.mark.slow
def test_a_seed_says_what_is_generated_and_mutations_leave_what_they_are_given() -> None:
    generators = [Generator(seed, {"add": SCHEMA}) for seed in (1, 1, 2)]
    first, again, other = ([generator.request(n).body for n in range(20)] for generator in generators)
    assert first == again
    assert first != other
    assert len(set(first)) > 15
    message = {"method": "m", "params": {"a": [1, 2, {"b": 3}]}}
    before = json.dumps(message)
    changed = [json.dumps(mutated(message, Random(number), 100)) for number in range(100)]  # noqa: S311
    assert json.dumps(message) == before
    assert len(set(changed)) > 50


def test_a_missing_answer_is_a_fault_unless_its_request_was_cancelled() -> None:
    findings, missing = Findings(), Seen("200 without answer")
    request = Generated("2025-11-25", {"id": 7, "method": "ping"}, b"", (), True)
    cancel = Generated("2025-11-25", {"method": "notifications/cancelled", "params": {"requestId": 7}}, b"", (), True)
    findings.take(1, request, missing)
    findings.note_cancel(cancel)
    findings.take(2, request, missing)
    assert [number for number, *_ in findings.faults] == [1]
