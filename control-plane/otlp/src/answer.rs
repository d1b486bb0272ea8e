//! What an exporter is answered, in its own encoding.

use serde_json::json;

use crate::wire::{put_bytes, put_number};
use crate::{Encoding, Signal};

/// The export's response: `rejected` of its items could not be used, for the reason in `message`.
pub fn success(signal: Signal, encoding: Encoding, rejected: u64, message: &str) -> Vec<u8> {
    let is_whole = rejected == 0 && message.is_empty();
    match encoding {
        Encoding::Protobuf => {
            let mut partial = Vec::new();
            put_number(&mut partial, 1, rejected);
            if !message.is_empty() {
                put_bytes(&mut partial, 2, message.as_bytes());
            }
            let mut response = Vec::new();
            if !is_whole {
                put_bytes(&mut response, 1, &partial);
            }
            response
        }
        Encoding::Json if is_whole => b"{}".to_vec(),
        Encoding::Json => {
            let name = match signal {
                Signal::Logs => "rejectedLogRecords",
                Signal::Traces => "rejectedSpans",
                Signal::Metrics => "rejectedDataPoints",
            };
            // Numbers of 64 bits are texts in protobuf's JSON.
            let partial = json!({ name: rejected.to_string(), "errorMessage": message });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    }
}

/// `google.rpc.Status` of a failure with an HTTP status.
pub fn status(encoding: Encoding, http: u16, message: &str) -> Vec<u8> {
    // Of google.rpc.Code.
    let code = match http {
        400 | 413 | 415 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        408 => 4,
        412 => 9,
        429 => 8,
        503 => 14,
        500..=599 => 13,
        _ => 2,
    };
    match encoding {
        Encoding::Protobuf => {
            let mut status = Vec::new();
            put_number(&mut status, 1, code);
            put_bytes(&mut status, 2, message.as_bytes());
            status
        }
        Encoding::Json => json!({ "code": code, "message": message }).to_string().into_bytes(),
    }
}
