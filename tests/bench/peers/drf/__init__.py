"""A Django project with djangorestframework-mcp-server."""
