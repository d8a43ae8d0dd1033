"""Templates of generated files: Django's template language without escaping, independent of the project's engine."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from django.template import Context, Engine, Library

from mcp_transport.deployment.options import Deployment

__all__ = ["render"]

_FOLDER = Path(__file__).parent / "templates"


@cache
def _engine() -> Engine:
    engine = Engine(dirs=[str(_FOLDER)], autoescape=False)
    filters = Library()
    filters.filter("quoted", json.dumps)  # a JSON string is also a YAML string
    engine.template_builtins.append(filters)
    return engine


def render(template: str, deployment: Deployment, **context: Any) -> str:
    """Render a template with the deployment as `d`; repeated blank lines, which tags leave, are removed."""
    variables = Context({"d": deployment, **context}, autoescape=False, use_l10n=False)
    text: str = _engine().get_template(template).render(variables)
    stripped = [line.rstrip() for line in text.splitlines()]
    lines = [line for at, line in enumerate(stripped) if line or (at and stripped[at - 1])]
    return "\n".join(lines).strip("\n") + "\n"
