"""`manage.py mcp_deploy`: write the files that deploy this project, or check that they are up to date."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import fields
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import conf
from mcp_transport.deployment import TARGETS, Deployment, emit, preflight, project
from mcp_transport.deployment.checks import LOADS_PROJECT, NAMES_APPLICATION, advice, needs_preflight, remarks
from mcp_transport.deployment.options import Files
from mcp_transport.management.argument_types import whole_number

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
        parser.add_argument(
            "--no-preflight",
            action="store_true",
            help="do not load the project to see whether it works when deployed",
        )
        defaults = project.defaults()
        for item in fields(Deployment):
            if item.metadata:
                _add_option(parser, item, defaults.get(item.name, item.default))

    def handle(self, *args: Any, target: str, output: str, check: bool, no_preflight: bool, **options: Any) -> None:
        names = list(TARGETS) if target == "all" else [target]
        deployment, emitted = _emitted(names, options, Path(output))
        if check:
            for name, files in emitted.items():
                _check(files, Path(output, name))
            return
        advised = [] if no_preflight else _preflight(deployment, {*names})
        for files in emitted.values():
            self._write(files)
        for sentence in [*advised, *remarks(deployment, Path(output), {*names})]:
            self.stderr.write(f"Warning: {sentence}", self.style.WARNING)

    def _write(self, files: dict[Path, str]) -> None:
        for path, text in files.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise CommandError(f"--output: {error}") from error
            self.stdout.write(str(path))


def _check(files: dict[Path, str], folder: Path) -> None:
    stale = [str(path) for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    if stale:
        raise CommandError(f"Not up to date: {', '.join(stale)}. Emit again, without --check.")
    if strange := [str(path) for path in folder.rglob("*") if path.is_file() and path not in files]:
        raise CommandError(f"Not emitted: {', '.join(strange)}. Put files of your own elsewhere.")


def _add_option(parser: CommandParser, item: Any, default: Any) -> None:
    name, rule = f"--{item.name.replace('_', '-')}", item.metadata
    kind: Any = whole_number() if item.type == "int" else str
    if item.type == "bool":
        parser.add_argument(name, choices=["yes", "no"], default="yes" if default else "no", help=rule["help"])
    else:
        parser.add_argument(name, type=kind, default=default, help=f"{rule['help']} (default %(default)s)")


def _emitted(
    names: list[str], options: dict[str, Any], output: Path
) -> tuple[Deployment, dict[str, dict[Path, str]]]:
    """Return the deployment, and the files of each target. Raises: CommandError naming the option that is wrong."""
    given = {item.name: options[item.name] for item in fields(Deployment) if item.metadata}
    given |= {item.name: options[item.name] == "yes" for item in fields(Deployment) if item.type == "bool"}
    if project.is_inside(output):
        given["folder"] = project.folder_of(output)
    try:
        deployment = Deployment(policy=conf.policy(), **given)
        files = {name: emit(name, deployment) for name in names}
    except ValueError as error:
        raise CommandError(str(error)) from error
    return deployment, {name: _placed(files[name], output / name) for name in names}


def _placed(files: Files, folder: Path) -> dict[Path, str]:
    return {folder / path: text for path, text in files.items()}


def _preflight(deployment: Deployment, targets: Set[str]) -> list[str]:
    """Try the project as the files run it; return what is to be done. Raises: CommandError if it is not there."""
    if not needs_preflight(targets):
        return []
    module = deployment.settings_module
    if targets & LOADS_PROJECT and not project.exists(module):
        raise CommandError(f"--settings-module: {module} cannot be found; name the settings module of the project.")
    found = preflight.run(deployment)
    if found.application_fault and targets & NAMES_APPLICATION:
        raise CommandError(
            f"--application: {deployment.application} cannot be served ({found.application_fault}); "
            "name the ASGI application of the project, as in --application shop.asgi:application, or write "
            f"{project.usual_application(module)}, as startproject does."
        )
    return advice(deployment, found, targets)
