"""The documentation as tests read it: tables, blocks, the quick start."""

from __future__ import annotations

import re
from pathlib import Path

from mcp_transport import bootstrap, checks, conf, deploy_checks, settings_table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

Block = tuple[str, str]


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks as (language, content)."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)


def blocks(text: str, language: str = "python") -> list[str]:
    """Return the contents of the fenced blocks in a language."""
    return [content for found, content in blocks_of(text) if found == language]


def readme_quick_start() -> list[Block]:
    text = (ROOT / "README.md").read_text()
    [section] = re.findall(r"^## Quick start\n(.*?)^## ", text, re.M | re.S)
    return blocks_of(section)


def table(page: str, first: str) -> list[list[str]]:
    """Return the rows of the table whose first heading is `first`, cells without the backticks around them."""
    text = (DOCS / page).read_text()
    [rows] = re.findall(rf"^\| {first} \|.*\n\|[-|: ]+\n((?:\|.*\n?)+)", text, re.M)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows.splitlines()]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in cells]


def check_ids() -> set[str]:
    modules = (checks, deploy_checks, conf, settings_table, bootstrap)
    sources = "".join(Path(str(module.__file__)).read_text() for module in modules)
    return set(re.findall(r'"(mcp_transport\.[EW]\d{3})"', sources))
