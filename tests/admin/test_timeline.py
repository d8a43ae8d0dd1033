"""The words of a session's timeline."""

from __future__ import annotations

import pytest

from mcp_transport.admin.rows import _happened
from mcp_transport.protocol.history import Ending, HistoryEntry, Occasion

WORDS = {
    Ending.OK: "Answered",
    Ending.ERROR: "Failed",
    Ending.CANCELLED: "Cancelled",
    Ending.LOST: "Lost with its node",
    Ending.GIVEN_UP: "Given up: two nodes were lost with it",
}


@pytest.mark.parametrize("ending", Ending)
def test_each_end_of_a_request_has_words(ending: Ending) -> None:
    entry = HistoryEntry(when=1.0, what=Occasion.ENDED, node="n1", operation="tools/call look", ending=ending)
    assert _happened(entry)[1:3] == [WORDS[ending], "tools/call look"]
