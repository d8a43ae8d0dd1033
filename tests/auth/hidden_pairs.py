"""Requests in pairs: one for something hidden, one of equal form for something that does not exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

SESSIONS: Final = ("2025-03-26", "2025-06-18", "2025-11-25")
REVISIONS: Final = (*SESSIONS, "2026-07-28")
METHODS: Final = (
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "subscriptions/listen",
)

# What is hidden, and what does not exist; names of a pair have the same length.
TOOLS: Final = {
    "orders": "ordurs",
    "for_ann": "for_eve",
    "sealed": "sealad",
    "parcel": "parcal",
    "lasting": "lusting",
}
PROMPTS: Final = {"summary": "sommary", "letter": "lettar"}
RESOURCES: Final = {
    "shop://orders": "shop://ordurs",
    "shop://orders/7": "shop://ordurs/7",
    "shop://bills/7/%C3%A9": "shop://bulls/7/%C3%A9",
    "shop://counts/x": "shop://caunts/x",
}
REFERENCES: Final = {**RESOURCES, "shop://orders/{number}": "shop://ordurs/{number}"}

_STATES: Final[tuple[Any, ...]] = ("x", "", None, 7, [], {}, "eyJ2IjoxfQ.AAAA", "é")
_RESPONSES: Final[tuple[Any, ...]] = (
    7,
    "x",
    None,
    [],
    {},
    {"a": 7},
    {"a": {}},
    {"a": {"action": "accept", "content": {"b": 1}}},
)
_TOKENS: Final[tuple[Any, ...]] = ([], {}, None, 1.5, True, "p", 1, "p" * 300)
_METAS: Final[tuple[Any, ...]] = (7, "x", [], None)
_OBJECTS: Final[tuple[Any, ...]] = (
    7,
    "x",
    [],
    None,
    {},
    {"number": "x"},
    {"number": None},
    {"other": [1, {"a": None}]},
    {"order": 7},
)
_EXTRAS: Final[tuple[tuple[str, Any], ...]] = (
    ("extra", 1),
    ("cursor", "x"),
    ("task", {}),
    ("task", 7),
    ("title", []),
    ("level", "debug"),
)
_MEMBERS: Final = (
    *(("requestState", value) for value in _STATES),
    *(("inputResponses", value) for value in _RESPONSES),
    *(("_meta", {"progressToken": value}) for value in _TOKENS),
    *(("_meta", {"traceparent": value}) for value in (f"00-{'1' * 32}-{'2' * 16}-01", 7)),
    *(("_meta", {"io.modelcontextprotocol/logLevel": value}) for value in ("debug", "loud", 7)),
    *(("_meta", value) for value in _METAS),
    *(("arguments", value) for value in _OBJECTS),
    *_EXTRAS,
)


@dataclass(frozen=True)
class Form:
    """How a request is written, but for the name it asks for."""

    method: str
    label: str
    params: dict[str, Any]
    headers: dict[str, str | None] = field(default_factory=dict)
    id: Callable[[int], Any] = int
    """Makes an id of a number, which is another one each time: an id must not be used twice."""
    is_notification: bool = False
    streaming: bool = True

    def named(self, name: str) -> dict[str, Any]:
        """Return the parameters with a name in its place."""
        filled: dict[str, Any] = _fill(self.params, name)
        return filled


class _Name:
    """The place of a name in parameters."""


NAME: Final = _Name()


def _fill(value: Any, name: str) -> Any:
    if value is NAME:
        return name
    if isinstance(value, dict):
        return {key: _fill(item, name) for key, item in value.items()}
    return [_fill(item, name) for item in value] if isinstance(value, list) else value


def forms(method: str) -> Iterator[tuple[Form, dict[str, str]]]:
    """Yield every form of a method's requests, with the pairs of names that go into it."""
    if method in ("tools/call", "prompts/get"):
        base = {"name": NAME, "arguments": {"number": 1} if method == "tools/call" else {"order": "1"}}
        yield from _all(method, base, TOOLS if method == "tools/call" else PROMPTS)
    elif method == "completion/complete":
        argument = {"name": "order", "value": "1"}
        for names, ref in (
            (PROMPTS, {"type": "ref/prompt", "name": NAME}),
            (REFERENCES, {"type": "ref/resource", "uri": NAME}),
        ):
            yield from _all(method, {"ref": ref, "argument": argument}, names)
            for label, params in _completions(ref, argument):
                yield Form(method, label, params), names
    elif method == "subscriptions/listen":
        yield from _all(method, {"notifications": {"resourceSubscriptions": [NAME]}}, RESOURCES)
        for wanted in ([NAME, NAME], [NAME, 7], ["shop://products", NAME], [], NAME, {"a": NAME}):
            notifications = {"resourceSubscriptions": wanted, "toolsListChanged": True}
            yield Form(method, f"listen {wanted}", {"notifications": notifications}), RESOURCES
    else:
        yield from _all(method, {"uri": NAME}, RESOURCES)


def _completions(ref: dict[str, Any], argument: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for value in (7, None, {}, {"name": "order"}, {"name": 7, "value": "1"}, {**argument, "more": 1}):
        yield f"argument {value}", {"ref": ref, "argument": value}
    for value in (7, None, {}, {"arguments": 7}, {"arguments": {"a": "b"}}, {"arguments": {"a": 7}}):
        yield f"context {value}", {"ref": ref, "argument": argument, "context": value}
    more: dict[str, Any]
    for more in ({"title": 7}, {"extra": []}, {"type": "ref/other"}, {"name": NAME, "uri": NAME}, {"type": 7}):
        yield f"ref {more}", {"ref": {**ref, **more}, "argument": argument}


def _all(method: str, base: dict[str, Any], names: dict[str, str]) -> Iterator[tuple[Form, dict[str, str]]]:
    """Yield a well-formed request, and it with each member, header, id and kind of message changed."""
    plain = Form(method, "plain", base)
    yield plain, names
    for member, value in _MEMBERS:
        yield replace(plain, label=f"{member}={value!r}"[:60], params={**base, member: value}), names
    without = {member: value for member, value in base.items() if member in ("name", "uri", "ref", "notifications")}
    yield replace(plain, label="bare", params=without), names
    state = {**base, "requestState": "x", "inputResponses": 7, "_meta": {"progressToken": []}}
    yield replace(plain, label="all wrong", params=state, headers={"mcp-param-number": "8"}), names
    few = dict(list(names.items())[-2:])
    for headers in _HEADERS:
        yield replace(plain, label=f"headers {headers}", headers=headers), few
    for label, make in _IDS.items():
        yield replace(plain, label=f"id {label}", id=make), few
    yield replace(plain, label="notification", is_notification=True), few
    yield replace(plain, label="not streaming", streaming=False), few


_IDS: Final[dict[str, Callable[[int], Any]]] = {
    "a string": str,
    "a number below zero": lambda number: -number,
    "a long string": lambda number: f"{number:0300}",
    "a fraction": lambda number: number + 0.5,
    "nothing": lambda number: None,
}
_HEADERS: Final[tuple[dict[str, str | None], ...]] = (
    {"accept": "application/json"},
    {"accept": "text/event-stream"},
    {"accept": "text/plain"},
    {"mcp-name": None},
    {"mcp-name": "other"},
    {"mcp-name": "=?base64?!!?="},
    {"mcp-method": None},
    {"mcp-method": "ping"},
    {"mcp-protocol-version": None},
    {"mcp-protocol-version": "2099-01-01"},
    {"mcp-param-number": "8"},
    {"mcp-param-number": "1"},
    {"mcp-param-region": "north"},
    {"mcp-param-region": "=?base64?!!?="},
    {"mcp-session-id": "unknown"},
    {"origin": "http://evil.example"},
)
