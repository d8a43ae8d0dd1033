"""The rules of the request checks that an operator configures."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.protocol.versions import REVISIONS

__all__ = ["RequestRules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """The accepted revisions, hosts, origins and sizes."""

    versions: tuple[str, ...] = tuple(REVISIONS)
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    allowed_origins: tuple[str, ...] = ()
    forwarded_host: bool = False
    """Does a trusted proxy set X-Forwarded-Host? Django's USE_X_FORWARDED_HOST."""
    forwarded_port: bool = False
    """Does a trusted proxy set X-Forwarded-Port? Django's USE_X_FORWARDED_PORT."""
    forwarded_scheme: tuple[str, str] | None = None
    """The lower-case name of the header with the client's scheme, and its value for https."""
    secure_host: str = ""
    """The host, without a port, that clients reach by https only: that of an https RESOURCE_URL."""
    max_request_bytes: int = 4 * 1024 * 1024  # the official SDK's limit
    max_batch: int = 100
