//! What the commands and the cross-crate tests share: building the edge and running it. Never product logic.

#![expect(
    clippy::disallowed_methods,
    reason = "tooling measures wall time; nothing here decides anything by it"
)]
#![expect(clippy::indexing_slicing, reason = "indexing a JSON value by name gives null, it never panics")]

pub mod attack;
pub mod bench;
pub mod calibrate;
pub mod chaos;
pub mod check;
mod commit;
pub mod dashboard;
pub mod demo;
pub mod demo_project;
pub mod deny;
pub mod figure;
pub mod http;
pub mod load;
mod logs;
pub mod output;
pub mod pages;
mod parallel;
pub mod picture;
pub mod plane;
pub mod play;
pub mod ports;
pub mod postgres;
pub mod private;
pub mod process;
mod programs;
pub mod relay;
pub mod repeat;
pub mod scenarios;
pub mod secrets;
pub mod stack;
pub mod tools;
pub mod traffic;
pub mod up;
pub mod wait;
pub mod wasm_build;
pub mod workerd;
