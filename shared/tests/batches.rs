//! Batches on the wire: bytes that older edges send, and those that today's write, mean the same for ever.

use std::fs;
use std::path::PathBuf;

use flagfuse_shared::contract::beacon::{Content, IngestBatch};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// A batch as text: its head, then a line for each arrival.
fn told(batch: &IngestBatch<'_>) -> String {
    // A field that came later stands there where somebody names it.
    let mut lines = vec![format!("{:?}", batch.head).replace("reader: None, ", "")];
    lines.extend(batch.arrivals().enumerate().map(|(at, arrival)| {
        let content = match arrival.content {
            Content::Raw(raw) => format!("raw {raw}"),
            Content::Exposure(exposure) => format!("{exposure:?}"),
            Content::Erased => "erased".to_owned(),
        };
        let (received, sent, source) = (arrival.received_ms.0, arrival.sent_ms, arrival.source);
        let (network, is_bot, is_limited, sdk) =
            (arrival.network, arrival.is_bot, arrival.is_limited, arrival.sdk);
        let event = arrival.event(|| format!("#{at}")).map_or_else(
            |fault| format!("{}: {}", fault.code.as_str(), fault.reason),
            |event| format!("{:?} slices {:?}", event.kind, event.slices.to_string()),
        );
        format!(
            "{received} {sent:?} {source:?} network {network} bot {is_bot} limited {is_limited} sdk {sdk:?}\n  {content}\n  {event}"
        )
    }));
    lines.join("\n") + "\n"
}

#[test]
fn batches_of_every_format_are_read_as_ever() {
    // Format 2 has come to say more; batches that do not are what they were.
    for format in ["1", "2", "2-links", "2-slices"] {
        let body = fs::read(golden(&format!("batch-v{format}.json"))).unwrap();
        let told = told(&IngestBatch::parse(&body).unwrap());
        let path = golden(&format!("batch-v{format}.told"));
        if std::env::var_os("FLAGFUSE_RENEW_GOLDEN").is_some() {
            fs::write(&path, &told).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap();
        assert_eq!(told, expected, "format {format} is read otherwise than it was");
    }
}
