"""What decoding makes of a JSON body: an estimate of its bytes in memory, before it is decoded."""

from __future__ import annotations

from typing import Final

__all__ = ["estimate_bytes"]

# Bytes that a value takes by the character that announces it: its object, its place in a list or dict. Measured with
# orjson on CPython 3.11; nothing that was tried takes more, and ordinary records take two thirds.
_BYTES: Final = ((b",", 80), (b":", 72), (b"{", 64), (b"[", 64))

# CPython stores each character of a string in as many bytes as the widest one needs (PEP 393).
_WIDEST: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
"""What begins a character beyond U+FFFF in UTF-8."""
_PAIRED: Final = (b"\\ud", b"\\uD")
"""What begins one that is written as two escapes."""


def estimate_bytes(body: bytes) -> int:
    """Return how many bytes a body takes, at most, together with what it is decoded to."""
    values = sum(body.count(character) * size for character, size in _BYTES)
    return len(body) * (1 + _width(body)) + values


def _width(body: bytes) -> int:
    """Return the bytes that a character may take."""
    if any(beginning in body for beginning in _WIDEST):
        return 4
    if b"\\" in body and b"\\u" in body:  # one character is found at once, two are not
        return 4 if any(beginning in body for beginning in _PAIRED) else 2
    return 1 if body.isascii() else 2
