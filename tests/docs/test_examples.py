"""The examples of the documentation run as they are printed."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import types
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from mcp_transport import server
from mcp_transport.declarations import Declarations
from mcp_transport.test import MCPClient
from mcpsite.shop import models
from tests.support.docs import DOCS, ROOT, blocks

# Where the package is installed, pytest finds the plugin by its entry point.
_INSTALLED = any(found.name == "mcp_transport" for found in entry_points(group="pytest11"))
PLUGIN = () if _INSTALLED else ("-p", "mcp_transport.pytest_plugin")


def python_blocks(page: str) -> list[str]:
    return blocks((DOCS / page).read_text())


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The package that the examples import models from."""
    package = types.ModuleType("shop")
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.models", models)
    monkeypatch.setitem(sys.modules, "shop.mcp", types.ModuleType("shop.mcp"))  # where dataclasses look
    return package


def run(blocks: list[str], name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": name}
    for block in blocks:
        exec(compile(block, name, "exec"), namespace)  # noqa: S102
    return namespace


def test_declarations_of_the_how_to_can_be_declared(shop: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "declared", Declarations())
    run(python_blocks("howto/declare-tools.md"), "shop.mcp")
    declared = server.declared
    tools = ["get_product", "sold_out", "restock", "count_words", "delete_product"]
    tools += ["stock_level", "count_stock", "get_price", "take_one"]
    assert list(declared.tools) == tools
    assert list(declared.resources) == ["shop://hours", "shop://products/{sku}"]
    assert list(declared.prompts) == ["praise", "dialogue"]
    assert declared.completion is not None


@pytest.mark.django_db
def test_the_batched_tool_of_the_how_to_answers_fifty_calls_with_one_query(
    shop: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "declared", Declarations())
    # The client of this test may take longer than 10 ms for fifty calls.
    patient = [
        block.replace("max_wait_ms=10)", "max_wait_ms=60_000)") for block in python_blocks("howto/declare-tools.md")
    ]
    run(patient, "shop.mcp")
    models.Product.objects.create(sku="mug", name="Mug", price=3, stock=1)

    async def load() -> list[Any]:
        async with MCPClient() as client:
            calls = (client.acall("get_price", sku="mug" if n else "none", quantity=n) for n in range(50))
            return await asyncio.gather(*calls)

    with CaptureQueriesContext(connection) as queries:
        first, *others = async_to_sync(load)()
    assert "No product has the SKU none." in first.error
    assert [Decimal(result.result) for result in others] == [3 * n for n in range(1, 50)]
    assert len([query for query in queries if "product" in query["sql"]]) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_servers_of_the_how_to_are_served(number: int, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    block = python_blocks("howto/serve-an-existing-server.md")[number]
    module = types.ModuleType("documented_server")
    module.__dict__.update(run([block], module.__name__))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.MCP_TRANSPORT = {"SERVER": "documented_server.server"}
    out = io.StringIO()
    call_command("mcp_tools", "call", "greet", "name=Ann", stdout=out)
    assert out.getvalue().startswith("Hello Ann")


def carry_out(folder: Path, *tests: str) -> None:
    """Run example tests in a project of their own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    options = ["-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def lay_out(folder: Path, blocks: list[str]) -> list[str]:
    """Write each block into the file that its first line names; return the files of tests."""
    files = {}
    for block in blocks:
        name = re.match(r"# (\S+\.py)\n", block)
        assert name, f"the first line names no file:\n{block}"
        files[folder / name[1]] = block
    for path, block in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(block)
    (folder / "docs_settings.py").write_text(
        "from tests.support.settings import *\n\nINSTALLED_APPS = [*INSTALLED_APPS[:-1], 'shop']\n"
    )
    return [str(path) for path in files if path.name.startswith("test_")]


@pytest.mark.slow
def test_example_tests_pass(tmp_path: Path) -> None:
    tests = lay_out(tmp_path, python_blocks("howto/test-your-tools.md"))
    assert len(tests) >= 7
    carry_out(tmp_path, "--ds=docs_settings", *PLUGIN, *tests)


@pytest.mark.slow
def test_example_tests_of_access_pass(tmp_path: Path) -> None:
    found = python_blocks("howto/authentication.md")
    tests = lay_out(tmp_path, [block for block in found if re.match(r"# shop/(mcp|tests/\w+)\.py\n", block)])
    carry_out(tmp_path, "--ds=docs_settings", *tests)


@pytest.mark.slow
def test_backends_of_the_how_to_keep_the_contracts(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    _, backend, listed, tests = python_blocks("howto/write-a-backend.md")
    (tmp_path / "shop/sessions.py").write_text(backend)
    (tmp_path / "shop/listed_sessions.py").write_text(listed)
    (tmp_path / "test_sessions.py").write_text(tests)
    carry_out(tmp_path, "-p", "tests.backends.conftest", str(tmp_path / "test_sessions.py"))
