"""A request that announces a large body and sends none of it, to see whether anybody refuses it before it comes."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final
from urllib.parse import urlsplit

import httpx2

from mcp_transport.doctor.observations import Answer, DoctorOptions

__all__ = ["announce"]

ANNOUNCED: Final = 1024**3
"""Bytes; more than any limit that makes sense."""
_PATIENCE: Final = 3.0
_STATUS: Final = re.compile(rb"(HTTP/1\.[01]) ([1-5]\d\d)\b")


async def announce(asked: DoctorOptions) -> Answer:
    """Announce a body without credentials, and return what is answered while it does not come."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            line = await _first_line(asked)
    except TimeoutError:
        return Answer(fault=f"no answer within {_PATIENCE:g} s")
    except (OSError, ValueError) as error:
        return Answer(fault=type(error).__name__)
    if (found := _STATUS.match(line)) is None:
        return Answer(fault="the connection was closed")
    return Answer(status=int(found[2]), http=found[1].decode(), seconds=time.perf_counter() - began)


async def _first_line(asked: DoctorOptions) -> bytes:
    parts = urlsplit(asked.url)
    is_secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_secure else 80),
        ssl=httpx2.create_ssl_context(verify=not asked.insecure) if is_secure else None,
    )
    try:
        lines = (
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "User-Agent: mcp_doctor",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {ANNOUNCED}",
        )
        writer.write("\r\n".join([*lines, "\r\n"]).encode())
        return await reader.readline()
    finally:
        writer.transport.abort()
