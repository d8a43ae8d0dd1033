"""The context object of an invocation."""

from __future__ import annotations

import time


class Context:
    """What Lambda tells a function about its invocation."""

    def __init__(self, seconds: float = 900.0) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)
