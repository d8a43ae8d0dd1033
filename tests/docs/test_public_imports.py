"""What the documentation has users import: it works, and no release takes it away unnoticed."""

from __future__ import annotations

import ast
import importlib
from textwrap import dedent

import pytest

from tests.support.docs import DOCS, ROOT, blocks

# Names that a page has told users to import. A name leaves this list with a line in the changelog.
PUBLIC = {
    "mcp_transport": {"Batch", "CircuitBreaker", "Context", "Principal", "completion", "prompt", "resource", "tool"},
    "mcp_transport.adapters.aws_lambda": {"lambda_handler"},
    "mcp_transport.asgi": {"mount"},
    "mcp_transport.auth.authenticator": {"Authenticator"},
    "mcp_transport.auth.user": {"anonymous_user", "principal_of"},
    "mcp_transport.backends.base": {"Backend"},
    "mcp_transport.backends.contracts": {"SessionIndex"},
    "mcp_transport.backends.local": {"LocalBackend"},
    "mcp_transport.client": {"Client", "EndpointsUnavailable", "ResultUnknown", "SavedSession"},
    "mcp_transport.contrib.tokens.models": {"PersonalToken"},
    "mcp_transport.domain.session_query": {"EVERYTHING"},
    "mcp_transport.exceptions": {"BackendError", "InvalidCredentials", "MCPTransportError"},
    "mcp_transport.routing": {"websocket"},
    "mcp_transport.signals": {
        "AccessDenied",
        "SessionClosed",
        "SessionOpened",
        "ToolCalled",
        "access_denied",
        "tool_called",
    },
    "mcp_transport.test": {"MCPClient"},
    "mcp_transport.threads": {"in_thread"},
}


# What a project names in its settings and URLs (compatibility.md, "What is public").
MODULES = [
    *(f"mcp_transport.{name}" for name in ("urls", "health", "metrics", "well_known", "api.urls", "pytest_plugin")),
    *(f"mcp_transport.contrib.{name}.apps" for name in ("audit", "doctor", "tokens")),
]


@pytest.mark.parametrize("module", MODULES)
def test_public_modules_can_be_imported(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_can_be_imported(module: str) -> None:
    imported = importlib.import_module(module)
    assert {name for name in PUBLIC[module] if not hasattr(imported, name)} == set()


def test_imports_of_the_pages_are_public() -> None:
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    code = [dedent(block) for page in pages for block in blocks(page.read_text())]
    imports = [node for block in code for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    used = {(str(node.module), name.name) for node in imports for name in node.names}
    ours = {(module, name) for module, name in used if module.partition(".")[0] == "mcp_transport"}
    assert len(ours) > 15
    assert ours <= {(module, name) for module, names in PUBLIC.items() for name in names}
