"""A request that announces a large body and does not send it, to check whether it is refused before it is sent."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Final
from urllib.parse import urlsplit

import httpx2

from mcp_transport.doctor.observations import DoctorOptions, Response

__all__ = ["probe_body_limit"]

ANNOUNCED_BYTES: Final = 1024**3
"""More than any sensible limit."""
_TIMEOUT_SECONDS: Final = 3.0
_STATUS: Final = re.compile(rb"(HTTP/1\.[01]) ([1-5]\d\d)\b")


async def probe_body_limit(options: DoctorOptions) -> Response:
    """Announce a body without credentials, send none of it, and return the response."""
    started_at = time.perf_counter()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            status_line = await _status_line(options)
    except TimeoutError:
        return Response(failure=f"no answer within {_TIMEOUT_SECONDS:g} s")
    except (OSError, ValueError) as error:
        return Response(failure=type(error).__name__)
    if (match := _STATUS.match(status_line)) is None:
        return Response(failure="the connection was closed")
    return Response(status=int(match[2]), http=match[1].decode(), seconds=time.perf_counter() - started_at)


async def _status_line(options: DoctorOptions) -> bytes:
    parts = urlsplit(options.url)
    is_secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_secure else 80),
        ssl=httpx2.create_ssl_context(verify=not options.insecure) if is_secure else None,
    )
    try:
        lines = (
            f"POST {parts.path or '/'} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "User-Agent: mcp_doctor",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {ANNOUNCED_BYTES}",
        )
        writer.write("\r\n".join([*lines, "\r\n"]).encode())
        return await reader.readline()
    finally:
        writer.transport.abort()
