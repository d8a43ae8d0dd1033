"""Write results into docs/explanation/performance.md: tables between markers, plots beside it."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from tests.bench.results import Results
from tests.bench.tables import TABLES
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"
FIGURES = PAGE.with_suffix("")
"""Where the published results and the plots are."""


def main() -> None:
    """Publish the results of a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.report", description=__doc__)
    parser.add_argument("results", type=Path, help="the folder with results.json")
    folder = parser.parse_args().results
    from tests.bench.plots import draw  # matplotlib, which nothing else needs

    FIGURES.mkdir(exist_ok=True)
    if folder.resolve() != FIGURES:
        shutil.copy(folder / "results.json", FIGURES)
    results = Results.read(FIGURES)
    PAGE.write_text(filled(PAGE.read_text(), results))
    draw(results, FIGURES)


def filled(page: str, results: Results) -> str:
    """Return the page with all its tables made anew."""
    for name, build in TABLES.items():
        marked = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.S)
        escaped = build(results).replace("\\", r"\\")
        page, found = marked.subn(rf"\1\n{escaped}\n\n\2", page)
        if found != 1:
            raise ValueError(f"the page has {found} places for the table {name!r}, not 1")
    return page


if __name__ == "__main__":
    main()
