"""A server with DynamoDB's API for tests, which other processes can use, too."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any, ClassVar

from tests.support.processes import LOOPBACK, Process

__all__ = ["REGION", "VARIABLES", "DynamoServer"]

REGION = "eu-west-1"

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""The environment in which botocore finds these credentials, and nothing of the machine's user."""


class DynamoServer(Process):
    """Moto's DynamoDB, in memory: a restart empties it."""

    role: ClassVar[str] = "dynamodb"

    @property
    def url(self) -> str:
        """The address for `ENDPOINT_URL`."""
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.dynamodb.serve", str(self.port)]

    def is_ready(self) -> bool:
        with suppress(OSError):
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            return True
        return False

    def setting(self, table: str) -> dict[str, Any]:
        """Return the setting DYNAMODB for a table."""
        return {"TABLE": table, "REGION": REGION, "ENDPOINT_URL": self.url}
