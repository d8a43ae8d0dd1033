"""The demonstration shop, whose clients come back to a closed stream sooner."""

from __future__ import annotations

from mcpsite.settings import *  # noqa: F403
from mcpsite.settings import MCP_TRANSPORT as _SHOP

MCP_TRANSPORT = {**_SHOP, "RETRY_MILLISECONDS": 100}
