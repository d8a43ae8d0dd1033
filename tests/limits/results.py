"""Limits of what handlers return and send."""

from __future__ import annotations

from mcp_transport.kernel.arguments import _MOST_PARSED
from mcp_transport.kernel.events import _MAX_URI
from mcp_transport.kernel.handlers import _MAX_VALUES as MAX_COMPLETIONS
from mcp_transport.kernel.invalid import _MOST_BUILT
from mcp_transport.kernel.limits import _MAX_BYTES, MAX_VALUES
from mcp_transport.protocol.policy import Policy
from tests.limits.cases import tested_by

POLICY = Policy()
_RESULTS = "tests/django/test_result_limits.py"
_PARAMS = "tests/kernel/test_hostile_params.py"
_ARGUMENTS = "tests/kernel/test_hostile_arguments.py"

tested_by(
    "a result, as the response that is sent",
    POLICY.max_result_bytes,
    _RESULTS,
    "test_a_result_that_is_too_large_is_a_tool_error",
)
tested_by(
    "what is read of an iterator, a generator or a queryset",
    POLICY.max_result_bytes,
    _RESULTS,
    "test_what_never_ends_is_read_in_the_thread_as_far_as_a_result_may_go",
)
tested_by(
    "another message of a call: progress, log, question, notification",
    POLICY.max_result_bytes,
    _RESULTS,
    "test_a_message_that_is_too_large_fails_where_it_is_sent",
)
tested_by(
    "the URI of a resource that is announced as changed",
    _MAX_URI,
    _RESULTS,
    "test_a_message_that_is_too_large_fails_where_it_is_sent",
)
tested_by(
    "values of a completion",
    MAX_COMPLETIONS,
    "tests/django/test_completions.py",
    "test_a_hundred_values_are_sent_and_it_is_said_of_how_many",
)
tested_by(
    "JSON values in parameters of MCP's own methods, without `arguments` and `requestState`",
    MAX_VALUES,
    _PARAMS,
    "test_parameters_beyond_a_limit_are_refused_at_once",
)
tested_by(
    "such a parameter besides those above",
    _MAX_BYTES,
    _PARAMS,
    "test_parameters_beyond_a_limit_are_refused_at_once",
)
tested_by(
    "wrong items of arguments that are listed",
    _MOST_BUILT,
    _ARGUMENTS,
    "test_of_more_errors_than_can_be_listed_the_first_is_named",
)
tested_by(
    "commas and brackets in texts of a call that are read as JSON",
    _MOST_PARSED,
    _ARGUMENTS,
    "test_a_text_with_more_json_in_it_than_a_body_may_hold_stays_a_text",
)
