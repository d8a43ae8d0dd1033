"""The Lua scripts: one file each, prepended with the prelude that all of them share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

__all__ = ["PRELUDE", "Script", "load_scripts"]

_FOLDER: Final = resources.files("mcp_transport.backends.redis") / "lua"
PRELUDE: Final = (_FOLDER / "prelude.lua").read_text()


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
