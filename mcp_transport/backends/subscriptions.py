"""Change a session's resource subscriptions, for backends that store them as a set of URIs."""

from __future__ import annotations

__all__ = ["changed_uris"]


def changed_uris(uris: frozenset[str], uri: str, add: bool, limit: int, max_bytes: int) -> frozenset[str] | None:
    """Add a URI to a session's subscriptions, or remove it; return None if it exceeds a limit (number or bytes)."""
    if not add:
        return uris - {uri}
    if uri in uris:
        return uris
    changed = uris | {uri}
    fits = len(changed) <= limit and sum(len(item.encode()) for item in changed) <= max_bytes
    return changed if fits else None
