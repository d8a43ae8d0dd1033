"""A server whose module cannot be imported."""

from __future__ import annotations

names: dict[str, object] = {}
server = names["NO_SUCH_KEY"]
