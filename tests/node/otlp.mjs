// A service that is instrumented with OpenTelemetry and asks a real edge through OpenFeature, with the exporters of npm. Between
// them and the control plane stands what fails: of each signal the first request is not handed on, and of the second the answer
// is lost. Prints what its users were shown and what they did.
import { once } from 'node:events';
import http from 'node:http';
import { EventHook, SpanEventHook, SpanHook } from '@openfeature/open-telemetry-hooks';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';
import { context, diag, DiagLogLevel, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { logs } from '@opentelemetry/api-logs';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtoLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { AggregationTemporalityPreference, OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonSpans } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoSpans } from '@opentelemetry/exporter-trace-otlp-proto';
import { BatchLogRecordProcessor, LoggerProvider } from '@opentelemetry/sdk-logs';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { within } from './bounded.mjs';

const [edge, key, api, server, flag, encoding, compression, style, prefix, count] = process.argv.slice(2);

// What fails.
const seen = { '/v1/otlp/v1/logs': [], '/v1/otlp/v1/traces': [], '/v1/otlp/v1/metrics': [] };
const unreliable = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const turn = seen[request.url].push(request.headers['content-type']);
  if (turn === 1) return response.writeHead(503, { 'retry-after': '0' }).end();
  const { host, connection, 'transfer-encoding': _, ...headers } = request.headers;
  const answer = await fetch(new URL(request.url, api), { method: 'POST', headers, body: Buffer.concat(chunks) });
  const body = Buffer.from(await answer.arrayBuffer());
  if (turn === 2) return response.writeHead(503, { 'retry-after': '0' }).end();
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') }).end(body);
});
unreliable.listen(0, '127.0.0.1');
await within('what fails listens', once(unreliable, 'listening'));
const endpoint = `http://127.0.0.1:${unreliable.address().port}/v1/otlp`;

// What exporters complain of.
const told = [];
const tell = (...words) => told.push(words.map(String).join(' '));
diag.setLogger({ error: tell, warn: tell, info() {}, debug() {}, verbose() {} }, DiagLogLevel.WARN);

const options = (signal) => ({
  url: `${endpoint}/v1/${signal}`, headers: { Authorization: `Bearer ${server}` }, compression,
  temporalityPreference: AggregationTemporalityPreference.DELTA,
});
const isProto = encoding === 'protobuf';
const spans = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new (isProto ? ProtoSpans : JsonSpans)(options('traces')))],
});
const records = new LoggerProvider({
  processors: [new BatchLogRecordProcessor(new (isProto ? ProtoLogs : JsonLogs)(options('logs')))],
});
const points = new MeterProvider({
  readers: [new PeriodicExportingMetricReader({
    exporter: new (isProto ? ProtoMetrics : JsonMetrics)(options('metrics')), exportIntervalMillis: 3_600_000,
  })],
});
spans.register();
logs.setGlobalLoggerProvider(records);

const hooks = {
  // As the documentation has it.
  logs: () => [new EventHook()],
  'span events': () => [new SpanEventHook()],
  spans: () => [new SpanHook()],
  // What hooks of before sent, with what the metadata say.
  older: () => [{
    finally: (_, { flagKey, variant, flagMetadata }) => trace.getActiveSpan().addEvent('feature_flag', {
      'feature_flag.key': flagKey, 'feature_flag.provider_name': 'ofrep', 'feature_flag.variant': variant,
      'flagfuse.phase': flagMetadata.phase,
    }),
  }],
};
const provider = new OFREPProvider({ baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]] });
await within('the provider is ready', OpenFeature.setProviderAndWait(provider));
const client = OpenFeature.getClient();
client.addHooks(...hooks[style]());

const tracer = trace.getTracer('shop');
const logger = logs.getLogger('shop');
const purchases = points.getMeter('shop').createCounter('purchase');
const shown = {};
for (let number = 0; number < Number(count); number += 1) {
  const unit = `${prefix}-${number}`;
  const start = Date.now();
  const span = tracer.startSpan('GET /checkout', { kind: SpanKind.SERVER, startTime: start });
  span.setAttribute('feature_flag.context.id', unit);
  const request = trace.setSpan(context.active(), span);
  const evaluated = context.with(request, () => client.getBooleanDetails(flag, false, { targetingKey: unit }));
  const details = await within(unit, evaluated);
  // Most of what a service sends is of no flag.
  tracer.startSpan('SELECT 1').end();
  logger.emit({ body: 'a line' });
  const did = ['latency_ms'];
  if (number % 3 === 0) {
    did.push('conversion');
    logger.emit({
      eventName: 'flagfuse.outcome', attributes: { 'flagfuse.metric': 'conversion', 'flagfuse.unit': unit },
    });
  }
  if (number % 4 === 0) {
    did.push('purchase');
    purchases.add(1, { 'feature_flag.context.id': unit });
  }
  if (number % 5 === 0) {
    did.push('error');
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  const end = Date.now();
  span.end(end);
  shown[unit] = { variant: details.variant, phase: details.flagMetadata.phase ?? null, at: start, latency: end - start, did };
}
// What nobody can use: told by partial success, and nothing else is lost for it.
logger.emit({ eventName: 'flagfuse.outcome', attributes: { 'flagfuse.metric': 'conversion', 'flagfuse.unit': 42 } });
await within('spans are sent', spans.forceFlush());
await within('log records are sent', records.forceFlush());
await within('data points are sent', points.forceFlush());
console.log(JSON.stringify({ shown, told, seen }));
await within('OpenFeature ends', OpenFeature.close());
await within('OpenTelemetry ends', Promise.all([spans.shutdown(), records.shutdown(), points.shutdown()]));
unreliable.close();
unreliable.closeAllConnections();
