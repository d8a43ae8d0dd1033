"""The demonstration shop with a shorter reconnection time."""

from __future__ import annotations

from mcpsite.settings import *  # noqa: F403
from mcpsite.settings import MCP_TRANSPORT as _SHOP

MCP_TRANSPORT = {**_SHOP, "RETRY_MILLISECONDS": 100}
