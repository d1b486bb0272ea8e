//! The control plane as a whole, over a temporary database and a clock that stands still. One binary: one link.

// `cfg(test)` is always so here; the lints that tests are excused from ask for it.
#[cfg(test)]
mod admin_api;
#[cfg(test)]
mod anytime;
#[cfg(test)]
mod authorization;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod circuit;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod document;
#[cfg(test)]
mod doors;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod editors;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod feedback;
#[cfg(test)]
mod flag_details;
#[cfg(test)]
mod flag_matrix;
#[cfg(test)]
mod flag_rows;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod handing_on;
#[cfg(test)]
mod hiding;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod import;
#[cfg(test)]
mod ingestion;
#[cfg(test)]
mod inheritance;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod launch;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod losses;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod named;
#[cfg(test)]
mod notes;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod people;
#[cfg(test)]
mod preconditions;
#[cfg(test)]
mod private;
#[cfg(test)]
mod pull;
#[cfg(test)]
mod push;
#[cfg(test)]
mod ramp;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod replays;
#[cfg(test)]
mod replica;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod safety;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod server;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod slos;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod story;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod trail;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod unknown;
#[cfg(test)]
mod verbs;
#[cfg(test)]
mod world;
