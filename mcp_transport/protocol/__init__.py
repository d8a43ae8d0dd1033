"""The rules of MCP over HTTP, as tables and pure functions.

This package uses no Django, no event loop, no clock, no randomness and no I/O, so that each rule can be read and
tested by itself.
"""
