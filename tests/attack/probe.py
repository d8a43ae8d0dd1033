"""A process beside the attack: asks `/healthz` every 20 ms, and is a neighbour whose session must not notice.

python -m tests.attack.probe PORT PID

It says `ready`, measures until a line comes, prints what it saw as JSON, and ends. Of each pause, the time is taken
off during which the machine had no processor for the server's loop or for the probe (/proc/.../schedstat).
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.support.http.messages import SESSIONFUL
from tests.support.processes import LOOPBACK

BEAT_SECONDS, PING_SECONDS = 0.02, 0.1
ANSWER_SECONDS = 120.0
END_SECONDS = 10.0
_HEADERS = {
    "Host": "localhost",
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "X-User": "neighbour",
}


@dataclass
class Report:
    """What the probe saw."""

    pause: float = 0.0
    """The longest pause of `/healthz` in seconds that was the server's own."""
    pause_on_the_clock: float = 0.0
    beats: int = 0
    ping: float = 0.0
    """The longest time that a ping of the neighbour took, in seconds."""
    errors: list[str] = field(default_factory=list)


class Pulse(threading.Thread):
    """Asks whether the process answers."""

    def __init__(self, port: int, pid: int) -> None:
        super().__init__(daemon=True)
        self.port, self.report, self.over = port, Report(), threading.Event()
        self._schedules = [Path(f"/proc/{pid}/task/{pid}/schedstat")]
        self._began: tuple[float, float] | None = None

    def run(self) -> None:
        self._schedules.append(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat"))
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=ANSWER_SECONDS)
        while not self.over.wait(BEAT_SECONDS):
            self._began = time.monotonic(), self._waited()
            try:
                connection.request("GET", "/healthz", headers={"Host": "localhost"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.report.errors.append(f"/healthz: {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.report.errors.append(f"/healthz: {type(error).__name__}")
            self.note()
            self._began = None
            self.report.beats += 1

    def note(self) -> None:
        """Count the pause that lasts now."""
        if (began := self._began) is None:
            return
        lasted = time.monotonic() - began[0]
        own = lasted - (self._waited() - began[1])
        self.report.pause = max(self.report.pause, own)
        self.report.pause_on_the_clock = max(self.report.pause_on_the_clock, lasted)

    def _waited(self) -> float:
        """Return the seconds that the server's loop and this process have waited for a processor."""
        found = 0
        for place in self._schedules:
            try:
                found += int(place.read_text().split()[1])
            except OSError:  # the server has ended
                continue
        return found / 1e9


class Neighbour:
    """A session of another tenant, with a call under way."""

    def __init__(self, port: int, report: Report) -> None:
        self.port, self.report = port, report
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._ping, self._hold)]
        self._headers: Mapping[str, str] = _HEADERS
        self._held: Any = None
        self._pinging_since = 0.0

    def begin(self) -> None:
        """Open the session and begin the call."""
        params = {"protocolVersion": SESSIONFUL, "capabilities": {}, "clientInfo": {"name": "n", "version": "1"}}
        connection = self._connect()
        session = _send(connection, self._headers, "initialize", params, 0)[1]
        connection.close()
        self._headers = {**_HEADERS, "Mcp-Session-Id": session, "MCP-Protocol-Version": SESSIONFUL}
        for thread in self._threads:
            thread.start()

    def _connect(self, within: float = ANSWER_SECONDS) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(LOOPBACK, self.port, timeout=within)

    def _ping(self) -> None:
        connection, number = self._connect(), 100
        while not self._over.wait(PING_SECONDS):
            began, number = time.monotonic(), number + 1
            self._pinging_since = began
            try:
                answer = _send(connection, self._headers, "ping", None, number)[0]
                if '"result"' not in answer:
                    self.report.errors.append(f"ping: {answer[:120]}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                self.report.errors.append(f"ping: {type(error).__name__} {error}"[:120])
            self.report.ping = max(self.report.ping, time.monotonic() - began)
            self._pinging_since = 0.0

    def _hold(self) -> None:
        try:
            answer = _send(self._connect(), self._headers, "tools/call", {"name": "hold", "arguments": {}}, 1)
            self._held = answer[0]
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._held = f"{type(error).__name__} {error}"

    def end(self) -> None:
        """Let the call end, and see that it does."""
        self._over.set()
        if since := self._pinging_since:
            self.report.ping = max(self.report.ping, time.monotonic() - since)
        params = {"name": "release", "arguments": {}}
        deadline = time.monotonic() + END_SECONDS
        while self._threads[1].is_alive() and time.monotonic() < deadline:
            try:
                connection = self._connect(END_SECONDS)
                _send(connection, self._headers, "tools/call", params, f"r{time.monotonic()}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.report.errors.append(f"release: {type(error).__name__}")
                break
            self._threads[1].join(0.2)
        if self._held is None or '"held"' not in str(self._held):
            self.report.errors.append(f"the call under way: {str(self._held)[:120]}")


def _send(
    connection: http.client.HTTPConnection, headers: Mapping[str, str], method: str, params: Any, id: Any
) -> tuple[str, str]:
    message = {"jsonrpc": "2.0", "method": method, "id": id, **({} if params is None else {"params": params})}
    connection.request("POST", "/mcp", json.dumps(message), dict(headers))
    answer = connection.getresponse()
    return answer.read().decode(), answer.getheader("Mcp-Session-Id") or ""


def main(port: int, pid: int) -> None:
    """Measure until a line comes."""
    pulse = Pulse(port, pid)
    neighbour = Neighbour(port, pulse.report)
    neighbour.begin()
    pulse.start()
    print("ready", flush=True)
    sys.stdin.readline()
    pulse.note()
    if not pulse.is_alive():
        pulse.report.errors.append("the pulse stopped by itself")
    pulse.over.set()
    neighbour.end()
    print(json.dumps(asdict(pulse.report)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
