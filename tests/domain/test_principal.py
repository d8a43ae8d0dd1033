from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.principal import ANONYMOUS, Principal

ISSUERS = st.text().filter(lambda text: "\n" not in text)
SUBJECTS = st.text(min_size=1)


def test_nobody_has_an_empty_binding() -> None:
    assert ANONYMOUS.binding == ""
    assert ANONYMOUS.user is None


@given(ISSUERS, SUBJECTS, ISSUERS, SUBJECTS)
def test_a_binding_names_issuer_and_subject_and_nobody_else(
    issuer: str, subject: str, other_issuer: str, other_subject: str
) -> None:
    one, other = Principal(issuer, subject), Principal(other_issuer, other_subject)
    assert one.binding
    assert (one.binding == other.binding) == ((issuer, subject) == (other_issuer, other_subject))


@pytest.mark.parametrize(
    ("one", "other"), [(("a", "bc"), ("ab", "c")), (("", "ab"), ("ab", "")), (("a", "b"), ("b", "a"))]
)
def test_issuer_and_subject_do_not_run_together(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert Principal(*one).binding != Principal(*other).binding


def test_the_binding_does_not_depend_on_the_credential_or_the_user_object() -> None:
    assert Principal("django", "7", user=object(), name="ann").binding == Principal("django", "7").binding


def test_an_issuer_without_a_subject_is_nobody() -> None:
    assert Principal("https://auth.example.com", "").binding == ""


def test_a_binding_stands_for_its_principal_and_has_no_scopes() -> None:
    ann = Principal("https://auth.example.com", "7", name="ann", scopes={"read", "write"})
    assert Principal.from_binding(ann.binding, "ann") == Principal("https://auth.example.com", "7", name="ann")
    assert [ann.has_scopes({"read"}), ann.has_scopes({"admin"})] == [True, False]
    assert not Principal.from_binding(ann.binding).has_scopes({"read"})
    assert Principal("django", "7", scopes=None).has_scopes({"anything"}), "a login is not limited by scopes"


@pytest.mark.parametrize(
    ("address", "caller"),
    [("10.0.0.7", "10.0.0.7"), ("2001:db8::7", "2001:db8::/64"), ("::ffff:10.0.0.7", "10.0.0.7"), ("", "")],
)
def test_whoever_has_no_credentials_counts_by_network_and_everybody_else_by_them(address: str, caller: str) -> None:
    assert ANONYMOUS.caller(address) == caller
    assert Principal("issuer", "ann").caller(address) == "issuer\nann"
