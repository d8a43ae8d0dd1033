"""What a person does in a browser: log in at the authorization server, read what a client wants, agree."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult

from tests.auth.oauth import web
from tests.auth.oauth.accounts import PASSWORDS

REDIRECT_URI = "http://127.0.0.1/callback"
"""Nobody listens there: the browser reads where it is sent, and does not go."""


class Browser:
    """A user's browser, new each time it is opened; the SDK's client opens it and waits for what comes back."""

    def __init__(self, user: str) -> None:
        self._user = user
        self.prompts: list[dict[str, str]] = []
        """The parameters of each authorization request."""
        self._answer = ""

    async def open(self, url: str) -> None:
        """Log in, and agree to what the client at this URL asks for."""
        self.prompts.append(_query(url))
        async with web.client(follow_redirects=True) as http:
            login = await http.get(url)
            assert login.url.path == "/login/", (login.status_code, login.text)
            who = {"username": self._user, "password": PASSWORDS[self._user]}
            consent = await http.post(login.url, data={**_hidden(login), **who})
            assert consent.url.path == "/authorize/", (consent.status_code, consent.text)
            agreed = {**_hidden(consent), "allow": "Authorize"}
            answer = await http.post(consent.url, data=agreed, follow_redirects=False)
        assert answer.status_code == 302, answer.text
        self._answer = answer.headers["location"]

    async def come_back(self) -> AuthorizationCodeResult:
        """Return what the redirect carries."""
        assert self._answer.startswith(f"{REDIRECT_URI}?"), self._answer
        return AuthorizationCodeResult(**_query(self._answer))


def _query(url: str) -> dict[str, str]:
    """Return the parameters of a URL, each of which must be there once."""
    found = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


def _hidden(page: httpx2.Response) -> dict[str, str]:
    """Return the hidden fields of a page's form, its CSRF token among them."""
    assert page.status_code == 200, (page.status_code, page.text)
    reader = _Fields()
    reader.feed(page.text)
    return reader.found


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "input" and values.get("type") == "hidden":
            self.found[values["name"] or ""] = values.get("value") or ""
