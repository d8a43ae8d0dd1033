"""Target `systemd`: one machine without containers, with a unit template for each port and a target for all."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment, Files
from mcp_transport.deployment.rendering import render
from mcp_transport.deployment.server import command

__all__ = ["files"]


def files(deployment: Deployment) -> Files:
    """Return the units."""
    program, *arguments = command(deployment, address="127.0.0.1", port="%i")
    line = " ".join([f"{deployment.directory}/.venv/bin/{program}", *arguments])
    return {
        f"{deployment.name}@.service": render("systemd/node.service", deployment, command=line),
        f"{deployment.name}.target": render("systemd/all.target", deployment),
    }
