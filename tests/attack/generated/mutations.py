"""Changes of a JSON value, of its text, and of the header lines that go with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Place = tuple[Any, Any]
"""A list or dict, and the index or key of one of its values."""

_ODD_TEXTS = (
    *("", "\0", "\u2028", "\U0001f4a9" * 3, "é", "\ufeff", "a\nb", "\x1b[31m"),
    *["null", "../..", "%00", "{}", "__class__"],
)
_NUMBERS = (0, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 1e308, -0.0, 0.1, 10**30)
_MEMBERS = ["_meta", "id", "jsonrpc", "method", "params", "result", "error", "uri", "name", "cursor"]
_MEMBERS += ["requestState", "extra"]
_FRAME = ("jsonrpc", "id", "method")


def places(value: Any) -> Iterator[Place]:
    """Yield each place of a value."""
    waiting = [value]
    while waiting:
        outer = waiting.pop()
        for key in range(len(outer)) if isinstance(outer, list) else list(outer):
            yield outer, key
            if isinstance(outer[key], list | dict):
                waiting.append(outer[key])


def mutated(message: dict[str, Any], random: Random, size: int) -> dict[str, Any]:
    """Return a message with one to three changes; one that makes it long makes it about `size` bytes long."""
    message = copy.deepcopy(message)
    for _ in range(random.choice((1, 1, 2, 3))):
        found = [*places(message)]
        if found:
            outer, key = random.choice(found)
            if key in _FRAME and random.random() < 0.8:  # what is refused at once finds little
                outer, key = random.choice(found)
            random.choice(_CHANGES)(outer, key, random, size)
    return message


def _other_type(outer: Any, key: Any, random: Random, size: int) -> None:
    outer[key] = random.choice((None, True, False, 0, 1.5, "x", "", [], {}, [1], {"a": 1}, [[]], [None], {"": None}))


def _number(outer: Any, key: Any, random: Random, size: int) -> None:
    outer[key] = random.choice(_NUMBERS)


def _text(outer: Any, key: Any, random: Random, size: int) -> None:
    outer[key] = random.choice(_ODD_TEXTS)


def _remove(outer: Any, key: Any, random: Random, size: int) -> None:
    del outer[key]


def _add(outer: Any, key: Any, random: Random, size: int) -> None:
    if isinstance(outer, dict):
        outer[random.choice((*_MEMBERS, *_ODD_TEXTS))] = copy.deepcopy(outer[key])
    else:
        outer.append(copy.deepcopy(outer[key]))


def _rename(outer: Any, key: Any, random: Random, size: int) -> None:
    if isinstance(outer, dict):
        outer[random.choice((key.upper(), f"{key} ", f"{key}x", ""))] = outer.pop(key)


def _long_text(outer: Any, key: Any, random: Random, size: int) -> None:
    unit = random.choice(("x", "é", "\\", '"', "%41", "{}", "../", " "))
    outer[key] = unit * (size // len(json.dumps(unit)) + 1)


def _long_list(outer: Any, key: Any, random: Random, size: int) -> None:
    item: Any = random.choice((1, "a", [], {}, None, copy.deepcopy(outer[key])))
    outer[key] = [item] * min(size // (len(json.dumps(item)) + 2) + 1, 1_000_000)


def _many_members(outer: Any, key: Any, random: Random, size: int) -> None:
    outer[key] = {f"k{number}": random.choice((1, "a", [])) for number in range(size // 14 + 1)}


def _deep(outer: Any, key: Any, random: Random, size: int) -> None:
    for _ in range(random.choice((3, 60, 150, 400))):  # `run` lets Python follow
        outer[key] = [outer[key]] if random.random() < 0.7 else {"a": outer[key]}


_CHANGES: tuple[Callable[[Any, Any, Random, int], None], ...] = (
    *(_other_type, _other_type, _number, _text, _remove, _add, _rename),
    *(_long_text, _long_list, _many_members, _deep),
)


def text_of(message: Any, random: Random) -> bytes:
    """Return a message as JSON, and sometimes as what is nearly JSON."""
    text = json.dumps(message, ensure_ascii=random.random() < 0.5)
    raw = text.encode("utf-8", "surrogatepass")
    if random.random() > 0.12:
        return raw
    at = random.randrange(len(raw) + 1)
    return random.choice(
        (
            raw[:at],
            raw[:at] + bytes([random.randrange(256)]) + raw[at:],
            raw[:at] + raw[at + 1 :],
            raw + raw,
            raw.replace(b":", b"=", 1),
            raw.replace(b'"params"', b'"method":"ping","params"', 1),
            raw.replace(b"{", b'{"id":2,"id":3,', 1),
            b"\xef\xbb\xbf" + raw,
            raw.decode(errors="replace").encode("utf-16"),
            b"[" + raw + b"," + raw + b"]",
            raw.replace(b"1", b"NaN", 1),
            raw.replace(b'"x"', b'"\\ud800"', 1),
        )
    )


def mutated_lines(lines: list[tuple[str, str]], random: Random) -> list[tuple[str, str]]:
    """Return header lines, of which one is now and then missing, doubled or different."""
    if random.random() > 0.15 or not lines:
        return lines
    at = random.randrange(len(lines))
    name, value = lines[at]
    odd = ["", "x", value * 2, value.upper(), f" {value}\t", value[:-1], "=?base64?eA==?=", "=?base64?!?="]
    other = (name, random.choice([*odd, "a" * 3000, "é"]))
    changed = random.choice(([], [(name, value)] * 2, [other], [(name.lower(), value)], [(name, value), other]))
    return [*lines[:at], *changed, *lines[at + 1 :]]
