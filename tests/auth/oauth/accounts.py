"""Whom the authorization server knows from the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASSWORDS: Final = {"ann": "the password of ann", "bob": "the password of bob"}


@dataclass(frozen=True)
class Account:
    """A confidential client."""

    client_id: str
    client_secret: str


# Its secret must be encoded before it is sent (RFC 6749, 2.3.1).
RESOURCE_SERVER: Final = Account("orders-server", "100% secret: the server's + ours")
ROBOT: Final = Account("robot", "the secret of the robot")
