"""The server's own concepts as values and pure functions: sessions, their history, node messages, metrics."""
