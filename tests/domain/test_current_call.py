"""The fields of the running call in log lines."""

from __future__ import annotations

import pytest

from mcp_transport.domain.current_call import CallLabel, label_fields, label_text, quote_detail
from mcp_transport.domain.principal import ANONYMOUS, Principal

ANN = Principal("django", "7", name="ann")


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (("K3V5QZT2ABCDEFGH", 7, ANN, "tools/call add"), "session=k3v5qzt2ab request=7 user=ann tool=add"),
        (("K3V5QZT2ABCDEFGH", "7", ANN, "tools/list"), "session=k3v5qzt2ab request='\"7\"' user=ann"),
        (("", 7, ANONYMOUS, "tools/call add"), "request=7 tool=add"),
        (("K3V5QZT2ABCDEFGH", None, ANONYMOUS, "notifications/x"), "session=k3v5qzt2ab"),
        (("", None, ANONYMOUS, "tools/call "), ""),
        (
            ("", "a\nb", Principal("i", "s", name="x user=root"), "tools/call \x1b[31m"),
            r"""request='"a\\nb"' user='x user=root' tool='\x1b[31m'""",
        ),
    ],
)
def test_what_clients_choose_is_quoted(label: CallLabel, text: str) -> None:
    assert label_text(label_fields(label)) == text


def test_a_long_value_is_cut() -> None:
    assert quote_detail("x" * 1000) == "x" * 80 + "..."
