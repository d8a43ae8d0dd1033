"""The law of the layer, proved in a process of its own."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import mcp_transport.protocol

MODULES = sorted(module.name for module in pkgutil.iter_modules(mcp_transport.protocol.__path__))
ROOT = Path(mcp_transport.protocol.__path__[0]).parents[1]
FOREIGN = {"django", "asyncio", "orjson", "mcp", "mcp_types", "asgiref", "anyio", "pydantic", "sqlite3", "socket"}

IMPORT_AND_TELL = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def imported_by(*modules: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter loads for these modules."""
    command = [sys.executable, "-c", IMPORT_AND_TELL, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)  # noqa: S603
    return set(json.loads(done.stdout))


def test_importing_every_protocol_module_loads_no_framework_no_loop_and_no_sdk() -> None:
    assert len(MODULES) > 10
    loaded = imported_by(*(f"mcp_transport.protocol.{name}" for name in MODULES))
    assert "mcp_transport" in loaded
    assert not loaded & FOREIGN


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_test_file_of_its_own(name: str) -> None:
    assert (Path(__file__).parent / f"test_{name}.py").is_file()
