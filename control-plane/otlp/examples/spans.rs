//! Prints how fast export requests are read that say nothing of a flag, and how much memory that takes. `cargo run --release -p
//! flagfuse-otlp --example spans -- 1000000`: so many spans, 8,000 a request.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time and takes arguments")]

use std::time::Instant;

use flagfuse_otlp::{Encoding, Reason, Signal, read};

/// Spans of one request.
const BATCH: usize = 8_000;
/// A server's span as instrumentation libraries make it, with ten attributes.
const ATTRIBUTES: [(&str, &str); 10] = [
    ("http.request.method", "GET"),
    ("url.path", "/checkout/4711/items"),
    ("url.scheme", "https"),
    ("http.route", "/checkout/{id}/items"),
    ("server.address", "shop.example.com"),
    ("network.protocol.version", "1.1"),
    ("client.address", "203.0.113.7"),
    ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("http.response.status_code", "200"),
    ("thread.name", "worker-7"),
];

fn main() {
    let spans = std::env::args().nth(1).and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    let plain: String = (0..BATCH).map(json_span).collect::<Vec<_>>().join(",");
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{plain}]}}]}}]}}"#);
    let scope: Vec<u8> = (0..BATCH).flat_map(|number| field(2, &protobuf_span(number))).collect();
    let protobuf = field(1, &field(2, &scope));
    measure("protobuf", Encoding::Protobuf, &protobuf, spans);
    measure("json", Encoding::Json, json.as_bytes(), spans);
}

fn measure(name: &str, encoding: Encoding, body: &[u8], spans: usize) {
    let before = resident_kib("VmRSS:");
    let (begun, mut read_count) = (Instant::now(), 0);
    while read_count < spans {
        match read(Signal::Traces, encoding, body) {
            Ok(export) => {
                assert_eq!(export.ignored.get(Reason::NoFlag), BATCH as u64);
                assert!(export.found.is_empty(), "nothing is of a flag");
            }
            Err(error) => println!("{error}"),
        }
        read_count += BATCH;
    }
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (rate, megabytes) =
        (read_count as f64 / seconds, (read_count / BATCH * body.len()) as f64 / 1e6 / seconds);
    let grown = resident_kib("VmRSS:").saturating_sub(before);
    println!(
        "{name}: {rate:.0} spans/s, {megabytes:.0} MB/s, {} bytes a span, {grown} KiB more memory",
        body.len() / BATCH
    );
}

/// Kibibytes of this process, where Linux tells.
fn resident_kib(name: &str) -> u64 {
    let told = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| text.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

fn json_span(number: usize) -> String {
    let attributes =
        ATTRIBUTES.map(|(key, value)| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#));
    format!(
        r#"{{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"{number:016x}","name":"GET","kind":2,
        "startTimeUnixNano":"1800000000000000000","endTimeUnixNano":"1800000000100000000","attributes":[{}],"status":{{}}}}"#,
        attributes.join(",")
    )
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// A field that is bytes.
fn field(number: usize, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len()), value.to_vec()].concat()
}

fn protobuf_span(number: usize) -> Vec<u8> {
    let mut span =
        [field(1, &[7; 16]), field(2, &number.to_be_bytes()), field(5, b"GET"), vec![6 << 3, 2]].concat();
    for (at, time) in [(7, 1_800_000_000_000_000_000_u64), (8, 1_800_000_000_100_000_000)] {
        span.push(at << 3 | 1);
        span.extend(time.to_le_bytes());
    }
    for (key, value) in ATTRIBUTES {
        let text = field(2, &field(1, value.as_bytes()));
        span.extend(field(9, &[field(1, key.as_bytes()), text].concat()));
    }
    span
}
