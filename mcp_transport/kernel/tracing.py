"""Whether OpenTelemetry's spans would reach anybody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER

__all__ = ["is_traced"]

_NAMES_PROVIDER: Final = OTEL_PYTHON_TRACER_PROVIDER in os.environ


def is_traced(meta: Mapping[str, Any] | None) -> bool:
    """Tell whether a span would reach anybody: a collector of the process, or a caller that sent a trace in `_meta`."""
    # What trace.get_tracer_provider looks at; that function reads the environment at each call.
    return trace._TRACER_PROVIDER is not None or _NAMES_PROVIDER or "traceparent" in (meta or ())
