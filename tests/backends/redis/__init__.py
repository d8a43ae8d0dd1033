"""Tests of the Redis backend, on real servers that the tests start themselves."""
