//! All tests on real processes and in the simulation: one program, because linking each on its own takes minutes.
//! `cargo xtask test` runs each module in a process of its own.

mod architecture;
mod bad_input;
mod browser;
mod buffers;
mod chaos;
mod crash;
mod dashboard;
mod databases;
mod deletion;
mod deploy;
mod determinism;
mod feedback_loop;
mod hot_path;
mod import;
mod keys;
mod listener;
mod newcomer;
mod notify;
mod ofrep;
mod openapi;
mod otlp;
mod outage;
mod readme;
mod regions;
mod shares;
mod simulation;
mod strangers;
mod tamper;
mod two_planes;
mod unleash;
mod web;
