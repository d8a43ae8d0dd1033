"""The protected resource: its metadata (RFC 9728) and the challenges that refer to it (RFC 6750, 3)."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST

__all__ = ["WELL_KNOWN", "Resource"]

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The endpoint as an OAuth protected resource, for clients that need credentials."""

    url: str = ""
    """The canonical URL, to which tokens are bound (RFC 8707); empty if no tokens are issued for it."""
    name: str = ""
    documentation: str = ""
    authorization_servers: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    """The scopes that every request needs."""
    schemes: tuple[str, ...] = ("Bearer",)

    @property
    def has_metadata(self) -> bool:
        """Return whether there is metadata to publish."""
        return bool(self.url and self.authorization_servers)

    @property
    def metadata_url(self) -> str:
        """Return the URL of the metadata: the well-known path precedes the endpoint's path (RFC 9728, 3.1)."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"

    @property
    def metadata_paths(self) -> tuple[str, ...]:
        """Return the paths that clients try, in order (2025-11-25, authorization)."""
        return (f"{WELL_KNOWN}{urlsplit(self.url).path.rstrip('/')}", WELL_KNOWN)

    def metadata(self) -> dict[str, Any]:
        """Return the metadata document (RFC 9728, section 2)."""
        document = {
            "resource": self.url,
            "authorization_servers": list(self.authorization_servers),
            "scopes_supported": list(self.scopes),
            "bearer_methods_supported": ["header"],
            "resource_name": self.name,
            "resource_documentation": self.documentation,
        }
        return {name: value for name, value in document.items() if value}

    def unauthorized(self, *, refused: bool) -> ProtocolError:
        """Return the 401 for missing credentials, or for credentials that were `refused`."""
        message, error = "credentials are required: authenticate", ""
        if refused:
            message, error = "the credentials are not valid here: get new ones", "invalid_token"
        # One header: a framework that stores headers in a dict would keep only the last of several.
        challenges = ", ".join(self._challenge(scheme, error=error, scopes=self.scopes) for scheme in self.schemes)
        return ProtocolError(401, INVALID_REQUEST, message, headers=(("WWW-Authenticate", challenges),))

    def forbidden(self, needed: Set[str]) -> ProtocolError:
        """Return the 403 with all scopes that the operation needs (2025-11-25, authorization, "Scope Challenge")."""
        scopes = sorted({*self.scopes, *needed})
        challenge = self._challenge("Bearer", error="insufficient_scope", scopes=scopes)
        message = f"the credentials lack a scope: this needs {' '.join(scopes)}"
        return ProtocolError(403, INVALID_REQUEST, message, headers=(("WWW-Authenticate", challenge),))

    def _challenge(self, scheme: str, *, error: str, scopes: Iterable[str]) -> str:
        if scheme != "Bearer":
            return scheme
        values = {
            "error": error,
            "scope": " ".join(scopes),
            "resource_metadata": self.metadata_url if self.has_metadata else "",
        }
        parameters = ", ".join(f'{name}="{value}"' for name, value in values.items() if value)
        return f"{scheme} {parameters}" if parameters else scheme
