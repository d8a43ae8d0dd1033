"""The generated requests: the n-th of a seed is always the same, but for the ids of sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from mcp_types.methods import CLIENT_NOTIFICATIONS, CLIENT_REQUESTS, CLIENT_RESULTS

from tests.attack.generated.examples import example
from tests.attack.generated.mutations import mutated, mutated_lines, text_of
from tests.attack.wire import post
from tests.support.http.messages import META, SESSIONLESS

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", SESSIONLESS)
SMALL, MIDDLE, LARGE = 200, 60_000, 4_000_000

_NAMES = {
    "prompts/get": ("name", ["greet", "nobody"]),
    "resources/read": ("uri", ["test://a", "none://a", "hidden://a"]),
    "resources/subscribe": ("uri", ["test://a", "none://a", "hidden://a"]),
    "resources/unsubscribe": ("uri", ["test://a"]),
}


@dataclass(frozen=True, slots=True)
class Generated:
    """One request: its message, its bytes, and its header lines; the session id is put in when it is sent."""

    revision: str
    message: Any
    body: bytes
    lines: tuple[tuple[str, str], ...]
    in_session: bool

    def raw(self, sessions: Mapping[str, str], body: bytes | None = None) -> bytes:
        """Return the whole request."""
        own = (("Mcp-Session-Id", sessions[self.revision]),) if self.in_session else ()
        return post(self.body if body is None else body, *own, *self.lines)

    def __str__(self) -> str:
        text = self.body[:300].decode(errors="backslashreplace")
        return f"{self.revision} {dict(self.lines)} {len(self.body)} bytes: {text}"


class Generator:
    """Makes requests of the SDK's schemas, and of the input schemas of some tools."""

    def __init__(self, seed: int, tools: Mapping[str, Any]) -> None:
        self._seed, self._tools = seed, tools
        self._requests = _schemas(CLIENT_REQUESTS)
        self._notifications = _schemas(CLIENT_NOTIFICATIONS)
        self._results = _schemas(CLIENT_RESULTS)

    def request(self, number: int) -> Generated:
        """Return one request by its number."""
        random = Random(f"{self._seed}-{number}")  # noqa: S311
        revision = random.choice((*REVISIONS, SESSIONLESS, SESSIONLESS))
        size = random.choices((SMALL, MIDDLE, LARGE), (96, 3.5, 0.5))[0]
        message = self._message(revision, random)
        if random.random() < 0.93:
            message = mutated(message, random, random.randrange(size // 2, size))
        lines = [("MCP-Protocol-Version", revision)]
        if revision == SESSIONLESS:
            lines += _routing_lines(message)
        in_session = revision != SESSIONLESS and message.get("method") != "initialize"
        body = text_of(message, random)
        return Generated(revision, message, body, tuple(mutated_lines(lines, random)), in_session)

    def _message(self, revision: str, random: Random) -> dict[str, Any]:
        kind = random.random()
        if kind < 0.08 and revision in self._notifications:
            return self._of_method(self._notifications[revision], random)
        if kind < 0.16 and revision in self._results:
            result = example(random.choice([*self._results[revision].values()]), random)
            return {"jsonrpc": "2.0", "id": random.choice((1, "x", None)), "result": result}
        schemas = self._requests[revision]
        weighted = [*schemas, *["tools/call"] * 6]
        message = self._of_method({(method := random.choice(weighted)): schemas[method]}, random)
        message["id"] = random.choice((1, "a", *[_number_id(random)] * 4))
        params = message.setdefault("params", {})
        if method == "tools/call":
            name = random.choice([*self._tools])
            params |= {"name": name, "arguments": example(self._tools[name], random)}
        elif method in _NAMES:
            member, names = _NAMES[method]
            params[member] = random.choice(names)
        if revision == SESSIONLESS:
            own = {f"{META}/protocolVersion": revision, f"{META}/clientCapabilities": {"elicitation": {}}}
            params["_meta"] = {**(params.get("_meta") or {}), **own}
        return message

    def _of_method(self, schemas: Mapping[str, Any], random: Random) -> dict[str, Any]:
        method = random.choice([*schemas])
        made = example(schemas[method], random)
        return {**made, "jsonrpc": "2.0", "method": method}


def _number_id(random: Random) -> int:
    """Return an id that hardly any other request has."""
    return random.randrange(10, 2**52)


def _schemas(table: Any) -> dict[str, dict[str, Any]]:
    """Return schemas by revision and method."""
    found: dict[str, dict[str, Any]] = {}
    for (method, revision), model in table.items():
        if revision in REVISIONS and hasattr(model, "model_json_schema"):
            found.setdefault(revision, {})[method] = model.model_json_schema(by_alias=True)
    return found


def _routing_lines(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that repeat what the body says, where a header can."""
    params = message.get("params")
    name = (params.get("name") or params.get("uri")) if isinstance(params, dict) else None
    repeated = {"Mcp-Method": message.get("method"), "Mcp-Name": name}
    return [(header, value) for header, value in repeated.items() if isinstance(value, str) and _fits(value)]


def _fits(value: str) -> bool:
    return 0 < len(value) < 2000 and value.isascii() and value.isprintable()
