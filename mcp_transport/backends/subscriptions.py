"""What a session has subscribed to, where a backend keeps it as a set of URIs."""

from __future__ import annotations

__all__ = ["changed_uris"]


def changed_uris(uris: frozenset[str], uri: str, wanted: bool, limit: int, max_bytes: int) -> frozenset[str] | None:
    """Add a URI to those of a session, or take it out; return None where it does not fit, by number or by bytes."""
    if not wanted:
        return uris - {uri}
    if uri in uris:
        return uris
    more = uris | {uri}
    fits = len(more) <= limit and sum(len(item.encode()) for item in more) <= max_bytes
    return more if fits else None
