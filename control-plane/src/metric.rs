//! Names of the metrics that mean something to the control plane itself; all others are whatever users call them.

/// Counts enrolled units; never sent as an outcome.
pub const EXPOSURE_METRIC: &str = "exposure";
/// The metric whose unit is mature only when its window has closed.
pub const RETURN_METRIC: &str = "return";
/// The metric that carries a value per event.
pub const LATENCY_METRIC: &str = "latency_ms";
