"""`manage.py mcp_deploy`: generate the files that deploy this project, or check that they are up to date."""

from __future__ import annotations

import argparse
from collections.abc import Set
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mcp_transport import conf
from mcp_transport.deployment import TARGETS, Deployment, checks, folder, generate, preflight, project
from mcp_transport.deployment.forms import LIST
from mcp_transport.deployment.options import Files
from mcp_transport.management.argument_types import whole_number

__all__ = ["Command"]

# Folders that the tools of AWS write beside the generated files.
_BUILT: Final = frozenset({"build", "cdk.out", "node_modules"})

# Former names of options, still accepted.
_ALIASES: Final = {"min_replicas": "--nodes", "max_replicas": "--most-nodes"}


class Command(BaseCommand):
    """Generates the files of each target; their numbers come from the settings, so that all files agree."""

    help = "Generate the files that deploy this project: " + ", ".join(TARGETS) + ", or all of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", choices=[*TARGETS, "all"])
        parser.add_argument("-o", "--output", help="output folder (default deploy, in the project's folder)")
        parser.add_argument(
            "--check", action="store_true", help="write nothing; fail if the folder differs from the generated files"
        )
        parser.add_argument(
            "--no-preflight",
            action="store_true",
            help="do not load the project to check that it works with the generated files",
        )
        defaults = project.defaults()
        for item in fields(Deployment):
            if item.metadata:
                _add_option(parser, item, defaults.get(item.name, item.default))

    def handle(
        self, *args: Any, target: str, output: str | None, check: bool, no_preflight: bool, **options: Any
    ) -> None:
        names = list(TARGETS) if target == "all" else [target]
        place = Path(output) if output else project.default_output()
        deployment, generated = _render(names, options, place)
        if check:
            for name, files in generated.items():
                _check(files, place / folder(name))
            return
        warnings = [] if no_preflight else _preflight(deployment, {*names})
        for files in generated.values():
            self._write(files)
        for sentence in [*warnings, *checks.deployment_warnings(deployment, place, {*names})]:
            self.stderr.write(f"Warning: {sentence}", self.style.WARNING)

    def _write(self, files: dict[Path, str]) -> None:
        for path, text in files.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise CommandError(f"--output: {error}") from error
            self.stdout.write(str(path))


def _check(files: dict[Path, str], place: Path) -> None:
    stale = [str(path) for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    if stale:
        raise CommandError(f"Not up to date: {', '.join(stale)}. Run the command again without --check.")
    unexpected = [str(path) for path in place.rglob("*") if path.is_file() and path not in files]
    if unexpected := [path for path in unexpected if _BUILT.isdisjoint(Path(path).relative_to(place).parts)]:
        raise CommandError(f"Not generated: {', '.join(unexpected)}. Move your own files elsewhere.")


def _add_option(parser: CommandParser, item: Any, default: Any) -> None:
    name, rule = f"--{item.name.replace('_', '-')}", item.metadata
    kind: Any = whole_number() if item.type == "int" else str
    if item.type == LIST:
        parser.add_argument(name, action="append", default=[], help=rule["help"])
    elif item.type == "bool":
        parser.add_argument(name, choices=["yes", "no"], default="yes" if default else "no", help=rule["help"])
    else:
        parser.add_argument(name, type=kind, default=default, help=f"{rule['help']} (default %(default)s)")
    if alias := _ALIASES.get(item.name):
        parser.add_argument(alias, dest=item.name, type=kind, default=default, help=argparse.SUPPRESS)


def _render(names: list[str], options: dict[str, Any], output: Path) -> tuple[Deployment, dict[str, dict[Path, str]]]:
    """Return the deployment and the files of each target. Raises: CommandError naming the invalid option."""
    values = {item.name: options[item.name] for item in fields(Deployment) if item.metadata}
    values |= {item.name: options[item.name] == "yes" for item in fields(Deployment) if item.type == "bool"}
    values |= {item.name: tuple(options[item.name]) for item in fields(Deployment) if item.type == LIST}
    if project.is_inside(output):
        values["folder"] = project.relative_folder(output)
    try:
        deployment = Deployment(policy=conf.policy(), **values)
        files = {name: generate(name, deployment) for name in names}
    except ValueError as error:
        raise CommandError(str(error), returncode=2) from error
    return deployment, {name: _in_folder(files[name], output / folder(name)) for name in names}


def _in_folder(files: Files, place: Path) -> dict[Path, str]:
    return {place / path: text for path, text in files.items()}


def _preflight(deployment: Deployment, targets: Set[str]) -> list[str]:
    """Load the project as the generated files do; return warnings. Raises: CommandError if it cannot be found."""
    if not checks.needs_preflight(targets):
        return []
    module = deployment.settings_module
    if targets & checks.RUNS_PROJECT and not project.exists(module):
        raise CommandError(f"--settings-module: {module} cannot be found; set it to the project's settings module.")
    report = preflight.run(deployment)
    if report.application_error and targets & checks.STARTS_APPLICATION:
        raise CommandError(
            f"--application: {deployment.application} cannot be served ({report.application_error}); "
            "set it to the ASGI application of the project, such as shop.asgi:application, or create "
            f"{project.usual_application(module)} as startproject does."
        )
    return checks.project_warnings(deployment, report, targets)
