"""The keys in Redis as the documentation lists them."""

from __future__ import annotations

import re

from tests.support.docs import table


def documented() -> dict[str, str]:
    """Return the documented types, by key."""
    return {row[0]: row[1] for row in table("howto/redis.md", "Key")}


def key_pattern(name: str) -> re.Pattern[str]:
    """Return what a documented key looks like in Redis."""
    return re.compile(re.sub(r"(?<=[{:])(S|C|V|N|B)(?=[}:]|$)|<\w+>", lambda _: r"[^:{}]+", name).replace("{", r"\{"))
