"""The era of a body: the table "Era detection for a dual-era endpoint", line by line, and servers of one era."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.headers import Headers
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Notification, Request, Response
from mcp_transport.protocol.request_checks import (
    ClassifiedPost,
    IgnoredPost,
    InitializePost,
    SessionlessPost,
    SessionPost,
    check_before_authentication,
    classify,
)

NEW = "2026-07-28"
DUAL = Policy(max_batch=3)
OLD_ONLY = Policy(versions=("2025-03-26", "2025-06-18", "2025-11-25"))
NEW_ONLY = Policy(versions=(NEW,))
CLAIM = "io.modelcontextprotocol/protocolVersion"
MODERN_CODES = {-32020, -32021, -32022}


def request(method: str, claim: Any = None, *, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    members = {**params, **({} if claim is None else {"_meta": {CLAIM: claim}})}
    return {"jsonrpc": "2.0", "id": request_id, "method": method, **({"params": members} if members else {})}


def note(method: str = "notifications/initialized", **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **members}


RESPONSE = {"jsonrpc": "2.0", "id": 1, "result": {}}


def judge(body: object, version: str | None = None, policy: Policy = DUAL, **headers: str) -> ClassifiedPost:
    lines = [(name.replace("_", "-"), line) for name, line in headers.items()]
    if version is not None:
        lines.append(("MCP-Protocol-Version", version))
    return classify(HTTPRequest(method="POST", headers=Headers(lines)), body, policy)


def refusal(body: object, version: str | None = None, policy: Policy = DUAL) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        judge(body, version, policy)
    assert caught.value.status == 400
    return caught.value


# -- line 2: a claim decides, whatever the method ----------------------------------------------------


@pytest.mark.parametrize("version", [None, NEW, "2025-11-25", "2099-01-01", ""])
@pytest.mark.parametrize(
    "method", ["tools/call", "server/discover", "initialize", "ping", "logging/setLevel", "resources/subscribe", "x"]
)
def test_a_claim_in_meta_makes_a_request_sessionless_whatever_its_method_and_header(
    method: str, version: str | None
) -> None:
    work = judge(request(method, NEW), version)
    assert isinstance(work, SessionlessPost)
    assert work.request.method == method


@pytest.mark.parametrize("claim", ["2025-11-25", "2099-01-01", "", 5, True, [], {}])
def test_a_malformed_or_unknown_claim_never_falls_back_to_a_session(claim: object) -> None:
    assert isinstance(judge(request("tools/list", claim)), SessionlessPost)


def test_a_claim_of_null_is_a_claim() -> None:
    body = {**request("tools/list"), "params": {"_meta": {CLAIM: None}}}
    assert isinstance(judge(body), SessionlessPost)


# -- line 3: initialize without a claim --------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "2025-03-26", "2025-11-25", "2099-01-01"])
@pytest.mark.parametrize("params", [{}, {"protocolVersion": NEW}, {"_meta": {}}, {"_meta": {"progressToken": 1}}])
def test_initialize_without_a_claim_opens_a_session(params: dict[str, Any], version: str | None) -> None:
    work = judge(request("initialize", **params), version)
    assert isinstance(work, InitializePost)
    assert work.request.id == 1


def test_initialize_under_a_header_of_2026_07_28_is_a_header_mismatch() -> None:
    assert refusal(request("initialize"), NEW).code == -32020


# -- line 4: only the header claims ------------------------------------------------------------------


@pytest.mark.parametrize("meta", [None, {}, {"progressToken": 1}, [], "x", 5])
def test_a_request_whose_header_alone_names_2026_07_28_lacks_its_meta(meta: object) -> None:
    body = request("tools/list") if meta is None else {**request("tools/list"), "params": {"_meta": meta}}
    error = refusal(body, NEW)
    assert error.code == -32602
    assert CLAIM in error.message


def test_under_that_header_notifications_are_dropped_and_responses_and_arrays_refused() -> None:
    assert judge(note("notifications/cancelled", params={"requestId": 1}), NEW) == IgnoredPost()
    assert judge({**note(), "params": []}, NEW) == IgnoredPost()
    assert refusal(RESPONSE, NEW).code == -32600
    assert refusal([request("ping")], NEW).code == -32600
    assert refusal([], NEW).code == -32600


@pytest.mark.parametrize(
    "body", [5, None, {}, {"jsonrpc": "2.0", "id": None, "method": "x"}, {**request("ping"), "params": []}]
)
def test_the_shape_is_judged_before_the_era(body: object) -> None:
    assert refusal(body, NEW).code == -32600


def test_a_bad_id_is_judged_before_the_claim() -> None:
    assert refusal(request("tools/list", NEW, request_id=1.5), NEW).code == -32600


# -- line 5: everything else -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version", [None, "2025-03-26", "2025-06-18", "2025-11-25", "2099-01-01", "", "2026-07-28 x"]
)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (request("tools/list"), Request),
        (request("server/discover"), Request),
        (note(), Notification),
        (RESPONSE, Response),
    ],
)
def test_everything_else_belongs_to_a_session(body: object, kind: type, version: str | None) -> None:
    work = judge(body, version)
    assert isinstance(work, SessionPost)
    assert [type(message) for message in work.messages] == [kind]
    assert work.batch is False


@pytest.mark.parametrize("meta", [[], "x", 5, {"protocolVersion": NEW}, {CLAIM.upper(): NEW}])
def test_a_meta_that_claims_nothing_belongs_to_a_session(meta: object) -> None:
    body = {**request("tools/list"), "params": {"_meta": meta}}
    assert isinstance(judge(body), SessionPost)


def test_a_claim_counts_in_a_notification_too_and_only_within_meta() -> None:
    assert isinstance(judge({**note(), "params": {"_meta": {CLAIM: NEW}}}), IgnoredPost)
    assert isinstance(judge(request("tools/list", **{CLAIM: NEW})), SessionPost)


# -- line 6: the session id of a sessionless request -------------------------------------------------


def test_a_sessionless_request_is_so_with_a_session_id_and_an_event_id() -> None:
    work = judge(request("tools/list", NEW), NEW, mcp_session_id="gone", last_event_id="g-1")
    assert isinstance(work, SessionlessPost)


# -- batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "2025-03-26"])
def test_an_array_is_a_batch_where_2025_03_26_may_be_spoken(version: str | None) -> None:
    work = judge([request("ping"), note()], version)
    assert isinstance(work, SessionPost)
    assert work.batch is True
    assert len(work.messages) == 2


def test_an_array_of_one_is_still_a_batch() -> None:
    work = judge([request("ping")])
    assert isinstance(work, SessionPost)
    assert work.batch is True


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25", NEW, "2099-01-01", ""])
def test_an_array_under_any_other_version_is_refused(version: str) -> None:
    error = refusal([request("ping")], version)
    assert (error.code, "single message" in error.message) == (-32600, True)


def test_an_array_is_refused_where_2025_03_26_is_switched_off() -> None:
    assert refusal([request("ping")], None, Policy(versions=("2025-11-25", NEW))).code == -32600


def test_the_rules_of_batches_hold() -> None:
    assert "initialize" in refusal([request("initialize")]).message
    assert "3 messages" in refusal([note()] * 4).message


# -- servers of one era ------------------------------------------------------------------------------

BODIES = [
    request("initialize", protocolVersion=NEW),
    request("initialize", NEW),
    request("tools/list"),
    request("tools/list", NEW),
    request("server/discover", NEW),
    note(),
    RESPONSE,
    [request("ping")],
    [],
    {},
]


@pytest.mark.parametrize("version", [None, "2025-11-25", NEW])
@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_a_server_of_sessions_answers_nobody_with_a_code_of_2026_07_28(body: object, version: str | None) -> None:
    # A probing client falls back to `initialize` on any code but these.
    try:
        work = judge(body, version, OLD_ONLY)
    except ProtocolError as error:
        assert (error.status, error.code) == (400, -32600)
    else:
        assert isinstance(work, InitializePost | SessionPost)


def test_a_server_of_sessions_says_how_to_begin_to_a_client_that_probes() -> None:
    error = refusal(request("server/discover", NEW), NEW, OLD_ONLY)
    assert error.code == -32600
    assert "initialize" in error.message


@pytest.mark.parametrize("version", [None, NEW, "2025-11-25"])
def test_a_server_of_sessions_opens_one_whatever_the_header_says(version: str | None) -> None:
    assert isinstance(judge(request("initialize"), version, OLD_ONLY), InitializePost)


def test_a_server_of_sessions_knows_no_header_mismatch() -> None:
    lines = [("host", "localhost"), ("mcp-protocol-version", NEW), ("mcp-name", "a"), ("mcp-name", "b")]
    with pytest.raises(ProtocolError) as caught:
        check_before_authentication(HTTPRequest(method="POST", headers=Headers(lines)), OLD_ONLY)
    assert caught.value.code == -32600


def test_a_sessionless_server_serves_claims_and_refuses_arrays() -> None:
    assert isinstance(judge(request("tools/list", NEW), NEW, NEW_ONLY), SessionlessPost)
    assert refusal([request("ping")], None, NEW_ONLY).code == -32600
    assert refusal(request("tools/list"), NEW, NEW_ONLY).code == -32602


@pytest.mark.parametrize(
    ("params", "requested"),
    [({"protocolVersion": "2025-11-25"}, "2025-11-25"), ({}, ""), ({"protocolVersion": 5}, "")],
)
@pytest.mark.parametrize("version", [None, "2025-11-25"])
def test_a_sessionless_server_names_its_versions_to_initialize(
    params: dict[str, Any], requested: str, version: str | None
) -> None:
    error = refusal(request("initialize", **params), version, NEW_ONLY)
    assert error.code == -32022
    assert error.data == {"supported": [NEW], "requested": requested}


@pytest.mark.parametrize("version", [None, NEW])
def test_a_sessionless_server_takes_notifications_and_no_responses(version: str | None) -> None:
    # Which headers a notification needs is undefined in 2026-07-28, so none is refused for lacking one.
    assert judge(note("notifications/cancelled", params={"requestId": 1}), version, NEW_ONLY) == IgnoredPost()
    assert refusal(RESPONSE, version, NEW_ONLY).code == -32600


@pytest.mark.parametrize("version", [None, NEW])
def test_to_a_sessionless_server_a_request_without_its_meta_has_invalid_params(version: str | None) -> None:
    assert refusal(request("tools/list"), version, NEW_ONLY).code == -32602


@given(
    st.sampled_from([None, NEW, "2025-03-26", "2025-11-25", "x"]),
    st.sampled_from([DUAL, OLD_ONLY, NEW_ONLY]),
    st.sampled_from(BODIES)
    | st.dictionaries(
        st.sampled_from(["jsonrpc", "id", "method", "params", "result"]), st.sampled_from(["2.0", {}, 1])
    ),
)
def test_every_body_is_work_or_the_peers_fault(version: str | None, policy: Policy, body: object) -> None:
    try:
        judge(body, version, policy)
    except ProtocolError as error:
        assert error.status == 400
        assert error.code in {-32600, -32602, *MODERN_CODES}
