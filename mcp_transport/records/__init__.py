"""What operators are told in JSON, the same by the REST API and in the shell."""

from __future__ import annotations

__all__: list[str] = []
