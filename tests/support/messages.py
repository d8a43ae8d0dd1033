"""Bring the catalogs of translations up to date with the sources, and compile them; `make messages` does.

What is new stays untranslated, and what has changed is marked as fuzzy: `tests/admin/test_languages.py` tells which.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import MissingProgramError

PACKAGE = Path(__file__).parents[2] / "mcp_transport"
CATALOG = "LC_MESSAGES/django.po"

# Neither lines nor the time: they would change with each edit.
_OPTIONS = ("--all", "--add-location=file", "--no-obsolete", "--no-wrap")
_TIME = re.compile(r'^"POT-Creation-Date:.*\n', re.M)


def catalogs(package: Path = PACKAGE) -> list[Path]:
    """Return the catalog of each language."""
    return sorted(package.glob(f"locale/*/{CATALOG}"))


def collect(package: Path) -> None:
    """Write the texts of the sources into the catalogs. Raises: MissingProgramError."""
    if not (shutil.which("xgettext") and shutil.which("msgfmt")):
        raise MissingProgramError("GNU gettext is not installed; on Debian and Ubuntu: apt-get install gettext")
    own = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    # Without -P, modules of the package would hide those of Python.
    command = [sys.executable, "-P", "-m", "django", "makemessages", "--verbosity=0", *_OPTIONS]
    subprocess.run(command, cwd=package, env=own, check=True)  # noqa: S603
    for catalog in catalogs(package):
        catalog.write_text(_TIME.sub("", catalog.read_text("utf-8")), "utf-8")


def compile_catalog(catalog: Path, into: Path) -> None:
    """Compile a catalog, and check its placeholders and its plurals."""
    command = ["msgfmt", "--check-format", "--check-domain", "--output-file", str(into), str(catalog)]
    subprocess.run(command, check=True)  # noqa: S603


if __name__ == "__main__":
    collect(PACKAGE)
    for catalog in catalogs():
        compile_catalog(catalog, catalog.with_suffix(".mo"))
