"""The Lua scripts: one file each, after constants from Python and a prelude, which all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from mcp_transport.backends.redis import codec
from mcp_transport.domain.history import Ending, HistoryEvent
from mcp_transport.domain.stream_messages import MARK_SECONDS, MAX_MARKS
from mcp_transport.protocol.cursor import GET_STREAM, WRITER_SPAN
from mcp_transport.protocol.idempotency import KEYED_PREFIX

__all__ = ["PRELUDE", "Script", "load_scripts"]

_FOLDER: Final = resources.files("mcp_transport.backends.redis") / "lua"

_CONSTANTS: Final[Mapping[str, object]] = {
    "SPAN": WRITER_SPAN,
    "GET_STREAM": repr(GET_STREAM),
    "KEYED_PREFIX": repr(KEYED_PREFIX),
    "FAILURE_PREFIX": repr("failure:"),
    "MAX_MARKS": MAX_MARKS,
    "MARK_MILLISECONDS": int(1000 * MARK_SECONDS),
    "ROUNDING": 0.001,  # ms; sums of costs are not exact
    "TERMINAL": repr(codec.TERMINAL.decode()),
    "NEXT_CLEANUP": repr(codec.NEXT_CLEANUP.decode()),
    "REQUEST_PATTERN": f"'^{' '.join(['([^ ]*)'] * (len(codec.REQUEST_FIELDS) - 1))} (.*)$'",
    "ERROR_ENDINGS": f"{{{', '.join(f'{ending} = 1' for ending in Ending if ending.is_error)}}}",
    **{event.name: repr(event.value) for event in HistoryEvent},
    **{name.upper(): position for position, name in enumerate(codec.RECORD_FIELDS, start=1)},
}
"""Lua expressions; the last ones are the positions of fields in the list that `read_record` returns."""

_READ_RECORD: Final = f"""
-- Return the fields of a record.
local function read_record(record)
  return redis.call('HMGET', record, {", ".join(map(repr, codec.RECORD_FIELDS))})
end
"""

PRELUDE: Final = "\n".join(
    [
        *(f"local {name} = {expression}" for name, expression in _CONSTANTS.items()),
        _READ_RECORD,
        (_FOLDER / "prelude.lua").read_text(),
    ]
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script's source, and the digest by which Redis runs it (EVALSHA)."""

    source: str
    digest: str


def load_scripts(prelude: str = PRELUDE) -> dict[str, Script]:
    """Return all scripts by the names of their files."""
    scripts = {}
    for file in _FOLDER.iterdir():
        name, _, kind = file.name.partition(".")
        if kind == "lua" and name != "prelude":
            source = f"{prelude}\n{file.read_text()}"
            scripts[name] = Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts
