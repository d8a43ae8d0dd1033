"""What the apps' `mcp.py` modules have declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.tools import Tool
from pydantic import Field

from mcp_transport.domain.access_rule import AccessRule

__all__ = ["Declarations", "DeclaredTool"]


class DeclaredTool(Tool):
    """A tool, and what this package alone knows of it."""

    durable: bool = Field(default=False, exclude=True)
    atomic: bool = Field(default=True, exclude=True)


class Declarations:
    """What the apps' `mcp.py` modules have declared, in order."""

    def __init__(self) -> None:
        self.tools: dict[str, DeclaredTool] = {}
        self.prompts: dict[str, Prompt] = {}
        self.resources: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
        self.completion: Callable[..., Any] | None = None
        self.access: dict[tuple[str, str], AccessRule] = {}
        self.places: dict[tuple[str, str], str] = {}

    def copy(self) -> Declarations:
        """Return the declarations as they are now."""
        kept = Declarations()
        kept.restore(self)
        return kept

    def restore(self, kept: Declarations) -> None:
        """Become what a copy has kept."""
        for name, value in vars(kept).items():
            setattr(self, name, value.copy() if isinstance(value, dict) else value)

    def modules(self) -> set[str]:
        """Return the modules of the functions that are declared."""
        functions = [tool.fn for tool in self.tools.values()]
        functions += [prompt.fn for prompt in self.prompts.values()]
        functions += [function for function, _ in self.resources.values()]
        return {function.__module__ for function in (*functions, self.completion) if function is not None}
