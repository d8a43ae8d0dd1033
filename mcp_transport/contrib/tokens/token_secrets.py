"""The secrets of personal access tokens: how they are generated, recognized and stored."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

__all__ = ["HINT_LENGTH", "PREFIX", "digest", "generate_secret"]

PREFIX: Final = "mcp_"
"""The prefix of every secret, by which people and secret scanners recognize it."""

# 36 of the 256 random bits, so that the rest cannot be guessed.
HINT_LENGTH: Final = len(PREFIX) + 6


def generate_secret() -> str:
    """Return a new secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the digest that is stored in place of a secret, and indexed."""
    # Unlike a password hash neither salted nor slow: 256 random bits cannot be guessed.
    return hashlib.sha256(secret.encode()).hexdigest()
