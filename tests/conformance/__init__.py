"""The official MCP conformance suite, run against a Django project made for it."""
