"""Event ids: `<stream>-<sequence number>`, minted by the stream's writer without asking anybody.

The id names its stream, so a `Last-Event-ID` leads to the stream to resume (2025-11-25, basic/transports,
"Resumability"). Sequence numbers of a stream's writer are contiguous: a hole is seen, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mcp_transport.protocol.errors import invalid_request

__all__ = ["GET_STREAM", "WRITER_SPAN", "Cursor"]

GET_STREAM: Final = "g"
"""The name of a session's one GET stream."""

WRITER_SPAN: Final = 10**9
"""A writer that takes a stream over numbers from the next multiple of this on, plus one.

What the dead one had sent without logging it has other numbers then, so no id is used twice.
"""

_FORM = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,14})(-moved)?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a stream: everything up to and including event number `seq` is known."""

    stream: str
    seq: int
    moved: bool = False
    """Was it the last event of a response that gave way to another one of the same stream?"""

    def __str__(self) -> str:
        return f"{self.stream}-{self.seq}{'-moved' if self.moved else ''}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a `Last-Event-ID`.

        Raises:
            ProtocolError: 400 / -32600 when it is no id of ours.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise invalid_request("Last-Event-ID must be an event id as this server sent it")
        return cls(match[1], int(match[2]), match[3] is not None)
