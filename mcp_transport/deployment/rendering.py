"""Templates of emitted files: Django's language, nothing escaped, and nothing of the project's own engine."""

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
    filters.filter("quoted", json.dumps)  # a JSON string is one of YAML, too
    engine.template_builtins.append(filters)
    return engine


def render(template: str, deployment: Deployment, **more: Any) -> str:
    """Fill a template in, with `d` for the deployment; blank lines that tags leave behind are dropped."""
    text: str = (
        _engine().get_template(template).render(Context({"d": deployment, **more}, autoescape=False, use_l10n=False))
    )
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for at, line in enumerate(lines) if line or (at and lines[at - 1])]
    return "\n".join(kept).strip("\n") + "\n"
