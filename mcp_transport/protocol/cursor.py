"""Event ids: `<stream>-<sequence number>`, assigned by the stream's writer without coordination.

The id names its stream, so that a `Last-Event-ID` identifies the stream to resume (2025-11-25, basic/transports,
"Resumability"). A writer's sequence numbers are contiguous, so that a gap is always detected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mcp_transport.protocol.errors import invalid_request

__all__ = ["GET_STREAM", "WRITER_SPAN", "Cursor"]

GET_STREAM: Final = "g"
"""The name of a session's GET stream; there is one."""

WRITER_SPAN: Final = 10**9
"""A writer that takes over a stream continues at the next multiple of this, plus one.

The numbers of events that the dead writer sent but did not log are thus never reused.
"""

_PATTERN = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,14})(-moved)?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream: the client has all events up to and including number `seq`."""

    stream: str
    seq: int
    moved: bool = False
    """Was this the last event of a response that was replaced by a newer one of the same stream?"""

    def __str__(self) -> str:
        return f"{self.stream}-{self.seq}{'-moved' if self.moved else ''}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse a `Last-Event-ID`.

        Raises:
            ProtocolError: 400 / -32600 when it is not an id of this server.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise invalid_request("Last-Event-ID must be an event id that this server sent")
        return cls(match[1], int(match[2]), match[3] is not None)
