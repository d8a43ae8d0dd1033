"""Python programs started by a process that has loaded the large libraries: each saves a second of processor time.

The program is the same, with its own command line, environment, folder and files. Only modules of libraries are
loaded already: no settings, threads, event loops or connections, and nothing of this project.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

LIBRARIES: Final = (
    *("mcp.client", "mcp.server.mcpserver", "mcp.server.lowlevel.server", "mcp_types.methods", "httpx2"),
    *("django.core.handlers.asgi", "django.core.serializers.json", "django.db.models", "django.urls"),
    *("django.contrib.sessions.middleware", "django.db.backends.sqlite3.base", "rich.console", "rich.logging"),
    *("uvicorn.main", "uvicorn.protocols.http.httptools_impl", "redis.asyncio", "hiredis", "orjson"),
    *("cryptography.hazmat.primitives.ciphers.aead", "tenacity", "jwt"),
    # of daphne, whose own modules make an event loop
    *("twisted.internet.endpoints", "twisted.web.server", "autobahn.twisted.websocket"),
)

_MAX_REQUEST: Final = 1 << 20
_MAX_FILES: Final = 16
_STATUS: Final = struct.Struct("i")
# Above the numbers of the files that a program inherits.
_SPARE: Final = 600


def can_start(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a command runs a module with this interpreter, and nothing in its environment changes Python."""
    if list(command[:2]) != [sys.executable, "-m"]:
        return False
    names = {name for name in {*environment, *os.environ} if name.startswith("PYTHON")} - {"PYTHONUNBUFFERED"}
    return all(environment.get(name) == os.environ.get(name) for name in names)


class Program:
    """A program that runs, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        output: BinaryIO,
        errors: BinaryIO | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start a command that `can_start` allows, in a process group of its own.

        `output` takes all it prints, unless `errors` takes what goes to stderr.
        """
        request: dict[str, Any] = {
            "arguments": list(command[2:]),
            "folder": str(cwd),
            "environment": dict(env),
            "files": [*pass_fds],
        }
        request["ignores_interrupts"] = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a program inherits it
        self._status, its_status = os.pipe2(os.O_CLOEXEC)
        try:
            streams = [output.fileno(), (errors or output).fileno()]
            self.pid = _parent().fork(request, [*streams, its_status, *pass_fds])
        finally:
            os.close(its_status)
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                (status,) = _STATUS.unpack(os.read(self._status, _STATUS.size))
                os.close(self._status)
                self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises: TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("the program", timeout or 0.0)
            try:
                select.select([self._status], [], [], left)
            except OSError:  # another thread has read and closed it
                continue
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command that `can_start` allows to its end, as `subprocess.run` does with captured text.

    Raises: TimeoutExpired.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        program = Program(command, cwd=cwd, env=env, output=output, errors=errors)
        try:
            code = program.wait(timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise
        printed = []
        for stream in (output, errors):
            stream.seek(0)
            printed.append(stream.read().decode())
    return subprocess.CompletedProcess(list(command), code, *printed)


class _Parent:
    """The process that has loaded the libraries, as the tests see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(its_control.fileno())]
        root, own_group = Path(__file__).resolve().parents[2], 0
        with its_control:
            self._process = subprocess.Popen(  # noqa: S603 (this module)
                command, cwd=root, pass_fds=[its_control.fileno()], process_group=own_group
            )
        atexit.register(self._stop)

    def fork(self, request: Mapping[str, Any], files: Sequence[int]) -> int:
        """Start a program with these open files; return its process id."""
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], files)
            return int(self._control.recv(64))

    def _stop(self) -> None:
        self._control.close()
        self._process.wait()


@lru_cache(maxsize=1)
def _parent() -> _Parent:
    return _Parent()


# -- in the process that has loaded the libraries ----------------------------------------------------------


def _serve(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each request, and report how programs end; return in each program, or at the end."""
    wakeup, its_wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(its_wakeup)
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 4096)
            _report_ended(statuses)
        if control.fileno() not in ready:
            continue
        data, files, *_ = socket.recv_fds(control, _MAX_REQUEST, _MAX_FILES)
        if not data:
            return None
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (wakeup, its_wakeup, *statuses.values()):
                os.close(number)
            control.close()
            return json.loads(data), files
        statuses[pid] = files[2]
        for number in (*files[:2], *files[3:]):
            os.close(number)
        control.send(str(pid).encode())


def _report_ended(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        number = statuses.pop(pid)
        os.write(number, _STATUS.pack(status))
        os.close(number)


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Make this process look like one that was started with the request's command."""
    os.setpgid(0, 0)
    output, errors, status, *inherited = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _SPARE) for number in files]
    for number in files:
        os.close(number)
    os.close(status)
    for number, target in ((output, 1), (errors, 2), *zip(inherited, request["files"], strict=True)):
        os.dup2(number, target)
    for number in (output, errors, *inherited):
        os.close(number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignores_interrupts"] else signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv[:] = request["arguments"]
    sys.path[0] = request["folder"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]


def main() -> None:
    """Load the libraries and serve the tests; in each program, run its module."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    found = _serve(socket.socket(fileno=int(sys.argv[1])))
    if found is not None:
        _become(*found)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
