"""Publish a load run: results and plots into docs/explanation/performance/load/, tables into the page on load."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

from tests.bench.overload.tables import TABLES, Content
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "explanation" / "load.md"
FIGURES = ROOT / "docs" / "explanation" / "performance" / "load"
"""Where the published results and the plots are."""


def main() -> None:
    """Publish the results of a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overload.report", description=__doc__)
    parser.add_argument("results", type=Path, help="the folder with results.json")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where results and plots go")
    options = parser.parse_args()
    content = json.loads((options.results / "results.json").read_text())
    publish(content, options.results, options.figures)
    if PAGE.exists():
        PAGE.write_text(filled(PAGE.read_text(), content))


def publish(content: Content, results: Path, figures: Path) -> None:
    """Copy the results, and draw the plots beside them."""
    from tests.bench.overload.plots import draw  # matplotlib, which nothing else needs

    figures.mkdir(parents=True, exist_ok=True)
    if results.resolve() != figures.resolve():
        shutil.copy(results / "results.json", figures)
    draw(content, figures)


def filled(page: str, content: Content) -> str:
    """Return a page with those tables made anew that it has places for: `<!-- load: bounds -->` to `<!-- end -->`."""
    for name, build in TABLES.items():
        marked = re.compile(rf"(<!-- load: {name} -->\n).*?(<!-- end -->)", re.S)
        escaped = build(content).replace("\\", r"\\")
        page = marked.sub(rf"\1\n{escaped}\n\n\2", page)
    return page


if __name__ == "__main__":
    main()
