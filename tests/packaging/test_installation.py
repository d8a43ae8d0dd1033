"""What users install works: the quick starts from the wheel, each extra, requirements.txt, and the extra `dev`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.packaging.command import Install, run
from tests.support.docs import Block, readme_quick_start
from tests.support.quick_start import Reader, tutorial
from tests.support.requirements import PROJECT, ROOT, RUN

pytestmark = pytest.mark.packaging

ENABLES: Mapping[str, Set[str]] = {
    "oauth": {"mcp_transport.auth.introspection"},
    "redis": {"mcp_transport.backends.redis"},
    "rest": {"mcp_transport.api", "mcp_transport.auth.drf"},
    "channels": {"mcp_transport.consumers", "mcp_transport.routing"},
    "metrics": set(),
    "otel": set(),
    "aws": set(),
}
"""The modules that cannot be imported without an extra, by the extra: packages with all that is in them."""

PROVIDES: Mapping[str, Set[str]] = {
    "oauth": {"jwt", "cachetools"},
    "redis": {"django_redis", "hiredis", "redis"},
    "rest": {"rest_framework"},
    "channels": {"channels", "daphne"},
    "metrics": {"prometheus_client"},
    "otel": {"opentelemetry.trace"},
    "aws": {"boto3"},
}
"""The libraries that an extra installs, by the names that they are imported by."""

TESTS_ONLY = {"mcp_transport.pytest_plugin"}

IMPORT_ALL = """
import importlib, pkgutil, sys, django
from django.conf import settings

apps = ["auth", "contenttypes", "sessions", "messages", "admin"]
own = ["mcp_transport", "mcp_transport.contrib.tokens", "mcp_transport.contrib.audit"]
settings.configure(INSTALLED_APPS=[*(f"django.contrib.{app}" for app in apps), *own], SECRET_KEY="k" * 50)
django.setup()

import mcp_transport

modules = pkgutil.walk_packages(mcp_transport.__path__, "mcp_transport.", onerror=lambda name: None)
for name in [*sys.argv[1:], *(module.name for module in modules)]:
    try:
        importlib.import_module(name)
    except Exception:
        print(name)
"""


@pytest.mark.parametrize("steps", [readme_quick_start, tutorial])
def test_the_quick_start_works_from_the_wheel(
    steps: Callable[[], list[Block]], wheel: Path, install: Install, tmp_path: Path
) -> None:
    text = "".join(content for _, content in steps())
    [line] = re.findall(r"pip install (.+?)(?:  #.*)?$", text, re.M)
    words = [str(wheel) if word == "django-mcp-transport" else word for word in line.split()]
    assert str(wheel) in words
    folder = tmp_path / "reader"
    folder.mkdir()
    with ExitStack() as stack:
        Reader(folder, stack, install(*words)).follow(steps())


@pytest.mark.parametrize("extra", ENABLES)
def test_an_extra_enables_its_modules_and_no_other_module_needs_it(extra: str, wheel: Path, install: Install) -> None:
    failed = fails_to_import(install(f"{wheel}[{extra}]"), PROVIDES[extra])
    needs_others = set().union(*(modules for other, modules in ENABLES.items() if other != extra)) | TESTS_ONLY
    assert {name for name in failed if not within(name, needs_others)} == set()
    assert needs_others <= failed, "a module that works without an extra is named as needing it"


def test_all_extras_can_be_installed_together(wheel: Path, install: Install) -> None:
    assert ENABLES.keys() == PROVIDES.keys() == PROJECT["optional-dependencies"].keys() - {"test", "dev"}
    assert fails_to_import(install(f"{wheel}[{','.join(ENABLES)}]"), set().union(*PROVIDES.values())) == TESTS_ONLY


def test_the_extra_dev_runs_tests_in_an_empty_environment(install: Install) -> None:
    python = install(f"{ROOT}[dev]")
    pytest = (python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "")
    assert " tests collected" in run(*pytest, "--collect-only", "tests", cwd=ROOT)
    some = ("tests/packaging/test_requirements.py", "tests/docs/test_docs.py", "tests/django/test_view.py")
    assert " passed" in run(*pytest, *some, cwd=ROOT)


def test_requirements_txt_runs_the_demonstration_project(install: Install) -> None:
    python = install("--requirements", str(ROOT / "requirements.txt"))
    run(python, "-B", "manage.py", "check", cwd=ROOT)
    libraries = set().union(*(PROVIDES[extra] for extra in RUN))
    run(python, "-c", f"import {', '.join(sorted(libraries))}")


def fails_to_import(python: Path, libraries: Set[str]) -> set[str]:
    """Import the libraries and each module of the package; return what cannot be imported."""
    return set(run(python, "-c", IMPORT_ALL, *sorted(libraries), cwd=python.parent).split())


def within(name: str, packages: Set[str]) -> bool:
    """Tell whether a module is one of these, or in one of these."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)
