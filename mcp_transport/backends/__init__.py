"""Backends: storage of sessions and streams, and messages between nodes."""
