"""What one stream tells its client, checked event by event."""

from __future__ import annotations

from typing import Any

from tests.support.http.answer import Event

SPAN = 10**9


class Tale:
    """Event numbers go up by one, or to the beginning of the next writer's; progress does, too, for each writer."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.seq = 0
        self.progress: list[int] = []
        self.faults: list[str] = []
        self.handovers = 0

    def take(self, event: Event) -> dict[str, Any] | None:
        """Check an event; return its message, None for one that only names where to resume."""
        if event.id is None:
            if event.data:
                self.faults.append(f"an event without an id: {event.data[:120]}")
            return None
        if event.id.endswith("-moved"):  # a late request of this client has the stream; it was cut, so go on
            return None
        stream, _, number = event.id.rpartition("-")
        if self.last_id is not None and stream != self.last_id.rpartition("-")[0]:
            self.faults.append(f"{event.id} on the stream of {self.last_id}")
        self.last_id = event.id
        if not event.data:
            if int(number) != self.seq:
                self.faults.append(f"resumed at {number} instead of {self.seq}")
            return None
        self._count(int(number))
        message = event.message
        if message.get("method") == "notifications/progress":
            self.progress.append(int(message["params"]["progress"]))
            if self.progress != [*range(1, len(self.progress) + 1)]:
                self.faults.append(f"progress {self.progress[-3:]} at {event.id}")
        return message

    def _count(self, number: int) -> None:
        following = (self.seq // SPAN + 1) * SPAN + 1
        if number != self.seq + 1 and number % SPAN == 1 and number >= following:
            self.handovers += 1
            self.progress.clear()
        elif number != self.seq + 1:
            self.faults.append(f"{number} follows {self.seq}")
        self.seq = number
