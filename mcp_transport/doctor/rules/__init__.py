"""Judgements: pure functions from what was seen to one finding each."""
