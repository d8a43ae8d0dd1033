"""A Django project that serves MCP to whom the authorization server vouches for."""
