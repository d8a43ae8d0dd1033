"""Files that deploy a project, all made from one `Deployment`, so that no two of them disagree."""

from __future__ import annotations

from mcp_transport.deployment.options import Deployment
from mcp_transport.deployment.targets import TARGETS, emit

__all__ = ["TARGETS", "Deployment", "emit"]
