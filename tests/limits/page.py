"""The tables of `docs/reference/limits.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/limits.md"
HEADING = "| What | Limit | Setting | Answer |"
_UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


@dataclass(frozen=True)
class Row:
    """One limit as it is documented."""

    what: str
    limit: str
    setting: str
    answer: str

    @property
    def number(self) -> float:
        """The limit in bytes, characters, seconds or pieces."""
        number, unit = re.match(r"([\d.]+)(?: (\w+))?", self.limit).groups()  # type: ignore[union-attr]
        return float(number) * _UNITS.get(unit, 1)


def rows() -> list[Row]:
    """Return the rows of all tables with this heading."""
    found = []
    for table in PAGE.read_text().split(f"{HEADING}\n|---|---|---|---|\n")[1:]:
        for line in table.split("\n\n")[0].splitlines():
            what, limit, setting, answer = (cell.strip() for cell in line.strip("|").split("|"))
            found.append(Row(what, limit, setting.strip("`"), answer))
    return found
