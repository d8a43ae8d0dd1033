"""A TLS handshake, to read the protocol versions and the certificate."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import httpx2
from cryptography import x509

from mcp_transport.doctor.observations import TLS, DoctorOptions

__all__ = ["probe_tls"]

_TIMEOUT_SECONDS: Final = 10.0


async def probe_tls(options: DoctorOptions) -> TLS | None:
    """Return the handshake's result, also with an untrusted certificate; None if the URL has no TLS."""
    parts = urlsplit(options.url)
    if parts.scheme != "https":
        return None
    host, port = parts.hostname or "", parts.port or 443
    try:
        return await _handshake(host, port, httpx2.create_ssl_context())
    except ssl.SSLCertVerificationError as error:
        failure = error.verify_message
    except (OSError, TimeoutError) as error:
        return TLS(failure=f"{type(error).__name__}: {error}")
    try:
        return await _handshake(host, port, httpx2.create_ssl_context(verify=False), failure)
    except (OSError, TimeoutError):
        return TLS(failure=failure)


async def _handshake(host: str, port: int, ssl_context: ssl.SSLContext, failure: str = "") -> TLS:
    ssl_context.set_alpn_protocols(["h2", "http/1.1"])
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=ssl_context, server_hostname=host)
    ssl_object: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = x509.load_der_x509_certificate(ssl_object.getpeercert(binary_form=True) or b"")
    observed = TLS(
        version=ssl_object.version() or "",
        protocol=ssl_object.selected_alpn_protocol() or "",
        names=_names(certificate),
        expires=certificate.not_valid_after_utc.timestamp(),
        failure=failure,
    )
    writer.transport.abort()
    return observed


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
