//! The only place that reads the time. Everything else is told what time it is.

use flagfuse_shared::ids::UnixMillis;

/// Milliseconds since 1970 by the platform's clock.
///
/// In production this clock stands still between two I/O operations, so an age is exact when a request starts and after
/// each await, and never includes time spent computing.
pub fn now() -> UnixMillis {
    UnixMillis(worker::Date::now().as_millis())
}
