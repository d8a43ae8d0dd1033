"""The `mcp.py` of every installed app is imported, in order; one with a mistake leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from mcp_transport import discovery, server
from mcp_transport.exceptions import DefinitionError

GOODS = ("second_goods", "silent_goods", "first_goods")
TOOL = "from mcp_transport import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    return a + b\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, declarations: Any) -> Iterator[Path]:
    """New apps, the last with a mistake, in a process that has discovered nothing yet."""
    for name in GOODS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, *GOODS]
    monkeypatch.setattr(discovery, "_discovered", discovery._discovered - {*GOODS})
    (tmp_path / "second_goods/mcp.py").write_text(TOOL)
    (tmp_path / "first_goods/tools.py").write_text(TOOL.replace("def add", "def late"))
    (tmp_path / "first_goods/mcp.py").write_text("import first_goods.tools\nimport no_such_module\n")
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in GOODS]:
        del sys.modules[name]


def test_discovery_that_failed_leaves_nothing_and_can_be_tried_again(installed: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            apps.get_app_config("mcp_transport").ready()
        assert list(server.declared.tools) == []
    (installed / "first_goods/mcp.py").write_text("import first_goods.tools\n")
    importlib.invalidate_caches()
    apps.get_app_config("mcp_transport").ready()
    assert list(server.declared.tools) == ["add", "late"]
    apps.get_app_config("mcp_transport").ready()
    assert list(server.declared.tools) == ["add", "late"]


def test_name_that_is_declared_twice_is_still_refused(installed: Path) -> None:
    (installed / "first_goods/mcp.py").write_text(TOOL)
    importlib.invalidate_caches()
    for _ in range(2):
        with pytest.raises(DefinitionError, match="'add' is declared twice"):
            discovery.discover()
