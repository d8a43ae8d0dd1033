"""What the processes of the arrangement have in common: a port, a log, a start that waits, an end that is sure."""

# ruff: noqa: S603 (the commands are this project's own)
from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar, Self

from tests.support.canaries import leaks
from tests.support.loop_guard import MARK
from tests.support.preloaded import Program, can_start

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
TICK_SECONDS = 0.02

# Below the range that outgoing connections take theirs from: none of them can sit on the port of a server that was
# killed and is to come back. The ports 10,000 above, Redis Cluster's own, are below that range, too.
PORTS = range(12_000, 22_000)
_given: set[int] = set()  # some thousand in a whole run


class StartError(Exception):
    """Raised when a process cannot be started."""


class MissingProgramError(StartError):
    """Raised when a program is not installed."""


def program(name: str) -> str:
    """Return the path of a program, also from where only root's PATH leads."""
    places = [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    raise MissingProgramError(f"{name} is not installed; on Debian and Ubuntu: apt-get install {name}")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on, another one each time."""
    while True:
        port = random.choice(PORTS)  # noqa: S311
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


class Process(ABC):
    """A server on the loopback interface.

    A port that is given, or that it ran on before, stays the same; otherwise a free one is found, and `port` is sure
    once it runs. Its folder and log outlive `kill` and `restart`, and end with `stop`, which is also the end of a
    `with` block.
    """

    role: ClassVar[str]

    root = ROOT
    """The checkout that it runs."""

    def __init__(self, name: str = "", port: int = 0, folder: Path | None = None) -> None:
        self.name = name or self.role
        self._keeps_port = bool(port)
        self.port = port or free_port()
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | Program | None = None
        self._log_start = 0
        self._last_words = ""

    @property
    def folder(self) -> Path:
        """Where its files are: the folder it was given, or one of its own."""
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
            self._folder = Path(self._temporary.name)
        return self._folder

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it answers."""

    def environment(self) -> dict[str, str]:
        """Return the environment it runs in."""
        return {**os.environ}

    @contextmanager
    def inherited(self) -> Iterator[Sequence[int]]:
        """Hold the file descriptors that it inherits."""
        yield ()

    # -- starting

    def start(self) -> Self:
        """Start and wait until it answers."""
        self.spawn()
        self.await_ready()
        return self

    def spawn(self) -> None:
        """Start without waiting; `await_ready` must follow."""
        assert not self.alive, f"{self.name} runs already"
        if not self._keeps_port and not is_free(self.port):
            self.port = free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{self.name}.log"
        self._log_start = log.stat().st_size if log.exists() else 0
        with self.inherited() as descriptors, log.open("ab") as output:
            self._process = start_program(self.command(), self.root, self.environment(), output, descriptors)
        self.lift_limits()

    def lift_limits(self) -> None:
        """Let it open as many files as anybody may."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, most))

    def await_ready(self) -> None:
        """Wait until it answers; where its port was taken in the meantime, start it on another."""
        deadline = time.monotonic() + START_SECONDS
        while not (self.alive and self.is_ready()):
            if not self.alive and not self._keeps_port and "address already in use" in self.fresh_log.lower():
                self.port = free_port()
                self.spawn()
            elif not self.alive:
                raise StartError(f"{self.name} ended while it started:\n{self.fresh_log}")
            elif time.monotonic() > deadline:
                raise StartError(f"{self.name} does not answer after {START_SECONDS:g} s:\n{self.fresh_log}")
            self.wait(TICK_SECONDS)
        self._keeps_port = True

    # -- what it is now

    @property
    def process(self) -> subprocess.Popen[bytes] | Program:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All it has printed, restarts included."""
        return self._last_words or (self.folder / f"{self.name}.log").read_text(errors="replace")

    @property
    def last_words(self) -> str:
        """All it has printed, once it was stopped."""
        return self._last_words

    @property
    def fresh_log(self) -> str:
        """What it has printed since its last start."""
        return (self.folder / f"{self.name}.log").read_bytes()[self._log_start :].decode(errors="replace")

    def wait(self, seconds: float) -> bool:
        """Wait for its end; tell whether it came."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    # -- signals

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        self.process.terminate()

    def kill(self) -> None:
        """End it as a crash does, and wait for that."""
        self.process.kill()
        assert self.wait(STOP_SECONDS), f"{self.name} outlives SIGKILL"

    def pause(self) -> None:
        """Stop the clock for it; return when it stands."""
        self.process.send_signal(signal.SIGSTOP)
        while self.alive and _state(self.pid) != "T":
            time.sleep(TICK_SECONDS)

    def resume(self) -> None:
        """Let it run on after `pause`."""
        self.process.send_signal(signal.SIGCONT)

    # -- ending

    def end(self) -> None:
        """End it in good order, or kill it where that takes too long; it can be started again."""
        if not self.alive:
            return
        self.resume()  # a paused process does not hear
        self.terminate()
        if not self.wait(STOP_SECONDS):
            self.kill()

    def restart(self) -> Self:
        """End it where it runs, and start it with the same port and folder."""
        self.end()
        return self.start()

    def stop(self) -> None:
        """End it for good."""
        self.end()
        if self._process is not None:
            self._last_words = self.log
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        refuse_leaks([self])
        refuse_busy_loops([self])


def start_program(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], output: BinaryIO, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes] | Program:
    """Start a program; `output` takes all it prints.

    It has a process group of its own: a Ctrl-C in the terminal is for the program that will stop it.
    """
    if can_start(command, env):
        return Program(command, cwd=cwd, env=env, output=output, pass_fds=pass_fds)
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
    )


def _state(pid: int) -> str:
    """Return the state of a process, such as "T" for one that is stopped, or "" once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def start_all(processes: Sequence[Process]) -> None:
    """Start several at once; where one fails, stop all."""
    try:
        for process in processes:
            process.spawn()
        for process in processes:
            process.await_ready()
    except BaseException:
        stop_all(processes)
        raise


def stop_all(processes: Sequence[Process]) -> None:
    """Stop several at once."""
    for process in processes:
        if process.alive:
            process.resume()
            process.terminate()
    for process in processes:
        process.stop()
    refuse_leaks(processes)
    refuse_busy_loops(processes)


def refuse_leaks(processes: Sequence[Process]) -> None:
    """Fail when one that has stopped has logged a secret."""
    found = {process.name: leaks(process.last_words) for process in processes}
    assert not any(found.values()), f"secrets were logged: {found}"


def refuse_busy_loops(processes: Sequence[Process]) -> None:
    """Fail when one that has stopped kept its loop busy, as `tests.support.loop_guard` has it."""
    found = [line for process in processes for line in process.last_words.splitlines() if MARK in line]
    assert not found, "\n".join(found)
