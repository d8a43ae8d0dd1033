"""HTTP request headers, and the parsing of Accept (streamable-http, "Headers")."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar, overload

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST

__all__ = [
    "CORRELATION_HEADERS",
    "MAX_CHARACTERS",
    "MAX_LINES",
    "MAX_LIST",
    "MAX_SESSION_ID",
    "REGION_HEADER",
    "Accepts",
    "Headers",
    "check_limits",
]

CORRELATION_HEADERS: Final = frozenset(
    {
        *("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"),
        *("uber-trace-id", "sentry-trace", "x-datadog-trace-id", "x-datadog-parent-id", "x-cloud-trace-context"),
        *("request-id", "x-request-id", "x-correlation-id", "x-amzn-trace-id", "x-amz-cf-id", "x-azure-ref"),
        *("cf-ray", "fly-request-id", "x-vercel-id", "x-request-start", "x-queue-start"),
    }
)
"""Headers that clients and proxies make unique for each request: IDs of requests and traces, times of arrival."""

MAX_LINES: Final = 200
MAX_CHARACTERS: Final = 64 * 1024
"""The total length of all names and values."""
MAX_LIST: Final = 1024
"""Characters of a header that holds a list: each item is parsed, so that even a short list costs time."""

_LISTS: Final = ("accept", "content-type", "access-control-request-headers")
MAX_SESSION_ID: Final = 511
"""Characters of the longest Mcp-Session-Id; some proxies refuse headers longer than 512 bytes."""

REGION_HEADER: Final = "X-MCP-Region"
"""The response header that names the region which has answered."""

_WHITESPACE: Final = " \t"

# Characters of an Accept header up to which its parsing is cached.
_MAX_CACHED: Final = 512

# Common header names, decoded in advance: a dict lookup is cheaper than decoding and lower-casing.
_COMMON_NAMES: Final = {
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
    """Header lines by lower-case name, without the optional white space around values.

    `headers[name]` is the first line of that name. `lines(name)` returns all of them: a duplicate of a routing header
    is an error, which joining the lines would hide. Values are Latin-1, as in ASGI. Headers over a limit are empty,
    so that no time is spent on them.
    """

    __slots__ = ("_accepts", "_lines", "_raw", "_text", "count", "repeated", "size")

    def __init__(self, lines: Collection[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, ...]] = {}
        self._raw: list[tuple[bytes, bytes]] | None = None
        self._text = ""
        self._accepts: Accepts | None = None
        self.count = len(lines)
        """The number of lines."""
        self.size = 0
        """The number of characters in names and values; 0 if there are too many lines."""
        self.repeated: set[str] = set()
        """The names that occur in more than one line."""
        if 0 < self.count <= MAX_LINES:
            for name, value in lines:
                self._add(name.lower(), value)
            self._measure(map("".join, self._lines.values()))

    def _add(self, name: str, value: str) -> None:
        # Some servers keep white space around values (uvicorn with httptools); RFC 9110, 5.5, excludes it.
        line: tuple[str, ...] = (value.strip(_WHITESPACE),)
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
        """Build headers from the list of an ASGI scope; a hot path, so common names are not decoded."""
        headers = cls(())
        headers.count = len(raw)
        if headers.count > MAX_LINES:
            return headers
        headers._raw = list(raw)
        lines, values = headers._lines, list[str]()
        for raw_name, raw_value in raw:
            try:
                name = _COMMON_NAMES[raw_name]
            except KeyError:
                name = raw_name.decode("latin-1").lower()
            value = raw_value.decode("latin-1").strip(_WHITESPACE)
            values.append(value)
            if name in lines:
                headers._add(name, value)
            else:
                lines[name] = (value,)
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

    @property
    def accepts(self) -> Accepts:
        """Return the media types that Accept names, parsed once; a quality of 0 excludes one (RFC 9110, 12.5.1)."""
        if self._accepts is None:
            line = ",".join(self.lines("accept")) if "accept" in self.repeated else self.get("accept", "")
            self._accepts = _parse_cached(line) if len(line) <= _MAX_CACHED else _parse_accept(line)
        return self._accepts

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
        """Return whether all values are visible ASCII; only headers that are read must be."""
        return self._text.isascii() and self._text.isprintable()

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Return the lines as a header list of an ASGI scope."""
        if self._raw is None:
            self._raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.pairs()]
        return self._raw

    def pairs(self) -> list[tuple[str, str]]:
        """Return all lines as (name, value) pairs."""
        return [(name, value) for name, values in self._lines.items() for value in values]


@dataclass(frozen=True, slots=True)
class Accepts:
    """Which of the two media types of a POST response the client accepts."""

    json: bool
    sse: bool


def _parse_accept(line: str) -> Accepts:
    ranges = dict(_parse_range(item) for item in line.split(","))
    return Accepts(json=_is_accepted("application/json", ranges), sse=_is_accepted("text/event-stream", ranges))


_parse_cached = lru_cache(maxsize=256)(_parse_accept)  # a client always sends the same value


def _is_accepted(media: str, ranges: Mapping[str, float]) -> bool:
    """Return whether a type is accepted; the most specific range that matches it decides."""
    for candidate in (media, f"{media.partition('/')[0]}/*", "*/*"):
        if candidate in ranges:
            return ranges[candidate] > 0
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


def check_limits(headers: Headers) -> None:
    """Check the number and the length of headers (RFC 6585, 5).

    Raises:
        ProtocolError: 431, naming the limit that is exceeded.
    """
    if headers.count > MAX_LINES:
        raise _too_large(f"the headers may have at most {MAX_LINES} lines, got {headers.count}: send fewer")
    if headers.size > MAX_CHARACTERS:
        raise _too_large(f"the headers may have at most {MAX_CHARACTERS} characters, got {headers.size}: send less")
    if headers.size <= MAX_LIST:
        return
    for name in _LISTS:
        if (length := sum(map(len, headers.lines(name)))) > MAX_LIST:
            raise _too_large(f"{name} header may have at most {MAX_LIST} characters, got {length}: name fewer items")


def _too_large(problem: str) -> ProtocolError:
    return ProtocolError(431, INVALID_REQUEST, problem)
