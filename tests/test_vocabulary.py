"""The identifiers of the package: the field's terms, which a newcomer can search for, and no words of our own."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from functools import cache
from pathlib import Path

import mcp_transport

PACKAGE = Path(mcp_transport.__file__).parent

# Participles and metaphors in place of a term: `found` is a match or a session, `told` was sent or reported.
REFUSED = {
    *("asked", "ask", "asks", "asker", "asking", "seen", "found", "told", "tell", "tells", "heard", "hear", "hears"),
    *(
        "kept",
        "wanted",
        "made",
        "given",
        "known",
        "said",
        "gone",
        "came",
        "begun",
        "born",
        "meant",
        "taken",
        "brought",
    ),
    *("thought", "word", "words", "news", "patience", "goodbye", "farewell", "hasten", "hasty", "insist", "insists"),
    *("soon", "glance", "visit", "visits", "guest", "guests", "happening", "happenings", "lately", "few", "most"),
    *(
        "longest",
        "nobody",
        "somebody",
        "anybody",
        "doubt",
        "doubted",
        "booked",
        "books",
        "tally",
        "tallies",
        "traits",
    ),
    *("facts", "outlet", "outlets", "flight", "flights", "inquiry", "inquiries", "recall", "recalled", "let", "lets"),
    *("grace", "stride", "portion", "linger", "behind"),
}

# Identifiers with such a word, and why they have it.
ALLOWED = {
    **dict.fromkeys(("in_flight", "_in_flight", "InFlightRequest", "_in_flight_request"), "in-flight is the term"),
    **dict.fromkeys(("max_bytes_in_flight", "max_bytes_in_flight_per_caller"), "in-flight is the term"),
    **dict.fromkeys(
        ("SingleFlight", "_single_flight"), "single-flight is the term for concurrent calls that share one"
    ),
    **dict.fromkeys(("last_seen", "_last_seen"), "a field that stores, the REST API and its orders name so"),
    **dict.fromkeys(
        ("session_not_found", "METHOD_NOT_FOUND", "RESOURCE_NOT_FOUND"), "errors of HTTP, JSON-RPC and MCP"
    ),
    **dict.fromkeys(
        ("NotFound", "SessionNotFound", "HttpResponseNotFound"),
        "404, as Django and REST framework name it",
    ),
    **dict.fromkeys(("WELL_KNOWN", "well_known"), "RFC 8615: /.well-known/; a project includes this module"),
    "TAKEN_OVER": "take-over is the term; the log line has it",
    **dict.fromkeys(("wait_for_grace", "_grace_until", "grace_left"), "a grace period is the term"),
    "GIVEN_UP": "an ending that stores and operators' output name so",
    "Doubted": "a node message: its name is stored, and nodes of two releases run side by side",
    "asker": "a field of a node message, which is stored",
    "call_soon": "asyncio",
    "call_soon_threadsafe": "asyncio",
    "most_common": "collections.Counter",
    "origin_found_in_white_lists": "django-cors-headers",
    "ExtensionNotFound": "cryptography",
}


@cache
def identifiers() -> dict[str, str]:
    """Return the identifiers of the package, each with one of its files."""
    names: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                names[token.string] = str(path.relative_to(PACKAGE))
    return names


def words_of(identifier: str) -> set[str]:
    """Split snake_case and CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def test_identifiers_are_split_into_words() -> None:
    assert words_of("last_seen") == {"last", "seen"}
    assert words_of("_HTTPClient2") == {"http", "client"}
    assert words_of("SSEStream") == {"sse", "stream"}


def test_identifiers_use_the_terms_of_the_field() -> None:
    refused = {name: file for name, file in identifiers().items() if words_of(name) & REFUSED}
    assert not {name: file for name, file in refused.items() if name not in ALLOWED}


def test_each_exception_is_needed() -> None:
    assert set(ALLOWED) <= set(identifiers())
    assert all(words_of(name) & REFUSED and reason for name, reason in ALLOWED.items())
