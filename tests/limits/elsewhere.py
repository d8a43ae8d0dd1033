"""Limits whose tests stand with what they limit: in no file twice, so the name of the test is enough to find it."""

from __future__ import annotations

from inspect import signature

from mcp_transport import context, signals
from mcp_transport.api.base import _MAX_BODY_BYTES
from mcp_transport.auth import http_client, introspection
from mcp_transport.backends.membership import _MAX_RETRY_SECONDS
from mcp_transport.contrib.audit.serialization import MAX_ARGUMENT_BYTES
from mcp_transport.domain.history import MAX_ARGUMENTS, MAX_ERROR, MAX_MESSAGE
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.stream_messages import MAX_MARKS
from mcp_transport.engine.admission import _SHARE_PER_CALLER
from mcp_transport.engine.expiry import _CHECK_INTERVAL_SECONDS
from mcp_transport.engine.memory_budget import _ANONYMOUS_SHARE
from mcp_transport.engine.refusals import NOTE_SECONDS
from mcp_transport.engine.request_body import _EXEMPT_BYTES
from mcp_transport.engine.sessionful.failover import _MAX_RERUNS
from mcp_transport.kernel import arguments, events, handlers, limits, validation_errors
from mcp_transport.protocol.client_address import _MAX_HOPS
from mcp_transport.protocol.http import MAX_HTTP_METHOD
from mcp_transport.supervision import _LOG_INTERVAL_SECONDS
from tests.limits.cases import tested_by

POLICY = Policy()
MOST_QUESTIONS = signature(introspection.IntrospectionAuthenticator).parameters["max_questions"].default

# -- requests

tested_by(
    MAX_HTTP_METHOD,
    "the quoted part of an HTTP method",
    "test_a_long_method_is_repeated_in_part",
)
tested_by(
    limits.MAX_VALUES,
    "JSON values in parameters of MCP's own methods, without `arguments` and `requestState`",
    "test_parameters_beyond_a_limit_are_refused_at_once",
)
tested_by(limits._MAX_MEMBER_BYTES, "any other such parameter", "test_parameters_beyond_a_limit_are_refused_at_once")
tested_by(
    validation_errors._MAX_LISTED,
    "validation errors listed for arguments",
    "test_of_more_errors_than_can_be_listed_the_first_is_named",
)
tested_by(
    arguments._MAX_PARSED_VALUES,
    "commas and brackets in texts of a call that are parsed as JSON",
    "test_a_text_with_more_json_in_it_than_a_body_may_hold_stays_a_text",
)
tested_by(_MAX_BODY_BYTES, "the body of a request to the REST API", "test_odd_body_is_refused")

# -- load

tested_by(
    POLICY.max_concurrent_calls,
    "calls running at the same time",
    "test_what_does_not_fit_waits_and_beyond_the_queue_is_refused_at_once",
)
tested_by(
    POLICY.max_concurrent_calls_per_caller,
    "calls of one caller running at the same time",
    "test_a_caller_may_run_no_more_than_its_share",
)
tested_by(
    POLICY.max_queued_calls,
    "calls waiting for one limit",
    "test_what_does_not_fit_waits_and_beyond_the_queue_is_refused_at_once",
)
tested_by(
    POLICY.max_queued_calls_per_caller, "calls of one caller waiting for one limit", "test_the_defaults_protect"
)
tested_by(POLICY.queue_timeout, "the wait of a call", "test_a_call_that_waits_too_long_is_refused_on_its_stream")
tested_by(
    POLICY.tool_timeout or 0,
    "the duration of a call, without its waits",
    "test_a_call_that_overruns_is_answered_with_an_error",
)
tested_by(
    POLICY.max_stored_bytes_per_caller,
    "bytes that one caller's calls add to the logs of streams in a process, within `STREAM_KEEP_SECONDS`",
    "test_a_caller_whose_streams_fill_the_logs_has_to_wait",
)
tested_by(_SHARE_PER_CALLER, "the part of one caller's threads", "test_the_defaults_protect")

# -- results

tested_by(
    POLICY.max_result_bytes,
    "a serialized result",
    "test_a_result_that_is_too_large_is_a_tool_error",
)
tested_by(
    POLICY.max_result_bytes,
    "data read from an iterator, a generator or a queryset",
    "test_what_never_ends_is_read_in_the_thread_as_far_as_a_result_may_go",
)
tested_by(
    POLICY.max_result_bytes,
    "another message of a call: progress, log, server request, notification",
    "test_a_message_that_is_too_large_fails_where_it_is_sent",
)
tested_by(
    events._MAX_URI,
    "the URI in a resource change notification",
    "test_a_message_that_is_too_large_fails_where_it_is_sent",
)
tested_by(
    handlers._MAX_COMPLETION_VALUES,
    "values of a completion",
    "test_a_hundred_values_are_sent_and_it_is_said_of_how_many",
)

# -- sessions and streams

tested_by(context.MAX_VALUES, "session state values of tools", "test_state_has_room_for_so_many_values")
tested_by(context.MAX_VALUE_BYTES, "a session state value", "test_value_has_room_for_so_many_bytes")
tested_by(
    POLICY.session_history,
    "requests in a session's history",
    "test_history_is_short_and_ends_with_its_session",
)
_CUT = "test_failure_of_any_size_is_cut"
tested_by(MAX_ERROR, "the class of a failed call's error that is kept", _CUT)
tested_by(MAX_MESSAGE, "the message of a failed call that is kept (`FAILURE_PAYLOADS`)", _CUT)
tested_by(MAX_ARGUMENTS, "the arguments of a failed call that are kept, as JSON (`FAILURE_PAYLOADS`)", _CUT)
tested_by(MAX_MARKS, "times of messages that a stream keeps, one a second", "test_times_of_messages_are_known")
tested_by(
    NOTE_SECONDS,
    "time between two notes of requests that one limit refuses to a caller",
    "test_flood_of_refusals_is_noted_once",
)
tested_by(_MAX_RERUNS + 1, "lost nodes of a `durable` call", "test_a_call_that_ends_its_process_ends_two")
tested_by(_CHECK_INTERVAL_SECONDS, "time that calls outlast their session", "test_calls_end_whose_client_has_left")
tested_by(
    POLICY.stream_max_events,
    "events of a stream that can be replayed",
    "test_the_oldest_events_go_by_count_and_are_counted",
)
tested_by(
    POLICY.stream_max_bytes,
    "bytes of a stream that can be replayed",
    "test_the_oldest_events_go_by_bytes_and_are_counted",
)
tested_by(
    POLICY.stream_queue,
    "events that wait for a slow socket in memory",
    "test_a_slow_client_gets_everything_and_does_not_hold_up_the_handler",
)
tested_by(
    POLICY.write_timeout,
    "time for a client to accept a piece of a stream (ASGI mount)",
    "test_server_gives_up_a_client_that_does_not_read",
)

# -- processes and memory

tested_by(
    signals._MAX_QUEUED_EVENTS,
    "events that wait for receivers of signals",
    "test_what_finds_no_room_is_dropped_with_one_line",
)
tested_by(http_client.MAX_BYTES, "answers of an authorization server", "test_callers_are_told_to_come_again")
tested_by(
    introspection._MAX_RESPONSES,
    "cached introspection answers",
    "test_no_more_than_so_many_answers_are_kept",
)
tested_by(
    MOST_QUESTIONS,
    "concurrent introspection requests of an event loop (`MAX_QUESTIONS` in `OPTIONS`)",
    "test_made_up_tokens_take_no_more_connections_than_there_may_be",
)
tested_by(
    http_client.POOL_WAIT_SECONDS,
    "wait of an introspection request",
    "test_made_up_tokens_take_no_more_connections_than_there_may_be",
)
tested_by(MAX_ARGUMENT_BYTES, "arguments of a call in the audit log", "test_long_arguments_become_a_note")
tested_by(
    60 / _LOG_INTERVAL_SECONDS, "logged failures of one kind", "test_a_failure_is_logged_with_its_stack_once_a_minute"
)
tested_by(
    _MAX_RETRY_SECONDS,
    "the pause of a node's task after a failure",
    "test_pauses_grow_to_a_limit_and_begin_anew_after_success",
)
tested_by(
    POLICY.max_bytes_in_flight,
    "estimated memory of a process for bodies and their decoded values",
    "test_a_call_holds_memory_until_it_ends",
)
tested_by(POLICY.max_bytes_in_flight_per_caller, "the part of one caller", "test_one_caller_leaves_room_for_another")
tested_by(
    _ANONYMOUS_SHARE,
    "the part of all callers without credentials",
    "test_callers_without_credentials_leave_a_part_to_those_with_some",
)
tested_by(_EXEMPT_BYTES, "the size of an exempt body", "test_a_small_request_is_served_when_nothing_is_left")
tested_by(
    _MAX_HOPS,
    "entries of `X-Forwarded-For` that are read",
    "test_a_long_line_of_trusted_addresses_is_not_walked_to_its_end",
)
