"""What the projects and their tests agree on."""

from __future__ import annotations

from typing import Final

SEED: Final = "seed"
"""The name of the one group that every database has from the beginning."""

USER: Final = "ann"
"""The one user."""

FAULT: Final = "what only the log may say"
REFUSAL: Final = "what the model may read"
