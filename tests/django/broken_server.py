"""A server whose module cannot be imported."""

from __future__ import annotations

server = {}["NO_SUCH_KEY"]  # type: ignore[var-annotated]
