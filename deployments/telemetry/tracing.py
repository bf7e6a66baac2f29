"""Traces of requests for an OpenTelemetry collector: where Ray Serve is told to send its spans.

Serve itself makes a span of each call, with the request's id, and hands the trace from stage to stage. It is switched
on by naming this function where the cluster starts:
RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH=deployments.telemetry.tracing:otlp.
Needs `pip install dalle-serve[tracing]`.
"""

import logging
from typing import Any

logger = logging.getLogger("ray.serve")


def otlp() -> list[Any]:
    """Gives what sends spans over HTTP to the collector that the usual variables name.

    `OTEL_EXPORTER_OTLP_ENDPOINT` is its address, http://localhost:4318 where nothing is said. Where spans cannot be
    sent, nothing is: no request waits for them, and no replica fails.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        return [BatchSpanProcessor(OTLPSpanExporter())]
    except Exception as error:  # the extra is not installed, or a variable makes no sense
        logger.error("no traces are sent, pip install dalle-serve[tracing] may help: %r", error)
        return []
