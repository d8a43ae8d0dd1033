"""A small Django project that every adapter and every server serves in these tests."""
