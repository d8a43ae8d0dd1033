"""Sandboxes of a function, each a process with a handler, and the front that speaks HTTP and invokes them."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.aws_lambda.events import DOORS, Event, answer
from tests.support.http.request import Request
from tests.support.processes import LOOPBACK, ROOT, TICK_SECONDS, start_program


class Sandbox:
    """A process that handles one event at a time, and is frozen in between if a test wants it."""

    def __init__(self, settings: str, variables: Mapping[str, str] | None = None) -> None:
        self._environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings, **(variables or {})}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end)

    def __enter__(self) -> Self:
        (events, its_events), (its_answers, answers) = os.pipe(), os.pipe()
        command = [sys.executable, "-m", "tests.support.aws_lambda.runtime", str(events), str(answers)]
        try:
            self._process = start_program(command, ROOT, self._environment, self._log, (events, answers))
        finally:
            os.close(events)
            os.close(answers)
        self._events, self._answers = os.fdopen(its_events, "w"), os.fdopen(its_answers)
        return self

    def ready(self) -> Self:
        """Wait until the handler is made; before the first event."""
        self._line()
        return self

    def __exit__(self, *details: object) -> None:
        self.thaw()
        self._process.kill()
        self._process.wait()
        for file in (self._events, self._answers, self._log):
            file.close()

    def invoke(self, event: Event, seconds: float = 900.0) -> Event:
        """Return the response to an event; the function may run for so many seconds."""
        self.send(event, seconds)
        return self.receive()

    def send(self, event: Event, seconds: float = 900.0) -> None:
        """Start an invocation; `receive` must follow."""
        print(json.dumps([event, seconds]), file=self._events, flush=True)

    def receive(self) -> Event:
        """Return the response to the event that was sent."""
        response: Event = json.loads(self._line())
        return response

    def _line(self) -> str:
        if not (line := self._answers.readline()):
            self._log.seek(0)
            raise AssertionError(f"the sandbox has ended: {self._log.read().decode(errors='replace')}")
        return line

    def freeze(self) -> None:
        """Stop the process; return when it stands."""
        self._process.send_signal(signal.SIGSTOP)
        while self._state() != "T":
            time.sleep(TICK_SECONDS)

    def _state(self) -> str:
        with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as status:
            return status.read().rpartition(")")[2].split()[0]

    def thaw(self) -> None:
        """Let the process run on."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def front(
    door: str, settings: str, variables: Mapping[str, str] | None = None, *, sandboxes: int = 2
) -> Iterator[int]:
    """Yield the port of a front door, which gives each request to the sandbox that has waited longest."""
    with ExitStack() as stack:
        started = [stack.enter_context(Sandbox(settings, variables)) for _ in range(sandboxes)]
        idle: queue.Queue[Sandbox] = queue.Queue()
        for sandbox in started:
            idle.put(sandbox.ready())
        server = ThreadingHTTPServer((LOOPBACK, 0), _handler(door, idle))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": TICK_SECONDS})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(door: str, idle: queue.Queue[Sandbox]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # a response in one segment

        def _serve(self) -> None:
            port = self.connection.getsockname()[1]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            dropped = ("content-length", "connection")
            lines = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
            lines += [("X-Forwarded-Proto", "http"), ("X-Forwarded-Port", str(port))]
            request = Request(method=self.command, path=self.path, headers=tuple(lines), body=body)
            sandbox = idle.get()
            try:
                status, headers, content = answer(door, sandbox.invoke(DOORS[door](request)))
            finally:
                idle.put(sandbox)
            self._answer(status, headers, content)

        def _answer(self, status: int, headers: Sequence[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_OPTIONS = do_HEAD = do_PUT = _serve

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing."""

    return Handler
