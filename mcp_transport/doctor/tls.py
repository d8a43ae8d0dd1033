"""One TLS handshake, to see what is offered and whose certificate it is."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import httpx2
from cryptography import x509

from mcp_transport.doctor.observations import TLS, DoctorOptions

__all__ = ["shake_hands"]

_PATIENCE: Final = 10.0


async def shake_hands(asked: DoctorOptions) -> TLS | None:
    """Look at the certificate, trusted or not; None where the URL speaks no TLS."""
    parts = urlsplit(asked.url)
    if parts.scheme != "https":
        return None
    host, port = parts.hostname or "", parts.port or 443
    fault = ""
    try:
        return await _handshake(host, port, httpx2.create_ssl_context())
    except ssl.SSLCertVerificationError as error:
        fault = error.verify_message
    except (OSError, TimeoutError) as error:
        return TLS(fault=f"{type(error).__name__}: {error}")
    try:
        return await _handshake(host, port, httpx2.create_ssl_context(verify=False), fault)
    except (OSError, TimeoutError):
        return TLS(fault=fault)


async def _handshake(host: str, port: int, trusted: ssl.SSLContext, fault: str = "") -> TLS:
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    async with asyncio.timeout(_PATIENCE):
        _, writer = await asyncio.open_connection(host, port, ssl=trusted, server_hostname=host)
    line: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = x509.load_der_x509_certificate(line.getpeercert(binary_form=True) or b"")
    seen = TLS(
        version=line.version() or "",
        protocol=line.selected_alpn_protocol() or "",
        names=_names(certificate),
        expires=certificate.not_valid_after_utc.timestamp(),
        fault=fault,
    )
    writer.transport.abort()
    return seen


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )
