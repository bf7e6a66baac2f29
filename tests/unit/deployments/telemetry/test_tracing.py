"""Spans reach a collector."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from ray.serve._private.tracing_utils import _load_span_processors  # what Serve does with the name that it is given


def test_without_an_exporter_nothing_is_sent_and_nothing_fails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert _load_span_processors("deployments.telemetry.tracing:otlp", "unused") == []


def test_spans_are_sent_where_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        provider = TracerProvider()
        for processor in _load_span_processors("deployments.telemetry.tracing:otlp", "unused"):
            provider.add_span_processor(processor)
        with provider.get_tracer("test").start_as_current_span("draw"):
            pass
        provider.shutdown()
        server.shutdown()
    ((path, request),) = received
    assert path == "/v1/traces"
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "draw"
