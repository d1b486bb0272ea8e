//! The production code held to its guarantees by simulation: false trips, detection, recovery, guards.
//!
//! Short ones run always. Those at full size are ignored by default and print their figures:
//! `cargo test --release -p flagfuse-stats --test simulations -- --ignored --nocapture full_size`.

#![expect(clippy::cast_precision_loss, reason = "counts of simulated units")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bins and ranks of simulated units"
)]

#[cfg(test)]
mod bits;
#[cfg(test)]
mod detection;
#[cfg(test)]
mod false_trips;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod risk_sets;
#[cfg(test)]
mod support;
