//! The response body of an event stream: text is written while the client reads; the first write after it went fails.
//! Never buffers more than the one text that is being written.

use worker::js_sys::{Promise, Uint8Array};
use worker::wasm_bindgen::prelude::wasm_bindgen;
use worker::wasm_bindgen::{self, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Response, ResponseBody, web_sys};

#[wasm_bindgen]
extern "C" {
    /// The platform's own pair of streams. A stream that is made in JavaScript or Rust would not be told that the client
    /// is gone: its task and everything it holds would stay for the life of the isolate.
    type IdentityTransformStream;

    #[wasm_bindgen(constructor, catch)]
    fn new() -> Result<IdentityTransformStream, JsValue>;

    #[wasm_bindgen(method, getter)]
    fn readable(this: &IdentityTransformStream) -> web_sys::ReadableStream;

    #[wasm_bindgen(method, getter)]
    fn writable(this: &IdentityTransformStream) -> Writable;

    type Writable;

    #[wasm_bindgen(method, catch, js_name = getWriter)]
    fn get_writer(this: &Writable) -> Result<JsWriter, JsValue>;

    type JsWriter;

    #[wasm_bindgen(method)]
    fn write(this: &JsWriter, chunk: &Uint8Array) -> Promise;

    #[wasm_bindgen(method)]
    fn close(this: &JsWriter) -> Promise;
}

/// The client reads no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct ClientGone;

#[derive(Debug)]
pub struct StreamWriter(JsWriter);

impl std::fmt::Debug for JsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JsWriter")
    }
}

impl StreamWriter {
    /// A writer and the response whose body it writes.
    pub fn new() -> worker::Result<(Self, Response)> {
        let pair = IdentityTransformStream::new()?;
        let writer = pair.writable().get_writer()?;
        Ok((Self(writer), Response::from_body(ResponseBody::Stream(pair.readable()))?))
    }

    /// Writes; returns once the client's connection has taken it.
    pub async fn write(&self, text: &str) -> Result<(), ClientGone> {
        // A copy: the platform reads it after this call, when Wasm's memory may have moved.
        let chunk = Uint8Array::from(text.as_bytes());
        JsFuture::from(self.0.write(&chunk)).await.map(|_| ()).map_err(|_| ClientGone)
    }

    /// Ends the body.
    pub async fn close(&self) {
        // A client that is gone needs no end.
        let _ = JsFuture::from(self.0.close()).await;
    }
}
