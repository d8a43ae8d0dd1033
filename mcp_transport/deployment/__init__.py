"""Generates deployment files, all from one `Deployment`, so that they are consistent."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment
from mcp_transport.deployment.targets import TARGETS, folder, generate

__all__ = ["TARGETS", "Deployment", "folder", "generate"]
