"""What the page on troubleshooting names exists: texts of the code, checks, findings, events and settings."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import mcp_transport
from mcp_transport import conf
from mcp_transport.engine.observer import ClusterEvent
from tests.support.docs import table

pytestmark = pytest.mark.slow

PACKAGE = Path(mcp_transport.__file__).parent
PAGE = Path(__file__).parents[2] / "docs/howto/troubleshooting.md"
TEXT = re.sub(r"\s+", " ", re.sub(r"^```.*?^```$", "", PAGE.read_text(), flags=re.M | re.S))

# Texts of others that the page names.
FOREIGN = {"Invalid Host header", "Invalid HTTP_HOST header", "Origin checking failed", "PoolTimeout"}


def written(node: ast.AST) -> str | None:
    """Return the text of a literal, with `...` for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[.\d]*[rsd]", "...", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(part) or "..." for part in node.values)
    return None


@cache
def texts() -> tuple[str, ...]:
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    docs = {id(node.body[0].value) for tree in trees for node in ast.walk(tree) if _has_docstring(node)}  # type: ignore[attr-defined]
    found = [written(node) for tree in trees for node in ast.walk(tree) if id(node) not in docs]
    return tuple(text for text in found if text)


def _has_docstring(node: ast.AST) -> bool:
    body = getattr(node, "body", None)
    return isinstance(body, list) and bool(body) and isinstance(body[0], ast.Expr)


def is_said(text: str) -> bool:
    """Tell whether the code says a text; on either side `...` stands for anything."""
    return any(_holds(said, text.split("...")) or _is_filled_in(said, text) for said in texts())


def _holds(said: str, parts: list[str]) -> bool:
    """Tell whether a text holds some parts in their order."""
    at = 0
    for part in parts:
        if (at := said.find(part, at)) < 0:
            return False
        at += len(part)
    return True


def _is_filled_in(template: str, text: str) -> bool:
    parts = template.split("...")
    if len("".join(parts)) < 12 or not _holds(text, parts):
        return False
    return re.fullmatch(".+".join(map(re.escape, parts)), text, re.S) is not None


def texts_of_the_page() -> set[str]:
    titles = re.findall(r"^###? (.*)$", PAGE.read_text(), re.M)
    quoted = {text for title in titles for text in re.findall(r"`([^`]+)`", title)}
    quoted |= set(re.findall(r"[Ll]og `([^`]+)`", TEXT))
    return quoted | {
        text for text in re.findall(r"`([^`]+)`", TEXT) if re.fullmatch(r"[A-Za-z]+( [\w.:]+,?){2,}", text)
    }


def test_texts_that_are_named_are_said() -> None:
    commands = r"(py-spy|redis-cli|manage\.py|proxy_|kill)"
    named = {text for text in texts_of_the_page() - FOREIGN if not re.match(commands, text)}
    assert not {text for text in named if not is_said(text)}


# Log lines of the table of failures that the code composes of several texts.
COMPOSED = {
    "the inbox of node ... failed",
    "the inbox of node ... works again",
    "... did not answer: OutOfMemoryError",
}


def test_log_lines_in_the_table_of_failures_are_said() -> None:
    page = PAGE.parents[1] / "explanation/sessions-and-streams.md"
    [rows] = re.findall(r"^\| What breaks .*\n(?:\|.*\n)+", page.read_text(), re.M)
    cells = [row.split(" | ")[2] for row in rows.splitlines()[2:]]
    lines = {text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if " " in text}
    assert len(lines) >= 8
    assert not {text for text in lines - COMPOSED if not is_said(text)}


def test_texts_are_found_and_others_are_not() -> None:
    assert len(texts_of_the_page()) >= 20
    assert is_said("session ... closed")
    assert not is_said("Session not found: it ended, or never was")
    assert not is_said("session ... left")


def test_findings_that_are_named_exist() -> None:
    sources = "".join(path.read_text() for path in (PACKAGE / "doctor").rglob("*.py"))
    known = set(re.findall(r'\b(?:ok|unknown|warning|problem|severity|Finding)\(\s*"([a-z-]+)"', sources))
    lists = re.findall(r"[Ff]indings? ((?:`[a-z-]+`(?:, | and )?)+)", TEXT)
    named = {name for names in lists for name in re.findall(r"`([a-z-]+)`", names)}
    assert len(named) >= 8
    assert named <= known


def test_events_that_are_named_exist() -> None:
    named = set(re.findall(r"[Ee]vent `(\w+)`", TEXT))
    assert len(named) >= 5
    assert named <= {event.name.lower() for event in ClusterEvent}
    assert named <= {row[0] for row in table("howto/metrics.md", "Event")}


def test_settings_that_are_named_exist() -> None:
    djangos = {"ALLOWED_HOSTS", "USE_X_FORWARDED_HOST", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "INSTALLED_APPS"}
    djangos |= {"CONN_MAX_AGE", "KEY_PREFIX", "SECURE_PROXY_SSL_HEADER"}
    djangos |= {"ASGI_APPLICATION", "DEBUG", "SECURE_SSL_REDIRECT"}
    options = {"USER_CLAIM"}
    named = set(re.findall(r"`([A-Z][A-Z_]{4,})`", TEXT))
    assert len(named) >= 15
    assert named <= set(conf.SETTINGS) | djangos | options
