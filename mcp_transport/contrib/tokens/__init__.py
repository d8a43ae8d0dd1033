"""Personal access tokens: `INSTALLED_APPS += ["mcp_transport.contrib.tokens"]`."""
