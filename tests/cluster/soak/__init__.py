"""The soak: clients that check everything they see, while nodes and Redis are killed, paused and restarted."""
