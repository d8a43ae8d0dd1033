"""Session ids: what they carry, how long they are, and that nobody can make one up."""

from __future__ import annotations

import base64
import random
import string
import zlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_transport.domain.session import Session, session_key
from mcp_transport.engine import session_id as module
from mcp_transport.engine.session_id import seal, unseal
from mcp_transport.protocol.headers import MAX_SESSION_ID
from mcp_transport.protocol.versions import REVISIONS, sessionful

NEW, OLD, FOREIGN = (letter.encode() * 32 for letter in "nof")
ANN, BOB = "issuer\nann", "issuer\nbob"
NOW, ENDS = 1_763_800_100.0, 1_764_404_800.0
BASE64URL = string.ascii_letters + string.digits + "-_"

EDITOR = {
    "name": "editor",
    "title": "The Editor",
    "version": "1.106.0",
    "websiteUrl": "https://editor.example",
    "icons": [{"src": "https://editor.example/assets/icon.png", "mimeType": "image/png", "sizes": ["48x48"]}],
}
EVERYTHING = {
    "roots": {"listChanged": True},
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}}},
    "experimental": {"flag": {"on": True}},
    "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}},
}
SESSION = Session(
    key="",
    protocol_version="2025-06-18",
    principal=ANN,
    client_info=EDITOR,
    capabilities=EVERYTHING,
    created=1_763_800_000.75,
    ends=ENDS + 0.75,
)


def noise(length: int, seed: int = 1) -> str:
    """Return text that cannot be compressed to much less than three quarters of itself."""
    return "".join(random.Random(seed).choices(BASE64URL, k=length))  # noqa: S311


def reopened(session: Session) -> Session:
    """Return what a session's id says of it."""
    rebuilt = unseal(seal(session, [NEW]), [NEW], session.principal, NOW)
    assert rebuilt is not None
    return rebuilt


def sealed(content: bytes, key: bytes = NEW, label: bytes = module._LABEL) -> str:
    """Seal something that `seal` would not."""
    nonce = b"a nonce: 12."
    return "." + base64.urlsafe_b64encode(nonce + AESGCM(key).encrypt(nonce, content, label)).decode().rstrip("=")


def content_of(state: bytes, *, ends: int = int(ENDS)) -> bytes:
    deflating = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return module._HEADER.pack(0, ends, module._digest(ANN)) + deflating.compress(state) + deflating.flush()


# -- what comes back -------------------------------------------------------------------------------------


def test_session_is_rebuilt_from_its_id_alone() -> None:
    session_id = seal(SESSION, [NEW])
    assert unseal(session_id, [NEW], ANN, NOW) == Session(
        key=session_key(session_id),
        protocol_version="2025-06-18",
        principal=ANN,
        client_info=EDITOR,
        capabilities=EVERYTHING,
        initialized=True,
        created=1_763_800_000.0,
        last_seen=NOW,
        ends=ENDS,
    )


def test_home_region_comes_back() -> None:
    assert reopened(SESSION).region == ""
    assert reopened(replace(SESSION, region="ap-southeast-1")).region == "ap-southeast-1"


def test_each_revision_with_sessions_comes_back() -> None:
    for version in sessionful(tuple(REVISIONS)):
        assert reopened(replace(SESSION, protocol_version=version)).protocol_version == version


def test_anonymous_session_comes_back_to_the_anonymous_alone() -> None:
    session_id = seal(replace(SESSION, principal=""), [NEW])
    assert unseal(session_id, [NEW], "", NOW) is not None
    assert unseal(session_id, [NEW], ANN, NOW) is None


def test_another_principal_or_key_gets_nothing() -> None:
    session_id = seal(SESSION, [NEW])
    assert unseal(session_id, [NEW], BOB, NOW) is None
    assert unseal(session_id, [NEW], "", NOW) is None
    assert unseal(seal(SESSION, [FOREIGN]), [NEW, OLD], ANN, NOW) is None


@pytest.mark.parametrize(("now", "lives"), [(0.0, True), (ENDS - 0.01, True), (ENDS, False), (ENDS + 0.5, False)])
def test_nothing_lives_past_its_end(now: float, lives: bool) -> None:
    assert (unseal(seal(SESSION, [NEW]), [NEW], ANN, now) is not None) is lives


def test_end_beyond_all_times_can_be_written() -> None:
    rebuilt = reopened(replace(SESSION, created=-5.0, ends=float("inf")))
    assert (rebuilt.created, rebuilt.ends) == (0.0, 2.0**63)


# -- keys ------------------------------------------------------------------------------------------------


def test_first_key_seals_and_all_open() -> None:
    before, after = seal(SESSION, [OLD]), seal(SESSION, [NEW, OLD])
    assert unseal(before, [NEW, OLD], ANN, NOW) is not None
    assert unseal(after, [NEW], ANN, NOW) is not None
    assert unseal(after, [OLD], ANN, NOW) is None


def test_without_keys_ids_are_random_and_nothing_is_rebuilt() -> None:
    assert not seal(SESSION, []).startswith(".")
    assert unseal(seal(SESSION, [NEW]), [], ANN, NOW) is None


def test_same_session_never_gets_the_same_id() -> None:
    assert len({seal(SESSION, [NEW]) for _ in range(100)}) == 100
    assert len({seal(SESSION, []) for _ in range(100)}) == 100


def test_key_serves_no_other_purpose() -> None:
    state = content_of(b'["2025-11-25",{},{}]')
    assert unseal(sealed(state), [NEW], ANN, NOW) is not None
    assert unseal(sealed(state, label=b"something else"), [NEW], ANN, NOW) is None


# -- how much fits ---------------------------------------------------------------------------------------


def test_id_says_nothing_of_what_it_carries() -> None:
    session_id = seal(SESSION, [NEW])
    raw = base64.urlsafe_b64decode(session_id[1:] + "==")
    assert not any(word in raw for word in (b"editor", b"ann", b"2025", b"roots", module._digest(ANN)))


def test_what_people_read_is_left_out_first() -> None:
    icon = f"data:image/png;base64,{noise(400)}"
    capabilities = {**EVERYTHING, "vendor": {"small": True}}
    rebuilt = reopened(replace(SESSION, client_info={**EDITOR, "icons": [{"src": icon}]}, capabilities=capabilities))
    assert rebuilt.client_info == {"name": "editor", "version": "1.106.0"}
    assert rebuilt.capabilities == capabilities


def test_long_names_are_cut() -> None:
    name, version = noise(500), noise(300, seed=2)
    rebuilt = reopened(replace(SESSION, client_info={"name": name, "version": version}, capabilities={"roots": {}}))
    assert rebuilt.client_info == {"name": name[:100], "version": version[:100]}
    assert rebuilt.capabilities == {"roots": {}}


def test_what_decides_nothing_is_left_out_next() -> None:
    bulky = {"of": {"no": noise(400)}}
    needed = {**EVERYTHING, "experimental": {"flag": {"on": True}}}
    rebuilt = reopened(
        replace(SESSION, capabilities={**needed, "vendor": bulky, "experimental": {"flag": {"on": True}, "x": bulky}})
    )
    assert rebuilt.capabilities == needed


def test_extensions_that_are_no_mapping_are_left_out() -> None:
    capabilities: dict[str, Any] = {"roots": {}, "experimental": noise(400), "extensions": None}
    rebuilt = reopened(replace(SESSION, capabilities=capabilities))
    assert rebuilt.capabilities == {"roots": {}}


def test_client_that_could_be_asked_less_is_not_rebuilt_at_all() -> None:
    session_id = seal(
        replace(SESSION, capabilities={"roots": {}, "elicitation": {"url": {"only": noise(600)}}}), [NEW]
    )
    assert len(session_id) == 43 and set(session_id) <= set(BASE64URL)
    assert unseal(session_id, [NEW], ANN, NOW) is None


def test_what_compresses_well_is_sealed_no_longer_than_it_may_be_opened() -> None:
    fits = {"roots": {"pad": "a" * (16 * 1024 - 200)}}
    rebuilt = reopened(replace(SESSION, capabilities=fits))
    assert rebuilt.capabilities == fits
    assert not seal(replace(SESSION, capabilities={"roots": {"pad": "a" * 16 * 1024}}), [NEW]).startswith(".")


@pytest.mark.parametrize("odd", [2**64, object(), "\ud800", b"bytes"], ids=type)
def test_what_is_no_json_is_left_out(odd: Any) -> None:
    rebuilt = reopened(
        replace(SESSION, capabilities={"roots": {}, "vendor": odd, "experimental": {"x": odd, "y": 1}})
    )
    assert rebuilt.capabilities == {"roots": {}, "experimental": {"y": 1}}
    assert not seal(replace(SESSION, capabilities={"roots": odd}), [NEW]).startswith(".")


def test_longest_id_is_still_short_enough_and_one_more_byte_is_not_sealed() -> None:
    lengths = set()
    for size in range(60, 400):
        capabilities = {"roots": {"pad": noise(size)}}
        session_id = seal(replace(SESSION, client_info={}, capabilities=capabilities), [NEW])
        assert (unseal(session_id, [NEW], ANN, NOW) is not None) is session_id.startswith(".")
        lengths.add(len(session_id))
    assert max(lengths) == MAX_SESSION_ID == 511


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=30,
)
json_objects = st.dictionaries(
    st.sampled_from(["name", "version", "title", "roots", "sampling", "experimental", "extensions"]) | st.text(),
    json_values,
    max_size=8,
)
times = st.floats(allow_nan=False)


@settings(max_examples=20)
@given(json_objects, json_objects, times, times, st.text(st.characters(codec="utf-8")))
def test_every_id_is_short_visible_and_opens_for_its_owner(
    client_info: dict[str, Any], capabilities: dict[str, Any], created: float, ends: float, principal: str
) -> None:
    session = replace(
        SESSION, client_info=client_info, capabilities=capabilities, created=created, principal=principal
    )
    session_id = seal(replace(session, ends=max(ends, 1.0)), [NEW])
    assert len(session_id) < 512
    assert all("!" <= character <= "~" for character in session_id)
    assert (unseal(session_id, [NEW], principal, 0.5) is not None) is session_id.startswith(".")


# -- what is not an id of ours ---------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=()), max_size=600))
@example("")
@example(".")
@example("." + "A" * 16)
@example("." + "A" * 17)
@example(".\N{SNOWMAN}")
@example(".\ud800")
@example("A" * 43)
def test_garbage_opens_nothing(text: str) -> None:
    assert unseal(text, [NEW, OLD], ANN, NOW) is None
    assert unseal("." + text, [NEW, OLD], ANN, NOW) is None


@given(st.binary(max_size=382))
def test_garbage_in_the_right_alphabet_opens_nothing(raw: bytes) -> None:
    text = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert unseal(f".{text}", [NEW, OLD], ANN, NOW) is None


def test_each_bit_counts() -> None:
    session_id = seal(replace(SESSION, client_info={}, capabilities={}), [NEW])
    raw = base64.urlsafe_b64decode(session_id[1:] + "=" * (-len(session_id[1:]) % 4))
    for position in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[position // 8] ^= 1 << position % 8
        text = base64.urlsafe_b64encode(flipped).decode().rstrip("=")
        assert unseal(f".{text}", [NEW], ANN, NOW) is None


def test_each_character_counts_and_there_is_one_spelling() -> None:
    for pad in range(4):  # whatever number of characters base64 would have to fill up with
        session_id = seal(replace(SESSION, client_info={}, capabilities={"roots": noise(pad)}), [NEW])
        for position in range(len(session_id)):
            for character in {*BASE64URL, *'.~+/= "\n\x00\xe9'} - {session_id[position]}:
                changed = session_id[:position] + character + session_id[position + 1 :]
                assert unseal(changed, [NEW], ANN, NOW) is None, (position, character)


@pytest.mark.parametrize("more", ["=", "==", "A", "\n", " ", ".", "-_", "\xe9"])
def test_nothing_may_be_added(more: str) -> None:
    for pad in range(4):
        session_id = seal(replace(SESSION, client_info={}, capabilities={"roots": noise(pad)}), [NEW])
        for position in range(len(session_id) + 1):
            changed = session_id[:position] + more + session_id[position:]
            assert unseal(changed, [NEW], ANN, NOW) is None, position


def test_nothing_may_be_cut_off_and_another_format_is_not_tried() -> None:
    session_id = seal(SESSION, [NEW])
    for position in range(len(session_id)):
        assert unseal(session_id[:position], [NEW], ANN, NOW) is None
        assert unseal(session_id[position + 1 :], [NEW], ANN, NOW) is None
    for mark in "~!*:A_-":  # another format is not tried
        assert unseal(mark + session_id[1:], [NEW], ANN, NOW) is None


def test_what_is_too_long_is_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(text: str) -> bytes:
        raise AssertionError(f"{len(text)} characters decoded")

    monkeypatch.setattr(module, "_decode", decode)
    assert unseal("." + "A" * 511, [NEW], ANN, NOW) is None
    assert unseal("." + "A" * 10_000_000, [NEW], ANN, NOW) is None
    assert unseal("A" * 43, [NEW], ANN, NOW) is None


def test_bomb_is_not_inflated() -> None:
    bomb = content_of(b'["2025-11-25",{},{"a":"' + b"a" * 200_000 + b'"}]')
    assert len(sealed(bomb)) <= MAX_SESSION_ID
    assert unseal(sealed(bomb), [NEW], ANN, NOW) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        content_of(b"")[:-2],
        content_of(b'["2025-11-25",{},{}]')[:-4],
        content_of(b'["2025-11-25",{},{},"eu","west"]'),
        content_of(b'["2025-11-25",{},{},7]'),
        content_of(b'["2025-11-25",{},{}]')[:32] + b"\xff\xff\xff",
        *(
            content_of(state)
            for state in (
                *(b"", b"{", b"1", b"{}", b"[]"),
                b'["2025-11-25",{}]',
                b'["2025-11-25",{},{},{}]',
                b'["2025-11-25",1,{}]',
                b'["2025-11-25",{},"ab"]',
                b'["2025-11-25",{},["a"]]',
                b'["2024-11-05",{},{}]',  # no longer, or not yet, a revision
                b'["2026-07-28",{},{}]',  # has no sessions
                b"[[],{},{}]",
                b"[null,{},{}]",
            )
        ),
    ],
)
def test_what_our_key_sealed_but_this_release_does_not_understand_opens_nothing(content: bytes) -> None:
    assert unseal(sealed(content), [NEW], ANN, NOW) is None
