"""What the streams of one caller may have in the logs."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.engine.log_quota import _MAX_CALLERS, LogQuota
from mcp_transport.exceptions import ProtocolError
from tests.support.calls import opened
from tests.support.client import send_sessionless, silent
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint
from tests.support.tools import Gate


def quota(clock: FakeClock, **changes: Any) -> LogQuota:
    return LogQuota(Policy(max_stored_bytes_per_caller=100, stream_keep=10.0, **changes), clock.now)


async def test_a_bucket_drains_in_the_time_that_logs_are_kept() -> None:
    clock = FakeClock()
    bucket = quota(clock)
    bucket.add("ann", 100)
    bucket.check("ann")
    bucket.add("ann", 20)
    assert bucket.exceeded == {"ann"}
    with pytest.raises(ProtocolError, match=r"more than 100 bytes in the logs .*: try again in 2 s") as refused:
        bucket.check("ann")
    assert (refused.value.status, refused.value.headers) == (429, (("Retry-After", "2"),))
    bucket.check("ben")
    await clock.advance(2.0)
    bucket.check("ann")
    assert bucket.exceeded == set()


def test_a_node_does_not_remember_callers_without_end() -> None:
    bucket = quota(FakeClock())
    for number in range(_MAX_CALLERS + 5):
        bucket.add(str(number), 200)
    assert len(bucket._buckets) == len(bucket.exceeded) == _MAX_CALLERS
    bucket.check("0")


async def test_a_caller_whose_streams_fill_the_logs_has_to_wait(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate
) -> None:
    endpoint = build_endpoint(max_stored_bytes_per_caller=1000, stream_keep=10.0)
    ann, ben = await opened(endpoint, "ann"), await opened(endpoint, "ben")
    answer = await silent(clock, gate.entered, ann.call("count", {"steps": 20}))
    gate.open.set()
    await answer.messages()
    refused = await ann.call("add", {"a": 1, "b": 2})
    assert refused.error_code == -32603
    assert refused.json["error"]["data"]["limit"] == "MAX_STORED_BYTES_PER_CALLER"
    assert int(refused.headers["retry-after"]) > 1
    assert (await ann.notify("notifications/roots/list_changed")).status == 202
    assert (await ben.call("add", {"a": 1, "b": 2})).json["result"]
    alone = {"name": "add", "arguments": {"a": 1, "b": 2}}
    assert (await send_sessionless(endpoint, "tools/call", alone, user="ann")).status == 200, "nothing is stored"
    await clock.advance(2 * float(refused.headers["retry-after"]))
    again = await ann.call("add", {"a": 1, "b": 2})
    assert "result" in again.json, again.json
