//! What every object does with its web sockets: takes them, and closes those that their peer has closed.

use worker::worker_sys::WebSocketRequestResponsePair;
use worker::{Response, Result, State, WebSocket, WebSocketPair};

/// Accepts a connection that may hibernate: the object sleeps between messages, pings included. `first` is said at once.
pub fn accept(state: &State, tags: &[&str], first: &str) -> Result<Response> {
    let pair = WebSocketPair::new()?;
    state.accept_websocket_with_tags(&pair.server, tags);
    state.set_websocket_auto_response(&WebSocketRequestResponsePair::new("ping", "pong")?);
    pair.server.send_with_str(first)?;
    Response::from_websocket(pair.client)
}

/// Closes the near side of a socket whose far side was closed with `code`.
pub fn close_back(socket: &WebSocket, code: usize) {
    // 1005 and 1006 say that no code was sent and may not be sent back.
    let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1005 | 1006 | 1015));
    // The peer is gone either way; an error here would only be logged.
    let _ = socket.close(code, Some("closed"));
}
