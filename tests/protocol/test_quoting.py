from __future__ import annotations

from mcp_transport.protocol.quoting import MAX_QUOTE, truncate


def test_a_short_text_is_repeated_as_it_is() -> None:
    assert truncate("a" * MAX_QUOTE) == "a" * MAX_QUOTE


def test_a_long_text_is_cut_and_says_so() -> None:
    assert truncate("a" * (MAX_QUOTE + 1)) == "a" * MAX_QUOTE + "..."
