"""HTTP requests with exact bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

BOTH = "application/json, text/event-stream"
HOST = ("Host", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request; header names and values are sent as they stand here, in Latin-1."""

    method: str = "POST"
    path: str = "/mcp"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()
    """The body in pieces, for `Transfer-Encoding: chunked`."""

    def adding(self, *lines: tuple[str, str]) -> Request:
        """Return the request with further header lines."""
        return replace(self, headers=(*self.headers, *lines))

    def without(self, name: str) -> Request:
        """Return the request without a header."""
        return replace(self, headers=tuple(line for line in self.headers if line[0].lower() != name.lower()))

    def setting(self, name: str, value: str) -> Request:
        """Return the request with one header changed."""
        return self.without(name).adding((name, value))

    def encoded(self) -> bytes:
        """Return the bytes of the request."""
        lines = [*self.headers]
        if self.chunks:
            lines.append(("Transfer-Encoding", "chunked"))
        elif self.body or self.method == "POST":
            lines.append(("Content-Length", str(len(self.body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        pieces = (b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*self.chunks, b""))
        body = b"".join(pieces) if self.chunks else self.body
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
