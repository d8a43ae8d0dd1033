"""A reader who carries out a quick start as it is printed: a new project, a server, a request, its answer.

In a section "Quick start" (README.md) or on a page (docs/quickstart.md) a `sh` block is run, a `python` block is
added to the file that its first line names, a block that begins with a server's name is a server to start, and a
`json` or `text` block is what the commands before it print.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.docs import ROOT, Block, blocks_of
from tests.support.http.answer import last_message

SECONDS = 300
PORT = "8000"


def tutorial() -> list[Block]:
    return blocks_of((ROOT / "docs/quickstart.md").read_text())


class Reader:
    """Somebody who does what the text says, in a folder of their own."""

    def __init__(self, folder: Path, stack: ExitStack, python: Path | None = None) -> None:
        """Use an interpreter that has the package installed, or else this one with the sources on its path."""
        self.folder, self.stack = folder, stack
        self.python = python or Path(sys.executable)
        self.port = ""
        self.printed = ""
        hidden = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV"}
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        path = os.pathsep.join([str(self.python.parent), os.environ["PATH"]])
        self.environment |= {"PATH": path, "CI": "true"}
        if python is None:
            self.environment["PYTHONPATH"] = str(ROOT)

    def follow(self, blocks: Sequence[Block]) -> None:
        """Do what the blocks say, in order."""
        assert {"sh", "python", "json"} <= {language for language, _ in blocks}
        for language, content in blocks:
            self.do(language, content)

    def do(self, language: str, content: str) -> None:
        match language:
            case "python":
                self.write(content)
            case "sh" if content.startswith("daphne"):
                self.port = self.stack.enter_context(self.serve(content.split()))
            case "sh":
                self.run(content)
            case "json":
                assert last_message(self.printed) == json.loads(content)
            case "text":
                assert self.printed == content
            case _:
                pytest.fail(f"a block in {language} is nothing to do")

    def write(self, content: str) -> None:
        name = re.match(r"# (\S+\.py)", content)
        assert name, f"the first line names no file:\n{content}"
        with (self.folder / name[1]).open("a") as file:
            file.write(content.replace(f":{PORT}/", f":{self.port}/"))

    def run(self, script: str) -> None:
        """Run commands, and go where they lead."""
        lines = [line for line in script.splitlines() if "pip install" not in line]
        text = "\n".join([*lines, f'pwd > "{self.folder}/.where"']).replace(f":{PORT}", f":{self.port}")
        shell = ["sh", "-e", "-c", text]
        options = {"cwd": self.folder, "env": self.environment, "timeout": SECONDS, "check": True}
        done = subprocess.run(shell, capture_output=True, text=True, **options)  # type: ignore[call-overload]  # noqa: S603
        self.printed = done.stdout
        where = self.folder / ".where"
        self.folder = Path(where.read_text().strip())
        where.unlink()

    def get(self, path: str) -> str:
        """Return a page of the server that runs."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=SECONDS) as answer:
            return str(answer.read().decode())

    @contextmanager
    def serve(self, command: list[str]) -> Iterator[str]:
        """Start the server on a socket that listens already, so that no port is guessed; return its port."""
        at = command.index("--port")
        assert command[at + 1] == PORT
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            command[at : at + 2] = ["--fd", str(listener.fileno())]
            log = (self.folder / "server.log").open("wb")
            process = subprocess.Popen(  # noqa: S603
                [self.python, "-m", *command],
                cwd=self.folder,
                env=self.environment,
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            # The first request waits in the socket until the server is there; any answer will do.
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/mcp", timeout=SECONDS)
            yield port
        finally:
            process.terminate()
            process.wait(SECONDS)
            log.close()
