//! Names of the metrics that mean something to the control plane itself; all others are whatever users call them.

/// Counts enrolled units; never sent as an outcome.
pub const EXPOSURE_METRIC: &str = "exposure";
/// The metric whose unit is mature only when its window has closed.
pub const RETURN_METRIC: &str = "return";
/// Something went wrong for a unit; never a sign that it came back.
pub const ERROR_METRIC: &str = "error";
/// The activity that counts as coming back where a policy names none.
pub const SESSION_METRIC: &str = "session";
/// Under this name the dedupe remembers reports of how often flags were asked for.
pub const USAGE_METRIC: &str = "usage";
/// All outcomes together that a phase's policy does not name.
pub const OTHER_METRIC: &str = "other";
/// The metric that carries a value per event.
pub const LATENCY_METRIC: &str = "latency_ms";

/// The number under which a phase counts the enrolled units themselves.
pub const ENROLLED: u8 = 0;
