"""Target `haproxy`: HAProxy in front of the nodes."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Return the configuration of HAProxy."""
    return {"haproxy.cfg": render("haproxy/haproxy.cfg", deployment)}
