"""What is built for users has all files of the package, nothing else, and valid metadata."""

from __future__ import annotations

import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.metadata import Metadata

import mcp_transport
from tests.support.requirements import PROJECT, ROOT

pytestmark = pytest.mark.slow

PACKAGE = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "mcp_transport").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Metadata:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Metadata.from_email(archive.read(name), validate=True)


def test_the_wheel_has_each_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == PACKAGE


@pytest.mark.parametrize(
    "suffix", [".py", ".typed", ".html", ".js", ".css", ".po", ".mo", ".lua", ".yaml", ".service", ".cfg"]
)
def test_the_package_has_files_of_each_kind(suffix: str) -> None:
    assert [name for name in PACKAGE if name.endswith(suffix)]


def test_the_source_distribution_has_the_package_and_what_is_said_about_it(distributions: Path) -> None:
    [source] = distributions.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    texts = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"}
    assert names == PACKAGE | texts | {".gitignore", "PKG-INFO"}


def test_the_metadata_is_valid_and_says_what_pyproject_says(metadata: Metadata) -> None:
    assert metadata.name == PROJECT["name"]
    assert str(metadata.version) == mcp_transport.__version__
    assert str(metadata.requires_python) == PROJECT["requires-python"]
    assert metadata.license_expression == PROJECT["license"]
    assert metadata.license_files == PROJECT["license-files"]
    assert metadata.classifiers == PROJECT["classifiers"]
    assert set(metadata.provides_extra or []) == set(PROJECT["optional-dependencies"])
    assert metadata.description == (ROOT / "README.md").read_text()
