"""The pure packages load no framework, which a fresh process proves, and have a test module for each module."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    (package, path.stem)
    for package in ("protocol", "domain")
    for path in sorted((ROOT / "mcp_transport" / package).glob("*.py"))
    if path.stem != "__init__"
]
FOREIGN = {"django", "asyncio", "orjson", "mcp", "mcp_types", "asgiref", "anyio", "pydantic", "sqlite3", "socket"}

PRINT_IMPORTS = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def imported_by(*modules: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter loads for `modules`."""
    command = [sys.executable, "-c", PRINT_IMPORTS, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)  # noqa: S603
    return set(json.loads(done.stdout))


def test_importing_every_pure_module_loads_no_framework_no_loop_and_no_sdk() -> None:
    assert {package for package, _ in MODULES} == {"protocol", "domain"} and len(MODULES) > 20
    loaded = imported_by(*(f"mcp_transport.{package}.{name}" for package, name in MODULES))
    assert "mcp_transport" in loaded
    assert not loaded & FOREIGN


@pytest.mark.parametrize(("package", "name"), MODULES)
def test_every_module_has_a_test_file_of_its_own(package: str, name: str) -> None:
    assert (ROOT / "tests" / package / f"test_{name}.py").is_file()
