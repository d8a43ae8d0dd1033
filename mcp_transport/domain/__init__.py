"""What this server keeps: sessions, their history, messages between nodes, metrics. Values and pure functions."""
