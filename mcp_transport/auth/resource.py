"""The protected resource: its metadata (RFC 9728) and the challenges that lead to it (RFC 6750, 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST

__all__ = ["WELL_KNOWN", "Resource", "is_audience"]

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What this endpoint says of itself to clients that have no right to use it yet."""

    url: str = ""
    """Its canonical URL, to which tokens are bound (RFC 8707); empty where nobody issues tokens for it."""
    name: str = ""
    documentation: str = ""
    authorization_servers: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    """What every request needs."""
    schemes: tuple[str, ...] = ("Bearer",)

    @property
    def has_metadata(self) -> bool:
        """Tell whether there is anything to discover."""
        return bool(self.url and self.authorization_servers)

    @property
    def metadata_url(self) -> str:
        """Return where the metadata is: the well-known path stands before the endpoint's own (RFC 9728, 3.1)."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"

    @property
    def metadata_paths(self) -> tuple[str, ...]:
        """Return the paths that clients try, in their order (2025-11-25, authorization)."""
        return (f"{WELL_KNOWN}{urlsplit(self.url).path.rstrip('/')}", WELL_KNOWN)

    def metadata(self) -> dict[str, Any]:
        """Return the document of RFC 9728, section 2."""
        document = {
            "resource": self.url,
            "authorization_servers": list(self.authorization_servers),
            "scopes_supported": list(self.scopes),
            "bearer_methods_supported": ["header"],
            "resource_name": self.name,
            "resource_documentation": self.documentation,
        }
        return {name: value for name, value in document.items() if value}

    def is_audience(self, audience: object) -> bool:
        """Tell whether a token's `aud` names this resource."""
        return is_audience(audience, self.url)

    def unauthorized(self, *, refused: bool) -> ProtocolError:
        """Build 401: without credentials, or with ones that were refused."""
        message = (
            "the credentials are not valid here: get new ones"
            if refused
            else "credentials are required: authenticate"
        )
        error = "invalid_token" if refused else ""
        # One line: a framework that keeps headers in a dictionary would keep the last of several.
        challenges = ", ".join(self._challenge(scheme, error=error, scopes=self.scopes) for scheme in self.schemes)
        return ProtocolError(401, INVALID_REQUEST, message, headers=(("WWW-Authenticate", challenges),))

    def forbidden(self, needed: Set[str]) -> ProtocolError:
        """Build 403 with every scope that the operation needs (2025-11-25, authorization, "Scope Challenge")."""
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
        given = ", ".join(f'{name}="{value}"' for name, value in values.items() if value)
        return f"{scheme} {given}" if given else scheme


def is_audience(audience: object, url: str) -> bool:
    """Tell whether a token's `aud` names a resource (RFC 7519, 4.1.3); a slash at its end makes no difference."""
    named = [audience] if isinstance(audience, str) else audience
    ours = url.rstrip("/")
    return (
        bool(ours)
        and isinstance(named, Sequence)
        and any(isinstance(item, str) and item.rstrip("/") == ours for item in named)
    )
