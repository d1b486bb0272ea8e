"""A service in Python that is instrumented with OpenTelemetry and asks a real edge through OpenFeature, with the hook and the
exporters of PyPI. Prints what its users were shown and what they did."""

import json
import logging
import sys
import time

from openfeature import api
from openfeature.contrib.hook.opentelemetry import TracingHook
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

edge, key, endpoint, server, flag, compression, prefix, count = sys.argv[1:]

told = []


class Told(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())


logging.getLogger("opentelemetry").addHandler(Told())


def options(signal):
    return {
        "endpoint": f"{endpoint}/v1/{signal}",
        "headers": {"Authorization": f"Bearer {server}"},
        "compression": Compression(compression),
    }


spans = TracerProvider()
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**options("traces"))))
records = LoggerProvider()
records.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**options("logs"))))
delta = {Counter: AggregationTemporality.DELTA}
exporter = OTLPMetricExporter(**options("metrics"), preferred_temporality=delta)
points = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)])

api.set_provider_and_wait(
    OFREPProvider(edge, headers_factory=lambda: {"Authorization": f"Bearer {key}"})
)
client = api.get_client()
client.add_hooks([TracingHook()])
tracer = spans.get_tracer("shop")
logger = records.get_logger("shop")
purchases = points.get_meter("shop").create_counter("purchase")

shown = {}
for number in range(int(count)):
    unit = f"{prefix}-{number}"
    start = time.time_ns() // 1_000_000
    with tracer.start_as_current_span(
        "GET /checkout", kind=SpanKind.SERVER, start_time=start * 1_000_000, end_on_exit=False
    ) as span:
        details = client.get_boolean_details(flag, False, EvaluationContext(unit))
        did = ["latency_ms"]
        if number % 3 == 0:
            did.append("conversion")
            logger.emit(
                event_name="flagfuse.outcome",
                timestamp=time.time_ns(),
                attributes={"flagfuse.metric": "conversion", "flagfuse.unit": unit},
            )
        if number % 4 == 0:
            did.append("purchase")
            purchases.add(1, {"feature_flag.context.id": unit})
        if number % 5 == 0:
            did.append("error")
            span.set_status(Status(StatusCode.ERROR))
    end = time.time_ns() // 1_000_000
    span.end(end * 1_000_000)
    shown[unit] = {
        "variant": details.variant,
        "phase": details.flag_metadata.get("phase"),
        "at": start,
        "latency": end - start,
        "did": did,
    }

for provider in (spans, records, points):
    provider.force_flush()
print(json.dumps({"shown": shown, "told": told}))
for provider in (spans, records, points):
    provider.shutdown()
api.shutdown()
