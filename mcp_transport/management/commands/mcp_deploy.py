"""`manage.py mcp_deploy`: write the files that deploy this project, or check that they are up to date."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import conf
from mcp_transport.deployment import TARGETS, Deployment, emit
from mcp_transport.deployment.values import Files

__all__ = ["Command"]


class Command(BaseCommand):
    """Emits what each target needs; the numbers come from the settings, so that no two files disagree."""

    help = "Write the files that deploy this project: " + ", ".join(TARGETS) + ", or all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", choices=[*TARGETS, "all"])
        parser.add_argument("-o", "--output", default="deploy", help="the folder to write to (default %(default)s)")
        parser.add_argument(
            "--check", action="store_true", help="write nothing; fail if the folder has anything else"
        )
        for item in fields(Deployment):
            if item.metadata:
                _add_option(parser, item)

    def handle(self, *args: Any, target: str, output: str, check: bool, **options: Any) -> None:
        names = list(TARGETS) if target == "all" else [target]
        for name, emitted in _emitted(names, options).items():
            files = {Path(output, name, path): text for path, text in emitted.items()}
            self._check(files, Path(output, name)) if check else self._write(files)

    def _write(self, files: dict[Path, str]) -> None:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.stdout.write(str(path))

    def _check(self, files: dict[Path, str], folder: Path) -> None:
        stale = [str(path) for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
        if stale:
            raise CommandError(f"Not up to date: {', '.join(stale)}. Emit again, without --check.")
        if strange := [str(path) for path in folder.rglob("*") if path.is_file() and path not in files]:
            raise CommandError(f"Not emitted: {', '.join(strange)}. Put files of your own elsewhere.")


def _add_option(parser: CommandParser, item: Any) -> None:
    name, rule = f"--{item.name.replace('_', '-')}", item.metadata
    kind: Any = int if item.type == "int" else str
    default = _defaults().get(item.name, item.default)
    if item.type == "bool":
        parser.add_argument(name, choices=["yes", "no"], default="yes" if default else "no", help=rule["help"])
    else:
        parser.add_argument(name, type=kind, default=default, help=f"{rule['help']} (default %(default)s)")


def _defaults() -> dict[str, Any]:
    """Return what the settings say of the project."""
    found: dict[str, Any] = {"settings_module": os.environ["DJANGO_SETTINGS_MODULE"]}
    if application := getattr(settings, "ASGI_APPLICATION", None):
        module, _, attribute = application.rpartition(".")
        found["application"] = f"{module}:{attribute}"
    if not (getattr(settings, "STATIC_ROOT", None) and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        found["static_files"] = False
    return found


def _emitted(names: list[str], options: dict[str, Any]) -> dict[str, Files]:
    """Return the files of each target. Raises: CommandError naming the option that is wrong."""
    given = {item.name: options[item.name] for item in fields(Deployment) if item.metadata}
    given |= {item.name: options[item.name] == "yes" for item in fields(Deployment) if item.type == "bool"}
    try:
        deployment = Deployment(policy=conf.policy(), **given)
        return {name: emit(name, deployment) for name in names}
    except ValueError as error:
        raise CommandError(str(error)) from error
