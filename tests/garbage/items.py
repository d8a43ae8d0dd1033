"""What may stand in an item of DynamoDB instead of what this release writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mcp_transport.backends.dynamodb.items import VERSION

__all__ = ["Raw", "odd_items"]

Raw = dict[str, Any]
"""An item as boto3's client has it."""

KEYS = ("pk", "sk")
INDEXED = ("shard", "created")  # DynamoDB refuses another type

LONG = 300_000
OTHERS: dict[str, Any] = {
    "S": "garbage",
    "N": "5",
    "B": b"\xff garbage",
    "BOOL": True,
    "NULL": True,
    "L": [{"S": "x"}, {"N": "99999999999"}, {"M": {}}],
    "M": {"v": {"N": "1"}},
    "SS": ["x", "y"],
    "NS": ["1", "2.5"],
    "BS": [b"x"],
}
"""A value of each type."""

NUMBERS = ["-5", "0", "1.5", "1E+125", "-1E-120", "9" * 38, "4294967296"]
TEXTS: list[bytes] = [
    b"",
    b"\xff\xfe\x00",
    b"x" * LONG,
    b"{}",
    b"[1,{}]",
    b"null",
    b"-5",
    b"1e300",
    b"nan",
    b"[" * 5000,
    b'{"a":' * 200 + b"1" + b"}" * 200,
]
WRONG: list[Any] = [None, -1, 0, 1e300, 10**15, 2**70, "x", "x" * 9000, [], {}, [[1, 10**15]], [[None]], True]
"""Members of JSON that no release writes there."""


def odd_items(real: Raw) -> Iterator[tuple[str, Raw]]:
    """Yield an item again and again with something wrong in it, and a name for that."""
    for name, value in real.items():
        if name in KEYS:
            continue
        for what, odd in _odd_values(name, value):
            changed = {**real, name: odd}
            yield f"{name}: {what}", _of_another_version(changed, name)
        yield f"no {name}", _of_another_version({each: real[each] for each in real if each != name}, name)
    yield "nothing but its keys", {name: real[name] for name in KEYS}
    for kind, value in OTHERS.items():
        yield f"unknown {kind}", _of_another_version({**real, "newer": {kind: value}}, "newer")


def _of_another_version(item: Raw, changed: str) -> Raw:
    """Return what another process would have written, so that nobody has it in memory."""
    is_versioned = changed != VERSION and len(item.get(VERSION, {}).get("N", "")) > 3
    return {**item, VERSION: {"N": str(int(item[VERSION]["N"]) ^ 1)}} if is_versioned else item


def _odd_values(name: str, value: Raw) -> Iterator[tuple[str, Raw]]:
    [(kind, content)] = value.items()
    if name not in INDEXED:
        yield from ((other, {other: odd}) for other, odd in OTHERS.items() if other != kind)
    match kind:
        case "N":
            yield from ((number, {"N": number}) for number in NUMBERS)
        case "S" if name not in INDEXED:
            yield from ((f"text of {len(text)}", {"S": text}) for text in ("", "garbage", "x" * LONG))
        case "B":
            yield from ((repr(text[:20]), {"B": text}) for text in TEXTS)
            yield from ((what, {"B": text}) for what, text in _odd_json(content))
        case "BOOL":
            yield "the other", {"BOOL": not content}
        case "L":
            yield "empty", {"L": []}
            yield "long", {"L": [{"N": "7"}] * 3000}
            yield "twice", {"L": content * 2}
            for other, odd in OTHERS.items():
                yield f"of {other}", {"L": [{other: odd} for _ in content]}
            yield "huge number", {"L": [{"N": "5000000000000"} for _ in content]}


def _odd_json(raw: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        known = json.loads(raw)
    except ValueError:
        return
    for what, odd in _changed(known):
        yield what, json.dumps(odd).encode()


def _changed(known: Any) -> Iterator[tuple[str, Any]]:
    """Yield JSON again and again, with one member of another kind, or without it, or with a new one."""
    if not known or not isinstance(known, dict | list):
        return
    places: list[Any] = list(known) if isinstance(known, dict) else list(range(len(known)))
    for place in places:
        for wrong in WRONG:
            yield f"{place} {str(wrong)[:20]}", _with(known, place, wrong)
        yield (
            f"without {place}",
            [each for at, each in enumerate(known) if at != place]
            if isinstance(known, list)
            else {name: each for name, each in known.items() if name != place},
        )
        for what, inner in _changed(known[place]):
            yield f"{place} {what}", _with(known, place, inner)
    yield "newer", {**known, "newer": {"x": [1]}} if isinstance(known, dict) else [*known, "newer"]


def _with(known: Any, place: Any, value: Any) -> Any:
    changed = known.copy()
    changed[place] = value
    return changed
