"""HTTP request headers, and how MCP reads the ones it cares about (streamable-http, "Headers")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Accepts", "Headers"]

_BLANKS = " \t"


class Headers(Mapping[str, str]):
    """Header lines by lower-case name, with optional white space around each value removed.

    `headers[name]` is the first line of that name; `lines(name)` are all of them, since a duplicate of a
    routing header is an error that a folded mapping would hide. Values are Latin-1, as ASGI has them.
    """

    __slots__ = ("_lines",)

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, value in lines:
            # Some servers keep blanks around values (uvicorn with httptools); RFC 9110 5.5 excludes them.
            self._lines.setdefault(name.lower(), []).append(value.strip(_BLANKS))

    @classmethod
    def from_asgi(cls, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Read the header list of an ASGI scope."""
        return cls((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)

    def __getitem__(self, name: str) -> str:
        return self._lines[name.lower()][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def lines(self, name: str) -> tuple[str, ...]:
        """Return every line of that name, in order."""
        return tuple(self._lines.get(name.lower(), ()))

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
        ranges = dict(_parse_range(item) for line in headers.lines("accept") for item in line.split(","))
        return cls(json=_is_accepted("application/json", ranges), sse=_is_accepted("text/event-stream", ranges))


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
