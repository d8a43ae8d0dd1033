"""A certificate authority of a test's own, and one server's certificate by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _draft(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    draft = x509.CertificateBuilder(_name("test authority"), _name(subject), key.public_key())
    return draft.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + timedelta(1))


def make_certificates(directory: Path) -> tuple[str, str, str]:
    """Write `ca.crt`, `server.crt` and `server.key` for 127.0.0.1 and return their paths."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    identity = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    root = (
        _draft("test authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        .add_extension(identity, critical=False)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        _draft("127.0.0.1", server)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity), critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = [directory / name for name in ("ca.crt", "server.crt", "server.key")]
    pem = serialization.Encoding.PEM
    for path, content in zip(paths, (root.public_bytes(pem), leaf.public_bytes(pem), key), strict=True):
        path.write_bytes(content)
    ca, certificate, secret = (str(path) for path in paths)
    return ca, certificate, secret
