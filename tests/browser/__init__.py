"""The admin's pages in a real browser, on two nodes that share a Redis, while real clients call real tools."""
