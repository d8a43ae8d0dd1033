"""What may stand under a key instead of what belongs there: each type of Redis, and its own with odd content."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

__all__ = ["Put", "odd_contents", "of_each_type"]

Put = Callable[[Any, str], Any]
"""Puts something under a key that is free."""

LONG = "x" * 1_000_000
TEXTS: dict[str, str | bytes] = {
    "word": b"garbage",
    "no UTF-8": b"\xff\xfe\x00",
    "long": LONG,
    "object": b"{}",
    "list": b"[1,{}]",
    "null": b"null",
    "negative": b"-5",
    "huge": b"1e300",
    "NaN": b"nan",
    "infinite": b"inf",
    "empty": b"",
}
NAMES: list[Any] = ["garbage", "one two three", b"\xff\xfe", "", "g", "!"]
SCORES = [0, -1, float("-inf"), float("inf"), 1e300, 4e12]


def of_each_type(kind: str) -> Iterator[tuple[str, Put]]:
    """Yield something of each type but `kind`, with a name."""
    types: dict[str, Put] = {
        "string": lambda store, key: store.set(key, b"\xff garbage"),
        "list": lambda store, key: store.rpush(key, *NAMES),
        "set": lambda store, key: store.sadd(key, *NAMES),
        "zset": lambda store, key: store.zadd(key, dict(zip(NAMES, SCORES, strict=True))),
        "hash": lambda store, key: store.hset(key, mapping=dict.fromkeys(NAMES, b"\xff")),
        "stream": lambda store, key: store.xadd(key, {"m": b"\xff", "method": "x"}),
    }
    yield from ((name, put) for name, put in types.items() if name != kind)


def odd_contents(kind: str, real: Any) -> Iterator[tuple[str, Put]]:
    """Yield values of a key's own type whose content is wrong; `real` is what stands there."""
    for name, text in TEXTS.items():
        yield name, _odd(kind, real, text)
    if kind == "zset":
        yield "scores", lambda store, key: store.zadd(key, {str(score): score for score in SCORES})
        known = [member for member, _ in real or [(b"garbage", 0)]]
        for score in SCORES:
            yield f"score {score}", partial(_put_scores, scores=dict.fromkeys(known, score))
    if kind == "hash":
        yield "no member", lambda store, key: store.hset(key, "unknown", "x")
        for name, members in _changed_json(real or {}):
            yield name, partial(_put_hash, members=members)
    if kind == "stream":
        yield "no member", lambda store, key: store.xadd(key, {"unknown": "x"})
        yield "far ahead", lambda store, key: store.xadd(key, {"m": "{}", "method": "a", "uri": "b"}, id="9" * 15)


def _put_scores(store: Any, key: str, scores: dict[Any, float]) -> None:
    store.zadd(key, scores)


def _put_hash(store: Any, key: str, members: dict[bytes, Any]) -> None:
    store.hset(key, mapping=members)


def _odd(kind: str, real: Any, text: str | bytes) -> Put:
    match kind:
        case "string":
            return lambda store, key: store.set(key, text)
        case "list":
            return lambda store, key: store.rpush(key, text)
        case "set":
            return lambda store, key: store.sadd(key, text)
        case "zset":
            return lambda store, key: store.zadd(key, {text: 0, b"\xff": 4e12})
        case "hash":
            return lambda store, key: store.hset(key, mapping=dict.fromkeys(real or NAMES, text))
        case _:
            members = {name: text for _, entry in real or [(b"", {"m": ""})] for name in entry}
            return lambda store, key: store.xadd(key, members)


WRONG: list[Any] = [None, -1, 1e300, "x", [], {}, [[1, 10**15]], [[None]], True]


def _changed_json(real: dict[bytes, bytes]) -> Iterator[tuple[str, dict[bytes, Any]]]:
    """Yield a hash again and again, in which one member of what is JSON is of another kind, missing, or new."""
    for field, raw in real.items():
        try:
            known = json.loads(raw)
        except ValueError:
            continue
        if not isinstance(known, dict):
            continue
        for name in known:
            for number, wrong in enumerate(WRONG):
                yield f"{field!r} {name} {number}", {**real, field: json.dumps({**known, name: wrong})}
            others = {key: value for key, value in known.items() if key != name}
            yield f"{field!r} without {name}", {**real, field: json.dumps(others)}
    for field in real:
        for name, text in TEXTS.items():
            yield f"{field!r} {name}", {**real, field: text}
