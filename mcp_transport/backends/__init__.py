"""Where sessions, streams and messages between nodes live."""
