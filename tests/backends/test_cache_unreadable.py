"""Values that others have written to a cache: garbage affects one record, and other releases are understood."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.cache import caches

from mcp_transport.exceptions import BackendError
from tests.backends.caches import FILES, LOCMEM, Build, FailingCache
from tests.support.backends import ANN, KEY, OTHER_KEY, THIRD_KEY, HandClock, session


class Foreign:
    """An object of another program, which this one cannot unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unreadable, ()


def _unreadable() -> None:
    raise AttributeError("module 'shop' has no attribute 'Basket'")


def _valid(**members: Any) -> bytes:
    known = asdict(session(HandClock()))
    return orjson.dumps({name: value for name, value in {**known, **members}.items() if value is not ...})


GARBAGE: dict[str, Any] = {
    "foreign": Foreign(),
    "text": "garbage",
    "no UTF-8": b"\xff\xfe",
    "number": 7,
    "list": [1, {}],
    "dict": {"a": 1},
    "dict of sessions": {1: "x", b"\xff": None},
    "JSON text": b'"x"',
    "JSON list": b"[1]",
    "empty object": b"{}",
    "long": "x" * 1_000_000,
    **{
        f"{name} {wrong!r}": _valid(**{name: wrong})
        for name in ("protocol_version", "principal", "client_info", "last_seen", "ends")
        for wrong in (None, -1, 1e300, [7], {"a": 1})
        if (name, wrong) != ("client_info", {"a": 1})
    },
}
PLACES = {
    "record": f"mcp:{KEY}",
    "state": f"mcp:{KEY}:d",
    "subscriptions": f"mcp:{KEY}:u",
    **{f"index {number}": f"mcp:sessions:{number}" for number in range(16)},
}


@pytest.mark.slow  # each writes a cache of files
@pytest.mark.parametrize("place", PLACES)
async def test_what_cannot_be_read_costs_one_record(
    place: str, build: Build, clock: HandClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = build({"BACKEND": FILES, "LOCATION": str(tmp_path)})
    await backend.open(session(clock))
    await backend.open(session(clock, OTHER_KEY))
    await backend.write_state(OTHER_KEY, "colour", b"red")
    before = caches["mcp"].get(PLACES[place])
    for name, value in GARBAGE.items():
        caches["mcp"].set(PLACES[place], value)
        assert (await backend.enter(OTHER_KEY, ANN, "n1")) is not None, name
        assert await backend.read_state(OTHER_KEY) == {"colour": b"red"}, name
        if place == "record":
            assert await backend.enter(KEY, ANN, "n1") is None, name
            assert await backend.get(KEY) is None, name
            assert await backend.close(KEY, ANN) is None, name
        listed = {item.key for item in (await backend.page()).sessions}
        assert listed <= {KEY, OTHER_KEY, THIRD_KEY}, name
        assert OTHER_KEY in listed or place.startswith("index"), name
        await backend.overview()
        if place == "state" and not isinstance(value, dict):
            with pytest.raises(BackendError):
                await backend.read_state(KEY)
        elif place == "subscriptions":
            with pytest.raises(BackendError):
                await backend.subscribe(KEY, "a", True, 9, 99)
            with pytest.raises(BackendError):
                await backend.subscriptions(KEY)
        elif place.startswith("index"):
            await backend.open(session(clock, THIRD_KEY))
    assert place in ("state", "subscriptions") or any(record.levelname == "ERROR" for record in caplog.records)
    caches["mcp"].set(PLACES[place], before) if before is not None else caches["mcp"].delete(PLACES[place])
    assert (await backend.enter(KEY, ANN, "n1")) is not None


async def test_a_record_of_a_newer_and_of_an_older_release_is_read(build: Build, clock: HandClock) -> None:
    backend = build({"BACKEND": LOCMEM})
    await backend.open(session(clock))
    for changed in (_valid(newer=[1]), _valid(user_agent=..., errors=...)):
        caches["mcp"].set(f"mcp:{KEY}", changed)
        assert (await backend.enter(KEY, ANN, "n1")) is not None


async def test_subscriptions_in_a_record_of_the_previous_release_are_kept(build: Build, clock: HandClock) -> None:
    backend = build({"BACKEND": LOCMEM})
    await backend.open(session(clock))
    for use in (backend.subscriptions(KEY), backend.enter(KEY, ANN, "n1"), backend.subscribe(KEY, "c", True, 9, 99)):
        caches["mcp"].set(f"mcp:{KEY}", _valid(subscriptions=["a", "b"]))
        caches["mcp"].delete(f"mcp:{KEY}:u")
        await use
        assert await backend.subscriptions(KEY) >= {"a", "b"}
        assert await backend.enter(KEY, ANN, "n1")
        assert b"subscriptions" not in caches["mcp"].get(f"mcp:{KEY}")
        assert await backend.subscriptions(KEY) >= {"a", "b"}
    for uri in ("a", "b", "c"):
        assert await backend.subscribe(KEY, uri, False, 9, 99)
    caches["mcp"].set(f"mcp:{KEY}", _valid(subscriptions=["a", "b"]))
    assert await backend.subscriptions(KEY) == frozenset(), "what was taken back came again"


async def test_a_cache_that_does_not_answer_is_no_unknown_session(
    build: Build, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = build({"BACKEND": f"{FailingCache.__module__}.{FailingCache.__name__}"})
    monkeypatch.setattr(FailingCache, "failing", FailingCache.operations)
    for operation in (lambda: backend.enter(KEY, ANN, "n1"), lambda: backend.get(KEY), backend.page):
        with pytest.raises(BackendError) as raised:
            await operation()
        assert type(raised.value) is BackendError
