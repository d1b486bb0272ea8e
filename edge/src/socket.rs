//! What every object that accepts web sockets does with one that its peer has closed. Never sends a message.

use worker::WebSocket;

/// Closes the near side of a socket whose far side was closed with `code`.
pub fn close_back(socket: &WebSocket, code: usize) {
    // 1005 and 1006 say that no code was sent and may not be sent back.
    let code = u16::try_from(code).ok().filter(|code| !matches!(code, 1005 | 1006 | 1015));
    // The peer is gone either way; an error here would only be logged.
    let _ = socket.close(code, Some("closed"));
}
