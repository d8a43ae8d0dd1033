from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.protocol.memory_estimate import estimate_bytes

ROOT = Path(__file__).resolve().parents[2]
BODIES = {
    "objects": b"{},",
    "arrays": b"[],",
    "arrays in arrays": b"[[]],",
    "arrays of one": b"[0],",
    "objects of one": b'{"":0},',
    "objects in objects": b'{"a":{}},',
    "objects of six": b'{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0},',
    "objects of eleven": b'{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0},',
    "records": b'{"id":12345,"name":"abcdef","price":12.5},',
    "short strings": b'"ab",',
    "short strings of Latin-1": '"é",'.encode(),
    "short strings of Chinese": '"中",'.encode(),
    "long strings": b'"' + b"x" * 4000 + b'",',
    "long strings with one smiley": '"\U0001f600'.encode() + b"x" * 4000 + b'",',
    "long strings with one escaped smiley": b'"\\ud83d\\uDE00' + b"x" * 4000 + b'",',
    "long strings with one escaped letter": b'"\\u4e2d' + b"x" * 4000 + b'",',
    "negative integers": b"-9,",
    "floats": b"1.5,",
    "an object of many keys": b"",
}
# A constant overhead of the allocator in newer Python versions.
PAGES = 16 * 4096 if sys.version_info >= (3, 12) else 0
QUICK = ("records", "arrays in arrays", "long strings with one smiley")
MEASURE = """
import gc, sys, orjson
def resident():
    with open("/proc/self/statm") as found:
        return int(found.read().split()[1]) * 4096
body = sys.stdin.buffer.read()
gc.collect()
before = resident()
value = orjson.loads(body)
print(resident() - before)
"""


def body_of(name: str) -> bytes:
    if name == "an object of many keys":
        return b"{" + b",".join(b'"%x":0' % number for number in range(150_000)) + b"}"
    piece = BODIES[name]
    return b"[" + (piece * (1_500_000 // len(piece)))[:-1] + b"]"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in BODIES if name not in QUICK)]
)
def test_no_body_takes_more_memory_than_it_weighs(name: str) -> None:
    body = body_of(name)
    done = subprocess.run([sys.executable, "-c", MEASURE], input=body, capture_output=True, check=True, timeout=60)  # noqa: S603
    assert len(body) + int(done.stdout) <= estimate_bytes(body) * 1.02 + PAGES, (
        "a little more, since pages are taken whole"
    )


def test_ordinary_records_weigh_little_more_than_they_take() -> None:
    records = body_of("records")
    assert estimate_bytes(records) < 16 * len(records)
    assert estimate_bytes(body_of("long strings")) < 3 * 1_500_000


def test_a_large_body_of_ordinary_records_fits_into_what_a_caller_may_take() -> None:
    record = b'{"id":12345,"name":"abcdef","price":12.5},'
    policy = Policy()
    body = b"[" + (record * (policy.max_request_bytes // len(record)))[:-1] + b"]"
    assert estimate_bytes(body) <= policy.max_bytes_in_flight_per_caller
