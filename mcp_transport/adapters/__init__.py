"""Adapters that translate the requests and responses of web frameworks, and contain no protocol rules."""
