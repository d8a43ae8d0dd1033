"""The demonstration project: a small shop that serves MCP beside the Django admin."""
