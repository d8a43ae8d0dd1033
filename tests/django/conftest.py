"""The project's own endpoint, built from settings and declarations."""

from __future__ import annotations

from tests.support.project import declarations, fresh_endpoint, serve

__all__ = ["declarations", "fresh_endpoint", "serve"]
