"""A collector of spans in place of the process's, and the endpoint of other tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mcp.shared import _otel
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.endpoint import build_endpoint, clock, endpoint, gate
from tests.support.kernel import fast
from tests.support.project import declarations, fresh_endpoint

__all__ = ["build_endpoint", "clock", "declarations", "endpoint", "fast", "fresh_endpoint", "gate"]


class Spans:
    """What was collected."""

    def __init__(self) -> None:
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("tests")

    def take(self) -> list[ReadableSpan]:
        """Return the spans that have ended since the last time."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    def only(self) -> ReadableSpan:
        """Return the one span that the SDK's middleware made."""
        [span] = [span for span in self.take() if "mcp.method.name" in (span.attributes or {})]
        return span


def install(monkeypatch: pytest.MonkeyPatch, provider: trace.TracerProvider) -> None:
    """Make a provider that of the process; the SDK has asked for its tracer at import."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(_otel, "_tracer", provider.get_tracer("mcp-python-sdk"))


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Collect the spans of this process."""
    spans = Spans()
    install(monkeypatch, spans.provider)
    yield spans
    spans.provider.shutdown()


@pytest.fixture(autouse=True)
def _both_ways(fast: bool) -> None:
    """Run each test on the fast path and the SDK's own way."""
