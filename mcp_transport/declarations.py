"""The tools, prompts and resources declared in the apps' `mcp.py` modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.tools import Tool
from pydantic import Field

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.rate_limit import Limit, limits
from mcp_transport.exceptions import DefinitionError
from mcp_transport.kernel import CallLimits

__all__ = ["Declarations", "DeclaredTool"]


class DeclaredTool(Tool):
    """A tool, with the options that the SDK does not have."""

    durable: bool = Field(default=False, exclude=True)
    atomic: bool = Field(default=True, exclude=True)
    limits: CallLimits = Field(default=CallLimits(), exclude=True)


class Declarations:
    """All declarations, in the order in which they were made."""

    def __init__(self) -> None:
        self.tools: dict[str, DeclaredTool] = {}
        self.prompts: dict[str, Prompt] = {}
        self.resources: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
        self.completion: Callable[..., Any] | None = None
        self.access: dict[tuple[str, str], AccessRule] = {}
        self.rate_limits: dict[str, tuple[Limit, ...]] = {}
        """The limits of tools that have their own."""
        self.locations: dict[tuple[str, str], str] = {}

    def limit_tool(self, name: str, rates: str | Sequence[str]) -> None:
        """Set a tool's own rate limits, if there are any. Raises: DefinitionError for a value that is no rate."""
        if rates == ():
            return
        try:
            self.rate_limits[name] = limits("tool", rates, setting="rate_limit")
        except ValueError as error:
            raise DefinitionError(f"the tool {name!r}: rate_limit: {error}") from None

    def copy(self) -> Declarations:
        """Return a copy of the declarations."""
        copy = Declarations()
        copy.restore(self)
        return copy

    def restore(self, copy: Declarations) -> None:
        """Replace the declarations with those of a copy."""
        for name, value in vars(copy).items():
            setattr(self, name, value.copy() if isinstance(value, dict) else value)

    def modules(self) -> set[str]:
        """Return the modules of the declared functions."""
        functions = [tool.fn for tool in self.tools.values()]
        functions += [prompt.fn for prompt in self.prompts.values()]
        functions += [function for function, _ in self.resources.values()]
        return {function.__module__ for function in (*functions, self.completion) if function is not None}
