"""A project without a database, users and admin."""

from __future__ import annotations

from tests.projects.sites.settings.base import *  # noqa: F403 (settings are names in a module)
from tests.projects.sites.settings.base import DAPHNE

INSTALLED_APPS = [*DAPHNE, "mcp_transport", "tests.projects.sites"]
MIDDLEWARE = []
MCP_TRANSPORT = {"NAME": "bare", "VERSION": "1.0", "AUTHENTICATORS": [None], "QUEUE_TIMEOUT_SECONDS": 60}
