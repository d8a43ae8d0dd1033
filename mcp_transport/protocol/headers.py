"""HTTP request headers, and how MCP reads the ones it cares about (streamable-http, "Headers")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar, overload

from mcp_transport.protocol.header_limits import MAX_CHARACTERS, MAX_LINES

__all__ = ["MAX_SESSION_ID", "Accepts", "Headers"]

MAX_SESSION_ID: Final = 511
"""Characters of the longest Mcp-Session-Id; some proxies refuse headers longer than 512 bytes."""

_BLANKS: Final = " \t"

# A cache keyed by what clients send keeps nothing longer than this.
_SHORT: Final = 512

# The names that clients, browsers and proxies send, as servers write them.
_USUAL: Final = {
    name.encode(): name
    for name in (
        *("accept", "accept-encoding", "accept-language", "authorization", "cache-control", "connection"),
        *("content-length", "content-type", "cookie", "forwarded", "host", "idempotency-key"),
        *("last-event-id", "mcp-method", "mcp-name"),
        *("mcp-protocol-version", "mcp-session-id", "origin", "referer", "sec-fetch-dest", "sec-fetch-mode"),
        *("sec-fetch-site", "traceparent", "tracestate", "transfer-encoding", "user-agent", "via", "x-forwarded-for"),
        *("x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip", "x-request-id"),
    )
}

_DefaultT = TypeVar("_DefaultT")


class Headers(Mapping[str, str]):
    """Header lines by lower-case name, with optional white space around each value removed.

    `headers[name]` is the first line of that name; `lines(name)` are all of them, since a duplicate of a
    routing header is an error that a folded mapping would hide. Values are Latin-1, as ASGI has them.
    Headers over a limit look empty, so that nobody spends time on them.
    """

    __slots__ = ("_lines", "_raw", "_text", "count", "repeated", "size")

    def __init__(self, lines: Collection[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, ...]] = {}
        self._raw: list[tuple[bytes, bytes]] | None = None
        self._text = ""
        self.count = len(lines)
        """The number of lines."""
        self.size = 0
        """The number of characters in names and values; 0 where there are too many lines."""
        self.repeated: set[str] = set()
        """The names that more than one line has."""
        if 0 < self.count <= MAX_LINES:
            for name, value in lines:
                self._add(name.lower(), value)
            self._measure(map("".join, self._lines.values()))

    def _add(self, name: str, value: str) -> None:
        # Some servers keep blanks around values (uvicorn with httptools); RFC 9110 5.5 excludes them.
        line: tuple[str, ...] = (value.strip(_BLANKS),)
        if name in self._lines:
            self.repeated.add(name)
            line = self._lines[name] + line
        self._lines[name] = line

    def _measure(self, values: Iterable[str]) -> None:
        self._text = "".join(values)
        self.size = len(self._text) + len("".join(self._lines))
        if self.size > MAX_CHARACTERS:
            self._text, self._lines = "", {}
            self.repeated.clear()

    @classmethod
    def from_asgi(cls, raw: Collection[tuple[bytes, bytes]]) -> Headers:
        """Read the header list of an ASGI scope."""
        headers = cls(())
        headers.count = len(raw)
        if headers.count > MAX_LINES:
            return headers
        headers._raw = list(raw)
        known, values = headers._lines, list[str]()
        for raw_name, raw_value in raw:
            try:
                name = _USUAL[raw_name]
            except KeyError:
                name = raw_name.decode("latin-1").lower()
            value = raw_value.decode("latin-1").strip(_BLANKS)
            values.append(value)
            if name in known:
                headers._add(name, value)
            else:
                known[name] = (value,)
        headers._measure(values)
        return headers

    def __getitem__(self, name: str) -> str:
        return self._lines[name.lower()][0]

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | _DefaultT) -> str | _DefaultT: ...
    def get(self, name: str, /, default: object = None) -> object:
        """Return the first line of that name."""
        lines = self._lines.get(name) or self._lines.get(name.lower())
        return lines[0] if lines is not None else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        return name in self._lines or (isinstance(name, str) and name.lower() in self._lines)

    def lines(self, name: str) -> tuple[str, ...]:
        """Return every line of that name, in order."""
        return self._lines.get(name.lower(), ())

    @property
    def are_visible_ascii(self) -> bool:
        """Tell whether all values are visible ASCII; those nobody reads need not be."""
        return self._text.isascii() and self._text.isprintable()

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return the header list as an ASGI scope has it."""
        if self._raw is None:
            self._raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.pairs()]
        return self._raw

    def pairs(self) -> list[tuple[str, str]]:
        """Return all lines as (name, value) pairs."""
        return [(name, value) for name, values in self._lines.items() for value in values]


@dataclass(frozen=True, slots=True)
class Accepts:
    """The two media types of a POST answer, and which of them the client takes."""

    json: bool
    sse: bool

    @classmethod
    def parse(cls, headers: Headers) -> Accepts:
        """Read the Accept header; a quality of 0 refuses a type (RFC 9110, 12.5.1)."""
        line = ",".join(headers.lines("accept")) if "accept" in headers.repeated else headers.get("accept", "")
        return _accepts(line) if len(line) <= _SHORT else _read_accepts(line)


def _read_accepts(line: str) -> Accepts:
    ranges = dict(_parse_range(item) for item in line.split(","))
    return Accepts(json=_is_accepted("application/json", ranges), sse=_is_accepted("text/event-stream", ranges))


_accepts = lru_cache(maxsize=256)(_read_accepts)  # a client sends the same one each time


def _is_accepted(media: str, ranges: Mapping[str, float]) -> bool:
    """Judge a type by the narrowest range that holds it."""
    for known in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if known in ranges:
            return ranges[known] > 0
    return False


def _parse_range(item: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, float(value)
            except ValueError:
                return media, 0.0
    return media, 1.0
