//! Reads a request's body up to the limit. Never holds more than the limit and one chunk.

use futures_util::StreamExt as _;
use worker::Request;

use crate::error::EdgeError;

/// The whole body, or a refusal before it is read when its announced length is above the limit.
pub async fn read(request: &mut Request, len_max: usize) -> Result<Vec<u8>, EdgeError> {
    let announced = header(request, "content-length").and_then(|text| text.parse::<usize>().ok());
    match announced {
        Some(len) if len > len_max => Err(EdgeError::BodyTooLarge { len_max }),
        // The platform enforces the announced length, so one call is enough.
        Some(_) => request.bytes().await.map_err(|_| EdgeError::BodyIncomplete),
        None => read_stream(request, len_max).await,
    }
}

/// A body of unknown length: chunked, or none at all.
async fn read_stream(request: &mut Request, len_max: usize) -> Result<Vec<u8>, EdgeError> {
    let mut bytes = Vec::new();
    let Ok(mut chunks) = request.stream() else {
        return Ok(bytes);
    };
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| EdgeError::BodyIncomplete)?;
        if bytes.len() + chunk.len() > len_max {
            return Err(EdgeError::BodyTooLarge { len_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A request header, `None` when it is missing.
pub fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}
